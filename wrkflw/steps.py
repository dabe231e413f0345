"""Step, and the three ways to make one: ``@step``, ``@step(...)``, ``create_step(...)``."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from functools import wraps
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Never, Protocol, Self, cast, overload

from typing_extensions import TypedDict, TypeForm, TypeVar, Unpack

from .bodies import UNDECLARED, Declaration, Forms, Undeclared, names_of_caller
from .bodies import Body as Body  # noqa: PLC0414 -- the engine takes it from here
from .context import StepContext, SuspendContext
from .durations import parse_duration
from .errors import DefinitionError
from .forms import union_of
from .names import check_id, check_options, describe, id_of_function
from .retries import Retry

# --- of the classes
InT = TypeVar("InT", contravariant=True)
OutT = TypeVar("OutT", covariant=True)
StateT = TypeVar("StateT", contravariant=True, default=object)
PrevInT = TypeVar("PrevInT", contravariant=True)
LoopT = TypeVar("LoopT")
GivenT = TypeVar("GivenT", contravariant=True)
ResumeInT = TypeVar("ResumeInT", contravariant=True)
SuspendOutT = TypeVar("SuspendOutT", covariant=True)
# --- of the functions
InputT = TypeVar("InputT")
OutputT = TypeVar("OutputT")
ResumeT = TypeVar("ResumeT")
SuspendT = TypeVar("SuspendT")
NeedsT = TypeVar("NeedsT")  # the state a step needs


class StepOptions(TypedDict, total=False):
    """Options every step takes, in each of the forms below.

    ``retry`` is the step's own policy; ``timeout`` is for one attempt of the body, after which a plain function goes on
    unheard, told by ``ctx.stopping``; an ``at_most_once`` step is not run again when it was interrupted.
    """

    retry: Retry
    timeout: timedelta | str
    at_most_once: bool
    description: str
    metadata: Mapping[str, str]


class Step(Generic[InT, OutT, StateT]):
    """A typed unit of work.  ``Step[In, Out]`` accepts any state; ``Step[In, Out, State]`` needs that state."""

    kind: ClassVar[Literal["step", "workflow"]] = "step"
    guards: tuple[Callable[[Any], object], ...] = ()
    """The conditions of :meth:`only_if`."""
    guard: Callable[[Any], object] | None = None
    """All of them as one, if there are any."""

    def __init__(self, id: str, declaration: Declaration, options: StepOptions) -> None:
        self.id = id
        self._declaration = declaration
        self.retry = check_retry(options.get("retry"))
        self.timeout = parse_duration(options["timeout"]) if "timeout" in options else None
        self.at_most_once = options.get("at_most_once", False)
        self.description = options.get("description", "")
        self.metadata: Mapping[str, str] = dict(options.get("metadata", {}))

    @property
    def input_schema(self) -> object:
        """What the step takes, as a type form."""
        return self._forms.input

    @property
    def output_schema(self) -> object:
        """What the step gives, as a type form."""
        return self._or_none(self._forms.output)

    @property
    def stored_output_schema(self) -> object:
        """The form its outputs are stored by: the body's own, where it is more precise."""
        return self._or_none(self._forms.stored_output)

    @property
    def body(self) -> Body:
        """The function, and how it is called."""
        return self._forms.body

    def with_id(self, id: str, /) -> Self:
        """The same step under another id: for using it twice in one workflow.

        Raises:
            DefinitionError: the id is not 1 to 128 of letters, digits, ``.``, ``_`` and ``-``.
        """
        twin = copy.copy(self)
        twin.id = check_id(self.kind, id)
        return twin

    def only_if(self, condition: Callable[[InT], bool], /) -> Step[InT, OutT | None, StateT]:
        """The same step, which is skipped, with output None, when the condition fails.

        The condition gets the step's input; it is plain, synchronous and pure.  In ``.parallel`` every step whose
        condition holds runs.  Of two conditions both must hold.
        """
        twin = copy.copy(self)
        twin.guards = (*self.guards, condition)
        twin.guard = condition if self.guard is None else _all_of(twin.guards)
        return cast("Step[InT, OutT | None, StateT]", twin)

    async def __call__(self, data: InT, ctx: StepContext[Any] | SuspendContext[Any, Any, Any] | None = None) -> OutT:
        """Call the function directly, without a run: for unit tests.

        Raises:
            TypeError: the function wants a context, and ``ctx`` is missing.
        """
        if ctx is None and self.body.context is not None:
            raise TypeError(f"step {self.id!r} wants a context; pass StepContext.for_test()")
        return cast("OutT", await self.body.execute(data, ctx))

    def __repr__(self) -> str:
        try:
            types = f"{describe(self.input_schema)} -> {describe(self.output_schema)}"
            return f"{type(self).__name__}({self.id!r}, {types})"
        except (DefinitionError, NameError):  # not all it names is defined yet
            return f"{type(self).__name__}({self.id!r})"

    def _or_none(self, form: object) -> object:
        return form if self.guard is None else union_of(form, None)

    @property
    def _forms(self) -> Forms:
        try:
            return self._declaration.forms
        except NameError as error:
            raise DefinitionError(
                f"an annotation of step {self.id!r} says {error.name!r}, which is not defined; "
                "import it at run time too, or pass input_schema= and output_schema="
            ) from error

    if TYPE_CHECKING:  # what LoopStep asks for

        def loop_enter(self, data: InT, /) -> OutT: ...
        def loop_again(self, data: InT, /) -> OutT: ...
        def loop_state(self, state: StateT, /) -> None: ...

        # what Replaceable asks for: in a parameter of its own, OutT would be refused
        def replaced_by(self) -> Callable[[OutT], None]: ...


