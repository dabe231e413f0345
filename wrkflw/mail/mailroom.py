"""What becomes of a mail, wherever it came from: runs, answers to runs, or a place in the quarantine."""

from __future__ import annotations

import asyncio
import logging
from asyncio import CancelledError
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from email.utils import getaddresses
from hashlib import sha256
from typing import Any, TypeAlias, cast

from wrkflw.births import Birth
from wrkflw.engine.failures import text_of
from wrkflw.errors import DefinitionError, InvalidValueError, LimitError, RunConflictError, RunExistsError
from wrkflw.run import Run
from wrkflw.runtime import Runtime
from wrkflw.triggers.addresses import normal
from wrkflw.triggers.email_routes import EmailRoute, ReplyRoute
from wrkflw.triggers.emails import Email
from wrkflw.workflows import Workflow

from .errors import HostileMailError, MailTooLargeError, NoRecipientError, UndeliveredError
from .limits import MailLimits
from .parsing import parse
from .parts import split
from .quarantine import QUARANTINE, RELEASED, HeldMail, Quarantine, reason_of
from .replies import Replies
from .trust import Trust, refusal

AnyWorkflow: TypeAlias = Workflow[Any, Any, Any]

_IN_A_THREAD = 256 * 1024
"""Bytes from which on a mail is read beside the loop."""
_ENVELOPE = 256 * 1024
"""Bytes that what is kept with a mail takes at most."""
_DELIVERED_TO = ("delivered-to", "x-original-to")

