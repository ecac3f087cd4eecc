"""One HTTP/2 connection: requests, flow control both ways, and its ends. That it is the protocol is h2spec's to say."""

import pytest
from leadline_runtime.http2 import connection, frames, headers
from leadline_runtime.web import server

from tests.unit.runtime.frames_of import Client


def test_requests_are_answered_in_any_order():
    client = Client()
    client.ask(1, b"one")
    client.ask(3, b"three")
    first, second = client.asked
    assert (first.body, second.body, first.head.path, first.head.values[b"host"]) == (b"one", b"three", b"/a", b"x")
    second.respond(b"3")
    first.respond(b"1")
    answers = client.answers()
    assert list(answers) == [3, 1]
    assert (answers[1].status, answers[1].data, answers[1].ended) == ("200", b"1", True)
    assert ("done", "yes") in answers[3].fields


def test_a_body_in_pieces_is_put_together():
    client = Client(echo=True)
    body = bytes(range(256)) * 200
    client.ask(1, body)
    client.window(1, 1 << 20)
    answer = client.answers()[1]
    assert (answer.data, answer.ended) == (body, True)
    assert client.server.held_bytes == 0


@pytest.mark.parametrize(
    ("settings", "stream_window", "connection_window"),
    [
        ({frames.INITIAL_WINDOW_SIZE: 10}, 1 << 20, 0),
        ({frames.INITIAL_WINDOW_SIZE: 1 << 20}, 0, 1 << 20),
        ({frames.INITIAL_WINDOW_SIZE: 0}, 1 << 20, 1 << 20),
        ({frames.MAX_FRAME_SIZE: 1 << 24 - 1}, 1 << 20, 1 << 20),
    ],
    ids=["a small stream window", "the connection's window", "no window at first", "large frames"],
)
def test_an_answer_waits_for_room(settings, stream_window, connection_window):
    client = Client(echo=True, settings=settings)
    body = bytes(range(251)) * 300
    client.ask(1, body)
    before = client.answers()[1]
    assert len(before.data) == min(settings.get(frames.INITIAL_WINDOW_SIZE, 65_535), 65_535)
    assert not before.ended
    assert client.server.held_bytes == len(body) - len(before.data)
    if stream_window:
        client.window(1, stream_window)
    if connection_window:
        client.window(0, connection_window)
    after = client.answers().get(1)
    if not connection_window:
        assert after is not None
        assert before.data + after.data == body[:65_535], "the connection's window holds it up"
        return
    assert after is not None
    assert before.data + after.data == body
    assert after.ended
    assert client.server.held_bytes == 0


def test_no_frame_is_larger_than_the_client_takes():
    client = Client(echo=True, settings={frames.INITIAL_WINDOW_SIZE: 1 << 20, frames.MAX_FRAME_SIZE: 20_000})
    client.window(0, 1 << 20)
    client.ask(1, bytes(70_000))
    sizes = [len(frame.payload) for frame in client.received() if frame.kind == frames.DATA]
    assert sizes == [20_000, 20_000, 20_000, 10_000]


def test_a_changed_initial_window_holds_for_open_streams_as_well():
    client = Client(echo=True, settings={frames.INITIAL_WINDOW_SIZE: 5})
    client.ask(1, b"0123456789")
    assert client.answers()[1].data == b"01234"
    client.send(frames.settings({frames.INITIAL_WINDOW_SIZE: 2}))  # the stream's window is -3 now
    client.window(1, 4)
    assert client.answers()[1].data == b"5"
    client.send(frames.settings({frames.INITIAL_WINDOW_SIZE: 100}))
    answer = client.answers()[1]
    assert (answer.data, answer.ended) == (b"6789", True)


def test_a_large_answer_holds_up_no_small_one():
    client = Client(settings={frames.INITIAL_WINDOW_SIZE: 1 << 20})
    client.window(0, 1 << 20)
    client.ask(1)
    client.ask(3)
    client.connection.pause_writing()
    large, small = client.asked
    large.respond(bytes(200_000))
    small.respond(b"small")
    client.connection.resume_writing()
    ends = [frame.stream for frame in client.received() if frame.ends]
    assert ends == [3, 1]


def test_a_table_of_no_bytes_is_acknowledged_in_the_next_block():
    client = Client(settings={frames.HEADER_TABLE_SIZE: 0})
    client.decoder.max_allowed_table_size = 0
    client.ask(1)
    client.asked[0].respond(b"x")
    answer = client.answers()[1]
    assert (answer.status, answer.data, client.decoder.header_table_size) == ("200", b"x", 0)


def test_what_we_say_of_windows_lets_bodies_of_any_length_in():
    client = Client(server.Limits(body_bytes=1 << 20))
    for number in range(1, 101, 2):
        client.ask(number, bytes(1 << 20))
        client.asked[-1].respond(b"")
    updates = [frame for frame in client.received() if frame.kind == frames.WINDOW_UPDATE and frame.stream == 0]
    granted = sum(int.from_bytes(frame.payload, "big") for frame in updates)
    assert granted + frames.WINDOW_BYTES >= 50 << 20
    assert not client.transport.shut


