"""Bytes over HTTP and HTTPS: one GET, with a range where something is there already; and a PUT for the blob store.

A client of our own over asyncio's streams and llhttp, because it must report each status exactly, time each read, and be
cancellable at any await; general clients weigh more than the supervisor. Redirects are followed, but never from https
down to http, and credentials in the URI go to its own host only.
"""

import asyncio
import base64
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit

import httptools

from leadline_runtime import VERSION
from leadline_runtime.fetch import stores

_REDIRECTS: Final = {301, 302, 303, 307, 308}
_REDIRECTS_MAX: Final = 5
_HEAD_BYTES_MAX: Final = 64 << 10


class WebStore:
    """One URL."""

    def __init__(self, uri: str, authorization: str = "") -> None:
        """Name one URL; `authorization` goes to its host only, as credentials in the URI do."""
        self._uri = uri
        self._given = authorization

    @asynccontextmanager
    async def open(self, offset: int, validator: str) -> AsyncIterator[stores.Stream]:
        """Ask for the bytes, following redirects."""
        uri, authorization = self._uri, self._given or _authorization(self._uri)
        for _ in range(_REDIRECTS_MAX + 1):
            answer = _Answer(uri)
            try:
                await answer.ask(_head(uri, authorization, offset, validator))
                if answer.status in _REDIRECTS and answer.headers.get("location"):
                    following = urljoin(uri, answer.headers["location"])
                    if not _same_host(uri, following):
                        authorization = ""
                    if urlsplit(uri).scheme == "https" and urlsplit(following).scheme != "https":
                        raise answer.error("redirects from https to http, which is not followed")
                    uri = following
                    continue
                yield self._stream(answer, offset)
                return
            finally:
                answer.close()
        raise stores.StoreError(
            stores.Fault.UNREACHABLE,
            f"GET {stores.shown(self._uri)}: more than {_REDIRECTS_MAX} redirects",
        )

    def _stream(self, answer: "_Answer", offset: int) -> stores.Stream:
        headers, status = answer.headers, answer.status
        if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and offset:
            raise stores.ChangedError(stores.shown(self._uri))
        if status not in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}:
            raise stores.StoreError(stores.fault_of_status(status), f"GET {answer.shown} answered {_phrase(status)}")
        start, total = 0, int(headers.get("content-length", "0"))
        if status == HTTPStatus.PARTIAL_CONTENT:
            start, total = _range(headers.get("content-range", ""))
            if start != offset:
                raise answer.error(f"answered a range from byte {start}, expected {offset}")
        # A weak ETag may stand for other bytes, so it allows no resume.
        validator = headers.get("etag", "")
        if not validator or validator.startswith("W/"):
            validator = headers.get("last-modified", "")
        return stores.Stream(start=start, total_bytes=total, validator=validator, chunks=answer.body())


async def exists(uri: str, authorization: str = "") -> bool:
    """Tell whether there is something at a URL.

    Raises:
        StoreError: Nobody says so.
    """
    answer = _Answer(uri, "HEAD")
    try:
        await answer.ask(_head(uri, authorization, method="HEAD"))
        if answer.status in {HTTPStatus.OK, HTTPStatus.NOT_FOUND}:
            return answer.status == HTTPStatus.OK
        raise stores.StoreError(stores.fault_of_status(answer.status), f"HEAD {answer.shown}: {_phrase(answer.status)}")
    finally:
        answer.close()


