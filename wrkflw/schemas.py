"""Python values to JSON bytes and back: the only place where values are encoded, decoded and validated.

A value is read back through its declared type before anyone may record it, and what flows on is the value that was
read, so that a first run and a recovered run see the same data.
"""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from functools import cache, cached_property
from typing import Annotated, Any, cast, get_args, get_origin

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from pydantic_core import SchemaSerializer, SchemaValidator, from_json, to_json
from typing_extensions import is_typeddict

from . import lossless
from .errors import DefinitionError, InvalidValueError
from .errors.base import first_line
from .names import describe
from .readback import first_loss, is_one_class, is_told_by_equality, survives

_READER_DEPTH = 200  # levels of nesting that pydantic's JSON reader accepts


class Schema:
    """A type that can check, store and load its values.  Made by :func:`schema_of`, once per type.

    Validators and serializers are the users': whatever they raise means that the value does not fit.
    """

    def __init__(self, form: object) -> None:
        if isinstance(form, str | dict):  # which pydantic takes for a name of its own, and for a core schema
            cure = "write it without quotes" if isinstance(form, str) else "declare a model or a TypedDict"
            kind = type(cast("object", form)).__name__
            raise DefinitionError(f"{form!r} cannot be a schema: it is a {kind}, not a type; {cure}")
        try:
            # A model brings its own configuration; pydantic refuses a second one.
            config = None if _has_config(form) else ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")
            self._adapter = TypeAdapter[Any](cast("Any", form), config=config)
            self._adapter.rebuild()  # raises where a name in it is not defined
        except Exception as error:
            raise DefinitionError(f"{describe(form)} cannot be a schema: {_fault(error)}") from error
        self.form = form
        core: Any = lossless.rewrite(cast("dict[str, Any]", self._adapter.core_schema))
        self._reader = self._adapter.validator
        self._writer = self._adapter.serializer
        if core is not None:
            # Without prebuilt parts: those are the models' own, which know nothing of the rewriting.
            bytes_as: Any = lossless.LOSSLESS_BYTES
            self._reader = SchemaValidator(core, bytes_as, _use_prebuilt=False)
            self._writer = SchemaSerializer(core, bytes_as, _use_prebuilt=False)
        # The plain class that a value must have, where that is all there is to check.
        self._instance = _model_of(form)

    @cached_property
    def _is_told_by_equality(self) -> bool:
        return is_told_by_equality(self._adapter.core_schema)

    @property
    def name(self) -> str:
        """The type as a person writes it: ``Letter``, ``list[int]``."""
        return describe(self.form)

    def json_schema(self) -> dict[str, Any]:
        """The JSON schema of the type, by the aliases of its fields.  Slow (milliseconds): ask once."""
        return self._adapter.json_schema()

    def described(self) -> dict[str, Any]:
        """The JSON schema by the names under which values are stored and read.  Slow (milliseconds): ask once.

        Empty, which any value fits, where pydantic has no words for the type.
        """
        try:
            return self._adapter.json_schema(by_alias=False)
        except Exception:  # noqa: BLE001  # custom types of the users' may raise anything
            return {}

    def is_instance(self, value: object) -> bool:
        """Whether ``value`` is of the very class the type is, so that there is nothing to validate."""
        return self._instance is not None and type(value) is self._instance

    def validate(self, value: object, what: str, cure: str | None = None) -> object:
        """``value`` as an instance of the type; an instance passes as it is.

        Raises InvalidValueError, which calls the value ``what`` and ends with ``cure``.
        """
        if self.is_instance(value):
            return value
        try:
            return self._adapter.validate_python(value)
        except Exception as error:
            raise InvalidValueError(what, self.name, problems(error), cure=cure) from error

    def store(self, value: object, what: str) -> tuple[bytes, object]:
        """``value`` as JSON bytes (UTF-8), and the value that reading them gives.

        Raises InvalidValueError when the bytes cannot be read back, or when what comes back is not what went in.
        """
        try:
            data = self._writer.to_json(value, warnings=False)
        except Exception as error:
            raise InvalidValueError(what, self.name, [_serialization_problem(error)]) from error
        try:
            loaded = self._reader.validate_json(data)
        except Exception as error:  # noqa: BLE001  # see the class
            return self._store_constants(value, what, error)
        self._check_survives(value, loaded, what)
        return data, loaded

    def written(self, value: object) -> bytes:
        """The bytes that :meth:`store` makes of a value it takes; empty where it takes none."""
        try:
            return self._writer.to_json(value, warnings=False)
        except Exception:  # noqa: BLE001  # see the class
            return b""

    def by_fields(self, value: object, what: str) -> object:
        """``value`` made into the type by the names of its fields; what the type does not name is dropped.

        Raises InvalidValueError.
        """
        try:
            return self._adapter.validate_python(fields_by_name(value))
        except Exception as error:
            raise InvalidValueError(what, self.name, problems(error)) from error

    def load_tree(self, tree: object, what: str) -> object:
        """The value that a tree of JSON values stands for.  Raises InvalidValueError."""
        return self.load(to_json(tree), what)

    def load(self, data: bytes, what: str) -> object:
        """The value that :meth:`store` wrote.  Raises InvalidValueError when the bytes do not fit the type."""
        try:
            return self._reader.validate_json(data)
        except Exception as error:
            raise InvalidValueError(what, self.name, problems(error)) from error

    def _store_constants(self, value: object, what: str, first: Exception) -> tuple[bytes, object]:
        # JSON has no NaN: pydantic writes null, which a plain float refuses.  There the constant is unambiguous.
        try:
            tree = self._writer.to_python(value, mode="json", warnings=False)
            data = to_json(tree, inf_nan_mode="constants")
            loaded = self._reader.validate_json(data)
        except Exception as error:
            raise InvalidValueError(what, self.name, problems(first)) from error
        self._check_survives(value, loaded, what)
        return data, loaded

    def _check_survives(self, value: object, loaded: object, what: str) -> None:
        try:
            if self._is_told_by_equality and type(value) is type(loaded) and value == loaded:
                return
            if survives(value, loaded):
                return
        except Exception as error:  # to be equal is the users' too
            raise InvalidValueError(what, self.name, problems(error)) from error
        raise self._lost(value, loaded, what)

    def _lost(self, value: object, loaded: object, what: str) -> InvalidValueError:
        problem = f"does not survive storage as {self.name}"
        if is_one_class(value, loaded):
            loss, cure = first_loss(value, loaded)
            problem = f"{problem}: {loss}"
        else:
            given = describe(type(value))
            problem, cure = f"is {given}, which {problem}", f"declare {given} or a union"
        if self.form is object:  # as for any function that does not say what it gives
            cure = f"{cure}, with '->' on a def if a lambda gave it"
        return InvalidValueError.because(what, problem, cure=cure)


