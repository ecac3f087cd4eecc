"""The server that gives tokens for an OCI registry: who has the password gets one that the registry believes."""

from __future__ import annotations

import base64
import http.server
import json
import threading
import time
import urllib.parse
import uuid
from pathlib import Path
from typing import Any, Self

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from tests.wiring.runtime.pods import free_ports

KEY_ID = "tests"
ISSUER, SERVICE = "tokens.example", "registry.example"


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


class Tokens:
    """Tokens by the protocol of distribution, signed with a key of its own."""

    def __init__(self, folder: Path, user: str, password: str, *, lives_seconds: int = 300) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._authorization = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        self.lives_seconds = lives_seconds
        self.asked: list[str] = []
        """Queries of all calls."""
        (self.port,) = free_ports(1)
        numbers = self._key.public_key().public_numbers()
        jwk = {
            "kty": "EC", "crv": "P-256", "kid": KEY_ID, "alg": "ES256", "use": "sig",
            "x": _encoded(numbers.x.to_bytes(32, "big")), "y": _encoded(numbers.y.to_bytes(32, "big")),
        }  # fmt: skip
        self._jwks = folder / "jwks.json"
        self._jwks.write_text(json.dumps({"keys": [jwk]}))
        tokens = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                tokens.asked.append(urllib.parse.urlsplit(self.path).query)
                known = self.headers.get("authorization") == tokens._authorization
                body = json.dumps(tokens._answer(self.path) if known else {"errors": []}).encode()
                self.send_response(200 if known else 401)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)

    def configuration(self) -> str:
        """Return the registry's own YAML for these tokens."""
        return (
            f"auth:\n  token: {{realm: 'http://127.0.0.1:{self.port}/token', service: {SERVICE}, issuer: {ISSUER}, "
            f"jwks: '{self._jwks}'}}\n"
        )

    def _answer(self, path: str) -> dict[str, str]:
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(path).query)
        access = []
        for scope in query.get("scope", []):
            kind, name, actions = scope.split(":")
            access.append({"type": kind, "name": name, "actions": actions.split(",")})
        now = int(time.time())  # noqa: TID251  # the registry checks it
        claims = {
            "iss": ISSUER, "sub": "tests", "aud": SERVICE, "iat": now - 5, "nbf": now - 5,
            "exp": now + self.lives_seconds, "jti": str(uuid.uuid4()), "access": access,
        }  # fmt: skip
        signed = ".".join(
            _encoded(json.dumps(part).encode()) for part in ({"alg": "ES256", "typ": "JWT", "kid": KEY_ID}, claims)
        )
        r, s = utils.decode_dss_signature(self._key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        return {"token": f"{signed}.{_encoded(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
