"""Who may call: every route says so, and nobody else comes in."""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import pytest

from wrkflw import InvalidValueError, Runtime, create_workflow, step
from wrkflw.asgi import Receive, Scope, Send
from wrkflw.mail import HeldMail, Quarantine
from wrkflw.server import AsgiApp, ExposedServerError, Permission, Token, TokenFile, app, serve
from wrkflw.server.application import Application
from wrkflw.server.tokens import PERMISSIONS, Keyring

from .desk import ADA, Desk, Greeting, Person, ask, client_of, greeting, served

ACCESS = {
    "DELETE /api/runs/{run_id}": "admin",
    "GET /": "read",
    "GET /api/runs": "read",
    "GET /api/runs/{run_id}": "read",
    "GET /api/runs/{run_id}/events": "read",
    "GET /api/runs/{run_id}/result": "read",
    "GET /api/runs/{run_id}/stream": "read",
    "GET /api/runs/{run_id}/streams/{name}": "read",
    "GET /api/workflows": "read",
    "GET /api/workflows/{workflow}": "read",
    "GET /healthz": "open",
    "GET /metrics": "read",
    "GET /openapi.json": "read",
    "GET /readyz": "open",
    "GET /workflows": "read",
    "GET /workflows/{id}": "read",
    "POST /api/runs/{run_id}/cancel": "admin",
    "POST /api/runs/{run_id}/events/{event}": "resume",
    "POST /api/runs/{run_id}/fork": "start",
    "POST /api/runs/{run_id}/pause": "admin",
    "POST /api/runs/{run_id}/resume": "resume",
    "POST /api/runs/{run_id}/unpause": "admin",
    "POST /api/runs/{run_id}/wake": "resume",
    "POST /api/workflows/{workflow}/runs": "start",
    "POST /hooks/{token}": "token in path",
    "POST /workflows": "start",
    "POST /workflows/{id}/events/{event}": "resume",
    "POST /workflows/{id}/pause": "admin",
    "POST /workflows/{id}/resume": "admin",
    "POST /workflows/{id}/terminate": "admin",
}
KEYED = {request: access for request, access in ACCESS.items() if access in PERMISSIONS}
SECRETS = {permission: f"{permission}-" + "x" * 40 for permission in PERMISSIONS}
TOKENS = [Token.of(permission, text, [permission]) for permission, text in SECRETS.items()]


@step
async def lose(said: Greeting) -> Greeting:
    raise ValueError(f"{said.text} is a secret")


asking_and_failing = (
    create_workflow(id="asking_and_failing", input_schema=Person, output_schema=Greeting).then(ask).then(lose).commit()
)


@pytest.fixture
async def guarded() -> AsyncIterator[Desk]:
    async with served(tokens=TOKENS) as desk:
        yield desk


def paths_of(application: AsgiApp) -> set[str]:
    """All that the framework would answer, whoever added it."""
    routes = cast("Application", application).api.routes
    return {f"{method} {route.path}" for route in routes for method in route.methods - {"HEAD"}}  # type: ignore[attr-defined]


def filled(request: str) -> tuple[str, str]:
    method, path = request.split(" ")
    for name in ("run_id", "workflow", "name", "event", "token", "id"):
        path = path.replace(f"{{{name}}}", "nobody")
    return method, path


# --- every route -------------------------------------------------------------------------------------------


async def test_every_route_says_what_lets_a_caller_in(desk: Desk) -> None:
    table = cast("Application", desk.app).routes.access

    assert {f"{method} {path}": access for (method, path), access in table.items()} == ACCESS
    assert paths_of(desk.app) == set(ACCESS)


@pytest.mark.parametrize(("request_line", "permission"), KEYED.items())
async def test_a_route_lets_in_who_has_its_permission_and_nobody_else(
    guarded: Desk, request_line: str, permission: Permission
) -> None:
    method, path = filled(request_line)

    async def status(text: str | None) -> int:
        async with guarded.caller(text) as client:
            return (await client.request(method, path, params={"until": "parked"})).status_code

    for stranger in (None, "x" * 40, TOKENS[0].digest):
        assert await status(stranger) == 401
    for other in set(PERMISSIONS) - {permission, "admin"}:
        assert await status(SECRETS[other]) == 403
    for allowed in {permission, "admin"}:
        assert await status(SECRETS[allowed]) not in (401, 403)


async def test_who_sends_no_token_is_told_how(guarded: Desk) -> None:
    answer = await guarded.client.get("/api/runs", headers={"Authorization": "Basic YTpi"})

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["detail"] == "send a token, as 'Authorization: Bearer ...'"


