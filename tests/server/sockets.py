"""A server on a socket of this machine, and what is said to it byte by byte."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import httpx2

from wrkflw import Runtime
from wrkflw.server import serve

from .desk import WORKFLOWS, AnyWorkflow


@dataclass
class Place:
    """Where a server listens."""

    port: int
    rt: Runtime
    serving: asyncio.Task[None]

    def client(self, **options: Any) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", timeout=30, **options)

    async def say(self, *parts: bytes) -> bytes:
        """What is answered until the server closes the connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        answer = b""
        with suppress(ConnectionError):
            for part in parts:
                writer.write(part)
                await writer.drain()
            while part := await reader.read(65536):
                answer += part
        writer.close()
        return answer


@asynccontextmanager
async def listening(
    rt: Runtime | None = None, workflows: Sequence[AnyWorkflow] = WORKFLOWS, **options: Any
) -> AsyncIterator[Place]:
    rt = rt or Runtime(":memory:", workflows=workflows)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.ensure_future(serve(rt, sockets=[listener], **options))
        place = Place(listener.getsockname()[1], rt, serving)
        try:
            async with place.client() as client:
                assert (await client.get("/readyz")).status_code == 200
            yield place
        finally:
            serving.cancel()
            with suppress(asyncio.CancelledError):
                await serving
