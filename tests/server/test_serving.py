"""A real server: streams that are live, clients that are slow, and how it ends."""

from __future__ import annotations

import asyncio
import dataclasses
import resource
import signal
import socket
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest

from tests.clocks import ManualClock
from wrkflw import Runtime, create_workflow
from wrkflw.server import ServerLimits, serve
from wrkflw.triggers import HttpRequest
from wrkflw.world.errors import StoreRefusedError

from .desk import ADA, WORKFLOWS, lasting
from .sockets import Place, listening

SHORT = ServerLimits(
    header_time=timedelta(milliseconds=50),
    header_bytes=4096,
    body_time=timedelta(milliseconds=50),
    idle_time=timedelta(seconds=1),
    unread_time=timedelta(milliseconds=50),
)
GET = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST /api/workflows/greeting/runs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


async def parked(place: Place, workflow: str) -> str:
    async with place.client() as client:
        answer = await client.post(f"/api/workflows/{workflow}/runs?wait=10s", json=ADA)
        return str(answer.json()["run_id"])


# --- heads -------------------------------------------------------------------------------------------------


async def test_the_head_of_what_can_be_got_is_that_of_its_answer() -> None:
    """Who watches over servers often asks for no more."""
    async with listening() as place, place.client() as client:
        run_id = await parked(place, "asking")
        for path in ("/healthz", "/api/runs", f"/api/runs/{run_id}", "/api/runs/nobody"):
            whole, head = await client.get(path), await client.head(path)

            assert (head.status_code, head.content) == (whole.status_code, b"")
            assert head.headers["content-length"] == str(len(whole.content))
            assert head.headers["content-type"] == whole.headers["content-type"]


async def test_what_is_live_has_no_head() -> None:
    async with listening() as place, place.client() as client:
        run_id = await parked(place, "asking")

        assert (await client.head(f"/api/runs/{run_id}/stream")).status_code == 405
        assert (await client.head(f"/api/runs/{run_id}/streams/default")).status_code == 405


# --- streams -----------------------------------------------------------------------------------------------


async def test_a_stream_is_live_until_the_run_has_ended() -> None:
    async with listening() as place, place.client() as client, place.client() as other:
        run_id = await parked(place, "deciding")
        seen: list[str] = []
        async with client.stream("GET", f"/api/runs/{run_id}/stream") as answer:
            async for line in answer.aiter_lines():
                if line.startswith("data: "):
                    seen.append(line.split('"event_type":"')[1].split('"')[0])
                if seen and seen[-1] == "wait_created":
                    await other.post(f"/api/runs/{run_id}/events/approval", json={"approved": True})

    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert seen[-1] == "run_completed"


async def test_who_was_cut_off_goes_on_where_the_last_event_was() -> None:
    async with listening() as place, place.client() as client:
        run_id = await parked(place, "asking")
        before: list[str] = []
        async with client.stream("GET", f"/api/runs/{run_id}/stream") as answer:
            async for line in answer.aiter_lines():
                if line.startswith("id: "):
                    before.append(line.removeprefix("id: "))
                if len(before) == 3:
                    break
        await client.post(f"/api/runs/{run_id}/resume", json={"step": "ask", "data": {"approved": True}})
        headers = {"Last-Event-ID": before[-1]}
        rest = (await client.get(f"/api/runs/{run_id}/stream", headers=headers)).text
        whole = (await client.get(f"/api/runs/{run_id}/stream")).text

    ids = [line.removeprefix("id: ") for line in whole.splitlines() if line.startswith("id: ")]
    assert [line.removeprefix("id: ") for line in rest.splitlines() if line.startswith("id: ")] == ids[3:]
    assert ids[:3] == before


async def test_a_stream_ends_when_its_run_is_deleted(caplog: pytest.LogCaptureFixture) -> None:
    async with listening() as place, place.client() as client:
        run_id = await parked(place, "deciding")
        async with client.stream("GET", f"/api/runs/{run_id}/stream") as answer:
            lines = answer.aiter_lines()
            while "wait_created" not in await anext(lines):
                pass
            await place.rt.runs.cancel_many([run_id])
            await place.rt.runs.delete(run_id)
            async for _ in lines:
                pass

    assert caplog.text == ""


async def test_a_stream_in_which_nothing_happens_gives_signs_of_life() -> None:
    clock = ManualClock()
    rt = Runtime(":memory:", workflows=WORKFLOWS, clock=clock)
    async with listening(rt) as place, place.client() as client:
        run_id = await parked(place, "deciding")
        async with client.stream("GET", f"/api/runs/{run_id}/stream") as answer:
            async for line in answer.aiter_lines():
                if "wait_created" in line:
                    await asyncio.sleep(0.02)  # until the server has nothing more to say
                    clock.turn(timedelta(seconds=15))
                if line == ": keep-alive":
                    break

    assert line == ": keep-alive"


