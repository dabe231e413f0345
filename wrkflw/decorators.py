"""The three ways to make a step: ``@step``, ``@step(...)``, ``create_step(...)``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic, cast, overload

from typing_extensions import TypeForm, TypeVar, Unpack

from .bodies import UNDECLARED, Declaration, Undeclared, names_of_caller
from .context import StepContext, SuspendContext
from .durations import parse_duration
from .names import check_id, check_options, id_of_function
from .steps import ALREADY, Step, StepOptions, SuspendableStep, check_retry

InputT = TypeVar("InputT")
OutputT = TypeVar("OutputT")
ResumeT = TypeVar("ResumeT")
SuspendT = TypeVar("SuspendT")
NeedsT = TypeVar("NeedsT")  # the state a step needs


class StepDecorator:
    """What ``step(id=...)`` returns: infers everything from the function."""

    def __init__(self, id: str | None, options: StepOptions) -> None:
        self._id = id
        self._options = options

    @overload
    def __call__(self, fn: Callable[[InputT], Awaitable[OutputT]], /) -> Step[InputT, OutputT]: ...
    @overload
    def __call__(
        self, fn: Callable[[InputT, StepContext[NeedsT]], Awaitable[OutputT]], /
    ) -> Step[InputT, OutputT, NeedsT]: ...
    @overload
    def __call__(self, fn: Callable[[InputT, StepContext[NeedsT]], OutputT], /) -> Step[InputT, OutputT, NeedsT]: ...
    @overload
    def __call__(
        self, fn: Callable[[InputT, SuspendContext[ResumeT, SuspendT, NeedsT]], Awaitable[OutputT]], /
    ) -> SuspendableStep[InputT, OutputT, ResumeT, SuspendT, NeedsT]: ...
    @overload
    def __call__(
        self, fn: Callable[[InputT, SuspendContext[ResumeT, SuspendT, NeedsT]], OutputT], /
    ) -> SuspendableStep[InputT, OutputT, ResumeT, SuspendT, NeedsT]: ...
    @overload
    def __call__(self, fn: Callable[[], Awaitable[OutputT]], /) -> Step[object, OutputT]: ...
    @overload
    def __call__(self, fn: Callable[[], OutputT], /) -> Step[object, OutputT]: ...
    @overload
    def __call__(self, fn: Callable[[InputT], OutputT], /) -> Step[InputT, OutputT]: ...
    def __call__(self, fn: Callable[..., object], /) -> Any:
        return _make(self._id, fn, self._options, names_of_caller())


class TypedStepDecorator(Generic[InputT, OutputT]):
    """What ``create_step(id=..., input_schema=..., output_schema=...)`` returns: checks the function exactly."""

    def __init__(self, id: str, input_schema: object, output_schema: object, options: StepOptions) -> None:
        self._id = id
        self._input_schema = input_schema
        self._output_schema = output_schema
        self._options = options

    @overload
    def __call__(self, fn: Callable[[InputT], Awaitable[OutputT]], /) -> Step[InputT, OutputT]: ...
    @overload
    def __call__(
        self, fn: Callable[[InputT, StepContext[NeedsT]], Awaitable[OutputT]], /
    ) -> Step[InputT, OutputT, NeedsT]: ...
    @overload
    def __call__(self, fn: Callable[[InputT, StepContext[NeedsT]], OutputT], /) -> Step[InputT, OutputT, NeedsT]: ...
    @overload
    def __call__(
        self, fn: Callable[[InputT, SuspendContext[ResumeT, SuspendT, NeedsT]], Awaitable[OutputT]], /
    ) -> SuspendableStep[InputT, OutputT, ResumeT, SuspendT, NeedsT]: ...
    @overload
    def __call__(
        self, fn: Callable[[InputT, SuspendContext[ResumeT, SuspendT, NeedsT]], OutputT], /
    ) -> SuspendableStep[InputT, OutputT, ResumeT, SuspendT, NeedsT]: ...
    @overload
    def __call__(self, fn: Callable[[InputT], OutputT], /) -> Step[InputT, OutputT]: ...
    def __call__(self, fn: Callable[..., object], /) -> Any:
        return _make(self._id, fn, self._options, names_of_caller(), self._input_schema, self._output_schema)


@overload
def step(fn: Callable[[InputT], Awaitable[OutputT]], /) -> Step[InputT, OutputT]: ...
@overload
def step(*, id: str = ..., **options: Unpack[StepOptions]) -> StepDecorator: ...
@overload
def step(fn: Callable[[InputT, StepContext[NeedsT]], Awaitable[OutputT]], /) -> Step[InputT, OutputT, NeedsT]: ...
@overload
def step(fn: Callable[[InputT, StepContext[NeedsT]], OutputT], /) -> Step[InputT, OutputT, NeedsT]: ...
@overload
def step(
    fn: Callable[[InputT, SuspendContext[ResumeT, SuspendT, NeedsT]], Awaitable[OutputT]], /
) -> SuspendableStep[InputT, OutputT, ResumeT, SuspendT, NeedsT]: ...
@overload
def step(
    fn: Callable[[InputT, SuspendContext[ResumeT, SuspendT, NeedsT]], OutputT], /
) -> SuspendableStep[InputT, OutputT, ResumeT, SuspendT, NeedsT]: ...
@overload
def step(fn: Callable[[], Awaitable[OutputT]], /) -> Step[object, OutputT]: ...
@overload
def step(fn: Callable[[], OutputT], /) -> Step[object, OutputT]: ...
@overload
def step(fn: Callable[[InputT], OutputT], /) -> Step[InputT, OutputT]: ...
def step(fn: Callable[..., object] | None = None, /, *, id: str | None = None, **options: Unpack[StepOptions]) -> Any:
    """Make a step of a function, as ``@step`` or ``@step(id=..., retry=..., timeout=...)``.

    The id is the function's name with ``-`` for ``_`` unless one is given; the types are the function's annotations.

    Raises:
        DefinitionError: the function cannot be a body, or the id cannot be one.
        TypeError: an option is unknown.
        ValueError: ``timeout`` is not a duration.
    """
    _check(id, options)
    if fn is None:
        return StepDecorator(id, options)
    return _make(None, fn, options, names_of_caller())


@overload
def create_step(
    *,
    id: str,
    execute: Callable[[InputT], Awaitable[OutputT]],
    input_schema: TypeForm[InputT] = ...,
    output_schema: TypeForm[OutputT] = ...,
    **options: Unpack[StepOptions],
) -> Step[InputT, OutputT]: ...
@overload
def create_step(
    *,
    id: str,
    input_schema: TypeForm[InputT],
    output_schema: TypeForm[OutputT],
    **options: Unpack[StepOptions],
) -> TypedStepDecorator[InputT, OutputT]: ...
@overload
def create_step(
    *,
    id: str,
    execute: Callable[[InputT, StepContext[NeedsT]], Awaitable[OutputT]],
    input_schema: TypeForm[InputT] = ...,
    output_schema: TypeForm[OutputT] = ...,
    **options: Unpack[StepOptions],
) -> Step[InputT, OutputT, NeedsT]: ...
@overload
def create_step(
    *,
    id: str,
    execute: Callable[[InputT, StepContext[NeedsT]], OutputT],
    input_schema: TypeForm[InputT] = ...,
    output_schema: TypeForm[OutputT] = ...,
    **options: Unpack[StepOptions],
) -> Step[InputT, OutputT, NeedsT]: ...
@overload
def create_step(
    *,
    id: str,
    execute: Callable[[InputT, SuspendContext[ResumeT, SuspendT, NeedsT]], Awaitable[OutputT]],
    input_schema: TypeForm[InputT] = ...,
    output_schema: TypeForm[OutputT] = ...,
    **options: Unpack[StepOptions],
) -> SuspendableStep[InputT, OutputT, ResumeT, SuspendT, NeedsT]: ...
@overload
def create_step(
    *,
    id: str,
    execute: Callable[[InputT, SuspendContext[ResumeT, SuspendT, NeedsT]], OutputT],
    input_schema: TypeForm[InputT] = ...,
    output_schema: TypeForm[OutputT] = ...,
    **options: Unpack[StepOptions],
) -> SuspendableStep[InputT, OutputT, ResumeT, SuspendT, NeedsT]: ...
@overload
def create_step(
    *,
    id: str,
    execute: Callable[[], Awaitable[OutputT]],
    output_schema: TypeForm[OutputT] = ...,
    **options: Unpack[StepOptions],
) -> Step[object, OutputT]: ...
@overload
def create_step(
    *,
    id: str,
    execute: Callable[[], OutputT],
    output_schema: TypeForm[OutputT] = ...,
    **options: Unpack[StepOptions],
) -> Step[object, OutputT]: ...
@overload
def create_step(
    *,
    id: str,
    execute: Callable[[InputT], OutputT],
    input_schema: TypeForm[InputT] = ...,
    output_schema: TypeForm[OutputT] = ...,
    **options: Unpack[StepOptions],
) -> Step[InputT, OutputT]: ...
def create_step(
    *,
    id: str,
    execute: Callable[..., object] | None = None,
    input_schema: object = UNDECLARED,
    output_schema: object = UNDECLARED,
    **options: Unpack[StepOptions],
) -> Any:
    """Make a step with its id and schemas written out; without ``execute``, a decorator for the function.

    Raises:
        DefinitionError: the function cannot be a body, the id cannot be one, or a schema and an annotation differ.
        TypeError: an option is unknown.
        ValueError: ``timeout`` is not a duration.
    """
    _check(id, options)
    if execute is not None:
        return _make(id, execute, options, names_of_caller(), input_schema, output_schema)
    if isinstance(input_schema, Undeclared) or isinstance(output_schema, Undeclared):
        raise TypeError(f"create_step(id={id!r}) has no function; pass execute=, or both schemas to decorate with it")
    return TypedStepDecorator[Any, Any](id, input_schema, output_schema, options)


def _check(id: str | None, options: StepOptions) -> None:
    """Raises for a wrong id or option: at once, so that it is refused on its own line."""
    check_options(options, StepOptions.__annotations__)
    if id is not None:
        check_id("step", id)
    check_retry(options.get("retry"))
    parse_duration(options.get("timeout", "0s"))
    _check_at_most_once(options.get("at_most_once", False))
    _check_metadata(options.get("metadata", {}))


# ------------------------------------------------------------------ of any object: not all callers are typed
def _check_at_most_once(value: object) -> None:
    if not isinstance(value, bool):
        raise TypeError(f"at_most_once= is True or False, got {value!r}")


def _check_metadata(value: object) -> None:
    items = cast("Mapping[object, object]", value).items() if isinstance(value, Mapping) else [(None,)]
    if not all(isinstance(part, str) for item in items for part in item):
        raise TypeError(f"metadata= takes a dict of str to str, got {value!r}")


def _make(
    id: str | None,
    function: object,
    options: StepOptions,
    names: Mapping[str, Any] | None,
    input_schema: object = UNDECLARED,
    output_schema: object = UNDECLARED,
) -> Step[Any, Any, Any]:
    if isinstance(function, Step):
        raise TypeError(f"{function.id!r} is already a {function.kind}; {ALREADY}")
    if not callable(function):
        raise TypeError(f"a step is made of a function, got {function!r}; an id is passed as id=")
    step_id = check_id("step", id_of_function(function) if id is None else id)
    declaration = Declaration(f"step {step_id!r}", function, input_schema, output_schema, names)
    if declaration.suspends:
        return SuspendableStep[Any, Any, Any, Any, Any](step_id, declaration, options)
    return Step(step_id, declaration, options)
