"""Calls of more than one message: predictions over a stream, reflection, and the health service's Watch.

`calls.Call` hands on each message as it comes. Answers of a stream of predictions go out in the order of the requests,
as the client has no other way of telling which is whose. Must not parse requests for predictions.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from leadline_runtime.grpc import calls, framing, protocol
from leadline_runtime.http2 import headers

_UNDER_WAY_MAX: Final = 64
"""Requests of one stream that are not answered; more are refused."""
_REFUSED_MAX: Final = 256
"""Of these, which wait for their turn to be told so; more end the stream."""
_INFER: Final = protocol.path(protocol.INFERENCE, "ModelInfer")
_GONE: Final = "this pod is being left; call again"


class Predictions:
    """ModelStreamInfer: each message is a request like ModelInfer's."""

    def __init__(self, call: calls.Call) -> None:
        self._call = call
        self._head = headers.Head(b"POST", _INFER, call.headers, None)
        self._waiting: deque[_Message] = deque()
        self._ended = False

    def took(self, body: bytes) -> None:
        """Take a request."""
        message = _Message(self, self._head, body)
        self._waiting.append(message)
        if len(self._waiting) > _UNDER_WAY_MAX + _REFUSED_MAX:
            self._call.refuse(429, f"{_REFUSED_MAX} requests of this stream were refused and sent all the same")
        elif len(self._waiting) > _UNDER_WAY_MAX:
            message.refuse(429, f"{_UNDER_WAY_MAX} requests of this stream are not answered yet, the limit")
        else:
            self._call.connection.application.rpc(message)

    def ended(self) -> None:
        """End once all are answered."""
        self._ended = True
        self.flush()

    def leave(self) -> None:
        """End a stream on which nothing is under way."""
        if not self._waiting:
            self._call.refuse(503, _GONE)

    def cancelled(self) -> None:
        """Forget what is under way."""
        self._waiting.clear()

    def count_refusal(self, status: int) -> None:
        """Count an answer that is an error."""
        self._call.connection.server.count_refusal(status)

    def flush(self) -> None:
        """Send what is answered, in the order of the requests."""
        waiting = self._waiting
        while waiting and waiting[0].reply:
            self._call.send(waiting.popleft().reply)
        if self._ended and not waiting:
            self._call.finish()


class _Message:
    """One request of a stream, as the service sees a caller."""

    __slots__ = ("_owner", "body", "head", "headers", "reply")

    def __init__(self, owner: Predictions, head: headers.Head, body: bytes) -> None:
        self._owner = owner
        self.head = head
        self.headers = head.values
        self.body = body
        self.reply = b""

    def answer(self, answer: bytes) -> None:
        """Keep the answer until those before it are there."""
        # Field 2 of a ModelStreamInferResponse: the answer as it is.
        self._replied(b"\x12" + framing.varint(len(answer) - framing.HEAD_BYTES) + answer[framing.HEAD_BYTES :])

    def refuse(self, status: int, message: str, *, extra: bytes = b"") -> None:  # noqa: ARG002  # as connections have it
        """Answer with an error: the stream goes on."""
        if not self.reply:
            self._owner.count_refusal(status)
            self._replied(protocol.StreamResponse(error_message=message).SerializeToString())

    def _replied(self, message: bytes) -> None:
        self.reply = framing.framed(message)
        self.body = b""  # it may wait for those before it, and must not keep megabytes
        self._owner.flush()


class Reflection:
    """ServerReflectionInfo: tells which services there are, and how they are defined."""

    def __init__(self, call: calls.Call) -> None:
        self._call = call

    def took(self, body: bytes) -> None:
        """Answer a question."""
        try:
            asked = protocol.ReflectionRequest.FromString(framing.message_of(body))
        except protocol.DecodeError:
            self._call.refuse(400, "expected a ServerReflectionRequest")
            return
        answer = protocol.ReflectionResponse(valid_host=asked.host, original_request=asked)
        kind = asked.WhichOneof("message_request")
        found = None
        if kind == "list_services":
            for name in (protocol.INFERENCE, protocol.HEALTH, protocol.REFLECTION[0]):
                answer.list_services_response.service.add(name=name)
        elif kind == "file_by_filename":
            found = protocol.file_named(asked.file_by_filename)
        elif kind == "file_containing_symbol":
            found = protocol.file_of(asked.file_containing_symbol)
        if found is not None:
            answer.file_descriptor_response.file_descriptor_proto.append(found)
        elif kind != "list_services":
            answer.error_response.error_code = 5
            answer.error_response.error_message = "there is nothing of that name here"
        self._call.send(framing.framed(answer.SerializeToString()))

    def ended(self) -> None:
        """End as well."""
        self._call.finish()

    def leave(self) -> None:
        """End."""
        self._call.refuse(503, _GONE)

    def cancelled(self) -> None:
        """Do nothing."""


class Watch:
    """The health service's Watch: tells the state now and whenever it changes."""

    def __init__(self, call: calls.Call, watchers: set[Watch], state_of: Callable[[bytes], bytes]) -> None:
        self._call = call
        self._watchers = watchers
        self._state_of = state_of
        self._asked = b""
        self._told = b""

    def took(self, body: bytes) -> None:
        """Take the question."""
        self._asked = body
        self._watchers.add(self)
        self.tell()

    def tell(self) -> None:
        """Tell the state if it is another than before."""
        state = self._state_of(self._asked)
        if state != self._told:
            self._told = state
            self._call.send(state)

    def ended(self) -> None:
        """Go on: there is only one question."""

    def leave(self) -> None:
        """End."""
        self._watchers.discard(self)
        self._call.refuse(503, _GONE)

    def cancelled(self) -> None:
        """Stop telling."""
        self._watchers.discard(self)
