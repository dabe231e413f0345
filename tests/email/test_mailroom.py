"""Mail becomes runs: by address, once, and whatever is wrong with it, it is not lost."""

from __future__ import annotations

import asyncio
import logging
from email.message import EmailMessage
from functools import partial

import pytest

from tests.mute import UNKEEPABLE
from wrkflw import DefinitionError, RunNotFoundError, Runtime, StoreError
from wrkflw.engine.limits import Limits
from wrkflw.mail import MailLimits, Mailroom, MailTooLargeError, NoRecipientError, UndeliveredError
from wrkflw.triggers import Email, email

from .desk import OUR_SERVER, PROVEN, Invoice, booking, letter, mailroom, outputs, triage

TO = ("invoices@acme.test",)


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, logger="wrkflw")


# --- routes ------------------------------------------------------------------------------------------


async def test_a_mail_starts_a_run_of_the_workflow_that_its_address_names() -> None:
    workflow = booking()
    email(workflow, "invoices@*", input=lambda mail: Invoice(sender=mail.from_, text=mail.text))

    async with mailroom(workflow) as room:
        delivery = await room.deliver(letter().as_bytes(), envelope_to=TO)

        assert await outputs(room, *delivery.started) == ["ada@example.org: Yes, please."]
        assert (delivery.held, delivery.repeated, delivery.answered) == (None, (), None)


async def test_a_mail_may_be_the_input_as_it_is() -> None:
    workflow = triage()
    workflow.on_email("invoices@acme.test")

    async with mailroom(workflow) as room:
        delivery = await room.deliver(letter().as_bytes(), envelope_from="bounce@example.org", envelope_to=TO)

        [run_id] = delivery.started
        told = (await workflow.get_run(run_id)).events()
        created = (await anext(aiter(told))).event
        assert b'"envelope_from":"bounce@example.org"' in (created.model_dump()["input"] or b"")
        assert await outputs(room, run_id) == ["Hello"]


async def test_a_tag_behind_a_plus_does_not_count() -> None:
    workflow = triage()
    workflow.on_email("invoices@acme.test")

    async with mailroom(workflow) as room:
        delivery = await room.deliver(letter().as_bytes(), envelope_to=["Invoices+March@ACME.test"])

        assert len(delivery.started) == 1


async def test_each_route_that_fits_starts_a_run_and_one_that_does_not_starts_none() -> None:
    first, second, third = triage(id="first"), triage(id="second"), triage(id="third")
    first.on_email("invoices@*")
    second.on_email("*@acme.test")
    third.on_email("orders@*")

    async with mailroom(first, second, third) as room:
        delivery = await room.deliver(letter().as_bytes(), envelope_to=TO)

        workflows = [(await room.rt.runs.get(run_id)).workflow_id for run_id in delivery.started]
        assert workflows == ["first", "second"]


async def test_a_mail_to_nobody_is_refused() -> None:
    workflow = triage()
    workflow.on_email("orders@acme.test")

    async with mailroom(workflow) as room:
        with pytest.raises(NoRecipientError, match=r"no workflow takes mail to 'invoices@acme\.test'; give"):
            await room.deliver(letter().as_bytes(), envelope_to=TO)
        assert not room.accepts("orders@acme.test\r\nRCPT TO:<x@y>")
        assert not room.accepts('"orders@acme.test"@example.org')
        assert not room.accepts("orders+\udcff@acme.test")


async def test_without_an_envelope_the_addresses_in_the_mail_count() -> None:
    workflow = triage()
    workflow.on_email("invoices@*")

    async with mailroom(workflow) as room:
        by_header = await room.deliver(letter("Jo <jo@acme.test>, Invoices <invoices@acme.test>").as_bytes())
        noted = {"Delivered_To": "invoices@acme.test", "Message_ID": "<2@example.org>"}
        by_server = await room.deliver(letter("list@elsewhere.test", **noted).as_bytes())

        assert (len(by_header.started), len(by_server.started)) == (1, 1)


