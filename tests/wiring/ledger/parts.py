"""The real ledger, in this process or in its own, and a small server that stands for the API server's reviews."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import io
import json
import os
import signal
import ssl
import subprocess
import sys
import threading
from pathlib import Path

import aiohttp
import msgspec
from aiohttp import test_utils
from leadline_ledger import serving, sqlite, store, tokens
from leadline_ledger.blobs import bucket, volume
from leadline_ledger.captures.kept import Captures
from leadline_wire import ledger

from tests.unit.ledger.ledgers import Clock
from tests.wiring.runtime.pods import eventually, free_ports

OPERATOR = "system:serviceaccount:leadline-system:leadline"
RUNTIME = "system:serviceaccount:shop:default"
MODEL = "/v1/namespaces/shop/models/fraud"
BLOB = "/v1/namespaces/shop/blobs"
START_SECONDS = 30.0


class ApiServer:
    """Answers TokenReviews: a token is its owner's user name, unless it is in `unknown`; and SubjectAccessReviews."""

    def __init__(self, certificate=None):
        self.asked = []
        self.unknown = set()
        self.allowed = set()
        """User, verb, resource with subresource, and namespace."""
        self.access_asked = []
        self.status = 201
        self.audiences = [ledger.AUDIENCE]
        api = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                review = json.loads(self.rfile.read(int(self.headers["content-length"])))
                if self.path.endswith("/subjectaccessreviews"):
                    self._answer({"status": {"allowed": self._is_allowed(review["spec"])}})
                    return
                api.asked.append((self.path, self.headers["authorization"], review["spec"]["audiences"]))
                token = review["spec"]["token"]
                known = token not in api.unknown
                status = {"authenticated": known, "audiences": api.audiences, "user": {"username": token}}
                self._answer({"status": status if known else {"authenticated": False}})

            def _is_allowed(self, spec):
                what = spec["resourceAttributes"]
                assert what["group"] == "leadline.dev"
                api.access_asked.append(spec)
                resource = f"{what['resource']}/{what['subresource']}"
                return (spec["user"], what["verb"], resource, what["namespace"]) in api.allowed

            def _answer(self, told):
                body = json.dumps(told).encode()
                self.send_response(api.status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"{'https' if certificate else 'http'}://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def account(folder):
    """Make the folder that a pod's service account has."""
    found = folder / "account"
    found.mkdir(exist_ok=True)
    (found / "token").write_text("own-token\n")
    return found


class Here:
    """The real application on loopback, in this process, at a time that the test sets."""

    def __init__(self, *, kept, model_bytes, known, server, session, clock):
        self.store, self.blobs, self.tokens, self.clock = kept, model_bytes, known, clock
        self._server, self._session = server, session

    async def call(self, method, path, message=None, *, token=RUNTIME, data=None, headers=None):
        """Return status, body and headers."""
        body = msgspec.json.encode(message) if message is not None else data
        sent = {**({"authorization": f"Bearer {token}"} if token else {}), **(headers or {})}
        body = io.BytesIO(body) if isinstance(body, bytes) else body
        url = self._server.make_url(path)
        async with self._session.request(method, url, data=body, headers=sent) as answer:
            return answer.status, await answer.read(), answer.headers

    def url(self, path):
        """Return where a call goes that is made otherwise."""
        return self._server.make_url(path)

    async def told(self, *outcomes):
        status, body, _ = await self.call("POST", f"{MODEL}/intake", ledger.Intake(outcomes=list(outcomes)))
        assert status == 200, body
        return msgspec.json.decode(body, type=ledger.IntakeAnswer).fates

    async def log(self, query="", token=OPERATOR, path="/v1/log"):
        status, body, _ = await self.call("GET", f"{path}{query}", token=token)
        assert status == 200, body
        return msgspec.json.decode(body, type=ledger.Log)


@contextlib.asynccontextmanager
async def here(
    folder,
    api,
    *,
    limits=None,
    queue_bytes=64 << 20,
    requests_max=64,
    blob_max=1 << 20,
    blobs_max=1 << 20,
    captures_max=0,
    uri="",
):
    clock = Clock()
    kept = sqlite.kept(folder / "ledger.db", clock_ms=clock, limits=limits or store.Limits(), name=os.urandom(8).hex())
    model_bytes = (
        bucket.BucketBlobs(uri, folder, blob_max_bytes=blob_max)
        if uri
        else volume.VolumeBlobs(
            folder, clock=lambda: clock() / 1_000, blob_max_bytes=blob_max, blobs_max_bytes=blobs_max, keep_days=90
        )
    )
    captured = Captures(folder, uri, clock_ms=clock, most_bytes=captures_max)
    known = tokens.Tokens(api.url, account(folder), monotonic=lambda: clock() / 1_000)
    parts = serving.Parts(kept, model_bytes, known, OPERATOR, queue_bytes, requests_max, captured)
    async with test_utils.TestServer(serving.application(parts)) as server, aiohttp.ClientSession() as session:
        await kept.open()
        await model_bytes.open()
        try:
            here_now = Here(
                kept=kept, model_bytes=model_bytes, known=known, server=server, session=session, clock=clock
            )
            here_now.captured = captured
            yield here_now
        finally:
            await kept.close()
            await known.close()


class Process:
    """The real `leadline-ledger` in its own process."""

    def __init__(self, folder, api, **variables):
        (self.port,) = free_ports(1)
        self.folder = folder
        self._variables = {
            "PATH": os.environ["PATH"],
            "LEADLINE_LEDGER_DIR": str(folder),
            "LEADLINE_LEDGER_OPERATOR": OPERATOR,
            "LEADLINE_LEDGER_BIND": "127.0.0.1",
            "LEADLINE_LEDGER_PORT": str(self.port),
            "LEADLINE_LEDGER_API_SERVER": api.url,
            "LEADLINE_LEDGER_ACCOUNT_DIR": str(account(folder.parent)),
            **variables,
        }
        self.process = None

    def start(self, *, ready=True):
        command = Path(sys.executable).with_name("leadline-ledger")
        log = (self.folder.parent / "ledger.log").open("ab")
        with log:
            self.process = subprocess.Popen([command], env=self._variables, stderr=log)
        wanted = (200,) if ready else (200, 503)
        eventually("the ledger answers", lambda: self.call("GET", "/readyz")[0] in wanted, START_SECONDS)
        return self

    def call(self, method, path, message=None, *, token=RUNTIME):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            body = None if message is None else msgspec.json.encode(message)
            connection.request(method, path, body, {"authorization": f"Bearer {token}"})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def readiness(self):
        status, body = self.call("GET", "/readyz")
        return status, body.decode().strip()

    def log(self):
        entries, after = [], 0
        while True:
            status, body = self.call("GET", f"/v1/log?after={after}", token=OPERATOR)
            assert status == 200, body
            found = msgspec.json.decode(body, type=ledger.Log)
            if not found.entries:
                return entries
            entries += found.entries
            after = entries[-1].seq

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(START_SECONDS)

    def end(self):
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(START_SECONDS)
        return self.process.returncode if self.process else None

    def said(self):
        return (self.folder.parent / "ledger.log").read_text()