def test_a_client_that_sends_beyond_its_window_is_told_so():
    client = Client(server.Limits(body_bytes=64 << 20))
    client.connection._window = 100  # as if it had sent all but this
    client.ask(1, bytes(101))
    assert client.ended_with() == frames.FLOW_CONTROL_ERROR


def test_an_answer_before_the_bodys_end_tells_the_client_to_stop():
    client = Client(server.Limits(body_bytes=100))
    client.ask(1, None)
    client.send(frames.frame(frames.DATA, 0, 1, bytes(101)))
    answer = client.answers()[1]
    assert (answer.status, answer.reset) == ("413", frames.NO_ERROR)
    client.send(frames.frame(frames.DATA, frames.END_STREAM, 1, bytes(100)))  # was on its way
    client.ask(3)
    client.asked[-1].respond(b"fine")
    assert client.answers()[3].data == b"fine"


def test_an_answer_to_a_stream_that_was_given_up_goes_nowhere():
    client = Client()
    client.ask(1)
    client.send(frames.reset(1, frames.CANCEL))
    assert client.cancelled == [1]
    client.received()
    client.asked[0].respond(b"late")
    client.asked[0].respond(bytes(100_000))
    assert client.received() == []
    assert (client.server.held_bytes, client.connection.sender.blocked) == (0, {})


def test_pieces_go_to_those_who_want_them_and_make_room_for_more():
    client = Client()
    client.ask(1, None, path="/pieces")
    client.send(frames.frame(frames.DATA, 0, 1, b"one") + frames.frame(frames.DATA, 0, 1, b"two"))
    assert client.pieces == [b"one", b"two"]
    updates = [frame.payload for frame in client.received() if frame.stream == 1]
    assert updates == [frames.WORD(3), frames.WORD(3)]


@pytest.mark.parametrize("method", ["GET /b HTTP/1.1", "POST ", 'P"', "PÖST"])
def test_a_method_that_is_no_word_is_malformed(method):
    """It would be written into a line of HTTP/1.1 where a request is passed on."""
    with pytest.raises(frames.StreamFaultError, match=r":method|pseudo-header"):
        headers.head([(b":method", method.encode()), (b":scheme", b"http"), (b":path", b"/a")])


def test_a_known_block_means_the_same_until_the_table_moves():
    client = Client(echo=True)
    for number in (1, 3, 5):
        client.ask(number, b"", path="/a")
    assert client.connection._decoder.heads
    assert len({id(stream.head) for stream in client.asked[1:]}) == 1, "the second and third came as indexes"
    # Fills the table, so that the same indexes mean something else.
    client.ask(7, b"", path="/b", more=[(f"x-{number}", "y" * 50) for number in range(60)])
    client.ask(9, b"", path="/a")
    assert [stream.head.path for stream in client.asked] == [b"/a", b"/a", b"/a", b"/b", b"/a"]


def test_a_server_that_is_left_sends_clients_away_without_losing_a_request():
    client = Client()
    client.ask(1)
    client.server.close_connections(closing=True)
    client.server.check(0.5)
    (gone,) = [frame for frame in client.received() if frame.kind == frames.GOAWAY]
    assert (gone.code, gone.payload[:4]) == (frames.NO_ERROR, frames.WORD(frames.STREAM_BITS))
    client.ask(3)  # crossed it
    client.server.check(0.5 + connection.LINGER_SECONDS)
    (gone,) = [frame for frame in client.received() if frame.kind == frames.GOAWAY]
    assert gone.payload[:4] == frames.WORD(3)
    client.ask(5, b"body")  # beyond it: the client asks somebody else
    assert client.received() == []
    assert [stream.id for stream in client.asked] == [1, 3]
    for stream in client.asked:
        stream.respond(b"done")
    answers = client.answers()
    assert [answers[number].ended for number in (1, 3)] == [True, True]
    client.server.check(2.0)
    assert client.transport.shut


def test_an_idle_connection_is_ended_by_two_goaways():
    client = Client(server.Limits(idle_seconds=10))
    client.server.check(9.0)
    assert client.ended_with() is None
    client.server.check(11.0)
    client.server.check(11.5)
    assert not client.transport.shut
    client.server.check(12.5)
    assert client.ended_with() == frames.NO_ERROR
    assert client.transport.shut


@pytest.mark.parametrize("number", [1, 3], ids=["waits for its answer", "was answered"])
def test_more_of_a_request_that_had_ended_is_refused(number):
    for send, is_of_connection in (("data", False), ("headers", True)):
        client = Client()
        client.ask(1, b"x")
        client.ask(3, b"x")
        client.asked[1].respond(b"")
        client.received()
        if send == "data":
            client.send(frames.frame(frames.DATA, frames.END_STREAM, number, b"more"))
        else:
            block = client.block([("trailer", "x")])
            client.send(frames.frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, number, block))
        told = [frame for frame in client.received() if frame.kind in {frames.RST_STREAM, frames.GOAWAY}]
        assert [(frame.kind == frames.GOAWAY, frame.code) for frame in told] == [
            (is_of_connection, frames.STREAM_CLOSED)
        ]
        assert client.transport.shut == is_of_connection
