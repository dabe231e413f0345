"""Replies: which run a mail answers, who may answer, and that a mail answers once."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator

import pytest

from wrkflw import Run, SuspendContext, Suspended, Waiting, create_workflow, step
from wrkflw.mail import Mailroom
from wrkflw.triggers import Email, reply

from .desk import (
    OUR_SERVER,
    PROVEN,
    Approval,
    approval,
    ask,
    asking,
    deciding,
    letter,
    mailroom,
    outputs,
    triage,
    yes_or_no,
)

TO = ("approvals@acme.test",)
FROM_US = ["*@example.org"]


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, logger="wrkflw")


@pytest.fixture
async def room() -> AsyncIterator[Mailroom]:
    workflow = asking()
    reply(workflow, "approvals@*", ask, answer=yes_or_no, senders=FROM_US)
    async with mailroom(workflow, trust=OUR_SERVER) as room:
        yield room


async def asked(room: Mailroom) -> tuple[Run[str, str], str]:
    """A run that has asked, and the Message-ID that it asked with."""
    definition = room.rt.definitions["asking"]
    run = await definition.workflow.create_run()  # type: ignore[attr-defined]  # it is the Workflow
    parked = await run.start("may I?")
    assert isinstance(parked, Suspended)
    return run, str(parked.suspensions[0].payload)


# --- finding the run ---------------------------------------------------------------------------------


async def test_a_reply_answers_the_run_that_asked(room: Mailroom) -> None:
    run, question = await asked(room)

    delivery = await room.deliver(letter(In_Reply_To=question, **PROVEN).as_bytes(), envelope_to=TO)

    assert (delivery.answered, delivery.held) == (run.run_id, None)
    assert await outputs(room, run.run_id) == ["yes"]


async def test_a_reply_to_a_reply_names_it_in_its_references(room: Mailroom) -> None:
    run, question = await asked(room)

    headers = {"In_Reply_To": "<other@example.org>", "References": f"<a@b> {question} <other@example.org>", **PROVEN}
    delivery = await room.deliver(letter(**headers).as_bytes(), envelope_to=TO)

    assert delivery.answered == run.run_id


@pytest.mark.parametrize("change", [str, str.lower, str.upper])
async def test_a_run_behind_the_plus_is_found_whatever_becomes_of_its_case(room: Mailroom, change: type[str]) -> None:
    run, _ = await asked(room)

    to = change(f"approvals+{run.run_id}@acme.test")
    delivery = await room.deliver(letter(to, **PROVEN).as_bytes(), envelope_to=[to])

    assert delivery.answered == run.run_id


async def test_the_token_of_a_suspension_behind_the_plus_answers_that(room: Mailroom) -> None:
    run, _ = await asked(room)
    parked = await run.result()
    assert isinstance(parked, Suspended)

    to = f"approvals+{parked.suspensions[0].token}@acme.test"
    delivery = await room.deliver(letter(to, **PROVEN).as_bytes(), envelope_to=[to])

    assert delivery.answered == run.run_id
    assert await outputs(room, run.run_id) == ["yes"]


async def test_a_reply_is_the_event_that_a_run_waits_for() -> None:
    workflow = deciding()
    workflow.on_reply("approvals@*", approval, answer=yes_or_no, senders=FROM_US)
    async with mailroom(workflow, trust=OUR_SERVER) as room:
        run = await workflow.create_run()
        assert isinstance(await run.start("may I?"), Waiting)
        question = (await run.snapshot()).step_results["send"].output

        first = await room.deliver(letter(In_Reply_To=str(question), **PROVEN).as_bytes(), envelope_to=TO)
        again = await room.deliver(letter(In_Reply_To=str(question), **PROVEN).as_bytes(), envelope_to=TO)

        assert (first.answered, again.answered, again.held) == (run.run_id, run.run_id, None)
        assert await outputs(room, run.run_id) == [Approval(approved=True)]


async def test_mail_that_is_no_reply_starts_a_run_at_the_same_address() -> None:
    opening, answering = triage(), asking()
    opening.on_email("approvals@*")
    answering.on_reply("approvals@*", ask, answer=yes_or_no, senders=FROM_US)
    async with mailroom(opening, answering, trust=OUR_SERVER) as room:
        run, question = await asked(room)

        new = await room.deliver(letter().as_bytes(), envelope_to=TO)
        headers = {"In_Reply_To": question, "Message_ID": "<2@example.org>", **PROVEN}
        answer = await room.deliver(letter(**headers).as_bytes(), envelope_to=TO)

        assert (len(new.started), new.answered) == (1, None)
        assert (answer.started, answer.answered) == ((), run.run_id)


async def test_a_reply_to_nothing_is_held(room: Mailroom) -> None:
    delivery = await room.deliver(letter(In_Reply_To="<a@b>", **PROVEN).as_bytes(), envelope_to=TO)

    assert delivery.reason == "it is a reply to nothing that a run has asked"


# --- once --------------------------------------------------------------------------------------------


async def test_the_same_reply_again_is_known(room: Mailroom) -> None:
    run, question = await asked(room)
    raw = letter(In_Reply_To=question, **PROVEN).as_bytes()

    first = await room.deliver(raw, envelope_to=TO)
    await outputs(room, run.run_id)
    again = await room.deliver(raw, envelope_to=TO)

    assert (first.answered, again.answered, again.held) == (run.run_id, run.run_id, None)


async def test_a_token_knows_the_same_reply_no_more_once_the_run_has_ended(room: Mailroom) -> None:
    run, _ = await asked(room)
    parked = await run.result()
    assert isinstance(parked, Suspended)
    to = f"approvals+{parked.suspensions[0].token}@acme.test"
    raw = letter(to, **PROVEN).as_bytes()

    first = await room.deliver(raw, envelope_to=[to])
    await outputs(room, run.run_id)
    again = [await room.deliver(raw, envelope_to=[to]) for _ in range(2)]

    assert first.answered == run.run_id
    assert {one.reason for one in again} == {"it is a reply to nothing that a run has asked"}
    assert (await room.quarantine.list()).data == [again[0].held]


async def test_a_second_answer_is_held(room: Mailroom) -> None:
    run, question = await asked(room)
    await room.deliver(letter(In_Reply_To=question, **PROVEN).as_bytes(), envelope_to=TO)
    await outputs(room, run.run_id)

    other = letter(In_Reply_To=question, Message_ID="<2@example.org>", **PROVEN)
    delivery = await room.deliver(other.as_bytes(), envelope_to=TO)

    assert delivery.answered is None
    assert delivery.reason is not None
    assert run.run_id in delivery.reason


async def test_an_answer_to_one_question_is_none_to_the_next() -> None:
    """A run that asks twice: a reply names the mail that it is a reply to, and so the call that has sent that."""
    chain = create_workflow(id="asking", input_schema=str, output_schema=str)
    workflow = chain.do_until(ask, lambda answer: answer == "no").commit()
    workflow.on_reply("approvals@*", ask, answer=yes_or_no, senders=FROM_US)
    async with mailroom(workflow, trust=OUR_SERVER) as room:
        run, first = await asked(room)
        await room.deliver(letter(In_Reply_To=first, **PROVEN).as_bytes(), envelope_to=TO)
        parked = await run.result()
        assert isinstance(parked, Suspended)
        second = str(parked.suspensions[0].payload)
        assert second != first

        late = letter(In_Reply_To=first, Message_ID="<2@example.org>", **PROVEN)
        delivery = await room.deliver(late.as_bytes(), envelope_to=TO)

        assert "'ask#1' of run" in str(delivery.reason)
        answer = letter(In_Reply_To=second, Message_ID="<3@example.org>", **PROVEN)
        assert (await room.deliver(answer.as_bytes(), envelope_to=TO)).answered == run.run_id


# --- who may -----------------------------------------------------------------------------------------

STRANGER = "eve@evil.test"
PASS = "dmarc=pass header.from=example.org"


@pytest.mark.parametrize(
    ("headers", "problem"),
    [
        ({}, "'mx.acme.test' has said nothing about it"),
        ({"Authentication_Results": "mx.evil.test; dmarc=pass header.from=example.org"}, "has said nothing about it"),
        ({"Authentication_Results": "mx.acme.test; dmarc=fail header.from=example.org"}, "does not vouch for"),
        ({"Authentication_Results": "mx.acme.test; dmarc=pass header.from=evil.test"}, "does not vouch for"),
        ({"Authentication_Results": "mx.acme.test; dkim=pass header.d=evil.test"}, "does not vouch for"),
        ({"Authentication_Results": "mx.acme.test; dkim=pass header.d=org"}, "does not vouch for"),
        ({"Authentication_Results": "mx.acme.test; spf=pass smtp.mailfrom=example.org"}, "does not vouch for"),
        (
            {"Authentication_Results": "mx.acme.test; dkim=fail (dmarc=pass header.from=example.org) header.d=a.b"},
            "does not vouch for",
        ),
        # What a sender may have written into its own results.
        ({"Authentication_Results": f'mx.acme.test; spf=pass smtp.mailfrom="; {PASS}; "@evil.test'}, "does not vouch"),
        ({"Authentication_Results": f"mx.acme.test; spf=pass smtp.mailfrom=;{PASS}@e; dmarc=fail"}, "does not vouch"),
        ({"Authentication_Results": f"mx.acme.test; spf=pass (it says (; {PASS}; ) twice)"}, "does not vouch for"),
        ({"Authentication_Results": f'mx.acme.test; spf=pass smtp.mailfrom=";{PASS}'}, "does not vouch for"),
        ({"Authentication_Results": rf"mx.acme.test; spf=pass (it says \); {PASS}; \( twice)"}, "does not vouch for"),
        ({"Authentication_Results": f"(by) mx.acme.test; {PASS}"}, "has said nothing about it"),
        ({"Authentication_Results": f"mx.acme.test; dmarc=fail; dkim=pass header.d=example.org; {PASS}"}, "not vouch"),
        (
            {"From": STRANGER, "Authentication_Results": "mx.acme.test; dmarc=pass header.from=evil.test"},
            "'eve@evil.test' is none of the senders that may write this",
        ),
        ({"From": '"ada@example.org" <eve@evil.test>', **PROVEN}, "does not vouch for 'evil.test'"),
    ],
)
async def test_who_is_not_proven_to_be_a_sender_of_the_route_answers_nothing(
    room: Mailroom, headers: dict[str, str], problem: str
) -> None:
    run, question = await asked(room)

    mail = letter(In_Reply_To=question)
    for name, value in headers.items():
        del mail[name.replace("_", "-")]
        mail[name.replace("_", "-")] = value
    delivery = await room.deliver(mail.as_bytes(), envelope_to=TO)

    assert delivery.answered is None
    assert delivery.held is not None
    assert problem in str(delivery.reason)
    assert isinstance(await run.result(), Suspended)


@pytest.mark.parametrize(
    "results",
    [
        'mx.acme.test 1; spf=pass (domain of "a(b" is (really) it) smtp.mailfrom="a;\\"b"@evil.test; ' + PASS,
        "mx.acme.test (by us); dmarc=pass(p=none)header.from=example.org",
        "mx.acme.test\t(by us) (really)1 (of 1; no other); dmarc=pass header.from=example.org",
        'mx.acme.test; dkim=pass (2048-bit key) header.d=example.org header.b="ab/c"',
    ],
)
async def test_what_our_server_says_besides_does_not_matter(room: Mailroom, results: str) -> None:
    run, question = await asked(room)

    mail = b"Authentication-Results: %b\n" % results.encode() + letter(In_Reply_To=question).as_bytes()
    delivery = await room.deliver(mail, envelope_to=TO)

    assert (delivery.answered, delivery.reason) == (run.run_id, None)


@pytest.mark.parametrize(
    "server",
    [
        "mx.acme.test x", "mx.acme.test 99", "mx.acme.test 1x", "mx.acme.test1 1; x\x00", "mx.acme.test(x)y",
        'mx.acme.test"x"', '"mx.acme.test"', "mx.acme.test\x0bx", "mx.acme.test\x0b", "\x01mx.acme.test",
        "mx.acme.test\x7f", "mx.acme.test\u00a0x", "mx.acme.test\u00a01", "\u00a0mx.acme.test", "mx.acme.test\u2028x",
        "mx.acme.test(\x0b)", "mx.acme.test(", "MX.ACME.TEST",
    ],
)  # fmt: skip
async def test_what_our_server_would_not_take_for_its_own_name_is_not_its_word(room: Mailroom, server: str) -> None:
    """It has left in place what it took for somebody else's, and may have written nothing of its own."""
    run, question = await asked(room)
    forged = f"Authentication-Results: {server}; {PASS}\n".encode()

    delivery = await room.deliver(forged + letter(In_Reply_To=question).as_bytes(), envelope_to=TO)

    assert delivery.answered is None
    assert isinstance(await run.result(), Suspended)


