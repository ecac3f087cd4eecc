"""One HTTP call: a GET, with a range where something is there already; a HEAD and a PUT for the blob store.

A client of our own over asyncio's streams and llhttp, because it must report each status exactly, time each read, and be
cancellable at any await; general clients weigh more than the supervisor. Redirects are followed, but never from https
down to http, and what authorizes goes to the host only that it was given for.
"""

import asyncio
import base64
import io
import os
import ssl
from collections.abc import AsyncIterator, Container, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit

import httptools

from leadline_runtime import VERSION
from leadline_runtime.fetch import stores

REDIRECTS: Final = {301, 302, 303, 307, 308}
_REDIRECTS_MAX: Final = 5
_HEAD_BYTES_MAX: Final = 64 << 10
_SMALL_BYTES_MAX: Final = 16 << 20
"""Of an answer that is read into memory: a listing or a manifest."""


@asynccontextmanager
async def got(uri: str, headers: Mapping[str, str], offset: int = 0, validator: str = "") -> AsyncIterator["Answer"]:
    """Ask for a URL, following redirects; the given headers go to the URL's own host only.

    Raises:
        StoreError: There is no answer. What its status means is for the caller.
    """
    first, given = uri, dict(headers)
    if not any(name.lower() == "authorization" for name in given) and (basic := basic_of(uri)):
        given["authorization"] = basic
    for _ in range(_REDIRECTS_MAX + 1):
        answer = Answer(uri)
        try:
            await answer.ask(head(uri, given, offset, validator))
            if answer.status in REDIRECTS and answer.headers.get("location"):
                try:
                    following = urljoin(uri, answer.headers["location"])
                    if not same_host(uri, following):
                        given = {}
                except ValueError as error:
                    raise answer.error("redirects to an address that is none") from error
                if urlsplit(uri).scheme == "https" and urlsplit(following).scheme != "https":
                    raise answer.error("redirects from https to http, which is not followed")
                uri = following
                continue
            yield answer
            return
        finally:
            answer.close()
    raise stores.StoreError(
        stores.Fault.UNREACHABLE,
        f"GET {stores.shown(first)}: more than {_REDIRECTS_MAX} redirects",
    )


async def small(uri: str, headers: Mapping[str, str]) -> bytes:
    """Return the whole body of an answer 200.

    Raises:
        StoreError: The answer is another one, or too large.
    """
    async with got(uri, headers) as answer:
        answer.require({HTTPStatus.OK})
        return await answer.whole()


async def exists(uri: str, headers: Mapping[str, str]) -> bool:
    """Tell whether there is something at a URL.

    Raises:
        StoreError: Nobody says so.
    """
    answer = Answer(uri, "HEAD")
    try:
        await answer.ask(head(uri, headers, method="HEAD"))
        answer.require({HTTPStatus.OK, HTTPStatus.NOT_FOUND})
        return answer.status == HTTPStatus.OK
    finally:
        answer.close()


async def put(uri: str, content: Path | bytes, headers: Mapping[str, str]) -> None:
    """Put a file, or a few bytes, at a URL, in pieces.

    Raises:
        StoreError: It is not there for sure.
    """
    answer = Answer(uri, "PUT")
    try:
        with await asyncio.to_thread(_opened, content) as file:
            size = len(content) if isinstance(content, bytes) else os.fstat(file.fileno()).st_size
            await answer.ask(head(uri, headers, method="PUT", size_bytes=size), file)
    except OSError as error:
        raise answer.error(f"{content!s} cannot be read: {error.strerror}") from error
    finally:
        answer.close()
    answer.require({HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.NO_CONTENT})


def _opened(content: Path | bytes) -> BinaryIO:
    return io.BytesIO(content) if isinstance(content, bytes) else content.open("rb")


class Answer:
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
        except ValueError as error:
            raise self.error(f"{parts.hostname!r} can be no host's name") from error
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

    async def whole(self) -> bytes:
        """Return the body of a small answer."""
        parts, size = [], 0
        async for chunk in self.body():
            parts.append(chunk)
            size += len(chunk)
            if size > _SMALL_BYTES_MAX:
                raise self.error(f"answered more than {_SMALL_BYTES_MAX} bytes")
        if size < int(self.headers.get("content-length", "0")):
            raise self.error("the connection ended before the end of the answer")
        return b"".join(parts)

    def require(self, statuses: Container[int]) -> None:
        """Go on with one of these statuses only.

        Raises:
            StoreError: It is another one.
        """
        if self.status not in statuses:
            message = f"{self._method} {self.shown} answered {phrase(self.status)}"
            raise stores.StoreError(stores.fault_of_status(self.status), message)

    def close(self) -> None:
        """End the connection."""
        if self._writer is not None:
            self._writer.transport.abort()

    def error(self, message: str) -> stores.StoreError:
        """Return an error of this request."""
        return stores.StoreError(stores.Fault.UNREACHABLE, f"{self._method} {self.shown}: {message}")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header."""
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Take the end of a head: of an interim answer as well."""
        self.status = self._parser.get_status_code()
        if self.status >= HTTPStatus.OK:
            self._head_done = True

    def on_body(self, data: bytes) -> None:
        """Take a part of the body."""
        self._chunks.append(data)

    def on_message_complete(self) -> None:
        """Take the end of an answer."""
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


def head(
    uri: str,
    headers: Mapping[str, str],
    offset: int = 0,
    validator: str = "",
    *,
    method: str = "GET",
    size_bytes: int = -1,
) -> bytes:
    """Return the head of a request."""
    parts = _checked(uri)
    target = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._") + (f"?{parts.query}" if parts.query else "")
    lines = [
        f"{method} {target} HTTP/1.1",
        f"host: {parts.netloc.rpartition('@')[2]}",
        f"user-agent: leadline-runtime/{VERSION}",
        "accept-encoding: identity",
        "connection: close",
    ]
    lines += [f"{name}: {value}" for name, value in ({"accept": "*/*"} | dict(headers)).items()]
    if size_bytes >= 0:
        lines.append(f"content-length: {size_bytes}")
    if offset:
        lines += [f"range: bytes={offset}-", f"if-range: {validator}"]
    return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")


def basic(user: str, password: str) -> str:
    """Return the value of an Authorization header for a user with a password."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def basic_of(uri: str) -> str:
    """Return what the user and password in a URL authorize with; empty: it has none."""
    parts = _checked(uri)
    return "" if parts.username is None else basic(unquote(parts.username), unquote(parts.password or ""))


def same_host(one: str, other: str) -> bool:
    """Tell whether two URLs have the same host and port."""
    return urlsplit(one).netloc.rpartition("@")[2] == urlsplit(other).netloc.rpartition("@")[2]


def content_range(header: str) -> tuple[int, int]:
    """Return first byte and total of a Content-Range; -1 as first byte where it cannot be read."""
    span, _, total = header.removeprefix("bytes ").partition("/")
    first = span.partition("-")[0]
    return (int(first) if first.isdigit() else -1, int(total) if total.isdigit() else 0)


def phrase(status: int) -> str:
    """Return a status with its words."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)
