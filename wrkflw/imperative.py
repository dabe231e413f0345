"""Workflows that are written as async functions: ``@workflow``, and the ``step`` they get."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from random import Random
from typing import Any, Protocol, cast, overload
from uuid import UUID

from typing_extensions import ParamSpec, TypeVar, Unpack

from .bodies import UNDECLARED, Declaration, names_of_caller
from .checks import check
from .durations import parse_duration
from .errors import DefinitionError, InvalidValueError
from .events import Event, check_event, patience_of
from .graph import MISSING, Code, Graph
from .names import check_id, describe, id_of_function
from .retries import Retry
from .signatures import plain_function, signature_of, speaker_of
from .steps import ALREADY, Step, check_retry, check_step
from .workflows import Workflow, WorkflowOptions, check_workflow_options

P = ParamSpec("P")
R = TypeVar("R")
PayloadT = TypeVar("PayloadT")
InputT = TypeVar("InputT")
OutputT = TypeVar("OutputT")
WInT = TypeVar("WInT", contravariant=True)
WOutT = TypeVar("WOutT", covariant=True)

_NO_DEFAULT: Any = MISSING
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_TAKES = "a workflow takes step: StepTools and its input"


# ------------------------------------------------------------------ what the engine gives
class Program(Protocol):
    """A run of a program, as its code may see it.  Names, steps and durations have been checked."""

    @property
    def run_id(self) -> str: ...

    def do(
        self,
        name: str,
        function: Callable[..., object],
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
        retry: Retry | None,
        timeout: timedelta | None,
        /,
    ) -> Coroutine[Any, Any, object]:
        """What the function gives, called as a step.  Raises StepFailedError."""
        ...

    def run(
        self, step: Step[Any, Any, Any], data: object, name: str, retry: Retry | None, timeout: timedelta | None, /
    ) -> Coroutine[Any, Any, object]:
        """What the step gives.  Raises StepFailedError."""
        ...

    def sleep_for(self, name: str, duration: timedelta, /) -> Coroutine[Any, Any, None]: ...
    def sleep_until(self, name: str, when: datetime, /) -> Coroutine[Any, Any, None]: ...

    def wait(self, event: Event[Any], timeout: timedelta | None, default: object, /) -> Coroutine[Any, Any, object]:
        """The payload of the next event; ``default``, unless it is MISSING, when the time is up."""
        ...

    def now(self) -> datetime: ...
    def random(self) -> Random: ...
    def uuid(self) -> UUID: ...
    def patched(self, id: str, /) -> bool: ...


class StepTools:
    """``step`` in an imperative workflow.  Every call is recorded, and answered from the record on replay.

    A name that is used again is numbered: the second ``llm`` has the key ``llm#2``.  The workflow is left by
    CancelledError whenever its run parks, is cancelled or is out of time; no step starts in the ``except`` and
    ``finally`` that see it.
    """

    __slots__ = ("_program", "_retry", "_timeout")

    def __init__(self, program: Program, retry: Retry | None = None, timeout: timedelta | None = None) -> None:
        self._program = program
        self._retry = retry
        self._timeout = timeout

    @property
    def run_id(self) -> str:
        """The run."""
        return self._program.run_id

    def options(self, *, retry: Retry | None = None, timeout: timedelta | str | None = None) -> StepTools:
        """``await step.options(retry=Retry(5)).do(...)``: PEP 612 leaves no room for keywords beside ``**kwargs``.

        They stand in place of what the step says itself; ``timeout`` is for one attempt,
        of a nested workflow for all of it.

        Raises:
            TypeError: ``retry`` is no Retry.
            ValueError: ``timeout`` is not a duration.
        """
        retry = check_retry(retry) or self._retry
        return StepTools(self._program, retry, self._timeout if timeout is None else parse_duration(timeout))

    @overload
    def do(
        self, name: str, fn: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[object, object, R]: ...
    @overload
    def do(
        self, name: str, fn: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[object, object, R]: ...
    def do(
        self, name: str, fn: Callable[..., object], /, *args: object, **kwargs: object
    ) -> Coroutine[object, object, Any]:
        """Call a plain function as a step: ``link = await step.do("link", make_link, user.email, days=7)``.

        Raises:
            DefinitionError: ``name`` cannot be the id of a step.
            TypeError: ``fn`` is not a function, or cannot be called with these arguments.
            InvalidValueError: an argument cannot be stored.
            StepFailedError: it failed for good.
        """
        _check_function(name, fn)
        return self._program.do(check_id("step", name), fn, args, kwargs, self._retry, self._timeout)

    def run(
        self, step: Step[InputT, OutputT], data: InputT, /, *, name: str | None = None
    ) -> Coroutine[object, object, OutputT]:
        """Run a Step object (or a nested Workflow): ``user = await step.run(fetch_user, data)``.

        It is recorded under its id, or under ``name``.

        Raises:
            DefinitionError: ``name`` cannot be the id of a step.
            TypeError: ``step`` is no step.
            InvalidValueError: ``data`` is not what it takes.
            StepFailedError: it failed for good.
        """
        check_step("step.run()", step, cure="decorate it with @step, or use step.do()")
        name = step.id if name is None else check_id("step", name)
        running = self._program.run(step, data, name, self._retry, self._timeout)
        return cast("Coroutine[object, object, OutputT]", running)

    def sleep(self, name: str, duration: timedelta | str, /) -> Coroutine[object, object, None]:
        """Park for a while, which may outlast the process.  Raises ValueError for what is not a duration."""
        return self._program.sleep_for(check_id("sleep", name), parse_duration(duration, "sleep for"))

    def sleep_until(self, name: str, when: datetime, /) -> Coroutine[object, object, None]:
        """Park until a time; a past one passes at once.  Raises InvalidValueError when it has no timezone."""
        return self._program.sleep_until(check_id("sleep", name), _checked_time(name, when))

    def wait_for_event(
        self, event: Event[PayloadT], /, *, timeout: timedelta | str | None = None, default: PayloadT = _NO_DEFAULT
    ) -> Coroutine[object, object, PayloadT]:
        """The payload of the event, when it comes.  ``default`` is given when ``timeout`` has passed.

        ``default=None`` takes an event that may be None: ``Event("paid", Payment | None)``.

        Raises:
            TypeError: ``event`` is no Event, or there is a default and no timeout.
            ValueError: ``timeout`` is not a duration.
            WaitTimeoutError: the time is up, and there is no default.
        """
        check_event("a wait", event)
        patience = patience_of(timeout, has_default=default is not MISSING)
        return cast("Coroutine[object, object, PayloadT]", self._program.wait(event, patience, default))

    def now(self) -> datetime:
        """Deterministic: the time of the last event delivered to this run.  Raises FatalError inside a step."""
        return self._program.now()

    def random(self) -> Random:
        """Seeded from the run.  Inside a step it raises FatalError when it is asked: a replay calls no steps."""
        return self._program.random()

    def uuid(self) -> UUID:
        """The same one on replay.  Raises FatalError inside a step."""
        return self._program.uuid()

    def patched(self, id: str, /) -> bool:
        """True for runs that reach this point with the present code first; recorded."""
        return self._program.patched(check_id("patch", id))

    def __repr__(self) -> str:
        return f"StepTools(run_id={self.run_id!r})"


# ------------------------------------------------------------------ @workflow
class WorkflowDecorator:
    """What ``workflow(id=...)`` returns: infers everything from the function."""

    def __init__(self, id: str | None, options: WorkflowOptions) -> None:
        self._id = id
        self._options = options

    def __call__(self, fn: Callable[[StepTools, InputT], Awaitable[OutputT]], /) -> Workflow[InputT, OutputT, None]:
        return _Written[InputT, OutputT](self._id, fn, self._options, names_of_caller())


@overload
def workflow(fn: Callable[[StepTools, InputT], Awaitable[OutputT]], /) -> Workflow[InputT, OutputT, None]: ...
@overload
def workflow(*, id: str | None = None, **options: Unpack[WorkflowOptions]) -> WorkflowDecorator: ...
def workflow(
    fn: Callable[..., Any] | None = None, /, *, id: str | None = None, **options: Unpack[WorkflowOptions]
) -> Any:
    """Make a workflow of an async function, as ``@workflow`` or ``@workflow(id=..., timeout=...)``.

    The id is the function's name with ``-`` for ``_`` unless one is given; the types are the function's annotations.

    Raises:
        DefinitionError: the function cannot be a workflow, the id cannot be one, or ``on_mismatch`` is neither "pause"
            nor "fail".
        TypeError: an option is unknown, or is not what it takes.
        ValueError: ``timeout`` or ``retention`` is not a duration.
    """
    check_workflow_options(options)
    if id is not None:
        check_id("workflow", id)
    if fn is None:
        return WorkflowDecorator(id, options)
    return _Written[Any, Any](None, fn, options, names_of_caller())


class _Written(Workflow[WInT, WOutT, None]):
    """A workflow of one node.  Its types are looked up when first asked for: they may be defined further down."""

    def __init__(
        self, id: str | None, function: object, options: WorkflowOptions, names: Mapping[str, Any] | None
    ) -> None:
        if isinstance(function, Step):
            raise TypeError(f"{function.id!r} is already a {function.kind}; {ALREADY}")
        if not callable(function):
            raise TypeError(f"a workflow is made of a function, got {function!r}; an id is passed as id=")
        id = check_id("workflow", id_of_function(function) if id is None else id)
        self._tools = _tools_of(id, function)
        self._function = function
        # Often imported for type checkers alone.
        self._names: Mapping[str, Any] = {"StepTools": StepTools, **(names or {})}
        code = Code(id, partial(_with_tools, function), function)
        super().__init__(Graph(id, UNDECLARED, UNDECLARED, None, (code,)), options)
        try:
            self._look_up()
        except NameError:
            pass  # a forward reference: looked up again when asked for
        except DefinitionError as problem:
            if not isinstance(problem.__cause__, NameError):  # of a schema
                raise
        else:
            self._names = {}

    @property
    def graph(self) -> Graph:  # pyright: ignore[reportIncompatibleVariableOverride] -- it can be set as well
        if self._graph.input_schema is UNDECLARED:
            try:
                self._look_up()
            except NameError as error:
                raise DefinitionError(
                    f"an annotation of workflow {self.id!r} says {error.name!r}, which is not defined; "
                    "import it at run time too"
                ) from error
        return self._graph

    @graph.setter
    def graph(self, graph: Graph) -> None:
        self._graph = graph

    def __repr__(self) -> str:
        try:
            return super().__repr__()
        except DefinitionError:  # not all it names is defined yet
            return f"Workflow({self.id!r})"

    def _look_up(self) -> None:
        """Raises NameError when an annotation names what is not defined (yet), DefinitionError when a schema does."""
        # What is left, when the tools are given, is a function of the input: it is read as the body of a step is.
        rest = partial(self._function, None)
        forms = Declaration(f"workflow {self.id!r}", rest, UNDECLARED, UNDECLARED, self._names).forms
        if not (forms.body.is_async or inspect.iscoroutinefunction(plain_function(speaker_of(self._function)))):
            raise DefinitionError(f"workflow {self.id!r} is not async; write 'async def'")
        self._check_tools()
        graph = replace(self._graph, input_schema=forms.input, output_schema=forms.output)
        check(graph)
        self._graph = graph

    def _check_tools(self) -> None:
        form: object = self._tools.annotation
        if isinstance(form, str):
            names: Mapping[str, Any] = getattr(inspect.unwrap(plain_function(self._function)), "__globals__", {})
            text = form.strip("'\"")
            first, *parts = text.split(".")
            form = self._names.get(first, names.get(first))
            for part in parts:
                form = getattr(form, part, None)
            form = text if form is None else form
        if form is not StepTools and form is not Any:
            raise DefinitionError(
                f"parameter {self._tools.name!r} of workflow {self.id!r} is {describe(form)}; {_TAKES}"
            )


def _tools_of(id: str, function: Callable[..., object]) -> inspect.Parameter:
    """The first parameter.  What can be seen without the types is checked here."""
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise DefinitionError(f"workflow {id!r} is a generator; return what it gives")
    signature = signature_of(function)
    required = inspect.Parameter.empty
    taken = [
        parameter
        for parameter in signature.parameters.values()
        if parameter.kind is not parameter.KEYWORD_ONLY or parameter.default is required
    ]
    if len(taken) != 2:
        raise DefinitionError(f"workflow {id!r} has {len(taken)} parameter{'s' * (len(taken) != 1)}; {_TAKES}")
    for parameter in taken:
        if parameter.kind not in _POSITIONAL:
            raise DefinitionError(f"workflow {id!r} takes {str(parameter).partition(':')[0]}; {_TAKES}")
    tools, data = taken
    for parameter, cure in ((tools, "annotate it as StepTools"), (data, "annotate it")):
        if parameter.annotation is required:
            raise DefinitionError(f"parameter {parameter.name!r} of workflow {id!r} has no type; {cure}")
    if signature.return_annotation is required:
        raise DefinitionError(f"workflow {id!r} has no return type; annotate it")
    return tools


def _with_tools(function: Callable[..., Any], program: Program, data: object) -> Any:
    return function(StepTools(program), data)


# ------------------------------------------------------------------ of any object: not all callers are typed
def _check_function(name: object, function: object) -> None:
    if isinstance(function, Step):
        variable = function.id.replace("-", "_")
        raise TypeError(f"step.do() takes a function, got step {function.id!r}; use step.run({variable}, ...)")
    if callable(name):
        raise TypeError(f"step.do() takes a name first; write step.do('...', {_name_of(name)}, ...)")
    if inspect.iscoroutine(function):
        called = function.__name__
        function.close()  # it will never be awaited
        raise TypeError(f"step.do() calls the function itself; write step.do({name!r}, {called}, ...)")
    if not callable(function):
        raise TypeError(f"step.do() takes a function, got {function!r}")


def _checked_time(name: str, when: object) -> datetime:
    if not isinstance(when, datetime) or when.tzinfo is None:
        raise InvalidValueError.no_time(name, when)
    return when


def _name_of(function: object) -> str:
    return str(getattr(function, "__name__", repr(function)))