async def test_what_resembles_our_server_ends_the_search_for_its_word(room: Mailroom) -> None:
    run, question = await asked(room)
    mail = letter(In_Reply_To=question).as_bytes()
    ours = f"Authentication-Results: mx.acme.test; {PASS}\n".encode()

    below_another = await room.deliver(b"Authentication-Results: mx.acme.test.evil; x\n" + ours + mail, envelope_to=TO)
    assert below_another.answered == run.run_id

    run, question = await asked(room)
    mail = letter(In_Reply_To=question, Message_ID="<3@example.org>").as_bytes()
    job = b"Authentication-Results: mx.acme.test/4Xabc; dkim=pass header.d=example.org\n"
    below_a_job = await room.deliver(job + ours + mail, envelope_to=TO)
    assert below_a_job.answered == run.run_id

    _, question = await asked(room)
    mail = letter(In_Reply_To=question, Message_ID="<2@example.org>").as_bytes()
    below_a_likeness = await room.deliver(b"Authentication-Results: mx.acme.test x;\n" + ours + mail, envelope_to=TO)
    assert "'mx.acme.test x;' is not how 'mx.acme.test' begins what it says" in str(below_a_likeness.reason)


async def test_only_the_first_word_of_our_server_counts(room: Mailroom) -> None:
    run, question = await asked(room)
    mail = letter(In_Reply_To=question).as_bytes()
    ours = b"Authentication-Results: mx.acme.test; dmarc=fail header.from=example.org\n"
    forged = b"Authentication-Results: mx.acme.test; dmarc=pass header.from=example.org\n"

    delivery = await room.deliver(ours + forged + mail, envelope_to=TO)

    assert delivery.answered is None
    assert isinstance(await run.result(), Suspended)