async def put(uri: str, path: Path, authorization: str = "") -> None:
    """Put a file at a URL, in pieces.

    Raises:
        StoreError: It is not there for sure.
    """
    answer = _Answer(uri, "PUT")
    try:
        with await asyncio.to_thread(path.open, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            await answer.ask(_head(uri, authorization, method="PUT", size_bytes=size), file)
    except OSError as error:
        raise answer.error(f"{path} cannot be read: {error.strerror}") from error
    finally:
        answer.close()
    if not HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
        raise stores.StoreError(stores.fault_of_status(answer.status), f"PUT {answer.shown}: {_phrase(answer.status)}")


class _Answer:
    """One request's answer; the parser calls its `on_` methods."""

    def __init__(self, uri: str, method: str = "GET") -> None:
        self.shown = stores.shown(uri)
        self._method = method
        self.headers: dict[str, str] = {}
        self.status = 0
        self._uri = uri
        self._parser = httptools.HttpResponseParser(self)
        self._chunks: list[bytes] = []
        self._head_done = False
        self._done = False
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, head: bytes, body: BinaryIO | None = None) -> None:
        """Connect, send the request, read the answer's head."""
        parts = _checked(self._uri)
        context = ssl.create_default_context() if parts.scheme == "https" else None
        port = parts.port or (443 if context else 80)
        try:
            async with asyncio.timeout(stores.CONNECT_SECONDS):
                self._reader, self._writer = await asyncio.open_connection(parts.hostname, port, ssl=context)
                self._writer.write(head)
        except TimeoutError as error:
            raise self.error(f"no connection within {stores.CONNECT_SECONDS:g} s") from error
        except OSError as error:
            raise self.error(f"no connection: {error.strerror or error}") from error
        if body is not None:
            await self._send(self._writer, body)
        fed = 0
        while not self._head_done:
            data = await self._read()
            if not data:
                raise self.error("the connection ended before an answer")
            fed += len(data)
            self._feed(data)
            if fed > _HEAD_BYTES_MAX and not self._head_done:
                raise self.error(f"the answer's head is larger than {_HEAD_BYTES_MAX} bytes")

    async def body(self) -> AsyncIterator[bytes]:
        """Yield the body."""
        while True:
            if self._chunks:
                chunk = b"".join(self._chunks)
                self._chunks = []
                yield chunk
            if self._done:
                return
            data = await self._read()
            if not data:
                # Without a length the end of the connection is the end of the body; with one, `transfer` sees what lacks.
                return
            self._feed(data)

    def close(self) -> None:
        """End the connection."""
        if self._writer is not None:
            self._writer.transport.abort()

    def error(self, message: str) -> stores.StoreError:
        """Return an error of this request."""
        return stores.StoreError(stores.Fault.UNREACHABLE, f"{self._method} {self.shown}: {message}")

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        if self.status >= HTTPStatus.OK:
            self._head_done = True

    def on_body(self, data: bytes) -> None:
        self._chunks.append(data)

    def on_message_complete(self) -> None:
        if self._head_done:
            self._done = True
        else:
            self.headers = {}

    async def _send(self, writer: asyncio.StreamWriter, body: BinaryIO) -> None:
        try:
            while chunk := await asyncio.to_thread(body.read, stores.CHUNK_BYTES):
                writer.write(chunk)
                async with asyncio.timeout(stores.STALL_SECONDS):
                    await writer.drain()
        except TimeoutError as error:
            raise self.error(f"no byte taken within {stores.STALL_SECONDS:g} s") from error
        except ConnectionError as error:
            raise self.error(f"the connection broke: {error.strerror or error}") from error

    async def _read(self) -> bytes:
        try:
            async with asyncio.timeout(stores.STALL_SECONDS):
                return await self._reader.read(stores.CHUNK_BYTES)
        except TimeoutError as error:
            raise self.error(f"no byte within {stores.STALL_SECONDS:g} s") from error
        except OSError as error:
            raise self.error(f"the connection broke: {error.strerror or error}") from error

    def _feed(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            raise self.error(f"not a valid HTTP answer: {error}") from error


def _checked(uri: str) -> SplitResult:
    try:
        parts = urlsplit(uri)
        is_usable = bool(parts.hostname) and parts.port != 0 and parts.scheme in {"http", "https"}
    except ValueError:
        is_usable = False
    if is_usable:
        return parts
    raise stores.StoreError(stores.Fault.NOT_FOUND, f"{stores.shown(uri)}: expected http(s)://host[:port]/path")


def _head(
    uri: str,
    authorization: str,
    offset: int = 0,
    validator: str = "",
    *,
    method: str = "GET",
    size_bytes: int = -1,
) -> bytes:
    parts = _checked(uri)
    target = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._") + (f"?{parts.query}" if parts.query else "")
    lines = [
        f"{method} {target} HTTP/1.1",
        f"host: {parts.netloc.rpartition('@')[2]}",
        f"user-agent: leadline-runtime/{VERSION}",
        "accept: */*",
        "accept-encoding: identity",
        "connection: close",
    ]
    if authorization:
        lines.append(f"authorization: {authorization}")
    if size_bytes >= 0:
        lines.append(f"content-length: {size_bytes}")
    if offset:
        lines += [f"range: bytes={offset}-", f"if-range: {validator}"]
    return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")


def _authorization(uri: str) -> str:
    parts = _checked(uri)
    if parts.username is None:
        return ""
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return "Basic " + base64.b64encode(pair.encode()).decode()


def _same_host(one: str, other: str) -> bool:
    return urlsplit(one).netloc.rpartition("@")[2] == urlsplit(other).netloc.rpartition("@")[2]


def _range(header: str) -> tuple[int, int]:
    """Return first byte and total of a Content-Range; -1 as first byte where it cannot be read."""
    span, _, total = header.removeprefix("bytes ").partition("/")
    first = span.partition("-")[0]
    return (int(first) if first.isdigit() else -1, int(total) if total.isdigit() else 0)


def _phrase(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
