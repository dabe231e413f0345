"""Which mail is for which workflow, as the code has it: those that start runs, and replies that runs wait for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Never, TypeAlias, TypedDict, TypeVar, Unpack, overload

from wrkflw.errors import DefinitionError
from wrkflw.events import Event
from wrkflw.functions import PlainFunction
from wrkflw.names import check_options, describe
from wrkflw.steps import Step

from .addresses import AddressPattern
from .emails import Email
from .inputs import check_input, check_maker

if TYPE_CHECKING:
    from wrkflw.steps import SuspendableStep
    from wrkflw.workflows import Workflow

    from .inputs import AnyWorkflow

    ReplyTarget: TypeAlias = SuspendableStep[Never, object, Any, object, Never] | Event[Any]

InputT = TypeVar("InputT")
AnswerT = TypeVar("AnswerT")


class EmailOptions(TypedDict, total=False):
    """Options of a route.

    ``senders`` are address patterns: mail is let in only from an address that fits one of them, and for which somebody
    vouches (:class:`wrkflw.mail.Trust`).  Without it anybody may write.
    """

    senders: Sequence[str]


@dataclass(frozen=True, slots=True)
class EmailRoute:
    """Mail to ``address`` starts runs of the workflow, as :func:`email` has said."""

    workflow: AnyWorkflow
    address: AddressPattern
    input: Callable[[Email], Any] | None
    senders: tuple[AddressPattern, ...] | None
    """None where anybody may write."""


@dataclass(frozen=True, slots=True)
class ReplyRoute:
    """A reply to ``address`` goes to the run that asked, as :func:`reply` has said."""

    workflow: AnyWorkflow
    address: AddressPattern
    target: ReplyTarget
    answer: Callable[[Email], Any]
    senders: tuple[AddressPattern, ...]


@overload
def email(workflow: Workflow[Email, object, Any], address: str, /, **options: Unpack[EmailOptions]) -> EmailRoute: ...
@overload
def email(
    workflow: Workflow[InputT, object, Any],
    address: str,
    /,
    *,
    input: Callable[[Email], InputT],
    **options: Unpack[EmailOptions],
) -> EmailRoute: ...
def email(
    workflow: AnyWorkflow,
    address: str,
    /,
    *,
    input: Callable[[Email], object] | None = None,
    **options: Unpack[EmailOptions],
) -> EmailRoute:
    """Let mail start runs of the workflow, where :mod:`wrkflw.mail` takes mail in.

    ``address`` is a pattern of the addresses it is sent to: ``"invoices@example.org"``, ``"invoices@*"``.  A tag behind
    a plus does not count.  ``input`` makes the input of a run from the :class:`Email`; without it, that is the
    :class:`Email` itself.  A mail is taken once for each route, as its ``Message-ID`` says; one whose input cannot be
    made is kept in the quarantine.

    Raises:
        DefinitionError: a pattern cannot be one, the workflow has the route already, or it takes another input and
            there is no ``input=``.
        TypeError: an option is unknown.
    """
    return email_route_of(workflow, address, input, options)


def email_route_of(
    workflow: AnyWorkflow, address: str, input: Callable[[Email], object] | None, options: EmailOptions
) -> EmailRoute:
    """Give the workflow the route, once it is checked."""
    check_options(options, EmailOptions.__annotations__)
    if not hasattr(workflow, "emails"):  # not all callers are typed
        raise DefinitionError(f"{workflow!r} cannot take mail; pass a workflow, as .commit() gives it")
    pattern = AddressPattern(address)
    if any(other.address == pattern for other in workflow.emails):
        raise DefinitionError(f"workflow {workflow.id!r} already takes mail to {address!r}; give it another address")
    if input is not None:
        check_input(f"mail to {address!r}", workflow, input, "an Email")
    elif workflow.input_schema is not Email:
        needs = f"workflow {workflow.id!r} takes {describe(workflow.input_schema)}"
        raise DefinitionError(f"{needs}, and mail to {address!r} is an Email; pass input=")
    senders = options.get("senders")
    route = EmailRoute(workflow, pattern, input, None if senders is None else _patterns(senders))
    workflow.emails = (*workflow.emails, route)
    return route


@overload
def reply(
    workflow: AnyWorkflow,
    address: str,
    target: SuspendableStep[Never, object, AnswerT, object, Never],
    /,
    *,
    answer: Callable[[Email], AnswerT],
    senders: Sequence[str],
) -> ReplyRoute: ...
@overload
def reply(
    workflow: AnyWorkflow,
    address: str,
    target: Event[AnswerT],
    /,
    *,
    answer: Callable[[Email], AnswerT],
    senders: Sequence[str],
) -> ReplyRoute: ...
def reply(
    workflow: AnyWorkflow,
    address: str,
    target: ReplyTarget,
    /,
    *,
    answer: Callable[[Email], Any],
    senders: Sequence[str],
) -> ReplyRoute:
    """Let replies to what a run has sent answer a step of it that is suspended, or be an event that it waits for.

    The run is found by what it was sent with, :func:`wrkflw.mail.message_id` or :func:`wrkflw.mail.reply_address`, or
    by the token of the suspension behind the plus of the address.  The same reply again leads to nothing new; but one
    that names only a token is kept in the quarantine once the run has ended, and with it the token.

    ``answer`` makes the answer, or the payload of the event, from the :class:`Email`.  ``senders`` are patterns of the
    addresses that may reply; somebody has to vouch for the address (:class:`wrkflw.mail.Trust`), or the mail is kept in
    the quarantine and the run hears nothing of it.

    Raises:
        DefinitionError: a pattern cannot be one, there are no senders, or the workflow has the route already.
        TypeError: ``target`` is neither a step that suspends nor an event.
    """
    return reply_route_of(workflow, address, target, answer, senders)


def reply_route_of(
    workflow: AnyWorkflow,
    address: str,
    target: ReplyTarget,
    answer: Callable[[Email], object],
    senders: Sequence[str],
) -> ReplyRoute:
    """Give the workflow the route, once it is checked."""
    if not hasattr(workflow, "replies"):  # not all callers are typed
        raise DefinitionError(f"{workflow!r} cannot take replies; pass a workflow, as .commit() gives it")
    _check_target(target)
    plain = PlainFunction(f"answer= of replies to {address!r}", "answer", answer, "an Email")
    check_maker(plain, target.schema if isinstance(target, Event) else target.body.resume, repr(name_of(target)))
    route = ReplyRoute(workflow, AddressPattern(address), target, answer, _patterns(senders))
    if any((other.address, other.target) == (route.address, route.target) for other in workflow.replies):
        same = f"workflow {workflow.id!r} already takes replies to {address!r} for {name_of(target)!r}"
        raise DefinitionError(f"{same}; leave one of them out")
    workflow.replies = (*workflow.replies, route)
    return route


def name_of(target: ReplyTarget) -> str:
    return target.name if isinstance(target, Event) else target.id


def _check_target(target: object) -> None:  # of any object: not all callers are typed
    if isinstance(target, Event):
        return
    if not isinstance(target, Step) or target.kind == "workflow" or target.body.context != "suspend":
        raise TypeError(f"reply() takes a step that suspends, or an Event, got {target!r}")


def _patterns(senders: Sequence[str]) -> tuple[AddressPattern, ...]:
    if isinstance(senders, str):
        raise DefinitionError(f"senders={senders!r} is one text; give a list of patterns, as [{senders!r}]")
    if not senders:
        raise DefinitionError(f"senders={senders!r} would let nobody in; give patterns, as ['*@example.org']")
    return tuple(AddressPattern(sender) for sender in senders)
