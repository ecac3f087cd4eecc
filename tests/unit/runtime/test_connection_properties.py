"""However the network cuts the bytes, the same requests are seen and the same answers given."""

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from leadline_runtime.web import responses, server
from leadline_runtime.web.connection import Connection

from tests.unit.runtime.wires import Port, answers, request

BODIES = st.binary(max_size=300)
CHUNKED = "host: x\r\ntransfer-encoding: chunked\r\n"


def chunked(target: str, body: bytes, size: int) -> bytes:
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    data = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return f"POST {target} HTTP/1.1\r\n{CHUNKED}\r\n".encode() + data + b"0\r\n\r\n"


REQUESTS = st.one_of(
    st.builds(lambda body: request("/plain", body), BODIES),
    st.builds(lambda body, size: chunked("/chunked", body, size), BODIES, st.integers(1, 50)),
    st.just(request("/get", method="GET", head="host: x\r\nx: y\r\n")),
    st.just(request("/expect", b"b", head="host: x\r\nexpect: 100-continue\r\n")),
    st.builds(lambda body: request("/offer", body, head="host: x\r\nconnection: upgrade\r\nupgrade: h2c\r\n"), BODIES),
    st.builds(lambda body: chunked("/trailers", body, 9)[:-2] + b"host: y\r\nx: y\r\n\r\n", BODIES),
    st.just(b"GET /old HTTP/1.0\r\nconnection: keep-alive\r\n\r\n"),
    st.just(b"GET /no-host HTTP/1.1\r\n\r\n"),
    st.just(b"rubbish"),
)


def outcome(stream: bytes, cuts: list[int]) -> tuple[list[tuple[bytes, bytes, bytes]], list[tuple[int, bytes]]]:
    port = Port(echo=True)
    connection, transport = port.connect()
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    for start, end in itertools.pairwise(edges):
        if start < end:
            connection.data_received(stream[start:end])
    return port.asked, [(answer.status, answer.body) for answer in answers(transport.sent) if answer.status != 100]


@given(st.lists(REQUESTS, min_size=1, max_size=6), st.lists(st.integers(0, 10_000), max_size=20))
def test_any_cut_of_the_stream_gives_the_same_answers(requests, cuts):
    stream = b"".join(requests)
    assert outcome(stream, cuts) == outcome(stream, [])


@given(st.lists(REQUESTS, min_size=1, max_size=3))
def test_byte_by_byte_gives_the_same_answers(requests):
    stream = b"".join(requests)
    assert outcome(stream, list(range(len(stream)))) == outcome(stream, [])


@given(st.binary(max_size=500), st.lists(st.integers(0, 500), max_size=5))
def test_no_bytes_make_it_raise(stream, cuts):
    outcome(b"POST /a HTTP/1.1\r\n" + stream, cuts)


HEADS = st.sampled_from(
    [
        "host: x\r\n",
        "host: x\r\nContent-Type: application/json\r\n",
        "host: x\r\nconnection: close\r\n",
        "host: x\r\nexpect: 100-continue\r\n",
        "host: x\r\nupgrade: h2c\r\nconnection: upgrade\r\n",
        "host: x\r\nx-content-length: 3\r\n",
    ]
)
PIECES = st.one_of(
    st.builds(lambda head, body: request("/same", body, head=head), HEADS, BODIES),
    st.builds(
        lambda body, digits: request("/same", body).replace(b"length: ", b"length: " + digits),
        BODIES,
        st.sampled_from([b"0", b"00", b"+", b"-", b" ", b"9", b"1_"]),
    ),
    st.builds(lambda body: request("/same", body) + request("/same", body), BODIES),
    st.sampled_from([b"PO", b"\r\n", b"POST /same HTTP/1.1\r\nhost: x\r\n", b"GET /get HTTP/1.1\r\nhost: x\r\n\r\n"]),
    st.builds(lambda body: chunked("/chunked", body, 7), BODIES),
)


