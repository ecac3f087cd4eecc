"""Fetching: from files and over HTTP, with broken transfers, changed objects and every kind of refusal."""

import asyncio
import hashlib
from collections.abc import Callable
from contextlib import asynccontextmanager

import pytest
from leadline_runtime import errors
from leadline_runtime.fetch import stores, transfer

BYTES = bytes(range(256)) * 4_000
DIGEST = f"sha256:{hashlib.sha256(BYTES).hexdigest()}"
LIMIT_SECONDS = 20.0

Reply = bytes | Callable[[asyncio.StreamWriter], None]


def ok(body=BYTES, *, etag='"one"', cut=None):
    """A whole answer, of which only `cut` bytes of the body come."""
    head = f"HTTP/1.1 200 OK\r\netag: {etag}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body[:cut]


def partial(start, *, etag='"one"', body=BYTES):
    span = f"bytes {start}-{len(body) - 1}/{len(body)}"
    head = f"HTTP/1.1 206 Partial Content\r\netag: {etag}\r\ncontent-range: {span}\r\ncontent-length: {len(body) - start}\r\n\r\n"
    return head.encode() + body[start:]


def status(line, *lines):
    return "\r\n".join([f"HTTP/1.1 {line}", *lines, "content-length: 0", "", ""]).encode()


class Web:
    """A server that gives one prepared reply after the other, the last one for ever, and keeps what it was asked."""

    def __init__(self, *replies):
        self.replies = list(replies)
        self.asked: list[str] = []

    @asynccontextmanager
    async def running(self):
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.close()
            await server.wait_closed()

    async def serve(self, reader, writer):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.asked.append(head)
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if reply is not None:
            writer.write(reply(head) if callable(reply) else reply)
            await writer.drain()
        else:
            await reader.read()
        writer.close()


class Fetch:
    """One transfer and what it told."""

    def __init__(self, uri, folder, *, limit_bytes=1 << 30):
        self.troubles: list[errors.BlockedError] = []
        self.progress: list[tuple[int, int]] = []
        self.told = asyncio.Event()
        self.path = folder / "model.onnx"
        self.work = transfer.Transfer(
            uri,
            self.path,
            reasons=transfer.MODEL,
            limit_bytes=limit_bytes,
            on_progress=lambda done, total: self.progress.append((done, total)),
            on_trouble=self.blocked,
        )

    def blocked(self, error):
        self.troubles.append(error)
        self.told.set()

    async def digest(self):
        async with asyncio.timeout(LIMIT_SECONDS):
            return await self.work.run()

    async def first_trouble(self):
        """Run until trouble is told; return it."""
        running = asyncio.ensure_future(self.work.run())
        try:
            async with asyncio.timeout(LIMIT_SECONDS):
                await self.told.wait()
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        trouble = self.troubles[0].trouble
        assert trouble.blame == "surroundings"
        assert trouble.message.endswith(transfer.RETRIED)
        return trouble


async def test_a_file_is_copied_with_its_digest_and_progress(tmp_path):
    source = tmp_path / "a model.onnx"
    source.write_bytes(BYTES)
    fetch = Fetch(source.as_uri(), tmp_path)
    assert await fetch.digest() == DIGEST
    assert fetch.path.read_bytes() == BYTES
    assert fetch.progress[-1] == (len(BYTES), len(BYTES))
    assert not list(tmp_path.glob("*.partial"))


async def test_bytes_come_over_http(tmp_path):
    web = Web(ok())
    async with web.running() as url:
        fetch = Fetch(f"{url}/a%20b/model.onnx?version=2", tmp_path)
        assert await fetch.digest() == DIGEST
    assert fetch.path.read_bytes() == BYTES
    assert web.asked[0].startswith("GET /a%20b/model.onnx?version=2 HTTP/1.1\r\n")


async def test_a_chunked_answer_and_one_that_ends_with_the_connection_are_whole(tmp_path):
    chunks = b"".join(b"%x\r\n%b\r\n" % (256, BYTES[start : start + 256]) for start in range(0, len(BYTES), 256))
    chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
    for reply in (chunked, b"HTTP/1.1 200 OK\r\n\r\n" + BYTES):
        async with Web(reply).running() as url:
            assert await Fetch(url, tmp_path).digest() == DIGEST


