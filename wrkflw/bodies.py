"""How a function is read as the body of a step: what it takes, what it gives, and which context it wants.

What can be seen without the types (how many parameters, whether they are annotated) is checked at once.  The types
themselves are looked up when first asked for, so that an annotation may name what is defined further down.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal, get_args, get_origin

from .context import StepContext, SuspendContext
from .errors import DefinitionError
from .forms import fits, members_of
from .names import describe
from .signatures import ANYTHING, all_hints_of, hints_of, leaves_open, signature_of, speaker_of

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_TAKES = "a body takes nothing, its input, or its input and a context"
_CONTEXTS = {"StepContext": StepContext, "SuspendContext": SuspendContext}


class Undeclared:
    """No schema was passed.  (``None`` is a schema.)"""


UNDECLARED = Undeclared()


@dataclass(frozen=True)
class Body:
    """The function a step executes, and how it is called.

    Attributes:
        function: called with nothing, the input, or the input and a context.
        arity: how many of these, 0 to 2.
        is_async: the call gives an awaitable; otherwise the function belongs in a worker thread.
        context: which context it wants, if any.
        state: the type of state it needs; ``object`` when it needs none.
        resume: the type of the answers to its suspensions, ``object`` when it does not say.
        suspend: the type of the payloads it suspends with, ``object`` when it does not say.
    """

    function: Callable[..., object]
    arity: Literal[0, 1, 2]
    is_async: bool
    context: Literal["step", "suspend"] | None
    state: object = object
    resume: object = object
    suspend: object = object

    async def execute(self, data: object, context: object) -> object:
        """Call the function: on the loop when it is asynchronous, else in a worker thread."""
        arguments = (data, context)[: self.arity]
        if self.is_async:
            given = self.function(*arguments)
        else:
            given = await asyncio.to_thread(self.function, *arguments)
        # A plain function may hand on the awaitable of another.
        return await given if inspect.isawaitable(given) else given


@dataclass(frozen=True)
class Forms:
    """What a body takes and gives, as types."""

    input: object
    output: object
    stored_output: object
    body: Body


class Declaration:
    """A function with the schemas passed beside it: what ``@step`` and ``create_step`` are given.

    Raises:
        DefinitionError: the function cannot be a body.
    """

    def __init__(
        self,
        what: str,
        function: Callable[..., object],
        input_schema: object,
        output_schema: object,
        names: Mapping[str, Any] | None,
    ) -> None:
        self._what = what
        self._function = function
        self._speaker = speaker_of(function)
        self._input_schema = input_schema
        self._output_schema = output_schema
        self._names = dict(names or {})
        self._signature = self._read_signature()
        self._parameters = self._read_parameters()
        self._refuse_generators()
        self._refuse_missing_types()
        self._forms: Forms | None = None
        try:
            self._forms = self._read(self._all_hints())
        except NameError:
            pass  # a forward reference: looked up again when asked for, at commit() at the latest
        else:
            self._names = {}

    @property
    def forms(self) -> Forms:
        """The types, with forward references looked up.

        Raises:
            NameError: an annotation for which no schema was passed names what is not defined yet.
            DefinitionError: the annotations do not agree with the schemas, or are none a body can have.
        """
        if self._forms is not None:
            return self._forms
        try:
            self._forms = self._read(self._all_hints())
        except NameError:
            hints = hints_of(self._speaker, _CONTEXTS | self._names)
            if self._lacks(hints):
                raise
            return self._read(hints)  # and perhaps better the next time
        return self._forms

    @property
    def suspends(self) -> bool:
        """Whether the body wants a SuspendContext; by its word alone while the types are not known."""
        if self._forms is not None:
            return self._forms.body.context == "suspend"
        return len(self._parameters) == 2 and self._says_suspend(self._parameters[1])

    def _read(self, hints: Mapping[str, object]) -> Forms:
        taken = [hints.get(parameter.name, UNDECLARED) for parameter in self._parameters]
        takes: object = taken[0] if taken else object
        gives = hints.get("return", UNDECLARED)
        is_async, gives = self._awaited(gives)
        input_schema = takes if isinstance(self._input_schema, Undeclared) else self._input_schema
        output_schema = gives if isinstance(self._output_schema, Undeclared) else self._output_schema
        says_nothing = isinstance(gives, Undeclared) or gives is Any or gives is object or leaves_open(gives)
        stored = output_schema if says_nothing else gives
        self._refuse_disagreement("takes", "input_schema", takes, input_schema, fits(input_schema, takes))
        self._refuse_disagreement("returns", "output_schema", stored, output_schema, fits(stored, output_schema))
        self._refuse_misplaced_context(hints)
        context, *seen = self._context(taken[1]) if len(taken) == 2 else (None,)
        arity: Literal[0, 1, 2] = 2 if len(taken) == 2 else 1 if taken else 0
        return Forms(input_schema, output_schema, stored, Body(self._function, arity, is_async, context, *seen))

    # -------------------------------------------------------------- seen without the types
    def _read_signature(self) -> inspect.Signature:
        signature = signature_of(self._function)
        if signature is ANYTHING:  # some functions written in C
            raise DefinitionError(f"the parameters of {self._what} cannot be read; wrap it in a def")
        return signature

    def _read_parameters(self) -> list[inspect.Parameter]:
        parameters = list(self._signature.parameters.values())
        first = parameters[:1]
        taken = [each for each in parameters if not _is_option(each, may_be_input=each in first)]
        if len(taken) > 2:
            self._refuse_self(taken[0])
            raise DefinitionError(f"{self._what} has {len(taken)} parameters; {_TAKES}")
        for parameter in taken:
            if parameter.kind not in _POSITIONAL:
                raise DefinitionError(f"{self._what} takes {str(parameter).partition(':')[0]}; {_TAKES}")
        return taken

    def _refuse_generators(self) -> None:
        function = _plain(self._function)
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise _generator(self._what)

    def _refuse_missing_types(self) -> None:
        names = [parameter.name for parameter in self._parameters if parameter.annotation is parameter.empty]
        first = names[:1] == [parameter.name for parameter in self._parameters[:1]]
        if isinstance(self._input_schema, Undeclared) and names and (first or not self._is_wrapper):
            self._refuse_self(self._parameters[0])
            cure = "annotate it or pass input_schema=" if first else "annotate it as StepContext"
            if self._is_wrapper:  # which functools.wraps has given the annotations of another function
                cure = "name it as the function that is wrapped does, or pass input_schema="
            raise DefinitionError(f"parameter {names[0]!r} of {self._what} has no type; {cure}")
        returns = self._signature.return_annotation
        says_nothing = returns is inspect.Signature.empty and "return" not in hints_of(self._speaker)
        if isinstance(self._output_schema, Undeclared) and says_nothing:
            raise DefinitionError(f"{self._what} has no return type; annotate it or pass output_schema=")

    @property
    def _is_wrapper(self) -> bool:
        return hasattr(_plain(self._speaker), "__wrapped__")

    def _refuse_self(self, first: inspect.Parameter) -> None:
        """A function in a class, which is not yet a method of an object."""
        if first.name in ("self", "cls") and first.annotation is first.empty:
            cure = "write step(obj.method) for the method of an object, or make it a @staticmethod"
            raise DefinitionError(f"{self._what} takes {first.name!r}, which no run can give it; {cure}")

    # -------------------------------------------------------------- seen with the types
    def _all_hints(self) -> Mapping[str, object]:
        try:
            return self._hints_among(self._names)
        except NameError:  # contexts are often imported for type checkers alone
            return self._hints_among(_CONTEXTS | self._names)

    def _hints_among(self, names: Mapping[str, Any]) -> Mapping[str, object]:
        try:
            return all_hints_of(self._speaker, names)
        except NameError:
            raise
        except Exception as error:  # an annotation may be any expression
            problem = f"{type(error).__name__}: {error}"
            raise DefinitionError(
                f"an annotation of {self._what} cannot be read ({problem}); make it a type"
            ) from error

    def _lacks(self, hints: Mapping[str, object]) -> bool:
        """Whether an annotation is missing for which no schema was passed."""
        first = [parameter.name for parameter in self._parameters[:1] if isinstance(self._input_schema, Undeclared)]
        last = ["return"] if isinstance(self._output_schema, Undeclared) else []
        return not hints.keys() >= {*first, *last}

    def _awaited(self, gives: object) -> tuple[bool, object]:
        """Whether a call gives an awaitable, and of what."""
        if inspect.iscoroutinefunction(_plain(self._function)):
            return True, gives
        origin, arguments = get_origin(gives), get_args(gives)
        if origin is not None and origin in (Awaitable, Coroutine) and arguments:
            return True, arguments[-1]
        if origin in (Generator, AsyncGenerator):
            raise _generator(self._what)
        return False, gives

    def _context(self, form: object) -> tuple[Literal["step", "suspend"], object, object, object]:
        """Which context it is, and its types of state, answers and payloads."""
        if isinstance(form, Undeclared):  # see _refuse_missing_types
            return "suspend" if self._says_suspend(self._parameters[1]) else "step", object, object, object
        form = _unmarked(form)
        origin, arguments = get_origin(form) or form, get_args(form)
        if origin is StepContext:
            return "step", arguments[0] if arguments else object, object, object
        if origin is SuspendContext:
            resume, suspend, state = arguments or (object, object, object)
            return "suspend", state, resume, suspend
        name = self._parameters[1].name
        raise DefinitionError(
            f"parameter {name!r} of {self._what} is {describe(form)}; {_TAKES}: StepContext or SuspendContext"
        )

    def _says_suspend(self, parameter: inspect.Parameter) -> bool:
        return "SuspendContext" in str(parameter.annotation)

    def _refuse_misplaced_context(self, hints: Mapping[str, object]) -> None:
        for parameter in self._signature.parameters.values():
            form = hints.get(parameter.name)
            if parameter in self._parameters[:1] and _is_context(form):
                problem = "is a context; the input comes first, the context second"
            elif parameter not in self._parameters and any(_is_context(member) for member in members_of(form)):
                problem = "is a context with a default, which it would keep; make it the second parameter"
            else:
                continue
            raise DefinitionError(f"parameter {parameter.name!r} of {self._what} {problem}")

    def _refuse_disagreement(
        self, verb: str, option: str, annotated: object, declared: object, fit: bool | None
    ) -> None:
        if fit is False and not isinstance(annotated, Undeclared):
            raise DefinitionError(
                f"{self._what} {verb} {describe(annotated)} but {option} is {describe(declared)}; make them agree"
            )


def names_of_caller(depth: int = 2) -> Mapping[str, Any] | None:
    """The local names where a step is being defined; inside a function, annotations may mean these."""
    frame = inspect.currentframe()
    for _ in range(depth):
        frame = frame.f_back if frame else None
    if frame is None or frame.f_locals is frame.f_globals:
        return None
    return frame.f_locals


def _is_context(form: object) -> bool:
    form = _unmarked(form)
    return (get_origin(form) or form) in (StepContext, SuspendContext)


def _unmarked(form: object) -> object:
    """Without what ``Annotated`` has beside the type."""
    return get_args(form)[0] if get_origin(form) is Annotated else form


def _is_option(parameter: inspect.Parameter, *, may_be_input: bool) -> bool:
    """What has a default is nobody's business but the function's: a keyword, or the ``i=i`` of a lambda in a loop."""
    if parameter.default is parameter.empty:
        return False
    return parameter.kind is parameter.KEYWORD_ONLY or (not may_be_input and parameter.annotation is parameter.empty)


def _plain(function: Callable[..., object]) -> Callable[..., object]:
    """The function that holds the annotations: inside a partial, or the ``__call__`` of an object."""
    while isinstance(function, partial):
        function = function.func
    return function if inspect.isroutine(function) else type(function).__call__


def _generator(what: str) -> DefinitionError:
    return DefinitionError(f"{what} is a generator; a step gives one value, use ctx.write() for chunks")
