"""Content codings of bodies: unpacking requests within a bound, packing the answers of those who ask for one coding.

gzip and deflate, as HTTP means them. An answer is packed only where the request names exactly one coding that we know, as
a client does that was told to: most HTTP libraries list all they can unpack with every request, and within a cluster
packing costs more than it saves. Small answers stay as they are. Must not know what a body says.
"""

import zlib
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Final

from leadline_runtime import errors
from leadline_runtime.oip.forms import Array, Caller, Copyable, Form
from leadline_runtime.outcomes.minting import Rows

_GZIP: Final = 31
"""Window bits of zlib, for a gzip header."""
_ZLIB: Final = 15
_BARE: Final = -15
"""Some clients leave out the header that deflate has in HTTP."""
_LEVEL: Final = 1
"""Fastest: the loop waits for it."""
WINDOW_BITS: Final = {b"gzip": _GZIP, b"deflate": _ZLIB}
"""By coding, of what answers are packed with."""
SMALLEST_BYTES: Final = 1_024
"""Smaller bodies fit a packet."""


def unpacked(body: bytes | memoryview, coding: bytes, limit_bytes: int) -> bytes:
    """Return a body as it was before the client packed it.

    Args:
        body: As it came.
        coding: The header content-encoding.
        limit_bytes: Most bytes that may come out.

    Raises:
        BadRequestError: 415 for another coding, 413 for too much, 400 for what is not packed so.
    """
    name = coding.lower().strip()
    if name in {b"gzip", b"x-gzip"}:
        bits = _GZIP
    elif name == b"deflate":
        bits = _ZLIB if _is_zlib(body) else _BARE
    else:
        shown = errors.shorten(coding.decode("latin-1"), 80)
        raise errors.BadRequestError(f"content-encoding: expected gzip, deflate or none, got {shown!r}", status=415)
    machine = zlib.decompressobj(bits)
    try:
        whole = machine.decompress(body, limit_bytes + 1)
    except zlib.error as error:
        if body[:1] == b"{":
            return bytes(body)  # unpacked on the way, by something that kept the header
        raise errors.BadRequestError(f"body: expected {name.decode()} as content-encoding says; {error}") from error
    if len(whole) > limit_bytes:
        raise errors.BadRequestError(f"body is larger than {limit_bytes} bytes once unpacked", status=413)
    if not machine.eof:
        raise errors.BadRequestError(f"body: the {name.decode()} in it ends too early")
    if machine.unused_data:
        raise errors.BadRequestError(f"body: {len(machine.unused_data)} bytes after the end of the {name.decode()}")
    return whole


def _is_zlib(body: bytes | memoryview) -> bool:
    """Tell whether a body begins with zlib's two bytes."""
    return len(body) >= 2 and body[0] & 0x0F == zlib.DEFLATED and (body[0] << 8 | body[1]) % 31 == 0


class PackedForm:
    """Another form's answers, packed."""

    def __init__(self, form: Form, coding: bytes) -> None:
        self.protocol = form.protocol
        self._form = form
        self._coding = coding

    def rows(
        self, outputs: Sequence[Array], count: int, given: Rows | None, identifiers: Mapping[int, str]
    ) -> tuple[Sequence[bytes], AbstractSet[int]]:
        """Return each row's whole answer."""
        answers, bad = self._form.rows(outputs, count, given, identifiers)
        return [answer if row in bad else packed(answer, self._coding) for row, answer in enumerate(answers)], bad

    def whole(
        self, outputs: Sequence[Array], identifier: str | None, receipt: Callable[[], bytes], *, is_row: bool
    ) -> bytes | None:
        """Return the whole answer."""
        answer = self._form.whole(outputs, identifier, receipt, is_row=is_row)
        return None if answer is None else packed(answer, self._coding)

    def copyable(self, caller: Caller) -> Copyable:
        """Return the request as another revision is asked it."""
        return self._form.copyable(caller)


def packed(answer: bytes, coding: bytes) -> bytes:
    """Return a whole HTTP answer with its body packed; the same where it is too small to be worth it."""
    end = answer.index(b"\r\n\r\n") + 4
    if len(answer) - end < SMALLEST_BYTES:
        return answer
    machine = zlib.compressobj(_LEVEL, zlib.DEFLATED, WINDOW_BITS[coding])
    body = machine.compress(memoryview(answer)[end:]) + machine.flush()
    head, _, _ = answer[: end - 2].rpartition(b"content-length: ")
    return b"%bcontent-encoding: %b\r\nvary: accept-encoding\r\ncontent-length: %d\r\n\r\n%b" % (
        head,
        coding,
        len(body),
        body,
    )