async def test_who_leaves_a_stream_leaves_nothing_behind() -> None:
    async with listening(limits=ServerLimits(streams=1)) as place, place.client() as client:
        run_id = await parked(place, "deciding")
        for _ in range(3):
            async with client.stream("GET", f"/api/runs/{run_id}/stream") as answer:
                assert answer.status_code == 200
                await anext(answer.aiter_lines())
            while "wrkflw_http_streams_open 1" in (await client.get("/metrics")).text:
                pass  # it is told within a turn of the loop or two


# --- slow clients ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("begun", [b"", b"GET", GET, GET + b"X-Slow: "])
async def test_who_does_not_come_to_the_end_of_its_headers_is_cut_off(begun: bytes) -> None:
    async with listening(limits=SHORT) as place:
        answer = await place.say(begun)

    assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")


async def test_who_does_not_come_to_the_end_of_the_next_headers_is_cut_off() -> None:
    async with listening(limits=SHORT) as place:
        reader, writer = await asyncio.open_connection("127.0.0.1", place.port)
        writer.write(GET + b"\r\n")
        first = await reader.readuntil(b'{"status":"ok"}')
        writer.write(GET)
        second = await reader.read()
        writer.close()

    assert first.startswith(b"HTTP/1.1 200 OK\r\n")
    assert second.startswith(b"HTTP/1.1 408 Request Timeout\r\n")


async def test_headers_without_an_end_are_cut_off() -> None:
    async with listening(limits=SHORT) as place:
        answer = await place.say(GET, *[b"X-Much: " + b"x" * 1000 + b"\r\n"] * 5)

    assert answer.startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")


async def test_trailers_without_an_end_are_cut_off() -> None:
    async with listening(limits=SHORT) as place:
        chunked = POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n"
        answer = await place.say(chunked, *[b"X-Much: " + b"x" * 1000 + b"\r\n"] * 10)

    assert answer.startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")


async def test_a_trailer_is_no_header() -> None:
    """A proxy that takes a header away, for nobody outside may say it, does not see it behind the body."""
    seen: list[HttpRequest] = []
    greeted = create_workflow(id="greeted", input_schema=str, output_schema=str).map(lambda name: name).commit()

    def name_of(request: HttpRequest) -> str:
        seen.append(request)
        return "Ada"

    greeted.on_http("POST /in", input=name_of, public=True)
    async with listening(workflows=[greeted]) as place:
        await place.say(
            b"POST /in HTTP/1.1\r\nHost: localhost\r\nX-Seen: yes\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"1\r\nx\r\n0\r\nX-User: admin\r\n\r\n"
        )

    assert [name for name in seen[0].headers if name.startswith("x-")] == ["x-seen"]


async def test_who_does_not_come_to_the_end_of_its_body_is_cut_off() -> None:
    async with listening(limits=SHORT) as place:
        answer = await place.say(POST + b"Content-Length: 100\r\n\r\n{")
        runs = (await place.rt.runs.list()).data

    assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert b"application/problem+json" in answer
    assert runs == []


async def test_a_body_that_nobody_reads_holds_no_connection() -> None:
    async with listening(limits=SHORT) as place:
        answer = await place.say(GET + b"Content-Length: 100\r\n\r\n{")

    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")


async def test_chunks_without_an_end_are_cut_off() -> None:
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    async with listening() as place:
        answer = await place.say(POST + b"Transfer-Encoding: chunked\r\n\r\n", *[chunk] * 100)
        runs = (await place.rt.runs.list()).data

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert runs == []


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET / HTTP/1.1\r\n\r\n",  # no host
        GET + b"Host: evil.example\r\n\r\n",
        POST + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nnull",
        POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: gzip, chunked, identity\r\n\r\n0\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"BREW /api/runs HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /api/runs HTTP/1.1\r\nHost: localhost\r\nX : y\r\n\r\n",
    ],
)
async def test_what_two_readers_could_read_differently_is_refused(request_bytes: bytes) -> None:
    async with listening(limits=SHORT) as place:
        answer = await place.say(request_bytes)
        runs = (await place.rt.runs.list()).data

    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 405 "))
    assert runs == []


async def test_slow_clients_keep_nobody_else_from_being_answered() -> None:
    async with listening(limits=ServerLimits(header_time=timedelta(seconds=30))) as place, place.client() as client:
        slow = [await asyncio.open_connection("127.0.0.1", place.port) for _ in range(400)]
        for _, writer in slow:
            writer.write(GET)
        answer = await client.post("/api/workflows/greeting/runs?wait=10s", json=ADA)
        for _, writer in slow:
            writer.close()

    assert answer.json()["output"] == {"text": "Hello, Ada"}


