"""Model bytes over real HTTP, on a volume and in a bucket of an S3 server: complete or not there, each namespace its own."""

import asyncio
import hashlib
import itertools

import pytest
from leadline_ledger import errors
from leadline_ledger.blobs import bucket

from tests.unit.ledger.ledgers import DAY_MS
from tests.wiring.ledger.parts import BLOB, OPERATOR, here
from tests.wiring.runtime.servers import S3

CONTENT = bytes(range(256)) * 40


def digest(content):
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


_PREFIXES = itertools.count()


@pytest.fixture(scope="session")
def s3(tmp_path_factory):
    with S3(tmp_path_factory.mktemp("blobs")) as server:
        yield server


@pytest.fixture
def in_s3(s3, monkeypatch):
    """URI of an empty part of the server's bucket, with the variables of its account."""
    for name, value in s3.credentials().items():
        monkeypatch.setenv(name, value)
    return f"s3://models/part{next(_PREFIXES)}"


@pytest.fixture(params=["volume", "bucket"])
def uri(request):
    return request.getfixturevalue("in_s3") if request.param == "bucket" else ""


def objects(s3, uri):
    """Return the objects below a URI, by their names there."""
    folder = s3.bucket / uri.rpartition("/")[2]
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


async def test_bytes_come_back_as_they_were_put(tmp_path, api, uri):
    path = f"{BLOB}/{digest(CONTENT)}"
    async with here(tmp_path, api, uri=uri) as ledger_here:
        assert [(await ledger_here.call("PUT", path, data=CONTENT))[0] for _ in range(2)] == [201, 200]
        status, body, headers = await ledger_here.call("GET", path)
        assert (status, body, headers["content-length"]) == (200, CONTENT, str(len(CONTENT)))
        status, body, headers = await ledger_here.call("HEAD", path)
        assert (status, body, headers["content-length"]) == (200, b"", str(len(CONTENT)))
        status, body, headers = await ledger_here.call("GET", path, headers={"range": "bytes=10-19"})
        assert (status, body) == (206, CONTENT[10:20])
        assert headers["content-range"] == f"bytes 10-19/{len(CONTENT)}"
        status, body, _ = await ledger_here.call("GET", path, headers={"range": f"bytes={len(CONTENT) - 3}-"})
        assert (status, body) == (206, CONTENT[-3:])
        assert (await ledger_here.call("GET", path, headers={"range": f"bytes={len(CONTENT)}-"}))[0] == 416
    async with here(tmp_path, api, uri=uri) as ledger_here:
        assert (await ledger_here.call("GET", path))[1] == CONTENT


async def test_namespace_reads_only_what_it_put_itself(tmp_path, api, uri):
    path, bank = f"{BLOB}/{digest(CONTENT)}", "system:serviceaccount:bank:default"
    own = f"/v1/namespaces/bank/blobs/{digest(CONTENT)}"
    async with here(tmp_path, api, uri=uri) as ledger_here:
        await ledger_here.call("PUT", path, data=CONTENT)
        assert (await ledger_here.call("GET", path, token=bank))[0] == 403
        assert (await ledger_here.call("GET", own, token=bank))[0] == 404
        assert (await ledger_here.call("PUT", own, token=bank, data=b"a guess"))[0] == 422
        assert (await ledger_here.call("GET", own, token=bank))[0] == 404
        assert (await ledger_here.call("PUT", own, token=bank, data=CONTENT))[0] == 201
        assert (await ledger_here.call("GET", own, token=bank))[1] == CONTENT
        assert ledger_here.blobs.held_bytes == (None if uri else len(CONTENT))


async def test_bytes_of_another_digest_are_refused_and_leave_nothing(tmp_path, api, s3, uri):
    async with here(tmp_path, api, uri=uri) as ledger_here:
        status, body, _ = await ledger_here.call("PUT", f"{BLOB}/{digest(b'x')}", data=CONTENT)
        assert status == 422
        assert digest(CONTENT).encode() in body
        assert (await ledger_here.call("HEAD", f"{BLOB}/{digest(CONTENT)}"))[0] == 404
        assert (await ledger_here.call("PUT", f"{BLOB}/sha256:12", data=CONTENT))[0] == 400
        assert list((tmp_path / "incoming").iterdir()) == []
        assert (objects(s3, uri) if uri else list((tmp_path / "blobs").iterdir())) == []


async def test_sender_that_leaves_half_way_leaves_nothing(tmp_path, api, uri):
    async with here(tmp_path, api, uri=uri) as ledger_here:
        port = ledger_here._server.port
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        head = f"PUT {BLOB}/{digest(CONTENT)} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer system:serviceaccount:shop:a\r\n"
        writer.write(head.encode() + b"content-length: 10240\r\n\r\n" + CONTENT[:5_000])
        await writer.drain()
        async with asyncio.timeout(5):
            while not list((tmp_path / "incoming").iterdir()):
                await asyncio.sleep(0)
            writer.close()
            await writer.wait_closed()
            while list((tmp_path / "incoming").iterdir()):
                await asyncio.sleep(0)
        assert (await ledger_here.call("HEAD", f"{BLOB}/{digest(CONTENT)}"))[0] == 404
        assert (await ledger_here.call("PUT", f"{BLOB}/{digest(CONTENT)}", data=CONTENT))[0] == 201