async def test_nothing_of_a_request_is_read_before_its_caller_is_known(guarded: Desk) -> None:
    answer = await guarded.client.post("/api/workflows/nobody/runs?wait=nonsense", content=b"{")

    assert answer.status_code == 401


async def test_who_watches_over_the_server_needs_no_token(guarded: Desk) -> None:
    for path in ("/healthz", "/readyz"):
        answer = await guarded.client.get(path)
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_tokens_of_suspensions_are_told_to_those_who_may_answer_them(guarded: Desk) -> None:
    async with guarded.caller(SECRETS["admin"]) as admin, guarded.caller(SECRETS["read"]) as reader:
        run_id = (await admin.post("/api/workflows/asking/runs", json=ADA)).json()["run_id"]
        seen = (await reader.get(f"/api/runs/{run_id}/result?wait=1s")).json()
        told = (await admin.get(f"/api/runs/{run_id}/result?wait=1s")).json()

    assert "token" not in seen["suspensions"][0]
    assert "token" in told["suspensions"][0]


FAILED = {"run_id": "r", "workflow_id": "asking_and_failing", "status": "failed"}


@pytest.mark.parametrize(
    ("caller", "request_line", "body"),
    [
        (None, "/hooks/{token}?wait=1s", {"approved": True}),
        ("resume", "/api/runs/r/resume?wait=1s", {"step": "ask", "data": {"approved": True}}),
    ],
)
async def test_who_may_not_read_hears_of_a_run_how_it_stands_and_no_more(
    caller: Permission | None, request_line: str, body: object
) -> None:
    async with served([asking_and_failing], tokens=TOKENS) as desk, desk.caller(SECRETS["admin"]) as admin:
        parked = (await admin.post("/api/workflows/asking_and_failing/runs?run_id=r&wait=1s", json=ADA)).json()
        async with desk.caller(SECRETS[caller] if caller else None) as client:
            answer = await client.post(request_line.format(token=parked["suspensions"][0]["token"]), json=body)

    assert (answer.status_code, answer.json()) == (200, FAILED)


async def test_a_fork_tells_who_may_not_read_nothing_of_what_was_recorded(guarded: Desk) -> None:
    async with guarded.caller(SECRETS["admin"]) as admin, guarded.caller(SECRETS["start"]) as starter:
        await admin.post("/api/workflows/asking/runs?run_id=r&wait=1s", json=ADA)
        answer = await starter.post("/api/runs/r/fork?wait=1s", json={"at": "ask"})

    assert answer.json().keys() == {"run_id", "workflow_id", "status"}
    assert answer.json()["status"] == "suspended"


async def test_who_starts_a_run_is_given_its_output_but_not_its_error(guarded: Desk) -> None:
    async with guarded.caller(SECRETS["start"]) as starter:
        done = (await starter.post("/api/workflows/greeting/runs?wait=1s", json=ADA)).json()
        failed = (await starter.post("/api/workflows/failing/runs?wait=1s", json=ADA)).json()

    assert (done["status"], done["output"]) == ("completed", {"text": "Hello, Ada"})
    assert failed.keys() == {"run_id", "workflow_id", "status"}


async def test_a_known_key_names_its_run_to_those_who_may_read(guarded: Desk) -> None:
    key = {"Idempotency-Key": "7"}
    async with guarded.caller(SECRETS["admin"]) as admin, guarded.caller(SECRETS["start"]) as starter:
        first = await admin.post("/api/workflows/greeting/runs", json=ADA, headers=key)
        told = await admin.post("/api/workflows/greeting/runs", json={"name": "Eve"}, headers=key)
        untold = await starter.post("/api/workflows/greeting/runs", json={"name": "Eve"}, headers=key)

    assert told.status_code == untold.status_code == 422
    assert first.json()["run_id"] in told.text
    assert first.json()["run_id"] not in untold.text


async def test_the_quarantine_of_mail_is_filled_by_mail_alone(desk: Desk) -> None:
    mail_id = await Quarantine(desk.rt).hold(HeldMail(raw=b"", reason="it is not signed"))
    held = {"raw": "", "reason": "made up"}

    answers = [
        await desk.client.post("/api/workflows/mail-quarantine/runs", json=held),
        await desk.client.post("/workflows", json={"type": "mail-quarantine", "id": "x", "payload": held}),
        await desk.client.post(f"/api/runs/{mail_id}/fork", json={"input": held}),
    ]

    assert [answer.status_code for answer in answers] == [403, 403, 403]
    assert "mail-quarantine" not in (await desk.client.get("/openapi.json")).text
    assert (await Quarantine(desk.rt).list()).data == [mail_id]


