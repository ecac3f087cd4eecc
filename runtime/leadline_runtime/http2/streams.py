"""One stream: a request on its way in, its answer on its way out.

`connection` fills it, the application (`grpc`) extends it and answers through `sending`. There is one per request, so it
is small. Must not write to the transport.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from leadline_runtime.http2 import headers

if TYPE_CHECKING:
    from leadline_runtime.http2.connection import Connection
    from leadline_runtime.http2.sending import Outgoing


class Stream:
    """A request and what is left of its answer.

    Attributes:
        head: The request's.
        body: Its bytes, once they are complete.
        is_complete: All of the request has come.
    """

    __slots__ = (
        "body",
        "chunks",
        "connection",
        "head",
        "held_bytes",
        "id",
        "is_complete",
        "is_piecewise",
        "outgoing",
        "received_bytes",
        "since",
        "window",
    )

    def __init__(self, connection: Connection, number: int, head: headers.Head, window: int) -> None:
        self.connection = connection
        self.id = number
        self.head = head
        self.window = window
        """Bytes that the client takes on this stream."""
        self.body = b""
        self.chunks: list[bytes] | None = None
        """Pieces of the body that came before its last one."""
        self.received_bytes = 0
        self.held_bytes = 0
        """What the server counts of this stream: pieces of the body, or of an answer that the client has no room for."""
        self.is_complete = False
        self.is_piecewise = False
        """Pieces go to `took` as they come, instead of all to `completed`; set by `begun`."""
        self.since = 0.0
        """When the first piece came, in seconds of the server's clock."""
        self.outgoing: Outgoing | None = None
        """What the client has no room for yet; None: nothing."""

    # What the application defines

    def begun(self) -> None:
        """Take note of a head whose body is still to come."""

    def completed(self) -> None:
        """Answer the request; called once, with `body` set."""
        raise NotImplementedError

    def took(self, part: bytes) -> None:
        """Take a piece of the body, where `is_piecewise`; `is_complete` is set with the last."""
        raise NotImplementedError

    def check(self, now: float) -> None:
        """Look at the time, of which `now` is the exact one; called every half second."""

    def refuse(self, status: int, message: str, *, extra: bytes = b"") -> None:
        """Answer with an error, given as HTTP status; does nothing where it was answered before."""
        raise NotImplementedError

    def cancelled(self) -> None:
        """Take note that nobody waits for the answer any more."""

    def leave(self) -> None:
        """End what could go on for ever; the client is going elsewhere."""