@cache
def _schema_of_hashable(form: object) -> Schema:
    return Schema(form)


def schema_of(form: object) -> Schema:
    """The schema of a type form, built once.  Raises DefinitionError when pydantic cannot make one."""
    try:
        hash(form)
    except TypeError:  # e.g. Annotated with an unhashable mark
        return Schema(form)
    return _schema_of_hashable(form)


def fields_by_name(value: object) -> object:
    """The fields of a model or dataclass by name; anything else as it is."""
    if issubclass(value.__class__, BaseModel):
        model = cast("BaseModel", value)  # whose iterator may be the users' own, and go through something else
        return {**model.__dict__, **(model.__pydantic_extra__ or {})}
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    return value


def plain(data: bytes) -> object:
    """Stored bytes as plain JSON values, where the type is not known."""
    return from_json(data)


def problems(error: Exception) -> list[str]:
    """What pydantic found, one line each: ``to: field required``; or what a validator raised instead of telling it.

    Of the members of a union those come first whose literals, by which they are told apart, are as they say.
    """
    if not isinstance(error, ValidationError):
        return [f"{type(error).__name__}: {first_line(error)}"]
    lines: list[str] = []
    found = error.errors(include_url=False, include_context=False, include_input=False)
    others = {problem["loc"][:-1] for problem in found if problem["type"] == "literal_error"}
    for problem in sorted(found, key=lambda problem: any(problem["loc"][: len(other)] == other for other in others)):
        where = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"]
        if "recursion limit exceeded" in message:
            message = f"nested deeper than {_READER_DEPTH} levels"
        message = _uncapitalized(message)
        lines.append(f"{where}: {message}" if where else message)
    return lines


def _fault(error: Exception) -> str:
    cure = "define it first" if isinstance(error, NameError) else "use a type that pydantic can validate"
    if isinstance(error, PydanticUserError | TypeError | NameError):
        return f"{first_line(error)}; {cure}"
    return f"{type(error).__name__}: {' '.join(str(error).split())}; {cure}"  # the cause stands in its last line


def _serialization_problem(error: Exception) -> str:
    text = first_line(error).removeprefix("Error serializing to JSON: ")
    if isinstance(error, RecursionError) or "ircular reference" in text or "depth exceeded" in text:
        return f"nested deeper than {_READER_DEPTH} levels, or within itself"
    return _uncapitalized(text)


def _uncapitalized(text: str) -> str:
    """As it goes on a sentence; but for names: ``UUID``, ``UnicodeEncodeError: …``."""
    word = text.partition(" ")[0]
    is_a_word = word[1:].islower() and not word.endswith(":")
    return text[0].lower() + text[1:] if is_a_word else text


def _has_config(form: object) -> bool:
    if get_origin(form) is Annotated:
        form = get_args(form)[0]
    return _model_of(form) is not None or is_dataclass(form) or is_typeddict(form)


def _model_of(form: object) -> type[BaseModel] | None:
    model = cast("type[object]", form) if isinstance(form, type) and get_origin(form) is None else object
    return model if issubclass(model, BaseModel) else None
