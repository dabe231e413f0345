"""Who calls: found out once for a request, from its token, or from where it comes."""

from __future__ import annotations

from dataclasses import dataclass

from wrkflw.asgi import Scope, header_of
from wrkflw.loopback import is_loopback

from .problems import Problem, Refusal
from .tokens import PERMISSIONS, Keyring, Permission


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody, and what he may do; or nobody, and what he is told."""

    permissions: frozenset[Permission] = frozenset()
    problem: Problem | None = None

    @property
    def is_known(self) -> bool:
        return self.problem is None

    def may(self, permission: Permission) -> bool:
        """An ``admin`` may do the rest as well."""
        return permission in self.permissions or "admin" in self.permissions

    def check(self, permission: Permission) -> None:
        """Raises Refusal when nobody knows him, or he may not."""
        if self.problem is not None:
            raise Refusal(self.problem.status, self.problem.detail, self.problem.headers)
        if not self.may(permission):
            raise Refusal(403, f"this token does not permit {permission!r}")


class Callers:
    """``trusted``: what this application is mounted in has looked at who calls."""

    def __init__(self, keyring: Keyring, *, trusted: bool) -> None:
        self.has_tokens = bool(keyring)
        self._keyring = keyring
        self._trusted = trusted

    def of(self, scope: Scope) -> Caller:
        found: tuple[Callers, Caller] | None = scope.get(_KEY)
        if found is None or found[0] is not self:  # another application was asked before, which knows others
            scope[_KEY] = found = self, self._look_at(scope)
        return found[1]

    def _look_at(self, scope: Scope) -> Caller:
        if self._trusted:
            return _ANYBODY
        if self.has_tokens:
            token = self._keyring.find(header_of(scope, b"authorization"))
            return _NOBODY if token is None else Caller(token.permissions)
        if any(_is_forwarded(name) for name, _ in scope["headers"]):
            return _FROM_ELSEWHERE
        client: tuple[str, int] | None = scope.get("client")
        return _ANYBODY if client is not None and is_loopback(client[0]) else _FROM_AFAR


def _is_forwarded(header: bytes) -> bool:
    """Whether this is what a proxy of this machine says when somebody elsewhere has asked it."""
    if header in (b"via", b"x-real-ip") or header.startswith(b"cf-"):
        return True
    return b"forwarded" in header or header.endswith(b"client-ip")


_KEY = "wrkflw.caller"

_ANYBODY = Caller(frozenset(PERMISSIONS))
_NOBODY = Caller(
    problem=Problem(401, "send a token, as 'Authorization: Bearer ...'", headers={"WWW-Authenticate": "Bearer"})
)
_FROM_ELSEWHERE, _FROM_AFAR = (
    Caller(problem=Problem(403, f"this server has no tokens, so it answers {whom}; give it tokens="))
    for whom in ("nothing that was forwarded to it", "its own machine only")
)
