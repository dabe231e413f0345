"""The arguments of ``step.do(name, function, ...)``: to bytes, and back as a recovery would see them."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import FunctionType, MethodType
from typing import Any, Final, TypeVar, cast, get_args, get_origin
from weakref import WeakKeyDictionary

from pydantic_core import from_json, to_json

from wrkflw.errors import DefinitionError, InvalidValueError, LimitError
from wrkflw.names import describe
from wrkflw.schemas import Schema, schema_of
from wrkflw.signatures import hints_of, plain_function, signature_of

_POSITIONAL: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_TOLD: Final = "annotate the parameter with a type that can be stored, or pass plain data"


@dataclass(frozen=True)
class _Reading:
    """A function, as it can be read without holding on to it.

    Attributes:
        signature: how it is called.
        schemas: of the parameters whose annotations say how to store them.
        gives: the form of what it gives in the end, awaited; ``object`` where it does not say.
        is_async: whether a call gives an awaitable; None where it does not say.
    """

    signature: inspect.Signature
    schemas: Mapping[str, Schema]
    gives: object
    is_async: bool | None

    @cached_property
    def result(self) -> Schema:
        return schema_of(self.gives)

    @cached_property
    def plain(self) -> tuple[tuple[bytes, Schema], ...]:
        """What is written before each argument, and by which schema it is; empty where that is not so simple."""
        parameters = self.signature.parameters.values()
        if any(one.kind not in _POSITIONAL or one.name not in self.schemas for one in parameters):
            return ()
        return tuple((b"%b:" % to_json(one.name), self.schemas[one.name]) for one in parameters)


_readings: WeakKeyDictionary[Callable[..., object], _Reading] = WeakKeyDictionary()


class Doing:
    """One call of a plain function as a step: what it is given, and what it gives."""

    def __init__(self, name: str, function: Callable[..., object]) -> None:
        self._name = name
        self._function = function
        self._reading = _reading_of(function)
        self._seen: dict[str, Schema] = {}  # of the parameters that are not annotated, by what was last passed

    @property
    def is_async(self) -> bool | None:
        """Whether a call gives an awaitable; None where that is not known before it is made."""
        return self._reading.is_async

    @property
    def result(self) -> Schema:
        """How the result is stored: by the return annotation; as plain JSON where there is none.

        Raises DefinitionError when pydantic can make nothing of it.
        """
        return self._reading.result

    def store(
        self, args: tuple[object, ...], kwargs: Mapping[str, object], limit: int
    ) -> tuple[bytes, tuple[Any, ...], dict[str, Any]]:
        """The arguments as bytes, and as reading these gives them.

        Raises TypeError when the function cannot be called with them, InvalidValueError when one does not survive
        storage, and LimitError past ``limit`` bytes.
        """
        bound = self._bound(args, kwargs)
        self._seen.clear()
        parts: list[bytes] = []
        for name, value in bound.arguments.items():
            match self._reading.signature.parameters[name].kind:
                case inspect.Parameter.VAR_POSITIONAL:
                    stored = [self._store(name, f"*{name}[{index}]", one) for index, one in enumerate(value)]
                    data = b"[%b]" % b",".join(part for part, _ in stored)
                    bound.arguments[name] = tuple(one for _, one in stored)
                case inspect.Parameter.VAR_KEYWORD:
                    named = {key: self._store(name, key, one) for key, one in value.items()}
                    data = _object([(key, part) for key, (part, _) in named.items()])
                    bound.arguments[name] = {key: one for key, (_, one) in named.items()}
                case _:
                    data, bound.arguments[name] = self._store(name, name, value)
            parts.append(b"%b:%b" % (to_json(name), data))
        data = b"{%b}" % b",".join(parts)
        if len(data) > limit:
            raise LimitError(
                f"{self._what} have {len(data):,} bytes, the limit is {limit:,}; store them elsewhere and pass a "
                "reference, or raise Limits.value_bytes",
                limit=limit,
                got=len(data),
            )
        return data, bound.args, bound.kwargs

    def is_written_as(self, data: bytes, args: tuple[object, ...], kwargs: Mapping[str, object]) -> bool:
        """Whether :meth:`store` would give these bytes, where that can be told without reading them back."""
        reading = self._reading
        if kwargs or len(args) != len(reading.plain):
            return False
        parts = [head + schema.written(value) for (head, schema), value in zip(reading.plain, args, strict=True)]
        return b"{%b}" % b",".join(parts) == data

    def _bound(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> inspect.BoundArguments:
        try:
            return self._reading.signature.bind(*args, **kwargs)
        except TypeError as error:
            called = getattr(self._function, "__name__", type(self._function).__name__)
            raise TypeError(f"step {self._name!r} cannot call {called}(): {error}") from None

    def load(self, data: bytes) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments that :meth:`store` wrote.

        Those whose parameters are not annotated are read as what was last stored; as plain JSON when nothing was.

        Raises InvalidValueError when they do not fit the function as it is now.
        """
        tree = from_json(data)
        arguments: dict[str, Any] = {}
        for name, parameter in self._reading.signature.parameters.items():
            if name not in tree:
                continue
            part = tree.pop(name)
            match parameter.kind:
                case inspect.Parameter.VAR_POSITIONAL:
                    arguments[name] = tuple(self._load(name, f"*{name}[{at}]", one) for at, one in enumerate(part))
                case inspect.Parameter.VAR_KEYWORD:
                    arguments[name] = {key: self._load(name, key, one) for key, one in part.items()}
                case _:
                    arguments[name] = self._load(name, name, part)
        for name in tree:
            raise InvalidValueError.because(self._argument(name), "was recorded, but the function no longer takes it")
        bound = inspect.BoundArguments(self._reading.signature, cast("Any", arguments))
        return bound.args, bound.kwargs

    def call(self, data: bytes) -> object:
        """Call the function with the arguments that :meth:`store` wrote: its own, at every try."""
        args, kwargs = self.load(data)
        return self._function(*args, **kwargs)

    def _store(self, parameter: str, shown: str, value: object) -> tuple[bytes, object]:
        what = self._argument(shown)
        schema = self._reading.schemas.get(parameter)
        if schema is None:
            schema = self._seen[shown] = self._schema_of_value(value, what)
        return schema.store(value, what)

    def _load(self, parameter: str, shown: str, tree: object) -> object:
        schema = self._reading.schemas.get(parameter) or self._seen.get(shown)
        return tree if schema is None else schema.load_tree(tree, self._argument(shown))

    def _schema_of_value(self, value: object, what: str) -> Schema:
        kind = type(value)
        try:
            return schema_of(kind)
        except DefinitionError as error:
            raise InvalidValueError.because(what, f"is {describe(kind)}, which cannot be stored", cure=_TOLD) from error

    @property
    def _what(self) -> str:
        return f"arguments of step {self._name!r}"

    def _argument(self, name: str) -> str:
        return f"argument {name!r} of step {self._name!r}"


