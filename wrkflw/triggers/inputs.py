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
    name = f"input= of {trigger}"
    for problem in check_function(PlainFunction(name, "input", function, gets)):
        raise problem
    gives = annotations_of(function)[1]
    if fits(gives, workflow.input_schema) is False:
        takes = f"workflow {workflow.id!r} takes {describe(workflow.input_schema)}"
        raise DefinitionError(f"{name} gives {describe(gives)}, and {takes}; make them agree")
