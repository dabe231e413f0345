"""Deliveries over HTTP: the endpoint on a real server, and the dispatcher that sends there."""

from __future__ import annotations

import asyncio
import http.client
import json
import logging
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
import uvicorn

from tests.clocks import ManualClock, settle
from wrkflw.world.messages import encode
from wrkflw.world.queue import Defer, Delivery, HealthCheck, Invocation, Message, NotDeliveredError
from wrkflw.worlds.http_delivery import HttpDispatcher, create_queue_handler
from wrkflw.worlds.http_delivery.dispatcher import DeliveryError
from wrkflw.worlds.http_delivery.endpoint import FLOW, LARGEST_BODY, STEP, AsgiApp
from wrkflw.worlds.http_delivery.signatures import WINDOW, sign
from wrkflw.worlds.sqlite import SqliteWorld

KEY, OLD_KEY, OTHER_KEY = (bytes([number]) * 32 for number in range(3))
PREFIX = "__wkf_workflow_"
GREET = "__wkf_workflow_greet"
DELIVERY = Delivery("msg_1", GREET, 2)
SEEDS_HEADERS = {"x-vqs-queue-name": GREET, "x-vqs-message-id": "msg_1", "x-vqs-message-attempt": "2"}
BODY = encode(Invocation("r"))


class Inbox:
    def __init__(self, *answers: Defer | Exception | None) -> None:
        self.got: list[tuple[Message, Delivery]] = []
        self._answers = list(answers)

    async def __call__(self, message: Message, delivery: Delivery) -> Defer | None:
        self.got.append((message, delivery))
        answer = self._answers.pop(0) if self._answers else None
        if isinstance(answer, Exception):
            raise answer
        return answer


