"""The paths of the Open Inference Protocol, for one port.

Until a model is attached, everything that needs one answers 503 with what is being waited for. Built once, so that a
request costs one look into a dictionary. Must not parse bodies.
"""

from collections.abc import Callable
from typing import Any, Final
from urllib.parse import unquote_to_bytes

import orjson

from leadline_runtime import VERSION, logs
from leadline_runtime.oip import signature
from leadline_runtime.web import responses
from leadline_runtime.web.connection import Connection

Handler = Callable[[Connection], None]

_PLATFORM: Final = "onnxruntime_onnx"


class Routes:
    """Finds the handler of a request."""

    def __init__(self, name: str, revision: str, outcomes: Handler | None = None) -> None:
        self._name = name
        self._revision = revision
        self._waiting_for = "the model is being fetched"
        self._infer: Handler = self._not_ready
        self._outcomes = outcomes
        self._metadata: dict[str, Any] | None = None
        self._handlers: dict[tuple[bytes, bytes], Handler] = {}
        self._methods: dict[bytes, bytes] = {}
        self._build()

    def attach(self, model: signature.Signature, infer: Handler) -> None:
        """Serve this model from now on."""
        self._infer = infer
        self._metadata = {
            "name": self._name,
            "versions": [self._revision],
            "platform": _PLATFORM,
            "inputs": [_described(tensor) for tensor in model.inputs],
            "outputs": [_described(tensor) for tensor in model.outputs],
        }
        self._build()

    def wait_for(self, what: str) -> None:
        """Say what keeps the model from being served, e.g. `the model is being loaded`."""
        self._waiting_for = what

    def handle(self, connection: Connection) -> None:
        """Answer one request."""
        handler = self._handlers.get((connection.method, connection.target))
        try:
            if handler is None:
                self._handle_rare(connection)
            else:
                handler(connection)
        except Exception:  # noqa: BLE001  # a defect of ours must not look like a malformed request
            path = connection.target.decode("latin-1")
            logs.error("request handler failed", exc_info=True, path=path, **logs.of_request(connection.headers))
            connection.refuse(500, "internal error of the runtime; its log has the details")

    def _handle_rare(self, connection: Connection) -> None:
        """Look again without query and escapes; then 404 or 405."""
        path = connection.target.partition(b"?")[0]
        if b"%" in path:
            path = unquote_to_bytes(path)
        handler = self._handlers.get((connection.method, path))
        if handler is not None:
            handler(connection)
            return
        allowed = self._methods.get(path)
        if allowed is not None:
            message = f"{connection.method.decode('latin-1')} is not offered here; expected {allowed.decode()}"
            connection.refuse(405, message, extra=b"allow: %b\r\n" % allowed)
            return
        connection.refuse(404, self._unknown(path))

    def _unknown(self, path: bytes) -> str:
        shown = path.decode("utf-8", "replace")[:200]
        models = f"/v2/models/{self._name}"
        if path.startswith(b"/v2/models/"):
            name = shown.split("/")[3]
            if name != self._name:
                return f'there is no model "{name}" here; this pod serves "{self._name}"'
            if path.startswith(f"{models}/versions/".encode()):
                return f'there is no version "{shown.split("/")[5]}" here; this pod serves "{self._revision}"'
        return f"there is no path {shown}; expected /v2, /v2/health/live, /v2/health/ready or {models}[/ready|/infer|/outcomes]"

    def _build(self) -> None:
        model = f"/v2/models/{self._name}".encode()
        version = b"%b/versions/%b" % (model, self._revision.encode())
        ready = self._metadata is not None
        described = orjson.dumps(self._metadata)
        gets = {
            b"/v2": orjson.dumps({"name": "leadline", "version": VERSION, "extensions": []}),
            b"/v2/health/live": b'{"live":true}',
            b"/v2/health/ready": b'{"ready":true}' if ready else None,
        }
        handlers: dict[tuple[bytes, bytes], Handler] = {}
        for base in (model, version):
            gets[base] = described if ready else None
            gets[base + b"/ready"] = orjson.dumps({"name": self._name, "ready": True}) if ready else None
            handlers[b"POST", base + b"/infer"] = self._infer
        if self._outcomes is not None:
            # Reports need no model: they may be of another revision's predictions.
            handlers[b"POST", model + b"/outcomes"] = self._outcomes
        for path, body in gets.items():
            whole = None if body is None else responses.json(body)
            handlers[b"GET", path] = self._not_ready if whole is None else _answering(whole)
            handlers[b"HEAD", path] = self._not_ready if whole is None else _answering(responses.without_body(whole))
        self._handlers = handlers
        self._methods = dict.fromkeys(gets, b"GET, HEAD")
        self._methods |= {path: method for method, path in handlers if method == b"POST"}

    def _not_ready(self, connection: Connection) -> None:
        connection.refuse(503, f'model "{self._name}" is not ready: {self._waiting_for}')


def _described(tensor: signature.Tensor) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": tensor.datatype.name, "shape": list(tensor.shape)}


def _answering(whole: bytes) -> Handler:
    def handler(connection: Connection) -> None:
        connection.answer(whole)

    return handler
