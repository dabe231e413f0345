"""The endpoints of this deployment: ``python -m triggers.http_trigger [SECONDS]`` serves them for so long.

Without a number it sends itself two requests, one of them signed, shows what they led to, and ends.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from contextlib import suppress
from datetime import UTC, datetime
from urllib.request import Request, urlopen

from examples.hello import hello
from wrkflw import Runtime
from wrkflw.server import serve
from wrkflw.triggers import StandardWebhooks, http

SIGNING = StandardWebhooks("whsec_bm90IGEgc2VjcmV0LCB1c2UgYSByYW5kb20gb25l")  # yours is in the environment

greeting = hello.with_id("requested-greeting")

http(greeting, "GET /greet/{name}", public=True, input=lambda request: request.params["name"])
http(greeting, "POST /webhook", verify=SIGNING, input=lambda request: request.json()["name"])


def call(request: Request) -> str:
    """The id of the run that a request starts."""
    with urlopen(request, timeout=10) as answer:
        return str(json.load(answer)["run_id"])


async def try_out(runtime: Runtime, base: str) -> None:
    body = b'{"name": "webhook"}'
    headers = {"Content-Type": "application/json", **SIGNING.sign("msg_1", datetime.now(UTC), body)}
    for request in (Request(f"{base}/greet/world"), *[Request(f"{base}/webhook", body, headers)] * 2):
        run_id = await asyncio.to_thread(call, request)
        await (await greeting.get_run(run_id)).result(timeout="10s")
    for run in reversed((await runtime.runs.list(workflow=greeting)).data):
        print((await runtime.runs.snapshot(run.run_id)).result)


async def main(seconds: float | None) -> None:
    async with Runtime(workflows=[greeting]) as runtime:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            base = f"http://127.0.0.1:{listener.getsockname()[1]}"
            print(f"{base}/greet/world is served", flush=True)
            serving = asyncio.ensure_future(serve(runtime, sockets=[listener]))
            await (try_out(runtime, base) if seconds is None else asyncio.sleep(seconds))
            serving.cancel()
            await asyncio.wait({serving})


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main(float(sys.argv[1]) if len(sys.argv) > 1 else None))
