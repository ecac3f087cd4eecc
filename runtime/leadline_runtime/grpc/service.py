"""The methods of the Open Inference Protocol and of gRPC's health protocol, for one port.

What `oip.routes` is to REST. Answers that are always the same are made when the model is attached, so that a call costs
one look into a dictionary. The same calls come over HTTP/1.1 from other pods of ours (`handle_bare`): a demoted one's
calls, and copies. Must not know what is in a request for a prediction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from leadline_runtime import errors, logs
from leadline_runtime.grpc import bare, calls, framing, protocol, streaming
from leadline_runtime.grpc.calls import Caller
from leadline_runtime.oip import describing, signature
from leadline_runtime.web.connection import Connection

Handler = Callable[[Caller], None]

INFER: Final = protocol.path(protocol.INFERENCE, "ModelInfer")


class Service:
    """Answers the calls of one port."""

    def __init__(self, name: str, revision: str) -> None:
        self._name = name
        self._revision = revision
        self._waiting_for = "the model is being fetched"
        self._model: signature.Signature | None = None
        self._max_rows = 0
        self._watchers: set[streaming.Watch] = set()
        self.receivers: Mapping[bytes, Callable[[calls.Call], calls.Receiver]] = {
            protocol.path(protocol.INFERENCE, "ModelStreamInfer"): streaming.Predictions,
            protocol.path(protocol.HEALTH, "Watch"): self._watch,
            **{protocol.path(name, "ServerReflectionInfo"): streaming.Reflection for name in protocol.REFLECTION},
        }
        """For `calls.Port`."""
        self._handlers: dict[bytes, Handler] = {}
        self._build(self._not_ready)

    def attach(self, model: signature.Signature, infer: Handler, *, max_rows: int) -> None:
        """Serve this model from now on."""
        self._model = model
        self._max_rows = max_rows
        self._build(infer)
        for watcher in list(self._watchers):
            watcher.tell()

    def wait_for(self, what: str) -> None:
        """Say what keeps the model from being served, e.g. `the model is being loaded`."""
        self._waiting_for = what

    def handle(self, caller: Caller) -> None:
        """Answer one call."""
        handler = self._handlers.get(caller.head.path)
        try:
            if handler is None:
                self._refuse_unknown(caller)
            else:
                handler(caller)
        except errors.BadRequestError as error:
            caller.refuse(error.status, str(error))
        except Exception:  # noqa: BLE001  # a defect of ours must not look like the client's
            logs.error("call handler failed", exc_info=True, path=caller.head.path.decode("latin-1"))
            caller.refuse(500, "internal error of the runtime; its log has the details")

    def handle_bare(self, connection: Connection) -> None:
        """Answer a call that comes over HTTP/1.1."""
        if framing.is_whole(connection.body):
            self.handle(bare.Call(connection))
        else:
            connection.refuse(415, "expected a gRPC message in its frame; clients of gRPC speak HTTP/2 to this port")

    @property
    def bare_paths(self) -> tuple[bytes, ...]:
        """Paths that `handle_bare` answers."""
        return tuple(self._handlers)

    def _build(self, infer: Handler) -> None:
        def always(message: Any) -> Handler:
            answer = framing.framed(message.SerializeToString())
            return lambda caller: caller.answer(answer)

        def of(method: str) -> bytes:
            return protocol.path(protocol.INFERENCE, method)

        is_ready = self._model is not None
        self._handlers = {
            INFER: infer,
            of("ServerLive"): always(protocol.LiveResponse(live=True)),
            of("ServerReady"): always(protocol.ReadyResponse(ready=is_ready)),
            of("ModelReady"): self._of_model(protocol.ModelReadyResponse(ready=is_ready)),
            of("ServerMetadata"): always(protocol.of_json(protocol.ServerMetadata, describing.SERVER)),
            of("ModelMetadata"): self._not_ready,
            of("ModelConfig"): self._not_ready,
            of("RepositoryIndex"): self._index,
            of("RepositoryModelLoad"): self._refuse_loading,
            of("RepositoryModelUnload"): self._refuse_loading,
            protocol.path(protocol.HEALTH, "Check"): self._check,
        }
        if self._model is None:
            return
        metadata = describing.metadata(self._model, self._name, self._revision)
        self._handlers[of("ModelMetadata")] = self._of_model(protocol.of_json(protocol.ModelMetadata, metadata))
        config = describing.configuration(self._model, self._name, self._revision, self._max_rows)
        told = protocol.of_json(protocol.ModelConfig, b'{"config":%b}' % config)
        self._handlers[of("ModelConfig")] = self._of_model(told)

    def _of_model(self, message: Any) -> Handler:
        answer = framing.framed(message.SerializeToString())

        def handler(caller: Caller) -> None:
            request = read(protocol.ModelRequest, caller)
            check_names(self._name, self._revision, request.name, request.version)
            caller.answer(answer)

        return handler

    def _index(self, caller: Caller) -> None:
        request = read(protocol.IndexRequest, caller)
        answer = protocol.IndexResponse()
        is_ready = self._model is not None
        if is_ready or not request.ready:
            answer.models.add(
                name=self._name,
                version=self._revision,
                state="READY" if is_ready else "UNAVAILABLE",
                reason="" if is_ready else self._waiting_for,
            )
        caller.answer(framing.framed(answer.SerializeToString()))

    def _check(self, caller: Caller) -> None:
        asked = read(protocol.HealthRequest, caller).service
        if asked not in {"", protocol.INFERENCE, protocol.HEALTH}:
            raise errors.BadRequestError(f'there is no service "{asked}" here', status=404)
        caller.answer(self._state_of(caller.body))

    def _watch(self, call: calls.Call) -> calls.Receiver:
        return streaming.Watch(call, self._watchers, self._state_of)

    def _state_of(self, asked: bytes) -> bytes:
        """Return a HealthCheckResponse, in its frame, to a HealthCheckRequest in its."""
        try:
            name = protocol.HealthRequest.FromString(framing.message_of(asked)).service
        except protocol.DecodeError:
            name = "?"
        states = protocol.HealthResponse.ServingStatus
        state = states.SERVING if self._model is not None else states.NOT_SERVING
        if name not in {"", protocol.INFERENCE, protocol.HEALTH}:
            state = states.SERVICE_UNKNOWN
        return framing.framed(protocol.HealthResponse(status=state).SerializeToString())

    def _refuse_unknown(self, caller: Caller) -> None:
        shown = caller.head.path.decode("utf-8", "replace")[:200]
        caller.refuse(
            501,
            f"there is no method {shown} here; {protocol.INFERENCE} has the protocol's, besides it {protocol.HEALTH}",
        )

    def _refuse_loading(self, caller: Caller) -> None:
        caller.refuse(403, f'which model "{self._name}" is, its ModelDeployment says; change spec.model there')

    def _not_ready(self, caller: Caller) -> None:
        caller.refuse(503, f'model "{self._name}" is not ready: {self._waiting_for}')


def read(kind: Any, caller: Caller) -> Any:
    """Return a call's message.

    Raises:
        BadRequestError: It is none of that kind.
    """
    try:
        return kind.FromString(framing.message_of(caller.body))
    except protocol.DecodeError as error:
        raise errors.BadRequestError(f"body: expected a {kind.DESCRIPTOR.full_name}; {error}") from error


def check_names(name: str, revision: str, asked_name: str, asked_version: str) -> None:
    """Check that the model asked for is the one served.

    Raises:
        BadRequestError: It is another.
    """
    if asked_name != name:
        raise errors.BadRequestError(
            f'there is no model "{asked_name[:200]}" here; this pod serves "{name}"', status=404
        )
    if asked_version not in {"", revision}:
        raise errors.BadRequestError(
            f'there is no version "{asked_version[:200]}" here; this pod serves "{revision}"', status=404
        )