async def test_a_server_turns_connections_away_before_it_can_open_no_file(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def few(_: int) -> tuple[int, int]:
        return 64, 64

    monkeypatch.setattr(resource, "getrlimit", few)
    async with listening() as place, place.client() as client:
        held = [await asyncio.open_connection("127.0.0.1", place.port) for _ in range(40)]
        answers = [await reader.read() for reader, _ in held[-8:]]
        for _, writer in held:
            writer.close()
        while (await client.get("/healthz")).status_code != 200:
            pass  # it is known within a turn of the loop or two

    assert {answer[:12] for answer in answers} == {b"HTTP/1.1 503"}
    assert [record.getMessage()[:23] for record in caplog.records] == ["32 connections are open"]


async def test_who_takes_nothing_of_what_it_asked_for_is_cut_off() -> None:
    async def go_on(greedy: socket.socket) -> None:
        while True:
            await asyncio.get_running_loop().sock_sendall(greedy, b"\r\n")  # which may stand between two requests
            await asyncio.sleep(0.01)

    async with listening(limits=dataclasses.replace(SHORT, requests=1)) as place, place.client() as client:
        with socket.create_connection(("127.0.0.1", place.port)) as greedy:
            greedy.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100)
            greedy.setblocking(False)
            with pytest.raises(ConnectionError):
                await asyncio.wait_for(go_on(greedy), 30)
        while (await client.get("/healthz")).status_code == 429:
            pass  # it is known within a turn of the loop or two


async def test_who_asks_for_far_more_than_was_answered_is_turned_away() -> None:
    """Each request that waits for the one before it would take a kilobyte or two."""
    async with listening() as place, place.client() as client:
        reader, writer = await asyncio.open_connection("127.0.0.1", place.port)
        writer.write((GET + b"\r\n") * 10_000)
        answers = b""
        with suppress(ConnectionResetError):  # what it had yet to send is not read any more
            while part := await asyncio.wait_for(reader.read(65536), 30):
                answers += part
        writer.close()
        assert (await client.get("/healthz")).status_code == 200

    assert answers.count(b"HTTP/1.1 200 ") <= 100


async def test_a_request_that_was_sent_ahead_may_still_come_in_pieces() -> None:
    body = b'{"name":"Ada"}'
    head = POST + f"Content-Length: {len(body)}\r\n".encode()
    async with listening() as place:
        reader, writer = await asyncio.open_connection("127.0.0.1", place.port)
        writer.write(head + b"\r\n" + body + head + b"Connection: close\r\n\r\n" + body[:-2])
        first = await reader.readuntil(b"}")
        writer.write(body[-2:])
        second = await reader.read()
        writer.close()
        runs = (await place.rt.runs.list()).data

    assert [first[:12], second[:12], len(runs)] == [b"HTTP/1.1 202", b"HTTP/1.1 202", 2]


# --- the end -----------------------------------------------------------------------------------------------


async def test_a_server_that_ends_ends_its_streams_and_closes_the_runtime() -> None:
    async with listening() as place, place.client() as client:
        run_id = await parked(place, "deciding")
        async with client.stream("GET", f"/api/runs/{run_id}/stream") as answer:
            lines = answer.aiter_lines()
            await anext(lines)
            place.serving.cancel()
            rest = [line async for line in lines]
        await asyncio.wait({place.serving})

    assert rest[-1] == ""  # whole to its last frame
    assert not place.rt.is_open


async def test_who_waits_when_a_server_ends_is_told_at_once_how_the_run_stands() -> None:
    workflow, begun = lasting()
    async with listening(workflows=[workflow]) as place, place.client() as client:
        waiting = asyncio.ensure_future(client.post("/api/workflows/lasting/runs?wait=30s", json=ADA))
        await begun.wait()
        place.serving.cancel()
        answer = await waiting

    assert (answer.status_code, answer.json()["status"]) == (202, "running")


async def test_what_keeps_a_server_from_beginning_is_raised(tmp_path: Path) -> None:
    (tmp_path / "flows.db").write_bytes(b"no database" * 1000)
    with pytest.raises(StoreRefusedError):
        await serve(Runtime(f"sqlite:///{tmp_path}/flows.db", workflows=WORKFLOWS), port=0)

    async with listening() as place:
        with pytest.raises(OSError, match="in use"):
            await serve(place.rt, port=place.port)


async def test_signals_can_be_left_to_who_listens_to_them_already() -> None:
    """A server that takes them, and gives them back late, would leave its process deaf to the second Ctrl-C."""
    before = signal.getsignal(signal.SIGINT)
    async with listening():
        assert signal.getsignal(signal.SIGINT) is not before
    async with listening(signals=False):
        assert signal.getsignal(signal.SIGINT) is before
    assert signal.getsignal(signal.SIGINT) is before


async def test_a_runtime_that_was_open_before_stays_open() -> None:
    async with Runtime(":memory:", workflows=WORKFLOWS) as rt:
        async with listening(rt) as place:
            await parked(place, "asking")
        assert rt.is_open
