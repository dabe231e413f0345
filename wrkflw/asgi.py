"""The types of ASGI: what a server calls, and what it is called with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Generator, MutableMapping
from typing import Any, TypeAlias

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
AsgiApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]


def headers_of(scope: Scope) -> dict[str, str]:
    """By their names in small letters; of a name that comes twice, all, with commas between."""
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found


def header_of(scope: Scope, name: bytes) -> str | None:
    """The first of that ``name``, which is in small letters."""
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), None)


def mounted_at(scope: Scope, paths: Collection[str]) -> str | None:
    """The one of ``paths`` that a request leads to, or beneath: of several, the longest."""
    if not paths:
        return None
    inside: str = scope["path"].removeprefix(scope.get("root_path", ""))
    return max((path for path in paths if f"{inside}/".startswith(f"{path}/")), key=len, default=None)


class Begun:
    """A message that is awaited, or that is there already: then nothing needs to watch how long it takes."""

    def __init__(self, receiving: Awaitable[Message]) -> None:
        self._rest = receiving.__await__()
        self.message: Message | None = None
        try:
            self._pending = next(self._rest)
        except StopIteration as ended:
            self.message = ended.value

    def __await__(self) -> Generator[Any, Any, Message]:
        if self.message is None:
            self.message = yield from self._delegating()
        return self.message

    def _delegating(self) -> Generator[Any, Any, Message]:
        """``yield from`` (PEP 380), of what has yielded once already; who receives may handle that he is cancelled."""
        pending = self._pending
        try:
            while True:
                try:
                    yield pending
                except GeneratorExit:
                    self._rest.close()
                    raise
                except BaseException as error:  # noqa: BLE001  # it is handed on
                    pending = self._rest.throw(error)
                else:
                    return (yield from self._rest)
        except StopIteration as ended:
            message: Message = ended.value
            return message
