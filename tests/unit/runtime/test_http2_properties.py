"""Whatever bytes come, and however the network cuts them: no exception, the same answers, and nothing left behind."""

import itertools
import os
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from leadline_runtime.http2 import frames
from leadline_runtime.web import server

from tests.unit.runtime.frames_of import REQUEST, Client

NUMBERS = st.sampled_from([0, 1, 2, 3, 5, 7, 9, 100, 2**31 - 1, 2**31 + 1])
BLOCKS = st.one_of(
    st.sampled_from(
        [
            b"\x83\x86\x84\x41\x01x",  # a request
            b"\x83\x86\x44\x07/pieces",
            b"\x83\x86\x84\x40\x01a\x01b",
            b"\x82\x86\x84\xbe",
            b"\x20\x83\x86\x84",
            b"\x3f\xe1\x1f\x83",
        ]
    ),
    st.binary(max_size=60),
)
FRAMES = st.one_of(
    st.builds(
        frames.frame,
        st.just(frames.HEADERS),
        st.sampled_from([4, 5, 0, 1, 0x0C, 0x24, 0x2D]),
        NUMBERS,
        BLOCKS,
    ),
    st.builds(frames.frame, st.just(frames.DATA), st.sampled_from([0, 1, 8, 9]), NUMBERS, st.binary(max_size=200)),
    st.builds(frames.frame, st.just(frames.CONTINUATION), st.sampled_from([0, 4]), NUMBERS, BLOCKS),
    st.builds(
        lambda name, value: frames.settings({name: value}),
        st.integers(0, 7),
        st.sampled_from([0, 1, 100, 16_384, 65_535, 2**24 - 1, 2**31 - 1, 2**31, 2**32 - 1]),
    ),
    st.builds(
        lambda number, more: frames.frame(frames.WINDOW_UPDATE, 0, number, frames.WORD(more)),
        NUMBERS,
        st.sampled_from([0, 1, 65_535, 2**31 - 1, 2**31]),
    ),
    st.builds(frames.frame, st.integers(0, 12), st.integers(0, 255), NUMBERS, st.binary(max_size=20)),
    st.binary(max_size=30),
)
LIMITS = server.Limits(body_bytes=300, held_bytes=2_000)


def seen(stream: bytes, cuts: list[int]) -> tuple[list[tuple[int, bytes]], bytes]:
    """Return what the application was asked and all that was sent, where bytes come in pieces."""
    client = Client(LIMITS, echo=True)
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    for start, end in itertools.pairwise(edges):
        if start < end:
            client.send(stream[start:end])
    asked = [(request.id, request.body) for request in client.asked]
    sent = bytes(client.transport.sent)
    assert frames.INTERNAL_ERROR not in {frame.code for frame in client.received() if frame.kind == frames.GOAWAY}
    client.connection.connection_lost(None)
    assert client.server.held_bytes == 0
    assert client.connection.streams == {}
    assert client.connection.sender.blocked == {}
    return asked, sent


@given(st.lists(FRAMES, max_size=12), st.lists(st.integers(0, 10_000), max_size=12))
@settings(deadline=None)
def test_any_cut_of_any_frames_gives_the_same_answers(parts, cuts):
    stream = b"".join(parts)
    assert seen(stream, cuts) == seen(stream, [])


@given(st.lists(FRAMES, max_size=4))
@settings(deadline=None)
def test_byte_by_byte_gives_the_same_answers(parts):
    stream = b"".join(parts)
    assert seen(stream, list(range(len(stream)))) == seen(stream, [])


@pytest.mark.parametrize("seed", range(10))
def test_requests_with_a_byte_changed_break_nothing(seed):
    """Changes one byte or a few of a valid conversation: 10,000 conversations, more where LEADLINE_FUZZ says so."""
    chance = random.Random(seed)
    client = Client()
    heads = [client.block([*REQUEST, ("grpc-timeout", f"{number}m"), ("te", "trailers")]) for number in range(4)]
    whole = frames.PREFACE + frames.settings({frames.INITIAL_WINDOW_SIZE: 20})
    for place, head in enumerate(heads):
        number = 2 * place + 1
        whole += frames.frame(frames.HEADERS, frames.END_HEADERS, number, head)
        whole += frames.frame(frames.DATA, 0, number, b"\0\0\0\0\x20" + bytes(20))
        whole += frames.frame(frames.DATA, frames.END_STREAM, number, bytes(12)) + frames.window_update(number, 50)
    for _ in range(int(os.environ.get("LEADLINE_FUZZ", "1000"))):
        changed = bytearray(whole)
        for _ in range(chance.choice((1, 1, 2, 5))):
            changed[chance.randrange(24, len(changed))] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        client = Client(LIMITS, echo=True, begin=bytes(changed))
        client.connection.connection_lost(None)
        assert (client.server.held_bytes, client.connection.streams) == (0, {})
        assert frames.INTERNAL_ERROR not in {frame.code for frame in client.received() if frame.kind == frames.GOAWAY}
