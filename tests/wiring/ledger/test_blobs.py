"""Model bytes over real HTTP: complete or not there, each namespace its own, within limits."""

import asyncio
import hashlib

from tests.unit.ledger.ledgers import DAY_MS
from tests.wiring.ledger.parts import BLOB, here

CONTENT = bytes(range(256)) * 40


def digest(content):
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


async def test_bytes_come_back_as_they_were_put(tmp_path, api):
    path = f"{BLOB}/{digest(CONTENT)}"
    async with here(tmp_path, api) as ledger_here:
        assert [(await ledger_here.call("PUT", path, data=CONTENT))[0] for _ in range(2)] == [201, 200]
        status, body, headers = await ledger_here.call("GET", path)
        assert (status, body, headers["content-length"]) == (200, CONTENT, str(len(CONTENT)))
        status, body, headers = await ledger_here.call("HEAD", path)
        assert (status, body, headers["content-length"]) == (200, b"", str(len(CONTENT)))
        status, body, headers = await ledger_here.call("GET", path, headers={"range": "bytes=10-19"})
        assert (status, body) == (206, CONTENT[10:20])
        assert headers["content-range"] == f"bytes 10-19/{len(CONTENT)}"
    async with here(tmp_path, api) as ledger_here:
        assert (await ledger_here.call("GET", path))[1] == CONTENT


async def test_namespace_reads_only_what_it_put_itself(tmp_path, api):
    path, bank = f"{BLOB}/{digest(CONTENT)}", "system:serviceaccount:bank:default"
    own = f"/v1/namespaces/bank/blobs/{digest(CONTENT)}"
    async with here(tmp_path, api) as ledger_here:
        await ledger_here.call("PUT", path, data=CONTENT)
        assert (await ledger_here.call("GET", path, token=bank))[0] == 403
        assert (await ledger_here.call("GET", own, token=bank))[0] == 404
        assert (await ledger_here.call("PUT", own, token=bank, data=b"a guess"))[0] == 422
        assert (await ledger_here.call("GET", own, token=bank))[0] == 404
        assert (await ledger_here.call("PUT", own, token=bank, data=CONTENT))[0] == 201
        assert (await ledger_here.call("GET", own, token=bank))[1] == CONTENT
        assert ledger_here.blobs.held_bytes == len(CONTENT)


async def test_bytes_of_another_digest_are_refused_and_leave_nothing(tmp_path, api):
    async with here(tmp_path, api) as ledger_here:
        status, body, _ = await ledger_here.call("PUT", f"{BLOB}/{digest(b'x')}", data=CONTENT)
        assert status == 422
        assert digest(CONTENT).encode() in body
        assert (await ledger_here.call("HEAD", f"{BLOB}/{digest(CONTENT)}"))[0] == 404
        assert (await ledger_here.call("PUT", f"{BLOB}/sha256:12", data=CONTENT))[0] == 400
        assert list((tmp_path / "incoming").iterdir()) == []
        assert list((tmp_path / "blobs").iterdir()) == []


async def test_sender_that_leaves_half_way_leaves_nothing(tmp_path, api):
    async with here(tmp_path, api) as ledger_here:
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


async def test_blob_without_length_or_above_the_limit_is_refused(tmp_path, api):
    async def pieces():
        yield CONTENT

    async with here(tmp_path, api, blob_max=100) as ledger_here:
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
