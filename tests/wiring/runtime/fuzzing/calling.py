"""Sends gRPC calls over HTTP/2, many at a time, and judges how each ends.

A client of the suite's own: a right one would not send what is wrong, and a hundred thousand calls are to take seconds.
"""

from __future__ import annotations

import asyncio
import itertools
import struct
from collections.abc import Iterator
from urllib.parse import unquote

import hpack

from tests.wiring.runtime.fuzzing import http2
from tests.wiring.runtime.fuzzing.driving import ANSWER_SECONDS, CONNECTIONS, Judge
from tests.wiring.runtime.fuzzing.http2 import Call

STREAMS = 20
"""Calls on their way at a time, on each connection."""
CALLS_MAX = 2_000
"""Calls before a connection is left, so that new ones are made as well."""
_REFUSALS = {
    "3": "INVALID_ARGUMENT",
    "7": "PERMISSION_DENIED",
    "5": "NOT_FOUND",
    "8": "RESOURCE_EXHAUSTED",
    "9": "FAILED_PRECONDITION",
    "12": "UNIMPLEMENTED",
}
"""How a call that is wrong may end; never UNKNOWN, INTERNAL or UNAVAILABLE."""


class _Client:
    """One connection."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._encoder = hpack.Encoder()
        self._decoder = hpack.Decoder()
        self._blocks: dict[str, bytes] = {}
        self._numbers = itertools.count(1, 2)
        self.open: dict[int, Call] = {}

    async def connect(self) -> None:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        window = http2.frame(http2.WINDOW_UPDATE, 0, 0, struct.pack(">I", 2**30))
        self._writer.write(http2.PREFACE + http2.frame(http2.SETTINGS, 0, 0) + window)

    def send(self, call: Call) -> None:
        stream = next(self._numbers)
        self.open[stream] = call
        headers = http2.block(self._encoder, call.method)
        head = http2.frame(http2.HEADERS, http2.END_HEADERS, stream, headers)
        pieces = [call.message[at : at + 16_384] for at in range(0, len(call.message), 16_384)] or [b""]
        data = [
            http2.frame(http2.DATA, http2.END_STREAM if place == len(pieces) - 1 else 0, stream, piece)
            for place, piece in enumerate(pieces)
        ]
        self._writer.write(head + b"".join(data))

    async def ended(self) -> list[tuple[Call, str, str]]:
        """Return calls that ended by now, with status and message."""
        found: list[tuple[Call, str, str]] = []
        while not found:
            async with asyncio.timeout(ANSWER_SECONDS):
                head = await self._reader.readexactly(9)
                payload = await self._reader.readexactly(int.from_bytes(head[:3], "big"))
            kind, flags, stream = head[3], head[4], int.from_bytes(head[5:], "big")
            if kind == http2.HEADERS:
                told = {str(name): str(value) for name, value in self._decoder.decode(payload)}
                if flags & http2.END_STREAM:
                    found.append(
                        (self.open.pop(stream), told.get("grpc-status", ""), unquote(told.get("grpc-message", "")))
                    )
            elif kind == http2.RST_STREAM and stream in self.open:
                found.append((self.open.pop(stream), f"reset {payload.hex()}", ""))
            elif kind == http2.SETTINGS and not flags & http2.ACK:
                self._writer.write(http2.frame(http2.SETTINGS, http2.ACK, 0))
            elif kind == http2.PING and not flags & http2.ACK:
                self._writer.write(http2.frame(http2.PING, http2.ACK, 0, payload))
            elif kind == http2.GOAWAY:
                raise ConnectionError(f"GOAWAY {payload!r}")
        return found

    def close(self) -> None:
        self._writer.close()


async def drive(port: int, stream: Iterator[Call], judge: Judge) -> None:
    """Make all calls over a few connections."""

    async def run() -> None:
        while calls := list(itertools.islice(stream, CALLS_MAX)):
            client = _Client(port)
            await client.connect()
            waiting = iter(calls)
            try:
                for call in itertools.islice(waiting, STREAMS):
                    client.send(call)
                while client.open:
                    for call, status, message in await client.ended():
                        _take(judge, call, status, message)
                        following = next(waiting, None)
                        if following is not None:
                            client.send(following)
            except (OSError, EOFError, TimeoutError) as error:
                judge.faults.append(f"connection ended: {error!r}; open: {list(client.open.values())[:3]!r}")
            client.close()

    await asyncio.gather(*(run() for _ in range(CONNECTIONS)))


def _take(judge: Judge, call: Call, status: str, message: str) -> None:
    judge.seen[call.kind, int(status) if status.isdigit() else -1] += 1
    if status == "0":
        return
    if status not in _REFUSALS or not 10 <= len(message) <= 2_000:
        judge.faults.append(f"{status or 'no status'} {message[:300]!r} to {call!r:.300}")


async def pour_all(port: int, streams: Iterator[bytes], judge: Judge) -> None:
    """Send conversations, each on a connection of its own, and wait for its end."""

    async def run() -> None:
        for stream in streams:
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                    try:
                        writer.write(stream)
                        writer.write_eof()
                        received = await reader.read()
                    except ConnectionError:
                        received = b""
                    finally:
                        writer.close()
            except (OSError, TimeoutError) as error:
                judge.faults.append(f"no end ({error!r}) of {stream[:400]!r}")
                continue
            judge.seen["conversation", len(received) and 1] += 1

    await asyncio.gather(*(run() for _ in range(CONNECTIONS)))
