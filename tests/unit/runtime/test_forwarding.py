"""Passing requests on: what the target sees, what the client gets, and what happens when the target fails."""

import asyncio
import json
from contextlib import asynccontextmanager

import pytest
from leadline_runtime.engine.counters import Counters
from leadline_runtime.worker import forwarding, pool
from leadline_wire.exchange import Forward

from tests.unit.runtime.wires import Port, answers, request

LIMIT_SECONDS = 10.0
OK = b"HTTP/1.1 200 OK\r\ncontent-type: text/x\r\ncontent-length: 2\r\n\r\nok"


class Target:
    """The serving revision: a server that reads requests one by one and lets the test say what follows."""

    def __init__(self, *replies):
        self.replies = list(replies)
        self.asked = []
        self.connections = 0

    @asynccontextmanager
    async def running(self):
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        try:
            yield Forward("digits-new", "127.0.0.1", server.sockets[0].getsockname()[1])
        finally:
            server.close()
            await server.wait_closed()

    async def serve(self, reader, writer):
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0])
                self.asked.append(head + await reader.readexactly(length))
                reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
                if reply is None:
                    break
                writer.write(reply)
                if b"content-length" not in reply:
                    break
        except asyncio.IncompleteReadError:
            pass
        writer.close()


class Standby:
    """A demoted pod's public port."""

    def __init__(self, target):
        self.counters = Counters()
        self.forwarder = forwarding.Forwarder(self.counters, asyncio.get_running_loop())
        self.forwarder.aim(target)
        self.port = Port()
        self.port.server.app = self.forwarder.handle
        self.port.server.close_connections(closing=True)

    def send(self, sent):
        connection, transport = self.port.connect()
        connection.data_received(sent)
        return transport

    async def ask(self, sent):
        transport = self.send(sent)
        await sent_something(transport)
        return transport


async def sent_something(transport):
    async with asyncio.timeout(LIMIT_SECONDS):
        while not transport.sent:
            await asyncio.sleep(0.001)


@pytest.fixture
async def standbys():
    made = []

    def make(target):
        made.append(Standby(target))
        return made[-1]

    yield make
    for standby in made:
        standby.forwarder.close()
    await asyncio.sleep(0.01)


async def test_a_request_arrives_as_it_came_and_its_answer_comes_back_with_close(standbys):
    target = Target(OK)
    async with target.running() as place:
        standby = standbys(place)
        head = "host: shop\r\nX-Tag: a\r\nx-tag: b\r\nconnection: keep-alive\r\nte: trailers\r\n"
        transport = await standby.ask(request("/v2/models/m/infer?a=b", b"body", head=head))
    (asked,) = target.asked
    assert asked.startswith(b"POST /v2/models/m/infer?a=b HTTP/1.1\r\n")
    assert asked.endswith(b"\r\n\r\nbody")
    assert b"host: shop\r\n" in asked
    assert b"x-tag: a, b\r\n" in asked
    assert b"keep-alive" not in asked
    assert b"trailers" not in asked
    (answer,) = answers(transport.sent)
    assert (answer.status, answer.body, answer.headers["content-type"]) == (200, b"ok", "text/x")
    assert answer.headers["connection"] == "close"
    assert transport.closed
    assert standby.counters.forwarded == 1


async def test_a_binary_request_keeps_the_header_that_says_where_its_json_ends(standbys):
    target = Target(OK)
    body = b"{}" + bytes(range(256))
    head = "Host: x\r\nInference-Header-Content-Length: 2\r\nContent-Encoding: identity\r\n"
    async with target.running() as place:
        await standbys(place).ask(request("/v2/models/m/infer", body, head=head))
    (asked,) = target.asked
    assert b"\r\ninference-header-content-length: 2\r\n" in asked
    assert b"\r\ncontent-encoding: identity\r\n" in asked
    assert asked.endswith(b"\r\n\r\n" + body)


async def test_connections_to_the_target_are_used_again(standbys):
    target = Target(OK)
    async with target.running() as place:
        standby = standbys(place)
        for _ in range(5):
            await standby.ask(request())
    assert (len(target.asked), target.connections) == (5, 1)


async def test_many_at_once_share_a_bounded_number_of_connections(standbys):
    target = Target(OK)
    async with target.running() as place:
        standby = standbys(place)
        sent = [standby.send(request()) for _ in range(300)]
        for transport in sent:
            await sent_something(transport)
    assert all(answers(transport.sent)[0].status == 200 for transport in sent)
    assert target.connections <= forwarding.LINKS_MAX


async def test_a_kept_connection_that_ends_as_it_is_used_is_replaced_without_the_clients_notice(standbys):
    target = Target(OK, None, OK)
    async with target.running() as place:
        standby = standbys(place)
        await standby.ask(request("/1"))
        transport = await standby.ask(request("/2"))
    assert answers(transport.sent)[0].status == 200
    assert target.connections == 2