def _object(parts: list[tuple[str, bytes]]) -> bytes:
    return b"{%b}" % b",".join(b"%b:%b" % (to_json(name), part) for name, part in parts)


def _reading_of(function: Callable[..., object]) -> _Reading:
    """Read once per function; what a method, a partial or an object is made of may differ each time."""
    if not isinstance(function, FunctionType):
        return _read(function)
    reading = _readings.get(function)
    if reading is None:
        reading = _readings[function] = _read(function)
    return reading


def _read(function: Callable[..., object]) -> _Reading:
    signature, hints = signature_of(function), hints_of(function)
    schemas = {name: schema for name in signature.parameters for schema in _schema_of_form(hints.get(name, object))}
    if isinstance(function, type):
        return _Reading(signature, schemas, function, False)
    plain = plain_function(function)
    plain = plain.__func__ if isinstance(plain, MethodType) else plain
    is_async, gives = _awaited(plain, hints)
    return _Reading(signature, schemas, object if _says_nothing(gives) else gives, is_async)


def _schema_of_form(form: object) -> Iterator[Schema]:
    if _says_nothing(form):
        return
    try:
        yield schema_of(form)
    except DefinitionError:  # a Protocol, say: the value itself tells what it is
        return


def _awaited(plain: Callable[..., object], hints: Mapping[str, object]) -> tuple[bool | None, object]:
    """Whether a call gives an awaitable, and what is there in the end."""
    gives = hints.get("return", object)
    if inspect.iscoroutinefunction(plain):
        return True, gives
    origin, arguments = get_origin(gives), get_args(gives)
    if (origin or gives) is Awaitable or (origin or gives) is Coroutine:
        return True, arguments[-1] if arguments else object
    return (None if _says_nothing(gives) else False), gives


def _says_nothing(form: object) -> bool:
    return form is Any or form is object or isinstance(form, TypeVar)
