"""What is refused of routes for replies before there is mail, and what a run writes into the mail that it sends."""

from __future__ import annotations

from typing import Any

import pytest

from wrkflw import DefinitionError, Event, Runtime, Suspended, create_workflow
from wrkflw.mail import Mailroom, Trust, message_id, reply_address
from wrkflw.triggers import Email, reply

from .desk import OUR_SERVER, PROVEN, Approval, ask, asking, deciding, letter, mailroom, outputs, yes_or_no

TO = ("approvals@acme.test",)
FROM_US = ["*@example.org"]


def test_a_reply_route_is_checked_at_definition() -> None:
    workflow = asking()
    workflow.on_reply("approvals@*", ask, answer=yes_or_no, senders=FROM_US)

    with pytest.raises(DefinitionError, match="already takes replies to 'approvals@\\*' for 'ask'"):
        workflow.on_reply("approvals@*", ask, answer=yes_or_no, senders=FROM_US)
    with pytest.raises(DefinitionError, match="senders=\\[\\] would let nobody in"):
        workflow.on_reply("a@b", ask, answer=yes_or_no, senders=[])
    with pytest.raises(TypeError, match="reply\\(\\) takes a step that suspends, or an Event, got 'ask'"):
        workflow.on_reply("a@b", "ask", answer=yes_or_no, senders=FROM_US)  # type: ignore[call-overload]  # refused
    with pytest.raises(DefinitionError, match="answer= of replies to 'a@b' gives str, and 'ask' takes Approval; make"):
        workflow.on_reply("a@b", ask, answer=told, senders=FROM_US)  # type: ignore[arg-type]  # refused
    with pytest.raises(DefinitionError, match="is async; answers are plain functions, do the work in the step that"):
        workflow.on_reply("a@b", ask, answer=told_later, senders=FROM_US)  # type: ignore[arg-type]  # refused
    with pytest.raises(DefinitionError, match=r"Step.* cannot take replies; pass a workflow, as \.commit"):
        reply(ask, "a@b", ask, answer=yes_or_no, senders=FROM_US)  # type: ignore[call-overload]  # refused


def told(mail: Email) -> str:
    return mail.text


async def told_later(mail: Email) -> Approval:
    return yes_or_no(mail)


@pytest.mark.parametrize(("target", "kind"), [(ask, "step 'ask'"), (Event("other", Approval), "event 'other'")])
async def test_a_reply_to_what_a_workflow_never_waits_for_is_refused(target: Any, kind: str) -> None:
    workflow = deciding()
    workflow.on_reply("a@b", target, answer=yes_or_no, senders=FROM_US)

    async with Runtime(":memory:", workflows=[workflow]) as rt:
        with pytest.raises(DefinitionError, match=f"workflow 'deciding' has no {kind} that a reply could be for; give"):
            Mailroom(rt)


async def test_a_step_of_a_workflow_inside_of_another_may_be_answered() -> None:
    inner = asking()
    outer = create_workflow(id="outer", input_schema=str, output_schema=str).then(inner).commit()
    outer.on_reply("approvals@*", ask, answer=yes_or_no, senders=FROM_US)
    async with mailroom(outer, trust=OUR_SERVER) as room:
        run = await outer.create_run()
        parked = await run.start("may I?")
        assert isinstance(parked, Suspended)
        question = str(parked.suspensions[0].payload)

        delivery = await room.deliver(letter(In_Reply_To=question, **PROVEN).as_bytes(), envelope_to=TO)

        assert delivery.answered == run.run_id
        assert await outputs(room, run.run_id) == ["yes"]


@pytest.mark.parametrize("name", ["", "mx.acme.test; dmarc=pass", "two words"])
def test_what_names_no_mail_server_is_not_believed(name: str) -> None:
    with pytest.raises(ValueError, match="is the name of no mail server; give what your mail server writes"):
        Trust(authserv_id=name)


class _Call:
    run_id = "wrun_01KA0000000000000000000000"
    key = "ask"


def test_what_a_run_sends_names_it() -> None:
    assert message_id(_Call(), "acme.test").startswith(f"<{_Call.run_id}.")
    assert message_id(_Call(), "acme.test") == message_id(_Call(), "acme.test")
    assert reply_address(_Call(), "approvals@Acme.test") == f"approvals+{_Call.run_id}@acme.test"
    with pytest.raises(ValueError, match="cannot be the domain of a Message-ID"):
        message_id(_Call(), "acme.test>\r\nBcc: eve@evil.test")
    with pytest.raises(ValueError, match="cannot be an address to reply to"):
        reply_address(_Call(), "approvals")
    with pytest.raises(ValueError, match="is longer than mail servers take"):
        reply_address(_Call(), f"{'a' * 40}@acme.test")
