"""Our reading of header blocks beside that of the hpack library: the same fields, the same refusals, block after block."""

import hpack
from hypothesis import given, settings
from hypothesis import strategies as st
from leadline_runtime.http2 import compression, frames, headers

LIST_BYTES = 4_000
NAMES = st.sampled_from([":path", ":authority", "content-type", "x", "grpc-timeout", "a-long-name-" * 10])
VALUES = st.one_of(st.sampled_from(["", "/", "application/grpc", "y" * 300]), st.text(max_size=20))
FIELDS = st.lists(st.tuples(NAMES, VALUES, st.booleans()), max_size=8)
SIZES = st.sampled_from([None, 0, 50, 200, 4_096])


def both(blocks):
    """Decode blocks on one connection each; return what came of them, None where a block was refused."""
    ours, theirs = compression.Decoder(LIST_BYTES), hpack.Decoder(LIST_BYTES)
    for block in blocks:
        try:
            mine = ours.decode(block)[0]
        except frames.ConnectionFaultError:
            mine = None
        try:
            other = [tuple(field) for field in theirs.decode(block, raw=True)]
        except hpack.HPACKError:
            other = None
        yield mine, other
        if mine is None or other is None:
            return


@given(st.lists(st.tuples(SIZES, FIELDS, st.booleans()), max_size=12))
@settings(deadline=None)
def test_what_an_encoder_writes_is_read_alike(messages):
    encoder = hpack.Encoder()
    blocks = []
    for size, fields, huffman in messages:
        if size is not None:
            encoder.header_table_size = size
        named = [hpack.NeverIndexedHeaderTuple(n, v) if never else hpack.HeaderTuple(n, v) for n, v, never in fields]
        blocks.append(encoder.encode(named, huffman=huffman))
    for mine, theirs in both(blocks):
        assert mine == theirs


PIECES = st.one_of(
    st.binary(max_size=6),
    st.sampled_from(
        [
            b"\x82",
            b"\xbe",
            b"\xbf",
            b"\x40\x01a\x01b",
            b"\x41\x01x",
            b"\x7f\x00\x01y",
            b"\x20",
            b"\x3f\xe1\x1f",
            b"\x00\x81\x1f\x00",
        ]
    ),
    st.builds(lambda text: b"\x40\x01n" + bytes([0x80 | len(text)]) + text, st.binary(max_size=10)),
)


@given(st.lists(st.lists(PIECES, max_size=6).map(b"".join), max_size=4))
@settings(deadline=None)
def test_any_bytes_are_read_or_refused_alike(blocks):
    for mine, theirs in both(blocks):
        assert mine == theirs


def test_a_field_is_looked_at_again_once_many_others_came():
    for number in range(2_000):
        headers.check_trailers([(b"x", b"%d" % number)])
    assert len(headers._well_formed) <= headers._FIELDS_MAX


def test_every_code_of_a_byte_is_read():
    encoder = hpack.Encoder()
    value = bytes(range(1, 256)) * 2
    block = encoder.encode([(b"x", value)])
    assert compression.Decoder(LIST_BYTES).decode(block) == ([(b"x", value)], True)