class LoopStep(Protocol[PrevInT, LoopT, StateT]):
    """A step fit for a loop: it takes the previous output AND its own output (Prev <: In and Out <: In)."""

    def loop_enter(self, data: PrevInT, /) -> LoopT: ...
    def loop_again(self, data: LoopT, /) -> LoopT: ...
    def loop_state(self, state: StateT, /) -> None: ...


class Replaceable(Protocol[GivenT]):
    """A step in whose place a value may stand, which it could have given (Given <: Out)."""

    def replaced_by(self) -> Callable[[GivenT], None]: ...


class SuspendableStep(Step[InT, OutT, StateT], Generic[InT, OutT, ResumeInT, SuspendOutT, StateT]):
    """A step which may suspend: it takes Resume, and gives Suspend."""


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


DECORATE = "decorate it with @step"
ITSELF = "pass the step itself"
ALREADY = "use it as it is, or .with_id('...') for another id"


def check_step(method: str, value: object, *, cure: str = DECORATE) -> Step[Never, object, Never]:
    """``value``, when it is a step; of any object: not all callers are typed.

    Raises:
        TypeError: it is a plain function, the call of a step, or no step at all.
    """
    if isinstance(value, Step):
        return cast("Step[Never, object, Never]", value)
    if inspect.iscoroutine(value):
        called: object = inspect.getcoroutinelocals(value).get("self")
        value.close()  # it will never be awaited
        if isinstance(called, Step):
            raise TypeError(f"{method} takes a step, got a call of {called.kind} {called.id!r}; {ITSELF}")
    name = getattr(value, "__name__", repr(value))
    raise TypeError(f"{method} takes a step, got {name}; {cure}")


def check_retry(retry: object) -> Retry | None:
    """``retry``, when it is a policy.

    Raises:
        TypeError: it is something else, such as a number.
    """
    if retry is None or isinstance(retry, Retry):
        return retry
    raise TypeError(f"retry= takes a Retry, got {retry!r}; write Retry(attempts=...)")


def _all_of(conditions: tuple[Callable[[Any], object], ...]) -> Callable[[Any], object]:
    @wraps(conditions[-1])
    def all_of(data: object) -> object:
        verdicts = (condition(data) for condition in conditions)
        return next((verdict for verdict in verdicts if verdict is not True), True)

    return all_of


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