def test_routes_are_checked_at_definition() -> None:
    def make(mail: Email) -> Invoice:
        return Invoice(sender=mail.from_, text=mail.text)

    workflow = booking()
    workflow.on_email("invoices@*", input=make)

    with pytest.raises(DefinitionError, match=r"already takes mail to 'invoices@\*'; give it another address"):
        workflow.on_email("invoices@*", input=make)
    with pytest.raises(DefinitionError, match="takes Invoice, and mail to 'a@b' is an Email; pass input="):
        workflow.on_email("a@b")  # type: ignore[call-arg]  # that is what is refused
    with pytest.raises(DefinitionError, match=r"'nobody' cannot be an address pattern; write 'invoices@example\.org'"):
        workflow.on_email("nobody", input=make)
    with pytest.raises(DefinitionError, match="cannot be an address pattern; write"):
        workflow.on_email(["b@*"], input=make)  # type: ignore[arg-type]  # the same
    with pytest.raises(
        DefinitionError, match=r"input= of mail to 'b@\*' takes 0 parameters but gets an Email; take one"
    ):
        workflow.on_email("b@*", input=lambda: 1)  # type: ignore[arg-type, misc]  # the same
    with pytest.raises(DefinitionError, match=r"cannot take mail; pass a workflow, as \.commit\(\) gives it"):
        email(workflow.graph, "b@*", input=make)  # type: ignore[call-overload]  # the same
    with pytest.raises(DefinitionError, match=r"senders='a@b' is one text; give a list of patterns, as \['a@b'\]"):
        workflow.on_email("b@*", input=make, senders="a@b")
    with pytest.raises(DefinitionError, match=r"senders=\[\] would let nobody in"):
        workflow.on_email("b@*", input=make, senders=[])
    with pytest.raises(TypeError, match="unknown option 'sender'; did you mean 'senders'"):
        workflow.on_email("c@*", input=make, sender=["a@b"])  # type: ignore[call-arg]  # the same
    assert workflow.with_id("other").emails == ()


async def test_a_mailroom_needs_somebody_who_takes_mail() -> None:
    async with Runtime(":memory:", workflows=[triage()]) as rt:
        with pytest.raises(DefinitionError, match="no workflow here takes mail; give one a route"):
            Mailroom(rt)


async def test_a_mailroom_takes_no_mail_that_would_not_fit_into_the_quarantine() -> None:
    workflow = triage()
    workflow.on_email("invoices@*")

    async with Runtime(":memory:", workflows=[workflow], limits=Limits(value_bytes=1024 * 1024)) as rt:
        with pytest.raises(DefinitionError, match=r"would not fit .*; allow at most MailLimits\(size=524_288\)"):
            Mailroom(rt)
        room = Mailroom(rt, limits=MailLimits(size=524_288))
        largest = b"From: a@b, c@d\r\n\r\n".ljust(524_288, b"x")
        assert (await room.deliver(largest, envelope_to=TO)).held is not None


def test_limits_let_something_in() -> None:
    with pytest.raises(ValueError, match=r"MailLimits\(parts=0\) lets no mail in; give 1 or more"):
        MailLimits(parts=0)


async def test_a_mail_is_bytes_and_its_recipients_are_several() -> None:
    workflow = triage()
    workflow.on_email("invoices@*")

    async with mailroom(workflow) as room:
        with pytest.raises(TypeError, match="a mail is delivered as bytes, got EmailMessage; an EmailMessage has"):
            await room.deliver(letter())  # type: ignore[arg-type]  # refused
        with pytest.raises(TypeError, match=r"is one text; give a list of addresses, as \['a@b'\]"):
            await room.deliver(letter().as_bytes(), envelope_to="a@b")


# --- once --------------------------------------------------------------------------------------------


async def test_the_same_mail_again_starts_nothing_more() -> None:
    workflow = triage()
    workflow.on_email("invoices@*")

    async with mailroom(workflow) as room:
        first = await room.deliver(letter().as_bytes(), envelope_to=TO)
        by_another_way = letter(Received="from a by b").as_bytes()
        again = await room.deliver(by_another_way, envelope_to=TO)

        assert (again.started, again.repeated, again.held) == ((), first.started, None)


async def test_many_deliveries_at_once_start_one_run() -> None:
    workflow = triage()
    workflow.on_email("invoices@*")

    async with mailroom(workflow) as room:
        raw = letter().as_bytes()
        found = await asyncio.gather(*(room.deliver(raw, envelope_to=TO) for _ in range(20)))

        assert len({run_id for delivery in found for run_id in (*delivery.started, *delivery.repeated)}) == 1
        assert len((await room.rt.runs.list()).data) == 1


@pytest.mark.parametrize("message_id", ["", f"<{'a' * 300}@example.org>", "no brackets"])
async def test_without_a_usable_id_a_mail_is_known_by_its_content(message_id: str) -> None:
    workflow = triage()
    workflow.on_email("invoices@*")

    async with mailroom(workflow) as room:
        raw = letter().as_bytes().replace(b"<1@example.org>", message_id.encode())
        other = raw.replace(b"Yes", b"No")
        found = [await room.deliver(one, envelope_to=TO) for one in (raw, raw, other)]

        assert [len(delivery.started) for delivery in found] == [1, 0, 1]


