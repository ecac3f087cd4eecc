"""What costs a client little and us much is bounded: each attack ends its connection or its stream, and leaves nothing."""

import pytest
from leadline_runtime.http2 import control, frames, patience
from leadline_runtime.web import server

from tests.unit.runtime.frames_of import Client

CALM = frames.ENHANCE_YOUR_CALM


def flood(client: Client, frame: bytes, times: int = 100_000) -> int:
    """Send a frame again and again; return how many were taken."""
    for number in range(times):
        if client.transport.shut or client.transport.closed:
            return number
        client.send(frame)
    return times


@pytest.mark.parametrize(
    ("frame", "most"),
    [
        (frames.frame(frames.PING, 0, 0, bytes(8)), patience.FULL + 2),
        (frames.settings({}), patience.FULL // patience.LARGE + 2),
        (frames.settings({frames.INITIAL_WINDOW_SIZE: 1}), patience.FULL // patience.LARGE + 2),
        (frames.frame(frames.DATA, 0, 1), patience.FULL + 2),
        (frames.frame(frames.DATA, 0, 1, b"x"), patience.FULL + 2),
        (frames.frame(frames.DATA, frames.PADDED, 1, b"\xff" + bytes(255)), patience.FULL + 2),
        (frames.window_update(0, 1), patience.FULL + 2),
        (frames.window_update(1, 1), patience.FULL + 2),
        (frames.frame(frames.PRIORITY, 0, 1, bytes(5)), patience.FULL + 2),
        (frames.frame(0xBB, 0, 0, b"unknown"), patience.FULL + 2),
    ],
    ids=[
        "ping",
        "settings",
        "windows",
        "empty data",
        "tiny data",
        "padding",
        "room",
        "room of one",
        "priority",
        "unknown",
    ],
)
def test_frames_that_bring_nobody_an_answer_are_bounded(frame, most):
    client = Client()
    client.ask(1, None)
    assert flood(client, frame) <= most
    assert client.ended_with() == CALM
    assert client.connection.streams == {}
    assert client.server.held_bytes == 0


def test_rapid_reset_is_bounded():
    client = Client()
    number = 1
    while not client.transport.shut:
        client.ask(number)
        client.send(frames.reset(number, frames.CANCEL))
        number += 2
    assert len(client.asked) <= patience.FULL // patience.LARGE + 1
    assert client.ended_with() == CALM


def test_streams_that_the_client_makes_us_reset_are_bounded():
    client = Client()
    number = 1
    while not client.transport.shut:
        client.ask(number)
        client.window(number, 0)  # a fault of the stream: we reset it
        number += 2
    assert number <= 2 * patience.FULL // patience.LARGE + 3
    assert client.ended_with() == CALM


def test_resets_beside_answers_are_no_attack():
    client = Client()
    for number in range(1, 8_001, 4):
        client.ask(number)
        client.ask(number + 2)
        client.send(frames.reset(number + 2, frames.CANCEL))
        client.asked[-2].respond(b"")
    assert not client.transport.shut


def test_time_brings_patience_back():
    client = Client()
    for second in range(20):
        for _ in range(patience.PER_TICK - 10):
            client.send(frames.frame(frames.PING, 0, 0, bytes(8)))
        client.server.check(second / 2)
    assert not client.transport.shut


@pytest.mark.parametrize("piece", [b"", b"x", bytes(16_000)], ids=["empty", "small", "large"])
def test_header_blocks_in_pieces_are_bounded(piece):
    client = Client()
    client.send(frames.frame(frames.HEADERS, 0, 1, client.block([(":method", "POST")])))
    sent = flood(client, frames.frame(frames.CONTINUATION, 0, 1, piece))
    assert sent <= control.CONTINUATIONS_MAX + 1
    assert client.ended_with() == CALM


def test_a_header_block_that_is_a_bomb_is_refused():
    client = Client()
    client.ask(1, more=[("bomb", "x" * 3_900)])
    index = b"\xbe"  # the entry that was just made
    client.send(frames.frame(frames.HEADERS, frames.END_HEADERS, 3, index * 10_000))
    assert client.ended_with() == CALM


def test_an_integer_that_never_ends_is_refused():
    client = Client()
    client.send(frames.frame(frames.HEADERS, frames.END_HEADERS, 1, b"\xff" * 16_000))
    assert client.ended_with() == frames.COMPRESSION_ERROR


def test_streams_at_once_are_bounded():
    client = Client()
    for number in range(1, 2_003, 2):
        client.ask(number, None)
    assert len(client.connection.streams) == 1_000
    assert client.answers()[2_001].reset == frames.REFUSED_STREAM


def test_streams_of_all_connections_are_bounded():
    first = Client(server.Limits(streams=10))
    for number in range(1, 41, 2):
        first.ask(number, None)
    first.server.check(0.5)
    other = Client(shared=first)
    other.ask(1, None)
    assert other.answers()[1].reset == frames.REFUSED_STREAM


def test_bodies_that_are_held_are_bounded_over_all_connections():
    limits = server.Limits(held_bytes=100_000)
    clients = [Client(limits)]
    clients += [Client(shared=clients[0]) for _ in range(9)]
    for client in clients:
        client.ask(1, None)
        client.send(frames.frame(frames.DATA, 0, 1, bytes(16_000)))
    assert sum(bool(client.refused) for client in clients) == 4
    assert clients[0].server.held_bytes <= 100_000
    for client in clients:
        client.connection.connection_lost(None)
    assert clients[0].server.held_bytes == 0


def test_many_tiny_pieces_count_for_what_they_cost():
    client = Client()
    client.ask(1, None)
    client.send(frames.frame(frames.DATA, 0, 1, b"x") * 1_000)
    assert client.server.held_bytes > 50_000


def test_answers_that_the_client_makes_no_room_for_are_bounded():
    client = Client(server.Limits(held_bytes=1 << 20), settings={frames.INITIAL_WINDOW_SIZE: 0})
    for number in range(1, 21, 2):
        client.ask(number)
        client.asked[-1].respond(bytes(200_000))
    assert client.server.held_bytes <= 1 << 20
    assert CALM in {answer.reset for answer in client.answers().values()}


def test_a_client_that_makes_no_room_loses_the_stream():
    client = Client(settings={frames.INITIAL_WINDOW_SIZE: 1})
    client.ask(1)
    client.asked[0].respond(b"ab")
    client.server.check(29.0)
    assert client.server.held_bytes == 1
    client.window(1, 1)
    client.ask(3)
    client.asked[1].respond(b"ab")
    client.received()
    client.server.check(70.0)
    assert client.answers()[3].reset == frames.CANCEL
    assert client.server.held_bytes == 0


def test_room_in_drops_is_no_way_to_stay():
    client = Client(settings={frames.INITIAL_WINDOW_SIZE: 0})
    client.ask(1)
    client.asked[0].respond(bytes(1_000))
    now = 0.0
    while client.connection.streams:
        now += 10
        client.window(1, 1)
        client.server.check(now)
        assert now < 100
    assert client.server.held_bytes == 0


def test_a_client_that_reads_nothing_is_cut_off():
    client = Client()
    client.ask(1)
    client.connection.pause_writing()
    assert not client.transport.reading
    client.transport.unsent_bytes = 1
    client.server.check(29.0)
    assert not client.transport.aborted
    client.server.check(31.0)
    assert client.transport.aborted


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        frames.PREFACE[:10],
        frames.PREFACE,
        frames.PREFACE + frames.settings({}) + b"\0\0\5",
        frames.PREFACE + frames.settings({}) + frames.frame(frames.HEADERS, 0, 1, b""),
    ],
    ids=["nothing", "half a preface", "no settings", "half a frame", "half a head"],
)
def test_a_slow_beginning_is_ended(sent):
    client = Client(server.Limits(head_seconds=10), begin=sent)
    client.server.check(9.0)
    assert not client.transport.shut
    client.server.check(11.0)
    assert client.transport.shut
    client.server.check(20.0)
    assert client.transport.aborted


def test_a_slow_body_is_answered_and_ended():
    client = Client(server.Limits(body_seconds=10))
    client.ask(1, None)
    client.send(frames.frame(frames.DATA, 0, 1, b"a little"))
    client.server.check(9.0)
    assert client.refused == []
    client.server.check(11.0)
    ((status, message),) = client.refused
    assert status == 408
    assert "8 bytes in 11.0 s" in message
    assert client.answers()[1].reset == frames.NO_ERROR
    assert client.server.held_bytes == 0


def test_a_client_that_is_gone_without_a_word_is_found_out():
    client = Client(server.Limits(idle_seconds=10))
    client.ask(1)
    client.server.check(9.0)
    client.received()
    for now in (11.0, 11.5):
        client.server.check(now)
    assert [frame.kind for frame in client.received()] == [frames.PING]
    client.send(frames.frame(frames.PING, frames.ACK, 0, bytes(8)))
    client.server.check(20.0)
    assert client.received() == []
    client.server.check(22.0)
    client.server.check(32.0)
    assert client.transport.aborted
