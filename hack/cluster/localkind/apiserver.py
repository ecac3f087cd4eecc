"""Talk to the cluster's API server as its administrator: just enough to see it come up and add DNS."""

import http.client
import json
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from localkind import errors, network, processes

_TIMEOUT_SECONDS: Final = 10.0

Manifest = dict[str, Any]


class Administrator:
    """The API server, called with the administrator's certificate."""

    def __init__(self, pki: Path) -> None:
        self._tls = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        self._tls.load_cert_chain(pki / "admin.crt", pki / "admin.key")

    def call(
        self, method: str, path: str, body: bytes = b"", content_type: str = "application/json"
    ) -> tuple[int, bytes]:
        """Return status and body of one request; status 0 while there is no answer."""
        address = (network.NODE_ADDRESS, network.API_PORT)
        connection = http.client.HTTPSConnection(*address, timeout=_TIMEOUT_SECONDS, context=self._tls)
        try:
            connection.request(method, path, body=body, headers={"Content-Type": content_type})
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            return 0, b""
        finally:
            connection.close()

    def get(self, path: str) -> Manifest | None:
        """Return one object, None where it is not there (yet)."""
        status, body = self.call("GET", path)
        found: Manifest | None = json.loads(body) if status == http.HTTPStatus.OK else None
        return found

    def apply(self, path: str, manifest: Manifest) -> None:
        """Create or change an object by server-side apply.

        Raises:
            Broken: The API server refuses it.
        """
        target = f"{path}/{manifest['metadata']['name']}?fieldManager=leadline-local-cluster&force=true"
        body = json.dumps(manifest).encode()
        status, answer = self.call("PATCH", target, body, "application/apply-patch+yaml")
        if status not in (http.HTTPStatus.OK, http.HTTPStatus.CREATED):
            raise errors.Broken(
                f"PATCH {path}: expected 200 or 201, got {status}: {answer[:300].decode(errors='replace')}"
            )


def wait_until(fact: Callable[[], bool], what: str, seconds: float, logs: Path) -> None:
    """Wait for a fact.

    Raises:
        Broken: It did not come true in time.
    """
    deadline = time.monotonic() + seconds
    while not fact():
        if time.monotonic() > deadline:
            raise errors.Broken(f"{what}: expected within {seconds:.0f} s, did not happen; logs: {logs}")
        time.sleep(processes.POLL_SECONDS * 2)
