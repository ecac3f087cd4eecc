"""The access log: a JSON line per request on standard output, written by a thread of its own.

The event loop appends to a bounded buffer and goes on; the thread makes lines of what it finds there. When whoever reads
standard output is too slow, lines are dropped and counted, and requests wait for nobody. Several workers may share the
output, so that each write is small enough for the kernel not to mix it with others. Must not look at bodies.
"""

import os
import random
import threading
import time
from collections import deque
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import orjson

from leadline_runtime import logs

BUFFER_MAX: Final = 8_192
"""Lines that wait; at 40,000 requests/s a fifth of a second."""
_PAUSE_SECONDS: Final = 0.05
WRITE_BYTES: Final = 4_096
"""PIPE_BUF of Linux: what is no longer comes through a pipe in one piece."""
_TARGET_CHARACTERS: Final = 512
_HEADER_CHARACTERS: Final = 128
_CLOSE_SECONDS: Final = 0.5
ERROR_STATUS: Final = 400
"""A status from here on is an error."""


class Record(NamedTuple):
    """One request that has been answered, or whose client is gone."""

    ended_ns: int
    """Since the epoch."""
    seconds: float
    port: str
    """`public` or `own`."""
    protocol: str
    """`HTTP/1.1`, or `gRPC`."""
    method: bytes
    target: bytes
    status: int
    """Of HTTP; 499: the client was gone before its answer."""
    request_bytes: int
    response_bytes: int
    """Both without heads."""
    client: str
    trace: bytes
    """`traceparent`, as it came or as our span has it; empty: none."""
    request_id: bytes
    """`x-request-id` as it came."""
    grpc_status: int | None = None


class AccessLog:
    """Takes records from the event loop, writes lines from a thread."""

    def __init__(self, share: float, revision: str, *, descriptor: int = 1) -> None:
        """Prepare a log.

        Args:
            share: Share of the requests without an error that get a line; errors always do.
            revision: For the lines.
            descriptor: Of the output.
        """
        self._share = share
        self._revision = revision
        self._descriptor = descriptor
        self._buffer: deque[Record] = deque()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="access-log", daemon=True)
        self.dropped = 0
        """Lines that were not written."""

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def wants(self, status: int) -> bool:
        """Tell whether a request with this status gets a line."""
        share = self._share
        return status >= ERROR_STATUS or (share > 0 and (share >= 1 or random.random() < share))  # noqa: S311  # no secret

    def add(self, record: Record) -> None:
        """Have a line written, if there is room for it to wait."""
        if len(self._buffer) >= BUFFER_MAX:
            self.dropped += 1
        else:
            self._buffer.append(record)

    def close(self) -> None:
        """Write what waits, for a moment at most."""
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join(_CLOSE_SECONDS)

    def _run(self) -> None:
        ended = False
        while not ended:
            ended = self._ending.wait(_PAUSE_SECONDS)
            try:
                self._write_all()
            except OSError as error:
                logs.error("access log cannot be written and ends", error=error.strerror)
                while True:  # whatever else comes is counted, or the buffer would stay full unnoticed
                    self.dropped += len(self._buffer)
                    self._buffer.clear()
                    if self._ending.wait(_PAUSE_SECONDS):
                        return

    def _write_all(self) -> None:
        block = b""
        while self._buffer:
            line = _line(self._buffer.popleft(), self._revision)
            if block and len(block) + len(line) > WRITE_BYTES:
                self._write(block)
                block = b""
            block += line
        if block:
            self._write(block)

    def _write(self, block: bytes) -> None:
        try:
            _write(self._descriptor, block)
        except OSError:
            self.dropped += block.count(b"\n")
            raise


def _write(descriptor: int, block: bytes) -> None:
    while block:
        try:
            block = block[os.write(descriptor, block) :]
        except BlockingIOError:
            time.sleep(_PAUSE_SECONDS)  # the output was made non-blocking by whoever else has it


def _line(record: Record, revision: str) -> bytes:
    fields: dict[str, Any] = {
        "time": _shown(record.ended_ns),
        "port": record.port,
        "protocol": record.protocol,
        "method": record.method.decode("latin-1"),
        "path": _brief(record.target, _TARGET_CHARACTERS),
        "status": record.status,
        "duration_ms": round(record.seconds * 1e3, 3),
        "request_bytes": record.request_bytes,
        "response_bytes": record.response_bytes,
        "revision": revision,
        "client": record.client,
    }
    if record.trace:
        fields["trace_id"] = record.trace[3:35].decode("latin-1")
    if record.request_id:
        fields["request_id"] = _brief(record.request_id, _HEADER_CHARACTERS)
    if record.grpc_status is not None:
        fields["grpc_status"] = record.grpc_status
    return orjson.dumps(fields, option=orjson.OPT_APPEND_NEWLINE)


def _shown(nanoseconds: int) -> str:
    moment = datetime.fromtimestamp(nanoseconds // 1_000_000 / 1_000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _brief(raw: bytes, characters: int) -> str:
    text = raw.decode("utf-8", "replace")
    return text if len(text) <= characters else text[: characters - 1] + "…"
