"""A client of HTTP on sockets of the standard library, and a program that enqueues runs with it: its cost is small."""

from __future__ import annotations

import asyncio
import sys
import time

START = "/api/workflows/one/runs"


class Connection:
    """Sends one request after another."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def to(cls, port: int) -> Connection:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def post(self, path: str, body: bytes) -> bytes:
        """The body of the answer.  Raises RuntimeError when it is a refusal."""
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        self._writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        told = await self._reader.readuntil(b"\r\n\r\n")
        if not told.startswith(b"HTTP/1.1 20"):
            raise RuntimeError(told.decode())
        length = told.lower().split(b"content-length: ")[1].split(b"\r\n")[0]
        return await self._reader.readexactly(int(length))

    async def close(self) -> None:
        self._writer.close()
        await self._writer.wait_closed()


async def enqueue(port: int, runs: int, connections: int) -> float:
    """Seconds until every run is durable."""
    clients = [await Connection.to(port) for _ in range(connections)]

    async def send(client: Connection, count: int) -> None:
        for _ in range(count):
            await client.post(START, b'{"n":1}')

    begun = time.perf_counter()
    shares = [runs // connections + (number < runs % connections) for number in range(connections)]
    await asyncio.gather(*map(send, clients, shares))
    took = time.perf_counter() - begun
    for client in clients:
        await client.close()
    return took


if __name__ == "__main__":
    print(asyncio.run(enqueue(*map(int, sys.argv[1:]))))