async def test_a_mail_is_known_after_a_restart(database: str) -> None:
    workflow = triage()
    workflow.on_email("invoices@*")

    async with mailroom(workflow, database=database) as room:
        await room.deliver(letter().as_bytes(), envelope_to=TO)
    async with mailroom(workflow, database=database) as room:
        again = await room.deliver(letter().as_bytes(), envelope_to=TO)

        assert (len(again.started), len(again.repeated)) == (0, 1)


async def test_what_cannot_be_recorded_is_not_accepted() -> None:
    workflow = triage()
    workflow.on_email("invoices@*")

    async with mailroom(workflow) as room:
        await room.rt.world.close()
        with pytest.raises(StoreError):
            await room.deliver(letter().as_bytes(), envelope_to=TO)


# --- the quarantine ----------------------------------------------------------------------------------


async def test_an_input_function_that_is_cancelled_loses_no_mail() -> None:
    """To whoever takes the mail in it would look as if he himself was cancelled, and nobody answered the sender."""
    workflow = booking()

    def make(mail: Email) -> Invoice:
        raise asyncio.CancelledError

    workflow.on_email("invoices@*", input=make)
    async with mailroom(workflow) as room:
        delivery = await room.deliver(letter().as_bytes(), envelope_to=TO)

        assert delivery.reason == "it makes no input of workflow 'booking': CancelledError: "
        assert (await room.quarantine.list()).data == [delivery.held]


@pytest.mark.parametrize(("error", "said"), UNKEEPABLE)
async def test_a_mail_is_held_also_for_an_exception_whose_text_cannot_be_kept(error: Exception, said: str) -> None:
    workflow = booking()

    def make(mail: Email) -> Invoice:
        raise error

    workflow.on_email("invoices@*", input=make)
    async with mailroom(workflow) as room:
        delivery = await room.deliver(letter().as_bytes(), envelope_to=TO)

        assert delivery.reason == f"it makes no input of workflow 'booking': {said}"
        assert (await room.quarantine.list()).data == [delivery.held]


async def test_a_mail_of_which_no_input_can_be_made_is_held_and_can_be_released() -> None:
    workflow = booking()
    mended = False

    def make(mail: Email) -> Invoice:
        if not mended:
            raise ValueError("there is no number")
        return Invoice(sender=mail.from_, text=mail.text)

    workflow.on_email("invoices@*", input=make)
    async with mailroom(workflow) as room:
        raw = letter().as_bytes()
        delivery = await room.deliver(raw, envelope_to=TO)

        assert delivery.started == ()
        assert delivery.reason == "it makes no input of workflow 'booking': ValueError: there is no number"
        assert delivery.held is not None
        assert (await room.quarantine.list()).data == [delivery.held]
        assert (await room.quarantine.get(delivery.held)).raw == raw

        with pytest.raises(UndeliveredError, match="stays in the quarantine: it makes no input"):
            await room.release(delivery.held)
        mended = True
        released = await room.release(delivery.held)

        assert await outputs(room, *released.started) == ["ada@example.org: Yes, please."]
        assert (await room.quarantine.list()).data == []


async def test_a_mail_is_held_once_and_over_restarts(database: str) -> None:
    workflow = triage()
    workflow.on_email("invoices@*")
    two_senders = letter().as_bytes().replace(b"From: ", b"From: eve@evil.test\nFrom: ", 1)

    async with mailroom(workflow, database=database) as room:
        first = await room.deliver(two_senders, envelope_to=TO)
        again = await room.deliver(two_senders, envelope_to=TO)
    async with mailroom(workflow, database=database) as room:
        assert first.held == again.held
        assert (await room.quarantine.list()).data == [first.held]


async def test_no_mail_can_take_the_place_of_another_in_the_quarantine() -> None:
    workflow = triage()
    workflow.on_email("*@acme.test")
    mail = b"From: a@b.test, c@b.test\n\nHello"

    async with mailroom(workflow) as room:
        like_it = await room.deliver(mail + b"\x00a@acme.test", envelope_to=["b@acme.test"])
        itself = await room.deliver(mail, envelope_to=["a@acme.test", "b@acme.test"])

        assert like_it.held != itself.held