# --- without tokens ----------------------------------------------------------------------------------------


async def test_without_tokens_only_this_machine_is_answered(desk: Desk) -> None:
    for peer, status in (("127.0.0.1", 200), ("::1", 200), ("192.0.2.7", 403), ("testclient", 403)):
        async with desk.caller(peer=peer) as client:
            assert (await client.get("/api/workflows")).status_code == status


@pytest.mark.parametrize(
    "header",
    [
        "Forwarded",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X-Original-Forwarded-For",
        "X-Real-IP",
        "X-Client-IP",
        "True-Client-IP",
        "CF-Connecting-IP",
        "Via",
    ],
)
async def test_without_tokens_nothing_is_answered_that_a_proxy_of_this_machine_forwards(
    desk: Desk, guarded: Desk, header: str
) -> None:
    headers = {header: "192.0.2.7"}

    assert (await desk.client.get("/api/workflows", headers=headers)).status_code == 403
    async with guarded.caller(SECRETS["read"]) as client:
        assert (await client.get("/api/workflows", headers=headers)).status_code == 200


async def test_without_tokens_nobody_is_answered_of_whom_the_address_is_not_known(desk: Desk) -> None:
    async def behind_a_unix_socket(scope: Scope, receive: Receive, send: Send) -> None:
        await desk.app({**scope, "client": None}, receive, send)

    async with client_of(behind_a_unix_socket) as client:
        assert (await client.get("/api/workflows")).status_code == 403


async def test_an_application_around_may_have_looked_at_the_callers(desk: Desk) -> None:
    async with client_of(app(desk.rt, trust_callers=True), peer="192.0.2.7") as client:
        assert (await client.get("/api/workflows")).status_code == 200


@pytest.mark.parametrize(
    ("host", "hosts"), [("0.0.0.0", ()), ("::", ()), ("flows.example.org", ()), ("127.0.0.1", ["flows.example.org"])]
)
async def test_a_server_that_others_can_reach_does_not_begin_without_a_token(host: str, hosts: list[str]) -> None:
    async with Runtime(":memory:", workflows=[greeting]) as rt:
        with pytest.raises(ExposedServerError, match="can be reached by other machines, and there are no tokens"):
            await serve(rt, host=host, hosts=hosts)


# --- browsers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("LOCALHOST:8000", 200),
        ("127.0.0.1:8000", 200),
        ("[::1]:8000", 200),
        ("evil.example", 400),
        ("localhost.evil.example", 400),
        ("localhost:8000@evil.example", 400),
        ("evil.example:localhost", 400),
        ("", 400),
    ],
)
@pytest.mark.parametrize("path", ["/api/runs", "/healthz", "/workflows"])
async def test_a_server_answers_to_its_own_names_only(desk: Desk, path: str, host: str, status: int) -> None:
    answer = await desk.client.get(path, headers={"Host": host})

    assert answer.status_code == status


async def test_other_names_are_those_that_were_given(desk: Desk) -> None:
    named, any_name = app(desk.rt, hosts=["Flows.example.org"]), app(desk.rt, hosts=["*"])

    for application, host, status in (
        (named, "flows.example.org", 200),
        (named, "other.example.org", 400),
        (any_name, "other.example.org", 200),
    ):
        async with client_of(application, host=host) as client:
            assert (await client.get("/healthz")).status_code == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 202),
        ({"Origin": "http://localhost"}, 202),
        ({"Sec-Fetch-Site": "same-origin"}, 202),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://localhost:81"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
        ({"Origin": "http://["}, 403),
        ({"Origin": "http://localhost@evil.example"}, 403),
        ({"Origin": "http://evil.example/http://localhost"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
    ],
)
async def test_pages_of_other_sites_may_not_write(desk: Desk, headers: dict[str, str], status: int) -> None:
    answer = await desk.client.post("/api/workflows/greeting/runs", json=ADA, headers=headers)

    assert answer.status_code == status
    assert len((await desk.rt.runs.list()).data) == (status == 202)


async def test_a_page_of_a_site_that_was_named_may_write(desk: Desk) -> None:
    async with client_of(app(desk.rt, origins=["https://app.example.org"])) as client:
        headers = {"Origin": "https://app.example.org"}
        answer = await client.post("/api/workflows/greeting/runs", json=ADA, headers=headers)

    assert answer.status_code == 202


