"""Step: what has an id, takes and gives values of known types, and may be skipped, retried and suspended."""

from __future__ import annotations

import asyncio
import copy
import inspect
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, Never, Protocol, Self, cast

from typing_extensions import TypedDict, TypeVar

from .bodies import Body, Declaration, Forms
from .context import StepContext, SuspendContext
from .durations import parse_duration
from .errors import DefinitionError
from .forms import union_of
from .names import check_id, describe
from .retries import Retry

InT = TypeVar("InT", contravariant=True)
OutT = TypeVar("OutT", covariant=True)
StateT = TypeVar("StateT", contravariant=True, default=object)
PrevInT = TypeVar("PrevInT", contravariant=True)
LoopT = TypeVar("LoopT")
GivenT = TypeVar("GivenT", contravariant=True)
ResumeInT = TypeVar("ResumeInT", contravariant=True)
SuspendOutT = TypeVar("SuspendOutT", covariant=True)


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
        return cast("Step[InT, OutT | None, StateT]", twin)

    async def __call__(self, data: InT, ctx: StepContext[Any] | SuspendContext[Any, Any, Any] | None = None) -> OutT:
        """Call the function directly, without a run: for unit tests.

        The code of a workflow that does so is stopped, and its run paused: ``await step.run(...)`` is recorded.

        Raises:
            TypeError: the function wants a context, and ``ctx`` is missing.
        """
        refuse = getattr(asyncio._get_running_loop(), "refuse_step", None)
        if refuse is not None:  # the loop is that of a program
            await refuse(self.id)
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
        return union_of(form, None) if self.guards else form

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
