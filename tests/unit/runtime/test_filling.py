"""Large bodies over real sockets, read straight into memory that the application gives: whole, in order, within all limits."""

import asyncio
import contextlib
import json
import socket

import numpy as np
import pytest
import uvloop
from leadline_runtime.oip import raw
from leadline_runtime.web import responses, server

from tests.unit.runtime import models
from tests.unit.runtime.models import Served, asking, told
from tests.unit.runtime.wires import Answer, answers

BODY = bytes(range(256)) * 2_000
"""Half a megabyte: more than one read."""


class Port:
    """A port on a real socket whose application notes what came, and answers with the body's length."""

    def __init__(self, limits=None, *, gives=True):
        self.bodies = []
        self.held = []
        self.server = server.Server(self._take, limits or server.Limits(), now=asyncio.get_running_loop().time())
        self.server.memory = self._memory
        self.gives = gives
        self.lent = 0

    def _memory(self, target, headers, length):
        self.lent += 1
        return memoryview(bytearray(length)) if self.gives and target == b"/large" else None

    def _take(self, connection):
        self.bodies.append(connection.body)
        if connection.target == b"/hold":
            self.held.append(connection)
            return
        connection.answer(responses.json(b"%d" % len(connection.body)))

    @contextlib.asynccontextmanager
    async def running(self):
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        await self.server.listen(listener)
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        try:
            yield reader, writer
        finally:
            writer.close()
            self.server.close()


def run(work):
    """Run on both event loops."""
    asyncio.run(work())
    uvloop.run(work())


def request(body=BODY, target="/large", *, length=None, head=""):
    size = len(body) if length is None else length
    return f"POST {target} HTTP/1.1\r\nhost: x\r\n{head}content-length: {size}\r\n\r\n".encode() + body


async def answered(reader, count=1):
    received, got = b"", []
    while len(got) < count:
        part = await asyncio.wait_for(reader.read(1 << 16), 10)
        assert part, received
        received += part
        got = answers(received)
    return got


async def turns(until):
    async with asyncio.timeout(10):
        while not until():
            await asyncio.sleep(0)


@pytest.mark.parametrize("piece", [1 << 20, 100_000, 20_000])
def test_a_large_body_comes_whole_and_what_follows_it_in_order(piece):
    async def work():
        port = Port()
        async with port.running() as (reader, writer):
            small = request(b"small", "/other")
            sent = b"".join([small, request(), request(BODY[:70_000]), small, request(BODY + b"end"), small])
            for start in range(0, len(sent), piece):
                writer.write(sent[start : start + piece])
                await writer.drain()
                await asyncio.sleep(0)
            got = await answered(reader, 6)
            assert [int(answer.body) for answer in got] == [5, len(BODY), 70_000, 5, len(BODY) + 3, 5]
            assert port.bodies == [b"small", BODY, BODY[:70_000], b"small", BODY + b"end", b"small"]
            assert type(port.bodies[1]) is memoryview
            assert port.server.held_bytes == 0

    run(work)


def test_where_no_memory_is_given_a_body_comes_as_before():
    async def work():
        port = Port(gives=False)
        async with port.running() as (reader, writer):
            writer.write(request())
            assert int((await answered(reader))[0].body) == len(BODY)
            assert port.lent > 0
            assert type(port.bodies[0]) is bytes

    run(work)


def test_a_large_body_behind_a_request_that_is_not_answered_yet_waits():
    async def work():
        port = Port()
        async with port.running() as (reader, writer):
            writer.write(request(b"a", "/hold") + request() + request(b"b", "/other"))
            await turns(lambda: port.held and len(port.held[0]._waiting) == 2)
            assert len(port.bodies) == 1
            port.held[0].answer(responses.json(b"1"))
            got = await answered(reader, 3)
            assert [int(answer.body) for answer in got] == [1, len(BODY), 1]

    run(work)


def test_connection_close_is_kept_to_after_a_large_body():
    async def work():
        port = Port()
        async with port.running() as (reader, writer):
            writer.write(request(head="connection: close\r\n"))
            assert (await answered(reader))[0].headers["connection"] == "close"
            assert await asyncio.wait_for(reader.read(), 10) == b""

    run(work)


