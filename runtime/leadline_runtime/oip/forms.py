"""Who asks, and in what form the answer is written.

A `Caller` is one request that waits for its answer, whatever protocol it came by. A `Form` writes answers of one model in
one way: JSON, JSON with binary tensors, a gRPC message. Requests of different forms share a run of the model; after it a
batch asks each form for the answers of its own rows. Must not know batches or protocols.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final, Protocol

import numpy as np

from leadline_runtime.outcomes.minting import Rows

Array = np.ndarray[Any, np.dtype[Any]]


class Headed:
    """A request whose body cannot be read without some of its headers; a copy of it needs both."""

    __slots__ = ("body", "lines")

    def __init__(self, lines: bytes, body: bytes) -> None:
        self.lines = lines
        """Whole header lines."""
        self.body = body

    def __len__(self) -> int:
        return len(self.body)


Copyable = bytes | Headed
"""What is asked again of another revision's own port, over REST: a JSON body, or more."""


HEADER: Final = b"inference-header-content-length"
"""REST, request and answer: how many bytes of the body are JSON, raw tensors follow."""


class Caller(Protocol):
    """One request and the way back: an HTTP/1.1 connection or a stream of HTTP/2."""

    body: bytes
    """As it came, or a view of the memory that a large one was read into; dropped once it was answered."""
    headers: dict[bytes, bytes]
    """By name in lower case. Not to be changed: a connection may hold them for its next request."""

    def answer(self, answer: bytes, /) -> None:
        """Send the answer, as the caller's form has written it. Called once, or `refuse` is."""

    def refuse(self, status: int, message: str, *, extra: bytes = b"") -> None:
        """Send an error; `status` is HTTP's, `extra` holds whole header lines of HTTP/1.1."""


class Form(Protocol):
    """Writes answers of one model, with the outputs that were asked for. Forms are few and kept: compared by identity."""

    protocol: str
    """What its answers are counted as: `rest_json`, `rest_binary` or `grpc`."""

    def rows(
        self, outputs: Sequence[Array], count: int, given: Rows | None, identifiers: Mapping[int, str]
    ) -> tuple[Sequence[bytes], AbstractSet[int]]:
        """Return the whole answer of each row, and the rows that cannot be told in this form, which have none.

        Args:
            outputs: All of the model's, in its order; the first dimension of each is `count`.
            count: Rows, each the answer to one request.
            given: Receipts by row; None: no row has one.
            identifiers: The clients' ids, by row; most have none.
        """

    def whole(
        self, outputs: Sequence[Array], identifier: str | None, receipt: Callable[[], bytes], *, is_row: bool
    ) -> bytes | None:
        """Return the whole answer to one request; None where it cannot be told in this form.

        Args:
            outputs: All of the model's, cut to this request's rows where there are rows.
            identifier: The client's; None: none.
            receipt: Gives the answer's receipt, empty where it gets none; called once, and only if it can be told.
            is_row: The answer has one row.
        """

    def copyable(self, caller: Caller) -> Copyable:
        """Return the caller's request as another revision is asked it, before the caller is answered."""


def copyable(caller: Caller) -> Copyable:
    """Return a request that came over REST as another revision is asked it."""
    length = caller.headers.get(HEADER)
    return caller.body if length is None else Headed(b"%b: %b\r\n" % (HEADER, length), caller.body)
