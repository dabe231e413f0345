"""Bearer tokens: who may call, and what.  Kept are their digests only."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import secrets
import shlex
import stat
import sys
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self, TypeAlias, cast, get_args

from wrkflw.errors import InvalidValueError
from wrkflw.worlds.blobs import sync_folder
from wrkflw.worlds.locks import flock

Permission: TypeAlias = Literal["read", "start", "resume", "admin"]
"""``read`` looks at workflows and runs; ``start`` starts and forks runs; ``resume`` answers, sends events and wakes;
``admin`` cancels, pauses and deletes, and may do the rest as well."""
PERMISSIONS: tuple[Permission, ...] = get_args(Permission)

_PREFIX = "wrkflw_"
_LENGTH = 32
"""Bytes of chance in a token."""
_DIGEST = re.compile("[0-9a-f]{64}")

_log = logging.getLogger("wrkflw")


@dataclass(frozen=True, slots=True)
class Token:
    """A token as it is kept: what it may do, and the SHA-256 of its text, never the text."""

    name: str
    digest: str
    permissions: frozenset[Permission]

    @classmethod
    def new(cls, name: str, permissions: Iterable[Permission] = ("admin",)) -> tuple[str, Self]:
        """The text of a new token, to be shown once, and the token.

        Raises InvalidValueError when a permission is none.
        """
        text = _PREFIX + secrets.token_urlsafe(_LENGTH)
        return text, cls.of(name, text, permissions)

    @classmethod
    def of(cls, name: str, text: str, permissions: Iterable[Permission] = ("admin",)) -> Self:
        """The token whose text is known, from a secret store for instance.  Raises InvalidValueError."""
        if len(text) < _LENGTH:
            problem = f"has {len(text)} characters, which can be guessed"
            raise InvalidValueError.because(f"token {name!r}", problem, cure="make one with Token.new()")
        return cls(name, _digest(text), _checked(name, permissions))


class TokenFile:
    """Tokens in a file of JSON, which only its owner can read (mode 0600)."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)

    def load(self) -> list[Token]:
        """The tokens; none where there is no file.

        Raises InvalidValueError for a file that holds something else, or that everybody can write.  Of one that its
        group can write, as volumes of Kubernetes have them, the log warns.
        """
        try:
            return [_kept(one["name"], one["digest"], one["permissions"]) for one in json.loads(self._read())]
        except FileNotFoundError:
            return []
        except InvalidValueError:
            raise
        except (ValueError, LookupError, TypeError) as error:
            cure = "remove it, and make the tokens anew"
            raise InvalidValueError.because(f"token file {str(self._path)!r}", "cannot be read", cure=cure) from error

    def add(self, name: str, permissions: Iterable[Permission] = ("admin",)) -> str:
        """Make a token and keep its digest; the text of the token, which nobody can look up again.

        Raises InvalidValueError when there is a token of this name, or a permission is none.
        """
        text, token = Token.new(name, permissions)
        with self._alone():
            known = self.load()
            if any(one.name == name for one in known):
                raise InvalidValueError.because(f"token {name!r}", "is there already", cure="remove it first")
            self._save([*known, token])
        return text

    def remove(self, name: str) -> bool:
        """Whether there was one of this name.  It is out of the file when this returns; servers that run keep it."""
        with self._alone():
            known = self.load()
            kept = [token for token in known if token.name != name]
            if found := len(kept) < len(known):
                self._save(kept)
        return found

    def _read(self) -> bytes:
        with self._path.open("rb") as file:
            if sys.platform != "win32":  # which has no modes: what can be written at all is 0666 there
                self._check_mode(os.fstat(file.fileno()).st_mode)
            return file.read()

    def _check_mode(self, mode: int) -> None:
        path = str(self._path)
        what, cure = f"token file {path!r}", f"look at who is in it, then chmod 600 {shlex.quote(path)}"
        if mode & stat.S_IWOTH:
            raise InvalidValueError.because(what, "can be written by others, who can let themselves in", cure=cure)
        if mode & stat.S_IWGRP:
            _log.warning("%s can be written by its group, who can let themselves in; %s", what, cure)

    @contextmanager
    def _alone(self) -> Generator[None]:
        """Within, nobody else changes the file: what is locked lies beside it, and stays there."""
        lock = os.open(self._beside("lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            flock(lock, wait=True)
            yield
        finally:
            os.close(lock)

    def _save(self, tokens: Sequence[Token]) -> None:
        """All or nothing: beside the file first, then in its place."""
        content = [{"name": one.name, "digest": one.digest, "permissions": sorted(one.permissions)} for one in tokens]
        beside = self._beside(secrets.token_hex(4))
        try:
            with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
                json.dump(content, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self._path)
        except BaseException:
            beside.unlink(missing_ok=True)
            raise
        sync_folder(self._path.parent)

    def _beside(self, ending: str) -> Path:
        return self._path.with_name(f"{self._path.name}.{ending}")


class Keyring:
    """The tokens of a server, found by what a request says."""

    def __init__(self, tokens: Iterable[Token]) -> None:
        self._by_digest = {token.digest: token for token in tokens}

    def __bool__(self) -> bool:
        return bool(self._by_digest)

    def find(self, authorization: str | None) -> Token | None:
        """The token in an ``Authorization`` header.  By digest: how long it takes says nothing about any token."""
        kind, _, text = (authorization or "").partition(" ")
        return self._by_digest.get(_digest(text.strip())) if kind.lower() == "bearer" else None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _kept(name: str, digest: object, permissions: Iterable[object]) -> Token:
    if not (isinstance(digest, str) and _DIGEST.fullmatch(digest)):
        cure = "take the token out of its file, and make it anew"
        raise InvalidValueError.because(f"digest of token {name!r}", "is not 64 hexadecimal digits", cure=cure)
    return Token(name, digest, _checked(name, permissions))


def _checked(name: str, permissions: Iterable[object]) -> frozenset[Permission]:
    found = frozenset(permissions)
    for one in found:
        if one not in PERMISSIONS:
            known = ", ".join(map(repr, PERMISSIONS))
            raise InvalidValueError.because(f"permission {one!r} of token {name!r}", "is none", cure=f"take of {known}")
    return cast("frozenset[Permission]", found)