_log = logging.getLogger("wrkflw")


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a mail has led to; all of it is durable.

    Attributes:
        started: the runs that it started.
        repeated: those that it, or a mail of its Message-ID, had started before.
        answered: the run whose question it answered.
        held: its id in the quarantine.
        reason: why it is there.
    """

    started: tuple[str, ...] = ()
    repeated: tuple[str, ...] = ()
    answered: str | None = None
    held: str | None = None
    reason: str | None = None


class Mailroom:
    """Takes mail in for the workflows of a runtime, by their routes (:func:`wrkflw.triggers.email`, ``reply``).

    Args:
        rt: with the workflows.
        trust: whose word is taken for a sender; by default nobody's, so no mail answers a run.
        limits: of a mail.

    Raises:
        DefinitionError: none of the workflows has a route, one for replies leads to what its workflow never waits
            for, or the largest mail would not fit into a value.
    """

    def __init__(self, rt: Runtime, *, trust: Trust | None = None, limits: MailLimits | None = None) -> None:
        self.rt = rt
        self._trust = trust or Trust()
        self.limits = limits or MailLimits()
        self.quarantine = Quarantine(rt)
        workflows = [cast("AnyWorkflow", definition.workflow) for definition in rt.definitions.values()]
        self._emails: list[EmailRoute] = [route for workflow in workflows for route in workflow.emails]
        self._reply_routes: list[ReplyRoute] = [route for workflow in workflows for route in workflow.replies]
        if not self._emails and not self._reply_routes:
            raise DefinitionError("no workflow here takes mail; give one a route with email() or reply()")
        most = rt.limits.value_bytes * 3 // 4 - _ENVELOPE  # it is kept as base64, in JSON
        if self.limits.size > most:
            cure = f"at most MailLimits(size={most:_})" if most > 0 else "larger values"
            raise DefinitionError(f"mail of {self.limits.size:,} bytes would not fit into the quarantine; allow {cure}")
        self._replies = Replies(rt, self._reply_routes)
        rt.define(QUARANTINE)

    def accepts(self, address: str) -> bool:
        """Whether a workflow takes mail to this address."""
        routes: Iterable[EmailRoute | ReplyRoute] = (*self._emails, *self._reply_routes)
        return normal(address) is not None and any(route.address.receives(address) for route in routes)

    async def deliver(
        self, raw: bytes, *, envelope_from: str = "", envelope_to: Sequence[str] | None = None
    ) -> Delivery:
        """Take a mail in.  When this returns, what it led to is durable; until then, deliver it again.

        ``raw`` is the mail as it is sent, ``envelope_to`` the addresses that it came to; without them those count that
        stand in it.  The same mail again leads to nothing new; but a reply that names its run by a token alone is held
        when the run has ended.

        Raises:
            NoRecipientError: no workflow takes mail to any of the addresses.
            MailTooLargeError: it is larger than :class:`MailLimits` allow.
            StoreError: it could not be recorded, or not all of it.
            TypeError: ``raw`` is not bytes, or ``envelope_to`` one text.
        """
        _check_types(raw, envelope_to)
        held, mail, reasons = await self._read(raw, envelope_from, envelope_to, self.limits)
        delivery = Delivery()
        if mail is not None:
            delivery, reasons = await self._hand_out(mail, raw, trusted=False)
        if not reasons:
            return delivery
        reason = reason_of(reasons)
        mail_id = await self.quarantine.hold(held.model_copy(update={"reason": reason}))
        _log.warning("a mail to %s is held as %s: %s", ", ".join(held.envelope_to), mail_id, reason)
        return replace(delivery, held=mail_id, reason=reason)

    async def release(self, mail_id: str, *, trust_sender: bool = False, limits: MailLimits | None = None) -> Delivery:
        """Take a mail of the quarantine in, once a person has looked at it, or what was wrong is mended.

        ``trust_sender`` when the person knows that the sender is who it says; ``limits`` in place of the usual ones.
        Durable when it returns, and then the mail is no longer held.

        Raises:
            UndeliveredError: the reason still holds; the mail stays where it is.
            RunNotFoundError: there is no mail of this id, or it is held no longer.
        """
        held = await self.quarantine.get(mail_id)
        limits = limits or self.limits
        try:
            _, mail, reasons = await self._read(held.raw, held.envelope_from, held.envelope_to, limits)
        except (NoRecipientError, MailTooLargeError) as error:
            raise UndeliveredError(mail_id, str(error)) from error
        delivery = Delivery()
        if mail is not None:
            delivery, reasons = await self._hand_out(mail, held.raw, trusted=trust_sender)
        if reasons:
            raise UndeliveredError(mail_id, reason_of(reasons))
        await self.quarantine.drop(mail_id, RELEASED)
        return delivery

    # --- reading it --------------------------------------------------------------------------------

    async def _read(
        self, raw: bytes, envelope_from: str, envelope_to: Sequence[str] | None, limits: MailLimits
    ) -> tuple[HeldMail, Email | None, list[str]]:
        """The mail as it is kept if need be, and as it is read; or why it is not.

        Raises NoRecipientError, MailTooLargeError.
        """
        if len(raw) > limits.size:
            raise MailTooLargeError(len(raw), limits.size)
        given = addressed_to(raw, limits) if envelope_to is None else envelope_to
        wanted = tuple(dict.fromkeys(known for one in given if (known := normal(one)) and self.accepts(known)))
        if not wanted:
            raise NoRecipientError(tuple(given))
        envelope_from = normal(envelope_from) or ""
        held = HeldMail(raw=raw, reason="", envelope_from=envelope_from, envelope_to=wanted)

        def read() -> Email:
            return parse(raw, limits, envelope_from=envelope_from, envelope_to=wanted)

        try:
            mail = read() if len(raw) < _IN_A_THREAD else await asyncio.to_thread(read)
        except HostileMailError as error:
            return held, None, [str(error)]
        vouched = await self._trust.authenticate(raw, mail)
        return held, mail.model_copy(update={"authentication": vouched}), []

    # --- handing it out ----------------------------------------------------------------------------

    async def _hand_out(self, mail: Email, raw: bytes, *, trusted: bool) -> tuple[Delivery, list[str]]:
        """What the mail has led to, and why not to more."""
        name = mail.message_id or f"sha256:{sha256(raw).hexdigest()}"
        started, repeated, reasons = list[str](), list[str](), list[str]()
        left = list(mail.envelope_to)
        answered: str | None = None
        if (asked := await self._replies.asked(mail)) is not None:
            left = [one for one in left if not any(route.address.receives(one) for route in asked.routes)]
            problem = await self._replies.answer(asked, mail, f"email:{name}", trusted=trusted)
            answered = asked.run_id if problem is None else None
            reasons += [] if problem is None else [problem]
        for route in self._emails:
            mine = [address for address in left if route.address.receives(address)]
            if not mine:
                continue
            run_id, is_new, problem = await self._start(route, mail, mine, name, trusted=trusted)
            reasons += [] if problem is None else [problem]
            if run_id is not None:
                (started if is_new else repeated).append(run_id)
        if any(not any(route.address.receives(one) for route in self._emails) for one in left):
            reasons.append("it is a reply to nothing that a run has asked")
        return Delivery(tuple(started), tuple(repeated), answered), reasons

    async def _start(
        self, route: EmailRoute, mail: Email, recipients: Sequence[str], name: str, *, trusted: bool
    ) -> tuple[str | None, bool, str | None]:
        """The run of the mail, whether it is new, and why there is none.  Raises StoreError."""
        key = f"email:{route.address}:{name}"
        holder = await self.rt.world.storage.runs.find(route.workflow.id, key)
        if holder is not None:
            return holder.run_id, False, None
        if route.senders is not None and not trusted and (problem := refusal(mail, route.senders)) is not None:
            return None, False, problem
        mail = mail.model_copy(update={"envelope_to": tuple(recipients)})
        try:
            given = mail if route.input is None else route.input(mail)
        except (Exception, CancelledError) as error:  # a function of the user's  # noqa: BLE001
            _log.warning("a mail to %s makes no input", route.address, exc_info=error)
            what = f"workflow {route.workflow.id!r}: {type(error).__name__}: {text_of(error)[:200]}"
            return None, False, f"it makes no input of {what}"
        run_id = self.rt.new_run_id()
        run: Run[Any, Any, Any] = Run(Birth(self.rt, self.rt.define(route.workflow), run_id, idempotency_key=key))
        try:
            await run.enqueue(given)
        except (RunConflictError, RunExistsError) as error:  # another process was faster
            return error.run_id, False, None
        except (InvalidValueError, LimitError) as error:
            return None, False, f"it makes no input of workflow {route.workflow.id!r}: {text_of(error)[:500]}"
        return run.run_id, run.run_id == run_id, None


def _check_types(raw: object, envelope_to: object) -> None:  # not all callers are typed
    if not isinstance(raw, bytes):
        raise TypeError(f"a mail is delivered as bytes, got {type(raw).__name__}; an EmailMessage has as_bytes()")
    if isinstance(envelope_to, str):
        raise TypeError(f"envelope_to={envelope_to!r} is one text; give a list of addresses, as [{envelope_to!r}]")


def addressed_to(raw: bytes, limits: MailLimits) -> list[str]:
    """To whom a mail came whose envelope is gone: what the mail server noted, else what its headers say."""
    try:
        headers, _ = split(raw, limits)
        noted = [str(value) for name in _DELIVERED_TO for value in headers.get_all(name, ())][: limits.addresses]
        if noted:
            return [value.strip().strip("<>") for value in noted]
        written = [str(value) for name in ("to", "cc") for value in headers.get_all(name, ())]
        limits.check("addresses", sum(value.count("@") for value in written), "addresses")
        return [address for _, address in getaddresses(written)]
    except Exception:  # hostile: it goes to nobody  # noqa: BLE001
        return []
