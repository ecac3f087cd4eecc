"""Clients that misbehave on purpose, a thousand at a time in one process; whoever is cut off comes again.

Each kind is a coroutine that has one connection and does harm on it until it is cut off or the time is over.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import random
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, Self

Harm = Callable[[asyncio.StreamReader, asyncio.StreamWriter, bytes], Awaitable[None]]

PATH: Final = b"/v2/models/digits/infer"
SECONDS_MAX: Final = 120.0
_STEP_SECONDS: Final = 0.1


def request(body: bytes, path: bytes = PATH) -> bytes:
    return b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (path, len(body), body)


async def slow_head(_: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes) -> None:
    """A head that comes byte by byte."""
    for byte in itertools.cycle(request(body)[:60]):
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(_STEP_SECONDS)


async def slow_body(_: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes) -> None:
    """A large body of which little comes."""
    writer.write(b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-length: 10000000\r\n\r\n" % PATH)
    while True:
        writer.write(b" " * 100)
        await writer.drain()
        await asyncio.sleep(_STEP_SECONDS)


async def stalled_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes) -> None:
    """A body of which a good part comes at once and then nothing."""
    writer.write(b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n" % PATH + b" " * 200_000)
    await writer.drain()
    await reader.read()


async def half_open(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes) -> None:
    """A client that is there and says nothing after its first request."""
    writer.write(request(body))
    while await reader.read(65_536):
        pass


async def never_reading(_: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes) -> None:
    """Predictions without end, and no answer is ever read."""
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    many = request(body) * 20
    while True:
        writer.write(many)
        await writer.drain()


async def flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes) -> None:
    """The smallest requests without end, as fast as they go, and no answer is read."""
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    many = b"GET /v2 HTTP/1.1\r\nhost: x\r\n\r\n" * 2_000
    while True:
        writer.write(many)
        await writer.drain()


async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes) -> None:
    """Bytes that mean nothing."""
    writer.write(random.randbytes(4_000))
    await writer.drain()
    await reader.read()
    await asyncio.sleep(_STEP_SECONDS)


async def impatient(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes) -> None:
    """A client that is gone before it has its answer."""
    writer.write(request(body))
    await writer.drain()
    await reader.read(1)
    writer.transport.abort()
    await asyncio.sleep(_STEP_SECONDS)


async def eager(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes) -> None:
    """One request after the other, as fast as the answers come: no harm by itself, but many are too many."""
    while True:
        writer.write(request(body))
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0]))


KINDS: Final[tuple[Harm, ...]] = (
    slow_head,
    slow_body,
    stalled_body,
    half_open,
    never_reading,
    flood,
    garbage,
    impatient,
)


class Misbehaving:
    """So many such clients against one port, in a process of their own, until the end of the block."""

    def __init__(self, port: int, body: bytes, *, count: int = 1_000, kinds: tuple[Harm, ...] = KINDS) -> None:
        self.order = json.dumps(
            {"port": port, "body": body.decode(), "count": count, "kinds": [kind.__name__ for kind in kinds]}
        )
        self.connects: dict[str, int] = {}
        """By kind, after the end: how often one connected, first time and again."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, self.order],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[3],
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"all have connected\n"
        return self

    def __exit__(self, *_: object) -> None:
        output, _errors = self._process.communicate(timeout=30)
        self.connects = json.loads(output)


class _Crowd:
    def __init__(self, order: dict[str, Any]) -> None:
        self.port: int = order["port"]
        self.body: bytes = order["body"].encode()
        self.kinds = [kind for kind in (*KINDS, eager) if kind.__name__ in order["kinds"]]
        self.count: int = order["count"]
        self.connects: Counter[str] = Counter()

    async def run(self) -> None:
        """Misbehave until standard input ends."""
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        loop.add_reader(0, stop.set)
        clients = [loop.create_task(self._one(self.kinds[place % len(self.kinds)])) for place in range(self.count)]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SECONDS_MAX):
                while self.connects.total() < self.count and not stop.is_set():
                    await asyncio.sleep(_STEP_SECONDS)
                print("all have connected", flush=True)
                await stop.wait()
        for client in clients:
            client.cancel()
        await asyncio.wait(clients, timeout=10)
        print(json.dumps(self.connects), flush=True)

    async def _one(self, harm: Harm) -> None:
        while True:
            writer = None
            try:
                small = socket.socket()
                small.setblocking(False)
                # A small buffer on this side: what is not read stays with the server, where it is to be bounded.
                small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
                await asyncio.get_running_loop().sock_connect(small, ("127.0.0.1", self.port))
                reader, writer = await asyncio.open_connection(sock=small)
                self.connects[harm.__name__] += 1
                await harm(reader, writer, self.body)
            except (OSError, asyncio.IncompleteReadError):
                await asyncio.sleep(_STEP_SECONDS)
            finally:
                if writer is not None:
                    writer.transport.abort()


if __name__ == "__main__":
    asyncio.run(_Crowd(json.loads(sys.argv[1])).run())