@pytest.mark.parametrize(
    "reply",
    [None, b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf", b"rubbish\r\n\r\n"],
    ids=["closes", "closes in the midst of the answer", "is no HTTP server"],
)
async def test_a_target_that_fails_is_a_503(standbys, reply):
    target = Target(reply)
    if reply and b"half" in reply:
        target.replies = [reply.replace(b"content-length", b"Content-Length")]
    async with target.running() as place:
        standby = standbys(place)
        transport = await standby.ask(request())
    (answer,) = answers(transport.sent)
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert "digits-new" in json.loads(answer.body)["error"]
    assert (standby.counters.forwarded, standby.counters.unforwarded) == (0, 1)


async def test_nobody_at_the_target_is_a_503(standbys):
    async with Target(OK).running() as place:
        pass
    transport = await standbys(place).ask(request())
    assert answers(transport.sent)[0].status == 503


async def test_no_target_is_a_503_at_once(standbys):
    transport = standbys(None).send(request())
    assert answers(transport.sent)[0].status == 503


async def test_a_target_that_is_silent_is_given_up_in_time(standbys, monkeypatch):
    monkeypatch.setattr(forwarding, "TIMEOUT_SECONDS", 0.2)
    target = Target(b"HTTP/1.1 100 Continue\r\ncontent-length: 0\r\n\r\n")
    async with target.running() as place:
        transport = await standbys(place).ask(request())
    assert answers(transport.sent)[0].status == 503


async def test_answers_to_head_chunked_answers_and_early_ones_are_understood(standbys):
    chunked = b"HTTP/1.1 404 Not Found\r\ntransfer-encoding: chunked\r\nx: content-length\r\n\r\n2\r\nno\r\n0\r\n\r\n"
    early = b"HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\n" + OK
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n"
    target = Target(chunked, early, head, OK)
    async with target.running() as place:
        standby = standbys(place)
        (answer,) = answers((await standby.ask(request())).sent)
        assert (answer.status, answer.body, answer.headers["content-length"]) == (404, b"no", "2")
        (answer,) = answers((await standby.ask(request())).sent)
        assert (answer.status, answer.body, "link" in answer.headers) == (200, b"ok", False)
        transport = await standby.ask(request(method="HEAD"))
        assert bytes(transport.sent).startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"content-length: 99\r\n" in transport.sent
        (answer,) = answers((await standby.ask(request())).sent)
        assert answer.body == b"ok"


async def test_another_target_gets_all_that_follows(standbys):
    first, second = Target(OK), Target(OK)
    async with first.running() as one, second.running() as two:
        standby = standbys(one)
        await standby.ask(request())
        standby.forwarder.aim(two)
        await standby.ask(request())
    assert (len(first.asked), len(second.asked)) == (1, 1)


async def test_a_request_never_goes_to_a_target_that_was_given_up_while_it_was_being_reached(standbys):
    old, new = Target(OK), Target(OK)
    async with old.running() as given_up, new.running() as target:
        standby = standbys(given_up)
        transport = standby.send(request("/v2"))
        await asyncio.sleep(0)
        standby.forwarder.aim(target)
        await sent_something(transport)
        assert answers(transport.sent)[0].status == 200
        assert (len(old.asked), len(new.asked)) == (0, 1)


async def test_requests_that_wait_are_bounded_by_their_bytes(standbys, monkeypatch):
    monkeypatch.setattr(pool, "QUEUE_BYTES_MAX", 300_000)
    target = Target(OK)
    async with target.running() as reached:
        standby = standbys(reached)
        sent = [standby.send(request("/v2", bytes(100_000))) for _ in range(4)]
        for transport in sent:
            await sent_something(transport)
        assert [answers(transport.sent)[0].status for transport in sent] == [200, 200, 503, 503]
        assert standby.forwarder._pool._queue_bytes == 0


async def test_the_target_is_told_that_a_client_gets_its_answer_and_a_client_cannot_speak_in_our_name(standbys):
    target = Target(b"HTTP/1.1 200 OK\r\nleadline-receipt: 1.a\r\ncontent-length: 2\r\n\r\nok")
    async with target.running() as place:
        standby = standbys(place)
        head = "host: shop\r\nLeadline-Copy: 1\r\nleadline-forwarded: 7\r\n"
        transport = await standby.ask(request("/v2/models/m/infer", b"body", head=head))
    (asked,) = target.asked
    assert asked.count(b"leadline-forwarded: 1\r\n") == asked.lower().count(b"leadline-") == 1
    (answer,) = answers(transport.sent)
    assert answer.headers["leadline-receipt"] == "1.a"


async def test_a_request_without_a_host_is_passed_on_with_one(standbys):
    target = Target(OK)
    async with target.running() as place:
        standby = standbys(place)
        transport = await standby.ask(b"GET /v2 HTTP/1.0\r\ncontent-length: 0\r\n\r\n")
        port = Port(echo=True)
        connection, answered = port.connect()
        connection.data_received(target.asked[0])
    assert answers(transport.sent)[0].status == 200
    assert answers(answered.sent)[0].status == 200, "HTTP/1.1 wants a host"
