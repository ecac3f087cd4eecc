"""What a connection does with the head of a request beside reading it: refuse it, write it anew, remember it.

Pure functions of heads as the parser gives them, for `connection`. Must not know connections.
"""

from typing import Final, NamedTuple

from leadline_runtime import errors

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
"""What a client that speaks HTTP/2 from the start sends first (RFC 9113, 3.4)."""
LENGTH_DIGITS_MAX: Final = 9
FIELDS_MAX: Final = 256
"""Headers of one request: each costs far more memory than its bytes."""
_JOINED_BYTES_MAX: Final = 8_192
"""Of a header that is repeated: each time the whole is copied."""
_CARRIAGE_RETURN: Final = ord("\r")
_LENGTH_NAME: Final = b"\r\ncontent-length:"

Head = dict[bytes, bytes]
"""Header names in lower case."""


class RefusedError(Exception):
    """The request is refused; may stop the parser from inside one of its callbacks."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Known(NamedTuple):
    """A head byte for byte, but for the digits of its content-length."""

    before: bytes
    before_bytes: int
    after: bytes
    after_bytes: int


def joined(name: bytes, value: bytes, more: bytes) -> bytes:
    """Return the value of a header that came once more, as RFC 9110, 5.3, has it.

    Raises:
        RefusedError: It must come once, or was repeated too often.
    """
    if name == b"host":
        raise RefusedError(400, "header host: expected exactly one")
    whole = b"%b, %b" % (value, more)
    if len(whole) > _JOINED_BYTES_MAX:
        shown = errors.shorten(name.decode("latin-1"), 80)
        raise RefusedError(431, f"header {shown}: repeated, and all together larger than {_JOINED_BYTES_MAX} bytes")
    return whole


def bounded(length: bytes, limit_bytes: int) -> bytes:
    """Return a content-length, which the parser has found to be a number, without what is too long for `int`.

    Raises:
        RefusedError: It is above the limit.
    """
    digits = length.strip().lstrip(b"0") or b"0"
    if int(digits) > limit_bytes:
        raise RefusedError(413, f"body of {int(digits)} bytes, expected at most {limit_bytes}")
    return digits


def check_size(targets: list[bytes], head: Head, limit_bytes: int) -> None:
    """Refuse a head whose own bytes are too many.

    Raises:
        RefusedError: They are.
    """
    size = sum(map(len, targets)) + sum(len(name) + len(value) + 4 for name, value in head.items())
    if size > limit_bytes:
        raise RefusedError(431, f"request head is larger than {limit_bytes} bytes")


def check_rare(head: Head, *, is_1_0: bool, upgrades: bool) -> bool:
    """Look at what few heads have; return whether the client waits to be told to go on.

    Raises:
        RefusedError: We cannot do what the head asks for.
    """
    if not is_1_0 and b"host" not in head:
        raise RefusedError(400, "header host: expected exactly one, got none")
    coding = head.get(b"transfer-encoding")
    if coding is not None and coding.lower() != b"chunked":
        raise RefusedError(501, f"transfer-encoding: expected chunked or none, got {coding.decode('latin-1')!r}")
    expectation = None if upgrades else head.get(b"expect")
    if expectation is not None and expectation.lower() != b"100-continue":
        raise RefusedError(417, f"expect: expected 100-continue, got {expectation.decode('latin-1')!r}")
    return expectation is not None and not is_1_0


def without_upgrade(method: bytes, target: bytes, head: Head) -> bytes:
    """Return the head without the offer to change the protocol."""
    lines = [b"%b: %b" % line for line in head.items() if line[0] not in {b"connection", b"upgrade"}]
    if b"close" in head.get(b"connection", b"").lower():
        lines.append(b"connection: close")
    return b"\r\n".join([b"%b %b HTTP/1.1" % (method, target), *lines, b"", b""])


def known(data: bytes, length: bytes) -> Known | None:
    """Return the head of a request that came whole and alone; None where it is not worth or not safe to remember.

    Args:
        data: The whole request.
        length: Its content-length, as the parser read it.
    """
    end = data.find(b"\r\n\r\n") + 4
    at = data[:end].lower().find(_LENGTH_NAME) + len(_LENGTH_NAME)
    start = data.find(length, at)
    if end + int(length) != len(data) or data[at:start].strip(b" ") or data[start + len(length)] != _CARRIAGE_RETURN:
        return None
    after = data[start + len(length) : end]
    return Known(data[:start], start, after, len(after))