@pytest.mark.parametrize(
    ("hidden", "problem"),
    [
        (b"X-A: b\nAuthentication-Results: mx.acme.test; %b\r\n", "do not all end alike"),
        (b"X-A: b\rAuthentication-Results: mx.acme.test; %b\r\n", "a CR without LF"),
        (b"Authentication-Results: =?utf-8?q?mx.acme.test?=; %b\r\n", "has said nothing about it"),
        (b"X-A: b\r\nno header\r\nAuthentication-Results: mx.acme.test; %b\r\n", "a line among its headers is none"),
    ],
)
async def test_what_our_server_could_not_see_and_remove_is_not_its_word(
    room: Mailroom, hidden: bytes, problem: str
) -> None:
    run, question = await asked(room)
    mail = letter(In_Reply_To=question).as_bytes().replace(b"\n", b"\r\n")

    delivery = await room.deliver(hidden % PASS.encode() + mail, envelope_to=TO)

    assert problem in str(delivery.reason)
    assert isinstance(await run.result(), Suspended)


async def test_nobody_is_believed_unless_somebody_says_whom_to_believe() -> None:
    workflow = asking()
    workflow.on_reply("approvals@*", ask, answer=yes_or_no, senders=FROM_US)
    async with mailroom(workflow) as room:
        run, question = await asked(room)

        delivery = await room.deliver(letter(In_Reply_To=question, **PROVEN).as_bytes(), envelope_to=TO)

        assert "this deployment believes nobody" in str(delivery.reason)
        assert delivery.held is not None
        released = await room.release(delivery.held, trust_sender=True)
        assert released.answered == run.run_id


