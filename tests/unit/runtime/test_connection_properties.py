"""However the network cuts the bytes, the same requests are seen and the same answers given."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

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