@asynccontextmanager
async def served(app: AsgiApp) -> AsyncIterator[str]:
    """The address of ``app`` on a server."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="on", ws="none"))
    serving = asyncio.ensure_future(server.serve(sockets=[listener]))
    await until(lambda: server.started)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving
        listener.close()


@asynccontextmanager
async def dispatching(url: str, clock: ManualClock, key: bytes | None = KEY) -> AsyncIterator[HttpDispatcher]:
    dispatcher = HttpDispatcher(url, keys=[key] if key else [], insecure=key is None, clock=clock)
    try:
        yield dispatcher
    finally:
        dispatcher.close()


async def post(
    app: AsgiApp,
    body: bytes = BODY,
    headers: Mapping[str, str] | None = None,
    path: str = FLOW,
    method: str = "POST",
    *,
    whole: bool = True,
) -> tuple[int, object]:
    """Status and content of the answer to a request; nothing follows a body that is not whole."""
    sent: list[dict[str, object]] = []
    parts = [{"type": "http.request", "body": body, "more_body": not whole}]

    async def receive() -> dict[str, object]:
        if not parts:
            await asyncio.Event().wait()
        return parts.pop(0)

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    given = SEEDS_HEADERS if headers is None else headers
    pairs = [(name.encode(), value.encode()) for name, value in given.items()]
    await app({"type": "http", "path": path, "method": method, "headers": pairs}, receive, send)  # type: ignore[arg-type]
    start, content = sent
    assert isinstance(start["status"], int)
    assert isinstance(content["body"], bytes)
    return start["status"], json.loads(content["body"])


def open_endpoint(inbox: Inbox, prefix: str = PREFIX) -> AsgiApp:
    return create_queue_handler(prefix, inbox, insecure=True)


# --- the endpoint ------------------------------------------------------------------------------------


async def test_the_seeds_request_reaches_the_handler() -> None:
    inbox = Inbox()

    assert await post(open_endpoint(inbox)) == (200, {"ok": True})
    assert inbox.got == [(Invocation("r"), DELIVERY)]


@pytest.mark.parametrize("path", [FLOW, STEP, "/app" + FLOW])
async def test_both_paths_are_served_wherever_they_are_mounted(path: str) -> None:
    assert (await post(open_endpoint(Inbox()), path=path))[0] == 200


@pytest.mark.parametrize(("path", "method", "status"), [("/other", "POST", 404), (FLOW, "GET", 405)])
async def test_nothing_else_is_served(path: str, method: str, status: int) -> None:
    assert (await post(open_endpoint(Inbox()), path=path, method=method))[0] == status


@pytest.mark.parametrize("seconds", [0, 30, 0.5])
async def test_a_deferral_is_told_in_seconds(seconds: float) -> None:
    assert await post(open_endpoint(Inbox(Defer(seconds)))) == (200, {"timeoutSeconds": seconds})


async def test_an_exception_is_told_without_its_text(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "wrkflw"):
        answer = await post(open_endpoint(Inbox(ValueError("secret"))))

    assert answer == (500, {"error": "the handler failed"})
    assert "secret" in caplog.text


@pytest.mark.parametrize("missing", SEEDS_HEADERS)
async def test_a_missing_header_is_refused(missing: str) -> None:
    headers = {name: value for name, value in SEEDS_HEADERS.items() if name != missing}

    assert await post(open_endpoint(Inbox()), headers=headers) == (
        400,
        {"error": "missing required headers or body"},
    )


@pytest.mark.parametrize("body", [b"", b"no", b"{}", b"[]"])
async def test_a_missing_or_malformed_body_is_refused(body: bytes) -> None:
    assert (await post(open_endpoint(Inbox()), body))[0] == 400


@pytest.mark.parametrize("attempt", ["0", "-1", "two", "1.5", "9" * 30, "9" * 5000])
async def test_an_attempt_is_a_number_from_one(attempt: str) -> None:
    headers = {**SEEDS_HEADERS, "x-vqs-message-attempt": attempt}

    assert (await post(open_endpoint(Inbox()), headers=headers))[0] == 400


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("__shop_wkf_workflow_greet", "is of another namespace; send what begins with '__wkf_workflow_'"),
        ("__wkf_step_send", "names steps"),
        ("other", "is not the name of a queue"),
    ],
)
async def test_a_foreign_queue_is_refused(name: str, told: str) -> None:
    inbox = Inbox()

    status, content = await post(open_endpoint(inbox), headers={**SEEDS_HEADERS, "x-vqs-queue-name": name})

    assert status == 400
    assert isinstance(content, dict)
    assert f"{name!r} {told}" in content["error"]
    assert inbox.got == []


@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_that_is_too_large_is_refused(announced: bool) -> None:
    body = b"x" * (LARGEST_BODY + 1)
    headers = {**SEEDS_HEADERS, "content-length": str(len(body))} if announced else SEEDS_HEADERS

    assert (await post(open_endpoint(Inbox()), body, headers))[0] == 413


async def test_a_length_beyond_every_number_is_too_large() -> None:
    headers = {**SEEDS_HEADERS, "content-length": "9" * 5000}

    assert (await post(open_endpoint(Inbox()), headers=headers))[0] == 413


async def test_a_body_that_does_not_come_is_not_waited_for(clock: ManualClock) -> None:
    inbox = Inbox()
    app = create_queue_handler(PREFIX, inbox, insecure=True, body_time=timedelta(seconds=10), clock=clock)
    request = asyncio.ensure_future(post(app, BODY[:5], whole=False))
    await settle()
    clock.turn(timedelta(seconds=10) - timedelta(microseconds=1))
    await settle()
    assert not request.done()

    clock.turn(timedelta(microseconds=1))

    assert await request == (408, {"error": "the body did not come in time"})
    assert inbox.got == []


async def test_who_hangs_up_hears_nothing() -> None:
    sent: list[object] = []

    async def receive() -> dict[str, object]:
        return {"type": "http.disconnect"}

    async def send(message: object) -> None:
        sent.append(message)

    inbox = Inbox()
    await open_endpoint(inbox)({"type": "http", "path": FLOW, "method": "POST", "headers": []}, receive, send)

    assert (sent, inbox.got) == ([], [])


# --- environments ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("here", "said", "status"),
    [
        ("development", None, 200),
        ("development", "development", 200),
        ("development", "production", 403),
        ("production", "production", 200),
        ("production", None, 403),
    ],
)
async def test_messages_of_another_environment_are_refused(here: str, said: str | None, status: int) -> None:
    inbox = Inbox()
    headers = SEEDS_HEADERS if said is None else {**SEEDS_HEADERS, "x-wkf-environment": said}

    answer = await post(create_queue_handler(PREFIX, inbox, insecure=True, environment=here), headers=headers)

    assert answer[0] == status
    assert len(inbox.got) == (status == 200)


async def test_a_message_that_reaches_another_environment_was_not_delivered(clock: ManualClock) -> None:
    delivery = replace(DELIVERY, headers={"x-wkf-environment": "production"})
    for environment, arrives in (("staging", False), ("production", True)):
        inbox = Inbox()
        app = create_queue_handler(PREFIX, inbox, keys=[KEY], environment=environment, clock=clock)
        async with served(app) as url, dispatching(url, clock) as dispatcher:
            if arrives:
                assert await dispatcher(Invocation("r"), delivery) is None
            else:
                with pytest.raises(NotDeliveredError, match="the endpoint answered 403"):
                    await dispatcher(Invocation("r"), delivery)
        assert len(inbox.got) == arrives


# --- signatures --------------------------------------------------------------------------------------


CURE = "give both sides the same key, and check their clocks"
NOT_SIGNED = f"the delivery is not signed, or not just now, or was taken before; {CURE}"


def signed(clock: ManualClock, key: bytes = KEY) -> dict[str, str]:
    return sign(SEEDS_HEADERS, BODY, key, clock.now())


async def test_a_signed_request_is_accepted_once(clock: ManualClock) -> None:
    app = create_queue_handler(PREFIX, Inbox(), keys=[KEY], clock=clock)
    headers = signed(clock)

    assert (await post(app, headers=headers))[0] == 200
    assert (await post(app, headers=headers))[0] == 401
    assert (await post(app, headers=signed(clock)))[0] == 200


@pytest.mark.parametrize(
    "change",
    [
        {"x-vqs-queue-name": "__wkf_workflow_other"},
        {"x-vqs-message-id": "msg_2"},
        {"x-vqs-message-attempt": "3"},
        {"x-wkf-timestamp": "1"},
        {"x-wkf-nonce": "a" * 32},
        {"x-wkf-nonce": ""},
        {"x-wkf-environment": "production"},
        {"x-wkf-signature": "v1="},
        {"x-wkf-signature": "ü"},
        {"x-wkf-timestamp": "9" * 30},
    ],
)
async def test_a_request_that_was_changed_is_not_accepted(clock: ManualClock, change: dict[str, str]) -> None:
    inbox = Inbox()
    app = create_queue_handler(PREFIX, inbox, keys=[KEY], clock=clock)

    status, told = await post(app, headers={**signed(clock), **change})

    assert (status, told) == (401, {"error": NOT_SIGNED})
    assert inbox.got == []


async def test_another_body_under_a_signature_is_not_accepted(clock: ManualClock) -> None:
    app = create_queue_handler(PREFIX, Inbox(), keys=[KEY], clock=clock)

    assert (await post(app, encode(Invocation("other")), signed(clock)))[0] == 401


@pytest.mark.parametrize("path", [FLOW, STEP])
async def test_every_route_refuses_what_is_not_signed_before_anything_else(clock: ManualClock, path: str) -> None:
    app = create_queue_handler(PREFIX, Inbox(), keys=[KEY], clock=clock)

    assert (await post(app, b"malformed", {}, path))[0] == 401


@pytest.mark.parametrize(("key", "status"), [(KEY, 200), (OLD_KEY, 200), (OTHER_KEY, 401)])
async def test_keys_can_be_changed_one_by_one(clock: ManualClock, key: bytes, status: int) -> None:
    app = create_queue_handler(PREFIX, Inbox(), keys=[KEY, OLD_KEY], clock=clock)

    assert (await post(app, headers=signed(clock, key)))[0] == status


@pytest.mark.parametrize("off", [-WINDOW, WINDOW])
async def test_a_signature_is_good_for_a_while(clock: ManualClock, off: timedelta) -> None:
    app = create_queue_handler(PREFIX, Inbox(), keys=[KEY], clock=clock)
    headers = signed(clock)
    clock.turn(off)
    assert (await post(app, headers=headers))[0] == 200

    late = signed(clock)
    clock.turn(off + (timedelta(seconds=1) if off > timedelta(0) else -timedelta(seconds=1)))
    assert (await post(app, headers=late))[0] == 401


@pytest.mark.parametrize(
    ("keys", "insecure", "text"),
    [
        ([], False, "deliveries need a key, or anybody could make them; give keys=, or say insecure=True"),
        ([b"short"], False, "a key of deliveries has at least 32 bytes"),
        ([KEY], True, "deliveries are either signed or insecure"),
    ],
)
def test_neither_side_is_made_without_a_good_key(keys: list[bytes], insecure: bool, text: str) -> None:
    makers: list[Callable[[], object]] = [
        lambda: create_queue_handler(PREFIX, Inbox(), keys=keys, insecure=insecure),
        lambda: HttpDispatcher("http://127.0.0.1", keys=keys, insecure=insecure),
    ]
    for make in makers:
        with pytest.raises(ValueError, match=text):
            make()


@pytest.mark.parametrize("url", ["", "localhost:80", "ftp://a", "http://", "http://a/?b", "http://a/#b"])
def test_a_dispatcher_needs_an_address(url: str) -> None:
    with pytest.raises(ValueError, match="is not the address of an endpoint"):
        HttpDispatcher(url, keys=[KEY])


# --- over a server -----------------------------------------------------------------------------------


async def test_a_message_travels_from_world_to_handler(clock: ManualClock) -> None:
    inbox = Inbox(Defer(0), ValueError("once"))
    world = SqliteWorld(":memory:", clock=clock)
    await world.start()
    async with (
        served(create_queue_handler(PREFIX, inbox, keys=[KEY], clock=ManualClock())) as url,
        dispatching(url, clock) as dispatcher,
    ):
        end = world.queue.consume(dispatcher)
        message_id = await world.queue.queue(GREET, Invocation("r", step_id="step_1"), headers={"trace": "1"})
        await until(lambda: len(inbox.got) == 2)
        await until(lambda: bool(clock._calls))
        clock.turn("1s")  # after the failure
        await until(lambda: len(inbox.got) == 3)
        await end()
    await world.close()

    assert inbox.got == [
        (Invocation("r", step_id="step_1"), Delivery(message_id, GREET, attempt)) for attempt in (1, 2, 3)
    ]


async def until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110  # servers and threads work beside the loop, and tell nobody
        await asyncio.sleep(0.001)


async def test_one_connection_serves_message_after_message(clock: ManualClock) -> None:
    peers: set[object] = set()
    app = create_queue_handler(PREFIX, Inbox(), keys=[KEY], clock=clock)

    async def watched(scope: dict[str, object], receive: object, send: object) -> None:
        if scope["type"] == "http":
            peers.add(str(scope["client"]))
        await app(scope, receive, send)  # type: ignore[arg-type]

    async with served(watched) as url, dispatching(url, clock) as dispatcher:  # type: ignore[arg-type]
        for _ in range(3):
            assert await dispatcher(HealthCheck(), DELIVERY) is None

    assert len(peers) == 1


async def test_a_server_that_was_restarted_is_reached_again(clock: ManualClock) -> None:
    """Its end of the connection that was kept is gone, which says nothing about the message."""
    app = create_queue_handler(PREFIX, Inbox(), keys=[KEY], clock=clock)
    async with served(app) as url, dispatching(url, clock) as dispatcher:
        await dispatcher(HealthCheck(), DELIVERY)
        for connection in dispatcher._connections._idle:
            assert connection.sock is not None
            connection.sock.shutdown(socket.SHUT_RDWR)

        assert await dispatcher(HealthCheck(), DELIVERY) is None


async def test_a_server_that_is_not_there_was_not_reached(clock: ManualClock) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and never listens
        async with dispatching(f"http://127.0.0.1:{taken.getsockname()[1]}", clock) as dispatcher:
            pauses: list[float] = []
            for _ in range(7):
                with pytest.raises(NotDeliveredError, match="the endpoint was not reached") as refused:
                    await dispatcher(HealthCheck(), DELIVERY)
                pauses.append(refused.value.retry_after.total_seconds())

    assert pauses == [1, 2, 4, 8, 16, 30, 30]


@pytest.mark.parametrize(
    ("status", "cure"),
    [
        (401, "check that both sides have the same key, and their clocks"),
        (403, "check that both sides are of the same environment"),
        (404, "check its address"),
        (405, "check its address"),
        (429, "it is tried again later"),
        (503, "it is tried again later"),
    ],
)
async def test_an_answer_from_before_the_handler_is_no_attempt(clock: ManualClock, status: int, cure: str) -> None:
    async with served(answering(status, b"{}")) as url, dispatching(url, clock) as dispatcher:
        with pytest.raises(NotDeliveredError, match=f"the endpoint answered {status}; {cure}"):
            await dispatcher(HealthCheck(), DELIVERY)


@pytest.mark.parametrize("status", [400, 413, 500, 502])
async def test_any_other_answer_is_a_failure(clock: ManualClock, status: int) -> None:
    async with served(answering(status, b"{}")) as url, dispatching(url, clock) as dispatcher:
        with pytest.raises(DeliveryError, match=f"the endpoint answered {status}; its log says why"):
            await dispatcher(HealthCheck(), DELIVERY)


@pytest.mark.parametrize(
    ("status", "content", "answer"),
    [
        (200, b'{"ok": true}', None),
        (200, b"", None),
        (200, b'{"timeoutSeconds": 0}', Defer(0)),
        (200, b'{"timeoutSeconds": 2.5}', Defer(2.5)),
        (503, b'{"timeoutSeconds": 30}', Defer(30)),
        (200, b'{"timeoutSeconds": true}', None),
    ],
)
async def test_both_forms_of_a_deferral_are_read(
    clock: ManualClock, status: int, content: bytes, answer: Defer | None
) -> None:
    async with served(answering(status, content)) as url, dispatching(url, clock) as dispatcher:
        assert await dispatcher(HealthCheck(), DELIVERY) == answer


@pytest.mark.parametrize("came", [b"", b'{"timeoutSec'])
async def test_an_answer_that_is_cut_short_is_none(clock: ManualClock, came: bytes) -> None:
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 22\r\n\r\n" + came
    async with saying(answer) as (url, _), dispatching(url, clock) as dispatcher:
        with pytest.raises(http.client.IncompleteRead):
            await dispatcher(HealthCheck(), DELIVERY)


@pytest.mark.parametrize("kept", [False, True])
async def test_what_waits_for_an_answer_fails_when_the_dispatcher_is_closed(clock: ManualClock, kept: bool) -> None:
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
    async with saying(*[answer] * kept, None) as (url, asked):
        dispatcher = HttpDispatcher(url, insecure=True, timeout=timedelta(seconds=5), clock=clock)
        if kept:
            await dispatcher(HealthCheck(), DELIVERY)
        waiting = asyncio.ensure_future(dispatcher(HealthCheck(), DELIVERY))
        await until(lambda: len(asked) == kept + 1)
        dispatcher.close()

        with pytest.raises(ConnectionError):  # a TimeoutError is none
            await waiting
        assert len(asked) == kept + 1


async def test_a_message_that_no_endpoint_takes_is_not_sent(clock: ManualClock) -> None:
    dispatcher = HttpDispatcher("http://127.0.0.1:9", keys=[KEY], largest_body=5, clock=clock)

    with pytest.raises(DeliveryError, match="has 14 bytes, and the endpoint takes 5; raise largest_body= on both"):
        await dispatcher(Invocation("r"), DELIVERY)
    dispatcher.close()


async def test_a_closed_dispatcher_sends_nothing(clock: ManualClock) -> None:
    async with served(answering(200, b"{}")) as url:
        dispatcher = HttpDispatcher(url, insecure=True, clock=clock)
        await dispatcher(HealthCheck(), DELIVERY)
        dispatcher.close()

        with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
            await dispatcher(HealthCheck(), DELIVERY)
    await settle()


@asynccontextmanager
async def saying(*answers: bytes | None) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that says these to one request after the other, of each connection, and the requests; None is silence.

    It hangs up behind the last.
    """
    asked: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for one in answers:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            asked.append(head + await reader.readexactly(length))
            if one is None:
                await reader.read()
            else:
                writer.write(one)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked
    await settle()


def answering(status: int, content: bytes) -> AsgiApp:
    """A server that answers so, whatever it is asked."""

    async def serve(scope: dict[str, object], receive: Callable[[], object], send: Callable[[object], object]) -> None:
        if scope["type"] == "lifespan":
            for _ in range(2):
                message = await receive()  # type: ignore[misc]
                await send({"type": f"{message['type']}.complete"})  # type: ignore[misc]
            return
        while (await receive()).get("more_body"):  # type: ignore[misc]
            pass
        await send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [(b"content-length", str(len(content)).encode())],
            }
        )  # type: ignore[misc]
        await send({"type": "http.response.body", "body": content})  # type: ignore[misc]

    return serve  # type: ignore[return-value]
