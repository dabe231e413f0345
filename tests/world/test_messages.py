"""Names of queues, and messages as they travel."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from wrkflw.world import events as e
from wrkflw.world.errors import WorldError
from wrkflw.world.messages import decode, encode
from wrkflw.world.queue import Defer, HealthCheck, Invocation, NewMessage, QueueName, prefix_of


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("__wkf_workflow_greet", ("greet", "default")),
        ("__wkf_workflow_./flows/a@b(c)[d]", ("./flows/a@b(c)[d]", "default")),
        ("__shop_wkf_workflow_greet", ("greet", "shop")),
        ("__wkf_wkf_workflow_greet", ("greet", "wkf")),
        ("__wkf_workflow_wkf_workflow_x", ("wkf_workflow_x", "default")),
    ],
)
def test_a_name_says_workflow_and_namespace(name: str, parts: tuple[str, str]) -> None:
    assert QueueName.parse(name) == parts
    assert str(QueueName(*parts)) == name
    assert name.startswith(prefix_of(parts[1]))


@pytest.mark.parametrize(
    "name",
    [
        "", "greet", "__wkf_workflow_", "__wkf_workflow_a b", "__wkf_workflow_a\n", "__wkf_workflow_\x00",
        "__Shop_wkf_workflow_greet", "__9_wkf_workflow_greet", "__default_wkf_workflow_greet", "wkf_workflow_greet",
        "__wkf_workflow_" + "a" * 257,
    ],
)  # fmt: skip
def test_any_other_name_is_refused(name: str) -> None:
    with pytest.raises(WorldError, match="is not the name of a queue; use str") as refused:
        QueueName.parse(name)

    assert refused.value.status == 400


@pytest.mark.parametrize("name", ["__wkf_step_send", "__shop_wkf_step_send"])
def test_steps_have_no_queue_of_their_own(name: str) -> None:
    with pytest.raises(WorldError, match="names steps; send the message to its workflow, with step_id"):
        QueueName.parse(name)


def test_a_namespace_that_fits_no_name_has_no_queues() -> None:
    with pytest.raises(WorldError, match="namespace 'team-b' cannot have queues"):
        prefix_of("team-b")


@pytest.mark.parametrize(
    "message",
    [
        HealthCheck("check-1"),
        Invocation("wrun_1"),
        Invocation("wrun_1", step_id="step_1", wait_id="wait_1", child_run_id="wrun_2", trace={"traceparent": "00-1"}),
        Invocation("r", run_input=e.RunCreated(workflow_name="greet", input=b"\x00\xff", attributes={"a": "b"})),
        Invocation("r", hook_input=e.HookReceived(correlation_id="hook_1", token="t", payload_data=b"")),
        Invocation("r", hook_input=e.SignalReceived(signal_type="paid")),
    ],
)
def test_a_message_arrives_as_it_was_sent(message: HealthCheck | Invocation) -> None:
    assert decode(encode(message)) == message


@pytest.mark.parametrize(
    "body",
    [b"", b"no", b"\xff", b"[]", b"1", b"null", b"{}", b'{"run_id": 1}', b'{"run_id": ""}', b'{"run_id": "../a"}'],
)
def test_what_is_no_message_is_refused(body: bytes) -> None:
    with pytest.raises(WorldError) as refused:
        decode(body)

    assert refused.value.status == 400


def test_what_is_malformed_or_unknown_counts_as_absent() -> None:
    fields = {
        "run_id": "r",
        "step_id": 7,
        "run_input": {"event_type": "run_created", "workflow_name": "no name"},
        "hook_input": {"event_type": "hook_received", "correlation_id": "h", "payload_data": "%"},
        "wait_id": None,
        "child_run_id": ["x"],
        "trace": {"a": 1},
        "newer": True,
    }

    assert decode(json.dumps(fields).encode()) == Invocation("r")
    assert decode(json.dumps({"run_id": "r", "run_input": {"event_type": "run_failed"}}).encode()) == Invocation("r")


def test_a_health_check_is_told_first() -> None:
    assert decode(b'{"health_check": "c", "run_id": "r"}') == HealthCheck("c")


GREET = "__wkf_workflow_greet"


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ({"queue_name": "greet"}, "is not the name of a queue"),
        ({"scope": "for ever"}, "'for ever' is not a scope; use 'pending' or 'inflight'"),
        ({"idempotency_key": ""}, "an idempotency key has 1 to 1024 characters, not 0"),
        ({"delay": timedelta(seconds=-1)}, "a message cannot be delayed by -1 day, 23:59:59"),
        ({"delay": timedelta(days=4000)}, "a message cannot be delayed by 4000 days"),
        ({"headers": {"X": "1"}}, "cannot have a header 'X'"),
        ({"headers": {"x-vqs-queue-name": "other"}}, "cannot have a header 'x-vqs-queue-name'"),
        ({"headers": {"host": "evil"}}, "cannot have a header 'host'"),
        ({"headers": {"trace": "a\r\nb: c"}}, "the value of header 'trace' is not one line of ASCII"),
    ],
)
def test_a_message_that_cannot_be_queued_is_refused(what: dict[str, object], text: str) -> None:
    with pytest.raises(WorldError, match=text) as refused:
        NewMessage(**{"queue_name": GREET, "message": Invocation("r"), **what})  # type: ignore[arg-type]  # on purpose

    assert refused.value.status == 400


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), 1e12])
def test_a_message_is_deferred_by_a_time_that_can_pass(seconds: float) -> None:
    with pytest.raises(WorldError, match="a message cannot be deferred by"):
        Defer(seconds)
