"""A served model behind gRPC, without sockets: calls in, messages and statuses out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from leadline_runtime.grpc import asking, calls, framing, protocol, service
from leadline_runtime.http2 import frames
from leadline_runtime.web import server

from tests.unit.runtime.frames_of import Client
from tests.unit.runtime.models import Served

INFER = protocol.path(protocol.INFERENCE, "ModelInfer").decode()
GRPC = [("content-type", "application/grpc"), ("te", "trailers")]


@dataclass
class Reply:
    """How a call ended."""

    code: int | None = None
    details: str = ""
    messages: list[bytes] = field(default_factory=list)
    fields: dict[str, str] = field(default_factory=dict)
    reset: int | None = None

    @property
    def answer(self) -> Any:
        """Return the ModelInferResponse."""
        assert self.code == 0, (self.code, self.details)
        (message,) = self.messages
        return protocol.InferResponse.FromString(message)


class Calling(Client):
    """A client of one port, whose application is gRPC's."""

    def __init__(self, served: Served, limits: server.Limits | None = None, **more: Any) -> None:
        self.served = served
        super().__init__(limits, **more)

    def make_connection(self) -> Any:
        served = self.served
        self.service = service.Service("m", "m-1")
        self.port = calls.Port(self.service.handle, self.service.receivers, served.loop.time)
        predictions = asking.Predictions(served.inference, served.model.signature, "m", "m-1")
        self.predictions = predictions
        self.service.attach(served.model.signature, predictions.infer, max_rows=8)
        self.server.app = served.routes.handle
        self.number = -1
        return self.port.protocol(self.server)

    def begin(self, body: bytes | None, path: str = INFER, more: list[tuple[str, str]] | None = None) -> int:
        """Send a call, its body as it is; return its stream."""
        self.number += 2
        self.ask(self.number, body, path=path, more=[*GRPC, *(more or [])])
        return self.number

    def call(self, message: Any, path: str = INFER, more: list[tuple[str, str]] | None = None) -> Reply:
        """Return the answer to one call."""
        body = message if isinstance(message, bytes) else message.SerializeToString()
        number = self.begin(framing.framed(body), path, more)
        return self.replies()[number]

    def replies(self) -> dict[int, Reply]:
        """Run what waits, make room, and return how calls ended since."""
        self.served.loop.run()
        taken = self.answers()
        size = sum(len(answer.data) for answer in taken.values())
        if size:
            self.window(0, size)
        found = {}
        for number, answer in taken.items():
            reply = Reply(fields=dict(answer.fields), reset=answer.reset)
            if "grpc-status" in reply.fields:
                reply.code = int(reply.fields["grpc-status"])
                reply.details = unquote(reply.fields.get("grpc-message", ""))
            data = answer.data
            while data and reply.fields.get("content-type", "application/grpc") == "application/grpc":
                size = int.from_bytes(data[1:5], "big")
                assert len(data) >= 5 + size
                reply.messages.append(data[5 : 5 + size])
                data = data[5 + size :]
            found[number] = reply
        return found


def usual_client(served: Served, limits: server.Limits | None = None) -> Calling:
    return Calling(served, limits, settings={frames.INITIAL_WINDOW_SIZE: 1 << 20})