@pytest.mark.parametrize("decided", ["dropped", "released"])
async def test_a_mail_that_was_decided_on_is_not_held_again(decided: str) -> None:
    workflow = triage()
    workflow.on_email("invoices@*")

    async with mailroom(workflow, limits=MailLimits(parts=1)) as room:
        raw = _with_attachment()
        delivery = await room.deliver(raw, envelope_to=TO)
        assert delivery.held is not None
        if decided == "dropped":
            await room.quarantine.drop(delivery.held)
        else:
            await room.release(delivery.held, limits=MailLimits())
        await room.deliver(raw, envelope_to=TO)

        assert (await room.quarantine.list()).data == []


async def test_a_mail_that_was_dropped_is_there_for_nobody() -> None:
    workflow = triage()
    workflow.on_email("invoices@*")

    async with mailroom(workflow, limits=MailLimits(parts=1)) as room:
        delivery = await room.deliver(_with_attachment(), envelope_to=TO)
        assert delivery.held is not None
        await room.quarantine.drop(delivery.held)

        for ask in (room.quarantine.get, room.quarantine.drop, partial(room.release, limits=MailLimits())):
            with pytest.raises(RunNotFoundError, match="is held no longer; look for those that are"):
                await ask(delivery.held)
        assert (await room.rt.runs.list(workflow="triage")).data == []


@pytest.mark.parametrize("expires", [False, True])
async def test_a_mail_that_was_released_is_held_again_for_another_reason(
    database: str, expires: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if expires:
        monkeypatch.setenv("WRKFLW_RETENTION_SECONDS", "0")
    first, second, mended = booking(), triage(), list[bool]()

    def make(mail: Email) -> Invoice:
        if not mended:
            raise ValueError("not yet")
        return Invoice(sender=mail.from_, text=mail.text)

    def refuse(mail: Email) -> Email:
        raise ValueError("never")

    first.on_email("invoices@*", input=make)
    raw = letter().as_bytes()
    async with mailroom(first, database=database) as room:
        held = (await room.deliver(raw, envelope_to=TO)).held
        assert held is not None
        mended.append(True)
        await room.release(held)
        if expires:
            assert await room.rt.world.storage.retention.expire()
    second.on_email("invoices@*", input=refuse)
    async with mailroom(first, second, database=database) as room:
        deliveries = [await room.deliver(raw, envelope_to=TO) for _ in range(2)]
        [again] = (await room.quarantine.list()).data

        assert [delivery.held for delivery in deliveries] == [again, again]
        assert (await room.quarantine.get(again)).reason == "it makes no input of workflow 'triage': ValueError: never"


async def test_a_mail_beyond_the_limits_is_let_in_with_others() -> None:
    workflow = triage()
    workflow.on_email("invoices@*")

    async with mailroom(workflow, limits=MailLimits(parts=1)) as room:
        delivery = await room.deliver(_with_attachment(), envelope_to=TO)

        assert delivery.reason == "it has more than 1 parts; raise MailLimits(parts=...) to read it"
        assert delivery.held is not None
        assert len((await room.release(delivery.held, limits=MailLimits())).started) == 1


async def test_a_mail_that_is_too_large_is_refused() -> None:
    workflow = triage()
    workflow.on_email("invoices@*")

    async with mailroom(workflow, limits=MailLimits(size=100)) as room:
        with pytest.raises(MailTooLargeError, match="bytes, and 100 are taken; send less"):
            await room.deliver(letter().as_bytes(), envelope_to=TO)


# --- senders -----------------------------------------------------------------------------------------


async def test_a_route_lets_in_whom_it_names_when_somebody_vouches_for_them() -> None:
    workflow = triage()
    workflow.on_email("invoices@*", senders=["*@example.org"])

    async with mailroom(workflow, trust=OUR_SERVER) as room:
        proven = await room.deliver(letter(**PROVEN).as_bytes(), envelope_to=TO)
        unproven = await room.deliver(letter(Message_ID="<2@x>").as_bytes(), envelope_to=TO)

        assert (len(proven.started), proven.held) == (1, None)
        assert unproven.started == ()
        assert unproven.reason == "the sender 'ada@example.org' is not proven: 'mx.acme.test' has said nothing about it"
        assert unproven.held is not None
        assert len((await room.release(unproven.held, trust_sender=True)).started) == 1


def _with_attachment() -> bytes:
    mail: EmailMessage = letter()
    mail.add_attachment(b"%PDF", maintype="application", subtype="pdf", filename="a.pdf")
    return mail.as_bytes()
