"""The paths of the Open Inference Protocol, for one port.

Until a model is attached, everything that needs one answers 503 with what is being waited for. Built once, so that a
request costs one look into a dictionary. Must not parse bodies.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import unquote_to_bytes

import orjson

from leadline_runtime import errors, logs
from leadline_runtime.oip import describing, openapi, signature
from leadline_runtime.web import responses
from leadline_runtime.web.connection import Connection

Handler = Callable[[Connection], None]
_SHOWN_MAX: Final = 200
"""Characters of what the client sent, in a message."""
_ABSOLUTE: Final = re.compile(rb"^https?://[^/]*", re.IGNORECASE)


class Routes:
    """Finds the handler of a request."""

    def __init__(
        self,
        name: str,
        revision: str,
        outcomes: Handler | None = None,
        *,
        wanted: Handler | None = None,
        posts: Mapping[bytes, Handler] | None = None,
    ) -> None:
        self._name = name
        self._revision = revision
        self._waiting_for = "the model is being fetched"
        self._infer: Handler = self._not_ready
        self._outcomes = outcomes
        self._wanted = wanted
        self._posts = posts or {}
        """What else is posted here, by path: calls of gRPC that other pods of ours pass on."""
        self._described: dict[str, bytes] | None = None
        """What tells of the model, by the path's last part; None: it is not served yet."""
        self._document: bytes | None = None
        """OpenAPI's, of the model that is served."""
        self._handlers: dict[tuple[bytes, bytes], Handler] = {}
        self._methods: dict[bytes, bytes] = {}
        self._build()

    def attach(self, model: signature.Signature, infer: Handler, *, max_rows: int = 0) -> None:
        """Serve this model from now on; `max_rows` is what one run takes."""
        self._infer = infer
        names = (self._name, self._revision)
        self._described = {
            "": describing.metadata(model, *names),
            "/config": describing.configuration(model, *names, max_rows),
            "/ready": orjson.dumps({"name": self._name, "ready": True}),
        }
        self._document = orjson.dumps(openapi.document(model, *names, has_outcomes=self._outcomes is not None))
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
        if not path.startswith(b"/"):
            # As to a proxy, which a server has to take as well (RFC 9112, 3.2.2).
            path = _ABSOLUTE.sub(b"", path) or b"/"
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
        whole = path.decode("utf-8", "replace")
        models = f"/v2/models/{self._name}"
        if path.startswith(b"/v2/models/") and not path.endswith(b"/stats"):
            name = whole.split("/")[3]
            if name != self._name:
                return f'there is no model "{name[:_SHOWN_MAX]}" here; this pod serves "{self._name}"'
            if path.startswith(f"{models}/versions/".encode()):
                version = whole.split("/")[5]
                if version != self._revision:
                    return f'there is no version "{version[:_SHOWN_MAX]}" here; this pod serves "{self._revision}"'
        if path.endswith(b"/stats"):
            return "statistics are not offered here; the admin port has them under /metrics"
        return (
            f"there is no path {whole[:_SHOWN_MAX]}; expected /v2, /v2/health/live, /v2/health/ready, /v2/repository/index, "
            f"{openapi.PATH} or {models}[/ready|/config|/infer|/outcomes|/outcomes/wanted]"
        )

    def _build(self) -> None:
        model = f"/v2/models/{self._name}".encode()
        version = b"%b/versions/%b" % (model, self._revision.encode())
        described = self._described
        gets = {
            b"/v2": describing.SERVER,
            b"/v2/health/live": b'{"live":true}',
            b"/v2/health/ready": b'{"ready":true}' if described is not None else None,
            openapi.PATH.encode(): self._document,
        }
        handlers: dict[tuple[bytes, bytes], Handler] = {(b"POST", path): post for path, post in self._posts.items()}
        for base in (model, version):
            for part in ("", "/config", "/ready"):
                gets[base + part.encode()] = described[part] if described is not None else None
            handlers[b"POST", base + b"/infer"] = self._infer
        handlers[b"POST", b"/v2/repository/index"] = self._index
        for verb in ("load", "unload"):
            handlers[b"POST", f"/v2/repository/models/{self._name}/{verb}".encode()] = self._refuse_loading
        if self._outcomes is not None:
            # Reports need no model: they may be of another revision's predictions.
            handlers[b"POST", model + b"/outcomes"] = self._outcomes
        for path, body in gets.items():
            whole = None if body is None else responses.json(body)
            handlers[b"GET", path] = self._not_ready if whole is None else _answering(whole)
            handlers[b"HEAD", path] = self._not_ready if whole is None else _answering(responses.without_body(whole))
        self._methods = dict.fromkeys(gets, b"GET, HEAD")
        if self._wanted is not None:
            handlers[b"GET", model + b"/outcomes/wanted"] = self._wanted
            self._methods[model + b"/outcomes/wanted"] = b"GET"
        self._handlers = handlers
        self._methods |= {path: method for method, path in handlers if method == b"POST"}

    def _index(self, connection: Connection) -> None:
        waiting_for = self._waiting_for if self._described is None else None
        try:
            listed = describing.index(self._name, self._revision, waiting_for, connection.body)
        except errors.BadRequestError as error:
            connection.refuse(error.status, str(error))
            return
        connection.answer(responses.json(listed))

    def _refuse_loading(self, connection: Connection) -> None:
        connection.refuse(403, f'which model "{self._name}" is, its ModelDeployment says; change spec.model there')

    def _not_ready(self, connection: Connection) -> None:
        connection.refuse(503, f'model "{self._name}" is not ready: {self._waiting_for}')


def _answering(whole: bytes) -> Handler:
    def handler(connection: Connection) -> None:
        connection.answer(whole)

    return handler
