"""What one connection may hold: headers, trailers, pieces of bodies, requests sent ahead."""

import sys

import pytest
from leadline_runtime.web import server

from tests.unit.runtime.wires import Port, answers, request

CHUNKED = b"POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("cut", [False, True])
def test_trailers_are_no_part_of_the_next_request(cut):
    port = Port(echo=True)
    connection, transport = port.connect()
    for part in (CHUNKED + b"2\r\nhi\r\n0\r\n", b"host: b\r\ncontent-encoding: gzip\r\n", b"\r\n") if cut else ():
        connection.data_received(part)
    if not cut:
        connection.data_received(CHUNKED + b"2\r\nhi\r\n0\r\nhost: b\r\ncontent-encoding: gzip\r\n\r\n")
    connection.data_received(request("/next"))
    assert [answer.status for answer in answers(transport.sent)] == [200, 200]
    assert connection.headers == {b"host": b"x", b"content-length": b"0"}


@pytest.mark.parametrize(
    ("begin", "piece"),
    [
        (b"0\r\n", b"x: y\r\n" * 50),
        (b"0\r\n" + b"x: ", b"y" * 300),
        (b"0\r\n", b"".join(b"x%d: y\r\n" % number for number in range(30))),
        (b"1;", b"e" * 300),
    ],
    ids=["many trailers", "one long trailer", "trailers of many names", "a long chunk extension"],
)
def test_what_is_neither_head_nor_body_is_as_small_as_a_head(begin, piece):
    port = Port(server.Limits(head_bytes=1_000))
    connection, transport = port.connect()
    connection.data_received(CHUNKED + b"2\r\nhi\r\n" + begin)
    for _ in range(10):
        connection.data_received(piece)
    (answer,) = answers(transport.sent)
    assert (answer.status, b"1000 bytes" in answer.body) == (431, True)
    assert not connection._head


def test_many_small_chunks_are_a_body_like_any_other():
    port = Port(server.Limits(head_bytes=1_000), echo=True)
    connection, transport = port.connect()
    connection.data_received(CHUNKED)
    for _ in range(1_000):
        connection.data_received(b"1\r\nx\r\n")
    connection.data_received(b"0\r\n\r\n")
    (answer,) = answers(transport.sent)
    assert answer.body == b"POST /a " + b"x" * 1_000


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("lines", [b"".join(b"x%d: y\r\n" % number for number in range(300)), b"x: yyyy\r\n" * 1_500])
def test_headers_are_bounded_by_number_too(cut, lines):
    port = Port(echo=True)
    connection, transport = port.connect()
    head = b"GET /a HTTP/1.1\r\nhost: a\r\n" + lines
    connection.data_received(head if cut else head + b"\r\n")
    assert [answer.status for answer in answers(transport.sent)] == [431]
    assert port.asked == []


def test_bodies_that_are_not_complete_are_bounded_all_together():
    port = Port(server.Limits(body_bytes=10_000, held_bytes=15_000))
    (first, first_end), (second, second_end) = port.connect(), port.connect()
    sent = request(body=b"x" * 9_000)
    first.data_received(sent[:-1])
    second.data_received(sent[:-1])
    assert first_end.sent == b""
    (answer,) = answers(second_end.sent)
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    first.data_received(sent[-1:])
    assert len(port.asked) == 1
    assert port.server.held_bytes == 0
    third, _ = port.connect()
    third.data_received(sent[:-1])
    third.connection_lost(None)
    assert port.server.held_bytes == 0


def test_an_idle_connection_keeps_no_body():
    port = Port(echo=True)
    connection, _ = port.connect()
    connection.data_received(request(body=b"x" * 1_000))
    assert connection.body == b""


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_body_in_tiny_chunks_takes_no_more_memory_than_what_was_sent(size):
    port = Port(echo=True)
    connection, transport = port.connect()
    sent = CHUNKED
    connection.data_received(sent)
    piece = b"%x\r\n%b\r\n" % (size, b"abc"[:size]) * 500
    for _ in range(100):
        connection.data_received(piece)
        sent += piece
    assert sum(sys.getsizeof(chunk) + 8 for chunk in connection._chunks) < len(sent)
    connection.data_received(b"0\r\n\r\n")
    connection.data_received(sent + b"0\r\n\r\n")
    one, two = answers(transport.sent)
    assert one.body == two.body == b"POST /a " + b"abc"[:size] * 50_000


def test_bodies_that_are_sent_ahead_are_bounded_all_together():
    port = Port(server.Limits(held_bytes=10_000))
    connection, transport = port.connect()
    other, _ = port.connect()
    connection.data_received(request("/1"))
    other.data_received(request("/1"))
    other.data_received(request("/2", b"x" * 3_000))
    for number in range(2, 6):
        connection.data_received(request(f"/{number}", b"x" * 3_000))
    assert port.server.held_bytes == 9_000
    while len(port.open) > 1 or connection._busy:
        port.open.remove(connection) or connection.answer(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
    assert [answer.status for answer in answers(transport.sent)] == [200, 200, 200, 503]
    assert port.server.held_bytes == 3_000
    other.connection_lost(None)
    assert port.server.held_bytes == 0


def test_bodies_that_were_sent_ahead_of_the_end_are_not_held_any_more():
    port = Port()
    connection, _ = port.connect()
    connection.data_received(request("/1") + request("/2", b"x" * 3_000) + b"rubbish\r\n\r\n")
    assert port.server.held_bytes == 3_000
    connection._end(at_once=False)
    assert port.server.held_bytes == 0