async def test_no_page_elsewhere_is_let_in_by_a_preflight(desk: Desk) -> None:
    headers = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    answer = await desk.client.options("/api/workflows/greeting/runs", headers=headers)

    assert answer.status_code == 403
    assert not [name for name in answer.headers if name.startswith("access-control")]


# --- tokens ------------------------------------------------------------------------------------------------


def test_a_file_of_tokens_holds_their_digests_for_its_owner_only(tmp_path: Path) -> None:
    file = TokenFile(tmp_path / "tokens.json")
    mask = os.umask(0)
    try:
        text = file.add("ci", ["start"])
    finally:
        os.umask(mask)

    content = (tmp_path / "tokens.json").read_text()
    assert text not in content
    assert text.removeprefix("wrkflw_") not in content
    assert stat.S_IMODE((tmp_path / "tokens.json").stat().st_mode) == 0o600
    assert file.load() == [Token.of("ci", text, ["start"])]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tokens.json", "tokens.json.lock"]


def test_tokens_that_are_made_at_once_are_all_known(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    with ThreadPoolExecutor(20) as pool:
        texts = list(pool.map(lambda number: TokenFile(path).add(f"ci-{number}"), range(20)))

    keyring = Keyring(TokenFile(path).load())
    assert all(keyring.find(f"Bearer {text}") for text in texts)


def test_a_file_of_tokens_that_cannot_be_replaced_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = TokenFile(tmp_path / "tokens.json")
    file.add("ci")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        file.add("cd")

    assert [token.name for token in file.load()] == ["ci"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tokens.json", "tokens.json.lock"]


def full(_: int) -> None:
    raise OSError(errno.ENOSPC, "no space left")


def test_tokens_are_removed_by_name(tmp_path: Path) -> None:
    file = TokenFile(tmp_path / "tokens.json")
    assert file.load() == []
    file.add("ci")

    with pytest.raises(InvalidValueError, match="token 'ci' is there already; remove it first"):
        file.add("ci")
    assert file.remove("ci")
    assert not file.remove("ci")
    assert file.load() == []


@pytest.mark.parametrize("content", ["{", "[1]", '[{"name": "ci"}]', '[{"name":"a","digest":"b","permissions":["c"]}]'])
def test_a_file_that_holds_something_else_is_no_file_of_tokens(tmp_path: Path, content: str) -> None:
    path = tmp_path / "tokens.json"
    path.write_text(content)

    with pytest.raises(InvalidValueError):
        TokenFile(path).load()


@pytest.mark.parametrize("mode", [0o602, 0o666])
def test_a_file_that_others_can_write_lets_nobody_in(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "our tokens.json"
    TokenFile(path).add("ci")
    path.chmod(mode)

    with pytest.raises(InvalidValueError) as refused:
        TokenFile(path).load()

    assert str(refused.value) == (
        f"token file '{path}' can be written by others, who can let themselves in; look at who is in it, then chmod "
        f"600 '{path}'"
    )
    path.chmod(0o644)
    assert [token.name for token in TokenFile(path).load()] == ["ci"]


def test_of_a_file_that_its_group_can_write_the_log_warns(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "tokens.json"
    TokenFile(path).add("ci")
    path.chmod(0o660)

    assert [token.name for token in TokenFile(path).load()] == ["ci"]
    assert caplog.messages == [
        f"token file '{path}' can be written by its group, who can let themselves in; look at who is in it, then "
        f"chmod 600 {path}"
    ]


def test_where_files_have_no_modes_none_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tokens.json"
    TokenFile(path).add("ci")
    path.chmod(0o666)
    monkeypatch.setattr("sys.platform", "win32")

    assert [token.name for token in TokenFile(path).load()] == ["ci"]


@pytest.mark.parametrize("digest", ["00", "", "A" * 64, "0" * 65, None, 0])
def test_what_is_no_digest_is_no_token(tmp_path: Path, digest: object) -> None:
    path = tmp_path / "tokens.json"
    TokenFile(path).add("ci")
    (kept,) = json.loads(path.read_bytes())
    path.write_text(json.dumps([{**kept, "digest": digest}]))

    with pytest.raises(
        InvalidValueError, match="digest of token 'ci' is not 64 hexadecimal digits; take the token out"
    ):
        TokenFile(path).load()


def test_a_token_is_not_to_be_guessed() -> None:
    with pytest.raises(InvalidValueError, match="token 'ci' has 6 characters, which can be guessed"):
        Token.of("ci", "secret")
    with pytest.raises(InvalidValueError, match="permission 'write' of token 'ci' is none"):
        Token.new("ci", ["write"])  # type: ignore[list-item]
    assert len({Token.new("ci")[0] for _ in range(1000)}) == 1000
