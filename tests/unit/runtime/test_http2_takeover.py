"""One port for both protocols: a connection that begins with HTTP/2's preface is handed over, whatever the cut."""

import pytest
from leadline_runtime.http2 import connection, frames

from tests.unit.runtime.frames_of import REQUEST, Client, Stream
from tests.unit.runtime.wires import Port, Transport, answers, request


class Switching(Transport):
    """A transport that hands what comes to its protocol."""

    protocol = None

    def set_protocol(self, protocol):
        self.protocol = protocol


def both():
    """Return a port that takes both protocols, a new connection's transport, and what HTTP/2 is asked."""
    client = Client(echo=True)
    port = Port(echo=True)
    port.server.http2 = lambda server: connection.Connection(server, Stream, client)
    transport = Switching()
    transport.protocol = port.server.connection()
    transport.protocol.connection_made(transport)
    return port, transport, client


def conversation() -> bytes:
    client = Client()
    head = frames.frame(frames.HEADERS, frames.END_HEADERS, 1, client.block(REQUEST))
    return frames.PREFACE + frames.settings({}) + head + frames.frame(frames.DATA, frames.END_STREAM, 1, b"body")


@pytest.mark.parametrize("step", [1, 2, 3, 5, 7, 14, 18, 19, 23, 24, 25, 1_000])
def test_a_connection_that_begins_in_http2_is_handed_over(step):
    port, transport, client = both()
    data = conversation()
    for at in range(0, len(data), step):
        transport.protocol.data_received(data[at : at + step])
    assert [stream.body for stream in client.asked] == [b"body"]
    assert port.server.connections == {transport.protocol}
    assert transport.sent[3] == frames.SETTINGS
    transport.protocol.connection_lost(None)
    assert port.server.connections == set()


@pytest.mark.parametrize(
    "sent",
    [
        b"PRI * HTTP/1.1\r\nhost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
        b"PRIX",
        request("/a") + b"PRI * HTTP/3",
    ],
)
def test_what_only_looks_like_it_is_refused(sent):
    _, transport, client = both()
    transport.protocol.data_received(sent)
    transport.protocol.data_received(b"\r\n\r\n")
    assert client.asked == []
    last = bytes(transport.sent)
    if transport.protocol.__class__ is connection.Connection:
        assert frames.WORD(frames.PROTOCOL_ERROR) in last
    else:
        assert answers(transport.sent)[-1].status in {400, 405}
    assert transport.shut


def test_a_port_without_http2_refuses_it():
    port = Port()
    protocol, transport = port.connect()
    protocol.data_received(conversation())
    assert answers(transport.sent)[0].status == 400