def refused(limits, status, said):
    async def work():
        port = Port(limits)
        async with port.running() as (reader, writer):
            writer.write(request(BODY, length=len(BODY) + 100_000))
            await turns(lambda: port.server.held_bytes > len(BODY) or status == 503)
            port.server.check(port.server.now + 30)
            (answer,) = await answered(reader)
            assert (answer.status, answer.headers["connection"]) == (status, "close")
            assert said in json.loads(answer.body)["error"]
            # What still comes is read and dropped, so that the client sees the answer.
            writer.write(bytes(100_000))
            await writer.drain()
            assert await asyncio.wait_for(reader.read(), 10) == b""
            assert (port.bodies, port.server.held_bytes) == ([], 0)

    run(work)


def test_a_large_body_that_stalls_gets_408_with_what_arrived():
    refused(server.Limits(body_seconds=5), 408, f"request body did not arrive in time: {len(BODY)} bytes in 30")


def test_large_bodies_count_for_what_a_pod_holds():
    refused(
        server.Limits(held_bytes=400_000),
        503,
        "this pod holds 400000 bytes of requests that are incomplete or sent ahead",
    )


def test_a_client_that_goes_away_midway_leaves_nothing_behind():
    async def work():
        port = Port()
        async with port.running() as (_, writer):
            writer.write(request(BODY, length=len(BODY) + 100_000))
            await turns(lambda: port.server.held_bytes > len(BODY))
            writer.transport.abort()
            await turns(lambda: not port.server.connections)
            assert (port.bodies, port.server.held_bytes) == ([], 0)

    run(work)


def test_a_large_tensor_is_answered_and_lies_where_it_was_read_to(tmp_path):
    served = Served(models.identity(tmp_path / "m.onnx", shape=("N", 100_000)))
    served.server.memory = raw.memory
    seen = []
    take = served.inference.take
    served.inference.take = lambda caller, request, form, origin: (  # type: ignore[method-assign]
        seen.append((request.arrays["x"], caller.body)),
        take(caller, request, form, origin),
    )

    async def work():
        served.batcher.loop = asyncio.get_running_loop()
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        await served.server.listen(listener)
        data = np.arange(100_000, dtype=np.float32)
        tensor = {"name": "x", "shape": [1, 100_000], "datatype": "FP32", "parameters": {"binary_data_size": 400_000}}
        header = json.dumps(asking(tensor, parameters={"binary_data_output": True})).encode()
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        head = f"inference-header-content-length: {len(header)}\r\n"
        writer.write(request(header + data.tobytes(), "/v2/models/m/infer", head=head))
        (answer,) = await answered(reader)
        assert isinstance(answer, Answer)
        assert told(answer)[1] == {"y": data.tobytes()}
        array, body = seen.pop()
        assert np.shares_memory(array, np.frombuffer(body, np.uint8))
        assert array.ctypes.data % 64 == 0
        assert served.server.held_bytes == 0
        writer.close()
        served.server.close()
        served.server._timer = None

    run(work)


def test_a_large_body_that_comes_after_the_last_answer_is_dropped():
    async def work():
        port = Port()
        async with port.running() as (reader, writer):
            writer.write(request(b"a", "/hold") + request(length=len(BODY) + 100_000))
            await turns(lambda: port.held and port.held[0]._filling is not None)
            port.server.close_connections(closing=True)
            port.held[0].answer(responses.json(b"1"))
            assert (await answered(reader))[0].headers["connection"] == "close"
            writer.write(bytes(100_000))
            await writer.drain()
            await turns(lambda: port.server.held_bytes == 0)
            assert port.bodies == [b"a"]

    run(work)


def test_large_bodies_that_are_sent_ahead_count_for_what_a_pod_holds():
    async def work():
        port = Port(server.Limits(held_bytes=2 * len(BODY)))
        async with port.running() as (reader, writer):
            writer.write(request(b"a", "/hold") + request())
            await turns(lambda: port.held and len(port.held[0]._waiting) == 1)
            assert port.server.held_bytes == len(BODY)
            writer.write(request(BODY + BODY))
            await turns(lambda: len(port.held[0]._waiting) == 2)
            port.held[0].answer(responses.json(b"1"))
            assert [answer.status for answer in await answered(reader, 3)] == [200, 200, 503]
            assert (len(port.bodies), port.server.held_bytes) == (2, 0)

    run(work)