async def test_a_broken_transfer_goes_on_where_it_ended(tmp_path):
    web = Web(ok(cut=300_000), lambda head: partial(int(head.partition("range: bytes=")[2].partition("-")[0])))
    async with web.running() as url:
        fetch = Fetch(url, tmp_path)
        assert await fetch.digest() == DIGEST
    assert fetch.path.read_bytes() == BYTES
    assert 'range: bytes=300000-\r\nif-range: "one"' in web.asked[1]
    assert "ended after 300000 of 1024000 bytes" in fetch.troubles[0].trouble.message


@pytest.mark.parametrize(
    "second",
    [ok(etag='"two"'), status("416 Range Not Satisfiable")],
    ids=["another object comes whole", "the range is refused"],
)
async def test_an_object_that_changed_is_fetched_from_its_start(tmp_path, second):
    other = b"other" * 100_000
    web = Web(ok(other, cut=300_000), second, ok(etag='"two"'))
    async with web.running() as url:
        fetch = Fetch(url, tmp_path)
        assert await fetch.digest() == DIGEST
    assert fetch.path.read_bytes() == BYTES


async def test_without_a_validator_a_broken_transfer_starts_again(tmp_path):
    web = Web(ok(etag='W/"weak"', cut=300_000), ok())
    async with web.running() as url:
        assert await Fetch(url, tmp_path).digest() == DIGEST
    assert "range:" not in web.asked[1]


@pytest.mark.parametrize(
    ("reply", "reason", "said"),
    [
        (status("404 Not Found"), "ModelNotFound", "/m.onnx answered 404 Not Found"),
        (status("410 Gone"), "ModelNotFound", "answered 410 Gone"),
        (status("403 Forbidden"), "ModelAccessDenied", "answered 403 Forbidden"),
        (status("401 Unauthorized"), "ModelAccessDenied", "answered 401 Unauthorized"),
        (status("500 Internal Server Error"), "ModelStoreUnreachable", "answered 500 Internal Server Error"),
        (status("429 Too Many Requests"), "ModelStoreUnreachable", "answered 429 Too Many Requests"),
        (b"", "ModelStoreUnreachable", "the connection ended before an answer"),
        (b"SSH-2.0-OpenSSH\r\n", "ModelStoreUnreachable", "not a valid HTTP answer"),
        (status("302 Found", "location: /m.onnx"), "ModelStoreUnreachable", "more than 5 redirects"),
        (ok(b"x" * 2_000), "ModelTooLarge", "has more than 1000 bytes, the limit"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 2_000, "ModelTooLarge", "has more than 1000 bytes, the limit"),
    ],
)
async def test_what_a_store_answers_becomes_a_reason_and_is_tried_again(tmp_path, reply, reason, said):
    async with Web(reply).running() as url:
        with_secret = url.replace("http://", "http://user:secret@") + "/m.onnx?token=secret"
        trouble = await Fetch(with_secret, tmp_path, limit_bytes=1_000).first_trouble()
    assert trouble.reason == reason
    assert said in trouble.message
    assert "secret" not in trouble.message
    assert "127.0.0.1" in trouble.message


async def test_a_store_that_comes_back_is_found_again(tmp_path):
    web = Web(status("503 Service Unavailable"), status("404 Not Found"), ok())
    async with web.running() as url:
        fetch = Fetch(url, tmp_path)
        assert await fetch.digest() == DIGEST
    assert [trouble.trouble.reason for trouble in fetch.troubles] == ["ModelStoreUnreachable", "ModelNotFound"]


async def test_a_store_that_stalls_is_left_in_time(tmp_path, monkeypatch):
    monkeypatch.setattr(stores, "STALL_SECONDS", 0.2)
    async with Web(None).running() as url:
        trouble = await Fetch(url, tmp_path).first_trouble()
    assert trouble.reason == "ModelStoreUnreachable"
    assert "no byte within 0.2 s" in trouble.message


@pytest.mark.parametrize(
    ("uri", "reason", "said"),
    [
        ("file:///nowhere/model.onnx", "ModelNotFound", "file:///nowhere/model.onnx: there is no such file"),
        ("file://models/model.onnx", "ModelNotFound", "expected file:///absolute/path, got the host 'models'"),
        ("http://127.0.0.1:9/m", "ModelStoreUnreachable", "GET http://127.0.0.1:9/m: no connection"),
        ("http://model-store.invalid/m", "ModelStoreUnreachable", "GET http://model-store.invalid/m: no connection"),
        ("http:///m", "ModelNotFound", "expected http(s)://host[:port]/path"),
        ("s3://bucket", "ModelNotFound", "expected s3://bucket/key"),
    ],
)
async def test_a_place_that_cannot_be_reached_is_named(tmp_path, uri, reason, said):
    trouble = await Fetch(uri, tmp_path).first_trouble()
    assert trouble.reason == reason
    assert said in trouble.message


