"""The client of the demo against a real HTTP server on the loopback: what it counts, keeps open and calls failed.

The server is of asyncio streams and does as each test tells it; the client's own limits are not waited for.
"""

import asyncio
import contextlib
import json

import pytest

from examples.demo import client

ROWS = json.dumps({"input": "image", "rows": [[0.0, 1.0], [2.0, 3.0]], "truths": [7, 4]})


class Server:
    """Answers `7` as revision `digits-a`, or what `answer` is set to; remembers connections and requests."""

    def __init__(self):
        self.connections = 0
        self.bodies = []
        self.answer = self.predict
        self.extra_head = ""

    def predict(self):
        output = {"name": "label", "datatype": "INT64", "shape": [1], "data": [7]}
        return 200, json.dumps({"model_version": "digits-a", "outputs": [output]}).encode()

    async def serve(self, reader, writer):
        self.connections += 1
        with contextlib.closing(writer), contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
                self.bodies.append(json.loads(await reader.readexactly(length)))
                status, body = self.answer()
                writer.write(
                    f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\n{self.extra_head}\r\n".encode() + body
                )
                await writer.drain()
                if "connection: close" in head or self.extra_head:
                    return


@pytest.fixture
async def server():
    served = Server()
    listening = await asyncio.start_server(served.serve, "127.0.0.1", 0)
    served.port = listening.sockets[0].getsockname()[1]
    yield served
    listening.close()


@pytest.fixture
def target(server):
    made = client.Target("127.0.0.1", server.port, "/v2/models/digits/infer")
    yield made
    for connection in made.kept:
        connection.writer.close()


async def ask(send, times=1):
    account = client.Account()
    for number in range(times):
        question = client.questions(ROWS)[number % 2]
        await client.ask(send, question, account)
    return account


async def test_answers_are_counted_by_revision_and_by_truth(target):
    account = await ask(target.ask_on_new, 4)
    told = account.revisions["digits-a"]
    assert (account.sent, account.failed, told.count, told.right) == (4, 0, 4, 2)
    assert told.first <= told.last


async def test_a_row_is_sent_as_one_tensor_of_one_row(server, target):
    await ask(target.ask_on_new)
    wanted = {"name": "image", "shape": [1, 2], "datatype": "FP32", "data": [0.0, 1.0]}
    assert server.bodies == [{"inputs": [wanted]}]


async def test_each_request_has_its_own_connection_in_mode_new(server, target):
    await ask(target.ask_on_new, 6)
    assert server.connections == 6


async def test_a_few_connections_are_kept_in_mode_keep_alive(server, target):
    await ask(target.ask_on_kept, 20)
    assert server.connections == client.Target.connections


async def test_a_connection_that_the_server_closes_is_replaced_without_a_failure(server, target):
    await ask(target.ask_on_kept, 8)
    server.extra_head = "connection: close\r\n"
    account = await ask(target.ask_on_kept, 8)
    assert account.failed == 0
    assert server.connections > client.Target.connections


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (503, b'{"error": "no"}'),
        (200, b"no json"),
        (200, b'{"model_version": "digits-a"}'),
        (200, b'{"outputs": [{"datatype": "INT64", "data": [7]}]}'),
        (200, b'{"model_version": "digits-a", "outputs": [{"datatype": "FP32", "data": [0.5]}]}'),
    ],
    ids=["status", "not json", "no outputs", "no revision", "no class"],
)
async def test_what_is_no_prediction_is_a_failure(server, target, status, body):
    server.answer = lambda: (status, body)
    account = await ask(target.ask_on_kept)
    assert (account.sent, account.failed, account.revisions, len(account.errors)) == (1, 1, {}, 1)


async def test_a_refused_connection_is_a_failure():
    listening = await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    listening.close()
    account = await ask(client.Target("127.0.0.1", port, "/").ask_on_new)
    assert account.failed == 1
    assert "ConnectionRefusedError" in account.errors[0]


async def test_the_account_is_printed_as_answers_reads_it(target):
    from examples.demo import answers  # noqa: PLC0415 - the one test that needs both sides

    account = await ask(target.ask_on_new, 2)
    snapshot = answers.read(client.line({"new": account}, final=True))
    assert snapshot is not None
    assert (snapshot.final, snapshot.modes["new"].sent, snapshot.answers_by("digits-a")) == (True, 2, 2)
