"""What all of the family share: their ancestor, and how they put things into words."""

from __future__ import annotations

from collections.abc import Iterable
from types import FunctionType


class WrkflwError(Exception):
    """Everything that wrkflw raises on purpose."""

    def __reduce__(self) -> str | tuple[object, ...]:
        """With its fields, into another process too: by itself an exception is made anew of what it says."""
        if not isinstance(type(self).__init__, FunctionType):
            return super().__reduce__()
        return _rebuilt, (type(self), self.args, self.__dict__)


def _rebuilt(cls: type[WrkflwError], args: tuple[object, ...], fields: dict[str, object]) -> WrkflwError:
    try:
        error = cls.__new__(cls, *args)  # some built-in ones must have them
    except TypeError:
        error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(fields)
    return error


def names(names: Iterable[str]) -> str:
    """``'fetch', 'price'``."""
    return ", ".join(map(repr, names))


def first_line(error: BaseException) -> str:
    """The first line of what an exception says, or its name where it says nothing."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def exception(name: str, message: str) -> str:
    """``TimeoutError: gateway``, or the name alone."""
    return f"{name}: {message}" if message else name
