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
from typing import Final, NamedTuple

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
_LINE: Final = (
    b'{"time":"%b.%03dZ","port":"%b","protocol":"%b","method":"%b","path":%b,"status":%d,"duration_ms":%.3f,'
    b'"request_bytes":%d,"response_bytes":%d,"revision":%b,"client":"%b"%b}\n'
)
"""Methods are those that the parser knows, and an address is one: neither needs quoting."""
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
        self._lines = _Lines(revision)
        self._descriptor = descriptor
        self._buffer: deque[Record] = deque()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="access-log", daemon=True)
        self.dropped = 0
        """Lines that were not written."""

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    @property
    def only_errors(self) -> bool:
        """Tell whether no request without an error gets a line."""
        return self._share <= 0

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
            line = self._lines.line(self._buffer.popleft())
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


class _Lines:
    """Prints records; what stays the same from line to line is printed once."""

    def __init__(self, revision: str) -> None:
        self._revision = orjson.dumps(revision)
        self._second = -1
        self._moment = b""

    def line(self, record: Record) -> bytes:
        """Return a JSON object and a line's end."""
        second, rest_ns = divmod(record.ended_ns, 1_000_000_000)
        if second != self._second:
            self._second = second
            self._moment = datetime.fromtimestamp(second, UTC).isoformat().removesuffix("+00:00").encode()
        extra = b""
        if record.trace:
            extra = b',"trace_id":%b' % orjson.dumps(record.trace[3:35].decode("latin-1"))
        if record.request_id:
            extra += b',"request_id":%b' % _brief(record.request_id, _HEADER_CHARACTERS)
        if record.grpc_status is not None:
            extra += b',"grpc_status":%d' % record.grpc_status
        return _LINE % (
            self._moment,
            rest_ns // 1_000_000,
            record.port.encode(),
            record.protocol.encode(),
            record.method,
            _brief(record.target, _TARGET_CHARACTERS),
            record.status,
            record.seconds * 1e3,
            record.request_bytes,
            record.response_bytes,
            self._revision,
            record.client.encode(),
            extra,
        )


def _brief(raw: bytes, characters: int) -> bytes:
    """Return what a client sent as a JSON string within a bound."""
    text = raw.decode("utf-8", "replace")
    return orjson.dumps(text if len(text) <= characters else text[: characters - 1] + "…")