async def test_blob_without_length_or_above_the_limit_is_refused(tmp_path, api, uri):
    async def pieces():
        yield CONTENT

    async with here(tmp_path, api, blob_max=100, uri=uri) as ledger_here:
        path = f"{BLOB}/{digest(CONTENT)}"
        assert (await ledger_here.call("PUT", path, data=pieces()))[0] == 400
        status, body, _ = await ledger_here.call("PUT", path, data=CONTENT)
        assert (status, b"10240 bytes, expected at most 100" in body) == (413, True)


async def test_blobs_longest_unused_make_room_and_those_in_use_never(tmp_path, api):
    contents = [bytes([number]) * 400 for number in range(4)]
    paths = [f"{BLOB}/{digest(content)}" for content in contents]
    async with here(tmp_path, api, blobs_max=1_000) as ledger_here:
        for number in (0, 1):
            assert (await ledger_here.call("PUT", paths[number], data=contents[number]))[0] == 201
        status, body, _ = await ledger_here.call("PUT", paths[2], data=contents[2])
        assert status == 507
        assert b"blobs hold 800 bytes, limit 1000, and none was unused for 90 days" in body
        ledger_here.clock.now_ms += 91 * DAY_MS
        assert (await ledger_here.call("GET", paths[0]))[0] == 200
        assert (await ledger_here.call("PUT", paths[2], data=contents[2]))[0] == 201
        assert [(await ledger_here.call("HEAD", path))[0] for path in paths] == [200, 404, 200, 404]
        assert (await ledger_here.call("PUT", paths[3], data=contents[3]))[0] == 507
        assert (await ledger_here.call("PUT", paths[2], data=contents[2]))[0] == 200


async def test_several_ledgers_share_a_bucket_and_bytes_are_kept_once(tmp_path, api, s3, in_s3):
    path, bank = f"{BLOB}/{digest(CONTENT)}", "system:serviceaccount:bank:default"
    folders = [tmp_path / name for name in ("one", "other")]
    for folder in folders:
        folder.mkdir()
    async with here(folders[0], api, uri=in_s3) as one, here(folders[1], api, uri=in_s3) as other:
        assert (await other.call("GET", path))[0] == 404
        assert (await one.call("PUT", path, data=CONTENT))[0] == 201
        assert (await other.call("GET", path))[1] == CONTENT
        assert (await other.call("PUT", path, data=CONTENT))[0] == 200
        own = f"/v1/namespaces/bank/blobs/{digest(CONTENT)}"
        assert (await other.call("PUT", own, token=bank, data=CONTENT))[0] == 201
    name = hashlib.sha256(CONTENT).hexdigest()
    assert objects(s3, in_s3) == [f"blobs/{name[:2]}/{name}", f"references/bank/{name}", f"references/shop/{name}"]


async def test_large_bytes_go_in_parts_and_come_back_in_chunks(tmp_path, api, in_s3):
    content = bytes(range(256)) * (40 << 12)  # 40 MiB
    async with here(tmp_path, api, blob_max=64 << 20, uri=in_s3) as ledger_here:
        path = f"{BLOB}/{digest(content)}"
        assert (await ledger_here.call("PUT", path, data=content))[0] == 201
        assert (await ledger_here.call("GET", path))[1] == content
        status, body, _ = await ledger_here.call("GET", path, headers={"range": "bytes=30000000-30000099"})
        assert (status, body) == (206, content[30_000_000:30_000_100])


async def test_bucket_that_is_away_costs_model_bytes_and_no_outcome(tmp_path, api, monkeypatch, in_s3):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setattr(bucket, "_CALL_SECONDS", 0.5)
    async with here(tmp_path, api, uri=in_s3) as ledger_here:
        path = f"{BLOB}/{digest(CONTENT)}"
        for method, data in (("GET", None), ("PUT", CONTENT)):
            status, body, _ = await ledger_here.call(method, path, data=data)
            assert (status, in_s3.encode() in body) == (503, True)
        assert (await ledger_here.call("GET", "/readyz", token=OPERATOR))[0] == 200
        assert list((tmp_path / "incoming").iterdir()) == []


def test_variables_that_name_no_bucket_end_it_with_a_line(tmp_path):
    with pytest.raises(errors.SettingsError, match="LEADLINE_LEDGER_BLOBS_URI: ftp://x"):
        bucket.BucketBlobs("ftp://x", tmp_path, blob_max_bytes=1)