async def test_s3_over_plain_http_says_which_variable_allows_it(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://store:9000")
    monkeypatch.delenv("AWS_ALLOW_HTTP", raising=False)
    trouble = await Fetch("s3://bucket/m.onnx", tmp_path).first_trouble()
    assert "plain http needs AWS_ALLOW_HTTP=true" in trouble.message


async def test_s3_that_does_not_answer_is_told_in_words_that_stay_the_same(tmp_path, monkeypatch):
    for name, value in {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    told = [await Fetch("s3://bucket/a/m.onnx", tmp_path).first_trouble() for _ in range(2)]
    assert told[0] == told[1]
    assert told[0].reason == "ModelStoreUnreachable"
    assert "GET s3://bucket/a/m.onnx" in told[0].message
    assert "secret" not in told[0].message


async def test_credentials_go_to_their_own_host_only(tmp_path):
    target = Web(ok())
    async with target.running() as elsewhere:
        first = Web(status("302 Found", f"location: {elsewhere}/there"))
        async with first.running() as url:
            uri = url.replace("http://", "http://user:pass@") + "/here"
            assert await Fetch(uri, tmp_path).digest() == DIGEST
    assert "authorization: Basic dXNlcjpwYXNz" in first.asked[0]
    assert "authorization" not in target.asked[0]
    assert target.asked[0].startswith("GET /there ")


async def test_headers_of_the_secret_go_to_their_own_host_only(tmp_path, monkeypatch):
    monkeypatch.setenv("HTTP_AUTHORIZATION", "Bearer secret-token")
    monkeypatch.setenv("HTTP_HEADERS", "X-Api-Key: secret-key\n\nx-team: digits \n")
    target = Web(ok())
    async with target.running() as elsewhere:
        first = Web(
            status("302 Found", "location: /there"), status("307 Temporary Redirect", f"location: {elsewhere}/x")
        )
        async with first.running() as url:
            assert await Fetch(f"{url}/here", tmp_path).digest() == DIGEST
    for asked in first.asked:
        assert {"authorization: Bearer secret-token", "x-api-key: secret-key", "x-team: digits"} <= set(
            asked.split("\r\n")
        )
    assert "secret" not in target.asked[0]
    assert "x-team" not in target.asked[0]


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ("x-api-key secret", "HTTP_HEADERS, line 1: expected a header such as"),
        ("a: b\nx y: secret", "HTTP_HEADERS, line 2: expected a header such as"),
        ("x-key: secret\x01", "HTTP_HEADERS, line 1: expected a header such as"),
        ("range: bytes=secret", "HTTP_HEADERS, line 1: the header range is not for Secrets"),
    ],
)
async def test_a_header_that_cannot_be_sent_is_named_without_its_value(tmp_path, monkeypatch, headers, said):
    monkeypatch.setenv("HTTP_HEADERS", headers)
    trouble = await Fetch("http://127.0.0.1:9/m", tmp_path).first_trouble()
    assert (trouble.reason, said in trouble.message) == ("ModelAccessDenied", True)
    assert "secret" not in trouble.message


async def test_a_folder_is_no_test_set(tmp_path):
    (tmp_path / "folder").mkdir()
    trouble = await Fetch((tmp_path / "folder").as_uri(), tmp_path).first_trouble()
    assert (trouble.reason, "is a folder; expected one file" in trouble.message) == ("ModelUnusable", True)


async def test_a_full_disk_is_said_so(tmp_path):
    source = tmp_path / "model.onnx"
    source.write_bytes(BYTES)
    missing = tmp_path / "not-there"
    trouble = await Fetch(source.as_uri(), missing).first_trouble()
    assert "cannot be written to" in trouble.message


def test_a_uri_is_shown_without_what_is_nobodys_business():
    assert stores.shown("models:/digits@champion#model.onnx") == "models:/digits@champion"
    assert stores.shown("oci://host:5000/Team/x:1@sha256:ab") == "oci://host:5000/Team/x:1@sha256:ab"
    assert stores.shown("hf://Acme/digits@v2/onnx/#a") == "hf://Acme/digits@v2/onnx/"
    assert stores.shown("https://user:pass@host:8443/a/b?token=1#x") == "https://host:8443/a/b"
    assert stores.shown("s3://My-Bucket/key") == "s3://My-Bucket/key"
    assert stores.shown("http://[::1]:80/a") == "http://[::1]:80/a"
