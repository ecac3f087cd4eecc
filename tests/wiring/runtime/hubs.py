"""A server that answers as the Hugging Face hub is documented to: commits, listings, files beside it and large ones elsewhere.

No hub is reachable from where tests run. That this one speaks as the hub does is judged by the hub's own client, which
downloads from it in `test_hub.py`.
"""

from __future__ import annotations

import hashlib
import http.server
import json
import threading
from typing import Any, Self
from urllib.parse import unquote

from tests.wiring.runtime.pods import free_ports

TOKEN = "hf_a-token-of-tests"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
NAME = "acme/digits"
LARGE_BYTES = 1_000
"""Larger files come from the other host, as with LFS."""


class Hub:
    """One repository, `acme/digits`, with a branch `main` and a tag `v2` of the same commit."""

    def __init__(self, files: dict[str, bytes], *, private: bool = False) -> None:
        self.files = files
        self.private = private
        self.broken = False
        """Whether large files end halfway."""
        self.asked: list[tuple[str, str, str | None]] = []
        """Host, path and authorization of each call."""
        self.ranges: list[str] = []
        """Of calls for a part."""
        self.ports = free_ports(2)
        hub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                hub._answer(self)

            do_HEAD = do_GET  # noqa: N815  # the standard library's name

            def log_message(self, *_: Any) -> None:
                pass

        self._servers = [http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler) for port in self.ports]
        self._threads = [threading.Thread(target=server.serve_forever) for server in self._servers]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports[0]}"

    def _answer(self, call: http.server.BaseHTTPRequestHandler) -> None:
        port = call.server.server_port
        path = unquote(call.path.partition("?")[0])
        authorization = call.headers.get("authorization")
        self.asked.append(("hub" if port == self.ports[0] else "elsewhere", path, authorization))
        if port == self.ports[1]:
            content = self.files[path.removeprefix("/lfs/")]
            if "range" in call.headers:
                self.ranges.append(call.headers["range"])
            start = int(call.headers.get("range", "bytes=0-")[6:-1])
            headers = {"etag": '"large"', "content-length": str(len(content) - start)}
            if start:
                headers["content-range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
            sent = content[start : len(content) // 2] if self.broken else content[start:]
            self._end(call, 206 if start else 200, headers, sent)
            call.close_connection = True
            return
        if self.private and authorization != f"Bearer {TOKEN}":
            self._end(call, 401, {"x-error-code": "GatedRepo", "x-error-message": "Access is restricted"})
            return
        for revision in ("main", "v2", COMMIT):
            if path == f"/api/models/{NAME}/revision/{revision}":
                siblings = [{"rfilename": name} for name in self.files]
                self._content(call, json.dumps({"id": NAME, "sha": COMMIT, "siblings": siblings}).encode(), {})
                return
            if path.startswith(f"/api/models/{NAME}/tree/{revision}"):
                tree = [
                    {"type": "file", "oid": _git(content), "size": len(content), "path": name}
                    for name, content in self.files.items()
                ]
                self._content(call, json.dumps(tree).encode(), {})
                return
            if path.startswith(f"/{NAME}/resolve/{revision}/"):
                self._resolve(call, path.removeprefix(f"/{NAME}/resolve/{revision}/"))
                return
        self._end(call, 404, {"x-error-code": "RepoNotFound"})

    def _resolve(self, call: http.server.BaseHTTPRequestHandler, name: str) -> None:
        content = self.files.get(name)
        if content is None:
            self._end(call, 404, {"x-error-code": "EntryNotFound", "x-repo-commit": COMMIT})
            return
        if len(content) < LARGE_BYTES:
            self._content(call, content, {"x-repo-commit": COMMIT, "etag": f'"{_git(content)}"'})
            return
        headers = {
            "x-repo-commit": COMMIT,
            "x-linked-size": str(len(content)),
            "x-linked-etag": f'"{hashlib.sha256(content).hexdigest()}"',
            "location": f"http://127.0.0.1:{self.ports[1]}/lfs/{name}",
        }
        self._end(call, 302, headers)

    def _content(self, call: Any, content: bytes, headers: dict[str, str]) -> None:
        self._end(call, 200, headers | {"accept-ranges": "bytes"}, content)

    def _end(self, call: Any, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        call.send_response(status)
        for name, value in ({"content-length": str(len(body))} | headers).items():
            call.send_header(name, value)
        call.end_headers()
        if call.command == "GET":
            call.wfile.write(body)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()
        for thread in self._threads:
            thread.join()


def _git(content: bytes) -> str:
    """Return the id that git gives a file, which is a small file's ETag."""
    return hashlib.sha1(b"blob %d\0%b" % (len(content), content)).hexdigest()
