"""What a connection asks of a request's head beside what the parser checks: rare headers, sizes, heads that come again.

All of it on bytes that were read already. Must not know connections.
"""

from __future__ import annotations

from typing import Final, NamedTuple

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client that speaks HTTP/2 from the start sends first (RFC 9113, 3.4)."""
LENGTH_DIGITS_MAX: Final = 9
"""Of the content-length of a head that is remembered."""
_CARRIAGE_RETURN: Final = ord("\r")
_LENGTH_NAME: Final = b"\r\ncontent-length:"


class RefusedError(Exception):
    """Stops the parser from inside one of its callbacks."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Known(NamedTuple):
    """A head that is not parsed again, but for the digits of its content-length."""

    before: bytes
    at: int
    after: bytes
    after_bytes: int


def known(data: bytes, length: bytes) -> Known | None:
    """Return the head of a request that is all of `data`, and has this content-length; None where it is unusual."""
    end = data.find(b"\r\n\r\n") + 4
    at = data[:end].lower().find(_LENGTH_NAME) + len(_LENGTH_NAME)
    start = data.find(length, at)
    if end + int(length) != len(data) or data[at:start].strip(b" ") or data[start + len(length)] != _CARRIAGE_RETURN:
        return None
    after = data[start + len(length) : end]
    return Known(data[:start], start, after, len(after))


def check_size(targets: list[bytes], head: dict[bytes, bytes], limit_bytes: int) -> None:
    """Count a head's own bytes, where what was fed since its begin may hold others.

    Raises:
        RefusedError: There are too many.
    """
    size = sum(map(len, targets)) + sum(len(name) + len(value) + 4 for name, value in head.items())
    if size > limit_bytes:
        raise RefusedError(431, f"request head is larger than {limit_bytes} bytes")


def check_rare(head: dict[bytes, bytes], version: str) -> None:
    """Check what few heads have.

    Raises:
        RefusedError: We cannot take it.
    """
    if b"host" not in head and version != "1.0":
        raise RefusedError(400, "header host: expected exactly one, got none")
    coding = head.get(b"transfer-encoding")
    if coding is not None and coding.lower() != b"chunked":
        raise RefusedError(501, f"transfer-encoding: expected chunked or none, got {coding.decode('latin-1')!r}")


def expects_word(head: dict[bytes, bytes]) -> bool:
    """Tell whether the client waits for word before it sends the body.

    Raises:
        RefusedError: It expects something else.
    """
    expectation = head.get(b"expect")
    if expectation is None:
        return False
    if expectation.lower() != b"100-continue":
        raise RefusedError(417, f"expect: expected 100-continue, got {expectation.decode('latin-1')!r}")
    return True


def without_upgrade(method: bytes, target: bytes, head: dict[bytes, bytes]) -> bytes:
    """Return a head as it would be without the offer of another protocol."""
    lines = [b"%b: %b" % line for line in head.items() if line[0] not in {b"connection", b"upgrade"}]
    if b"close" in head.get(b"connection", b"").lower():
        lines.append(b"connection: close")
    return b"\r\n".join([b"%b %b HTTP/1.1" % (method, target), *lines, b"", b""])


def preface(data: bytes, before_bytes: int) -> bytes | None:
    """Return a connection's first bytes where they are HTTP/2's preface or its begin.

    Args:
        data: The last of them, which no parser of HTTP/1.1 takes.
        before_bytes: How many came before. The parser took them: so they are the preface's own, or `data` does not fit.
    """
    begin = PREFACE[:before_bytes] + data
    return begin if begin.startswith(PREFACE[: len(begin)]) else None
