"""Sends inputs to a runtime and judges each answer: the driver of the fuzz suite."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httptools

from tests.wiring.runtime.fuzzing.rest import Input, framed

ANSWER_SECONDS = 10.0
"""Longest wait for one answer: whatever takes longer hangs."""
CONNECTIONS = 12


class _Answer:
    def __init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.body = b""
        self.whole = False

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.whole = True


class Client:
    """One connection that is opened anew when the server closes it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, request: bytes, *, is_head: bool = False) -> tuple[int, bytes]:
        """Return status and body of the answer to a request."""
        async with asyncio.timeout(ANSWER_SECONDS):
            if self._writer is None:
                self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
            self._writer.write(request)
            answer = _Answer()
            while not answer.whole:
                data = await self._reader.read(65_536)
                if not data:
                    raise ConnectionError("the server closed without an answer")
                if is_head:
                    return int(data.split(b" ", 2)[1]), b""
                answer.parser.feed_data(data)
            if not answer.parser.should_keep_alive():
                self.close()
            return answer.parser.get_status_code(), answer.body

    async def pour(self, stream: bytes) -> bytes:
        """Send bytes on a connection of their own, end our side, and return all that comes."""
        async with asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            try:
                writer.write(stream)
                writer.write_eof()
                return await reader.read()
            except ConnectionError:
                return b""
            finally:
                writer.close()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._writer = None


class Judge:
    """Notes what the answers were, and each that is not as it must be."""

    def __init__(self) -> None:
        self.seen: Counter[tuple[str, int]] = Counter()
        self.faults: list[str] = []

    def take(self, one: Input, status: int, body: bytes) -> None:
        self.seen[one.kind, status] += 1
        fault = _fault(one, status, body)
        if fault:
            self.faults.append(f"{fault}: {status} {body[:300]!r} to {one.request[:400]!r}")


def _fault(one: Input, status: int, body: bytes) -> str:
    if one.is_head:
        return "" if status == 200 or 400 <= status < 500 else "not a 4xx"
    if status == 200:
        return ""
    if one.kind == "binary" and status == 500 and b"the model answered with a number that is not finite" in body:
        return ""  # raw bytes make numbers that are too large for any model
    if not 400 <= status < 500:
        return "not a 4xx"
    try:
        message = json.loads(body)["error"]
    except (ValueError, KeyError, TypeError):
        return "no message"
    if not isinstance(message, str) or len(message) < 10 or len(message) > 2_000:
        return "no readable message"
    if one.names and not any(name in message for name in one.names):
        return f"does not name {' or '.join(one.names)}"
    return ""


async def drive(port: int, stream: Iterator[Input], judge: Judge) -> None:
    """Send all inputs over a few connections."""

    async def run() -> None:
        client = Client(port)
        for one in stream:
            try:
                status, body = await client.ask(one.request, is_head=one.is_head)
            except (OSError, TimeoutError, httptools.HttpParserError) as error:
                judge.faults.append(f"no answer ({error!r}) to {one.request[:400]!r}")
                client.close()
                continue
            judge.take(one, status, body)
            if one.is_head:
                client.close()
        client.close()

    await asyncio.gather(*(run() for _ in range(CONNECTIONS)))


async def pour_all(port: int, streams: Iterator[bytes], judge: Judge) -> None:
    """Send streams of bytes, each on a connection of its own."""

    async def run() -> None:
        client = Client(port)
        for stream in streams:
            try:
                received = await client.pour(stream)
            except (OSError, TimeoutError) as error:
                judge.faults.append(f"no end ({error!r}) of {stream[:400]!r}")
                continue
            status = int(received.split(b" ", 2)[1]) if received.startswith(b"HTTP/1.1 ") else 0
            judge.seen["head", status] += 1
            if received and (not received.startswith(b"HTTP/1.1 ") or status in range(502, 600) or status == 500):
                judge.faults.append(f"{received[:300]!r} to {stream[:400]!r}")

    await asyncio.gather(*(run() for _ in range(CONNECTIONS)))


async def is_well(port: int, row: list[float]) -> dict[str, Any]:
    """Return the answer to a right request."""
    body = json.dumps({"inputs": [{"name": "X", "shape": [1, 64], "datatype": "FP32", "data": row}]}).encode()
    client = Client(port)
    status, answer = await client.ask(framed(body))
    client.close()
    assert status == 200, answer
    told: dict[str, Any] = json.loads(answer)
    return told


def resident_bytes(process: int) -> int:
    """Return the memory that a process holds."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * 4_096
