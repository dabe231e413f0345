"""The functions that make inputs: plain, called with one value, and giving what the workflow takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

from wrkflw.errors import DefinitionError
from wrkflw.forms import fits
from wrkflw.functions import PlainFunction, annotations_of, check_function
from wrkflw.names import describe

if TYPE_CHECKING:
    from wrkflw.workflows import Workflow

    AnyWorkflow: TypeAlias = Workflow[Any, object, Any]


def check_input(trigger: str, workflow: AnyWorkflow, function: Callable[..., object], gets: str) -> None:
    """What a type checker sees as well, for those who use none.

    ``trigger`` is what messages call it, ``gets`` what the function is called with, in words.

    Raises:
        DefinitionError: it is no such function.
    """
    plain = PlainFunction(f"input= of {trigger}", "input", function, gets)
    check_maker(plain, workflow.input_schema, f"workflow {workflow.id!r}")


def check_maker(plain: PlainFunction, takes: object, taker: str) -> None:
    """The same of any function that makes what ``taker`` takes.  Raises DefinitionError."""
    for problem in check_function(plain):
        raise problem
    gives = annotations_of(plain.function)[1] if callable(plain.function) else None
    if fits(gives, takes) is False:
        both = f"{plain.name} gives {describe(gives)}, and {taker} takes {describe(takes)}"
        raise DefinitionError(f"{both}; make them agree")