async def test_a_reply_is_held_also_for_an_exception_whose_text_cannot_be_kept() -> None:
    def refuse(mail: Email) -> Approval:
        raise OSError(f"no {os.fsdecode(bytes([255]))}.csv")

    workflow = asking()
    workflow.on_reply("approvals@*", ask, answer=refuse, senders=FROM_US)
    async with mailroom(workflow, trust=OUR_SERVER) as room:
        _, question = await asked(room)

        delivery = await room.deliver(letter(In_Reply_To=question, **PROVEN).as_bytes(), envelope_to=TO)

        assert delivery.reason == "it makes no answer to 'ask': OSError: no \\udcff.csv"
        assert (await room.quarantine.list()).data == [delivery.held]


async def test_headers_that_are_there_twice_prove_nothing(room: Mailroom) -> None:
    _, question = await asked(room)
    raw = b"Subject: another\n" + letter(In_Reply_To=question, **PROVEN).as_bytes()

    delivery = await room.deliver(raw, envelope_to=TO)

    assert "has 'subject' twice" in str(delivery.reason)


async def test_the_same_reply_again_is_known_when_the_next_question_is_open() -> None:
    @step(id="ask-again")
    async def ask_again(before: str, ctx: SuspendContext[Approval, str]) -> str:
        return f"{before}, {ctx.suspend(before).approved}"

    workflow = create_workflow(id="asking", input_schema=str, output_schema=str).then(ask).then(ask_again).commit()
    for target in (ask, ask_again):
        reply(workflow, "approvals@*", target, answer=yes_or_no, senders=FROM_US)
    async with mailroom(workflow, trust=OUR_SERVER) as room:
        run, _ = await asked(room)
        raw = letter(Message_ID="<1@example.org>", **PROVEN).as_bytes()
        to = [f"approvals+{run.run_id}@acme.test"]

        first = await room.deliver(raw, envelope_to=to)
        assert isinstance(await run.result(), Suspended)
        again = await room.deliver(raw, envelope_to=to)

        assert [(one.answered, one.held) for one in (first, again)] == [(run.run_id, None)] * 2
        assert isinstance(await run.result(), Suspended)