def told(pieces: list[bytes], *, learn: int) -> tuple[list[tuple[Any, ...]], bytes, bool]:
    """Return what the application was asked, and what the client got, if pieces come one by one."""
    asked: list[tuple[Any, ...]] = []

    def app(connection: Connection) -> None:
        asked.append((connection.method, connection.target, dict(connection.headers), connection.body))
        connection.answer(responses.json(connection.body))

    port = Port()
    port.server.app = app
    connection, transport = port.connect()
    connection._learn_left = learn
    for piece in pieces:
        connection.data_received(piece)
    return asked, bytes(transport.sent), transport.closed


@given(st.lists(PIECES, min_size=1, max_size=8))
def test_requests_with_a_known_head_mean_what_the_parser_says(pieces):
    assert told(pieces, learn=100) == told(pieces, learn=0)


@given(st.lists(BODIES, min_size=2, max_size=5), st.integers(0, 60), st.binary(max_size=3))
def test_a_head_that_differs_in_any_byte_goes_to_the_parser(bodies, place, other):
    first, *rest = (request("/same", body, head="host: x\r\nabc: def\r\n") for body in bodies)
    changed = [piece[:place] + other + piece[place + 1 :] for piece in rest]
    assert told([first, *changed], learn=100) == told([first, *changed], learn=0)


def test_a_repeated_head_is_not_parsed_again():
    port = Port(echo=True)
    connection, _ = port.connect()
    connection.data_received(request("/same", b"one"))
    connection._parser = None  # whoever asks it, fails
    connection.data_received(request("/same", b"and another one"))
    assert [body for _, _, body in port.asked] == [b"one", b"and another one"]


def test_a_body_above_the_limit_is_refused_with_a_known_head_too():
    port = Port(server.Limits(body_bytes=2_000), echo=True)
    connection, transport = port.connect()
    connection.data_received(request("/same", b"x" * 1_999))
    connection.data_received(request("/same", b"x" * 2_001))
    assert [answer.status for answer in answers(transport.sent)] == [200, 413]


@pytest.mark.parametrize("digits", [b"+3", b"-3", b"3_0", b"", b"0x3", b" 3 3"])
def test_a_length_that_is_no_number_is_refused_with_a_known_head_too(digits):
    port = Port(echo=True)
    connection, transport = port.connect()
    connection.data_received(request("/same", b"one"))
    connection.data_received(request("/same", b"two").replace(b"length: 3", b"length: " + digits))
    assert [answer.status for answer in answers(transport.sent)] == [200, 400]


def test_a_request_with_a_known_head_waits_for_the_one_before():
    port = Port()
    connection, transport = port.connect()
    for number in range(3):
        connection.data_received(request("/same", b"%d" % number))
    assert [body for _, _, body in port.asked] == [b"0"]
    for _ in range(3):
        port.answer(port.asked[-1][2].decode())
    assert [answer.body for answer in answers(transport.sent)] == [b"0", b"1", b"2"]


EVIL = b"POST /evil HTTP/1.1\r\nhost: x\r\nx: "


@pytest.mark.parametrize(
    ("begin", "end"),
    [
        (request("/1", b"GET /?")[:-6], b"GET /?" + request("/b", b"x")),
        (request("/1") + EVIL, request("/b", b"x", head="")),
        (request("/1") + b"GET /b HTTP/1.1\r\nhost: x\r\nevil: 1\r\nx: ", request("/b", b"x", method="GET", head="")),
        (request("/1") + b"PO", b"ST /b HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nx"),
    ],
    ids=["behind a body", "within a head", "within a head for the same target", "within a method"],
)
def test_only_what_began_with_the_piece_is_a_known_head(begin, end):
    # Behind a proxy, requests of others may come over the same connection.
    pieces = [begin, end, end]
    assert told(pieces, learn=100) == told(pieces, learn=0)
