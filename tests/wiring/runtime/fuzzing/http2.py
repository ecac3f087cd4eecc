"""Inputs for HTTP/2 and gRPC: spoiled messages in right frames, and conversations whose frames are spoiled."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import hpack

from tests.wiring.runtime.fuzzing import values

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, END_HEADERS, ACK = 1, 4, 1
SERVICE = "/inference.GRPCInferenceService/"


@dataclass(frozen=True)
class Call:
    """One gRPC call."""

    kind: str
    method: str
    message: bytes
    """As it stands on the wire, with its prefix of five bytes."""


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return one frame."""
    return (
        struct.pack(">I", len(payload))[1:] + bytes([kind & 0xFF, flags & 0xFF]) + struct.pack(">I", stream) + payload
    )


def block(encoder: hpack.Encoder, method: str = "ModelInfer", extra: list[tuple[str, str]] | None = None) -> bytes:
    """Return the header block of a call."""
    return encoder.encode(
        [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", method if method.startswith("/") else SERVICE + method),
            (":authority", "x"),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
            ("user-agent", "fuzz"),
            *(extra or []),
        ]
    )


def prefixed(message: bytes, flag: int = 0) -> bytes:
    """Return a message as gRPC frames it."""
    return struct.pack(">BI", flag, len(message)) + message


# A writer of protobuf's wire format, of its own: the library would not write what is wrong.


def varint(number: int) -> bytes:
    """Return a number as protobuf writes it."""
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def part(number: int, payload: bytes) -> bytes:
    """Return one field of bytes."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload


@dataclass
class Infer:
    """The parts of a ModelInferRequest, each of which may be wrong."""

    model: bytes = b"digits"
    version: bytes = b""
    name: bytes = b"X"
    datatype: bytes = b"FP32"
    shape: tuple[int, ...] = (1, 64)
    raw: tuple[bytes, ...] = ()
    contents: bytes = b""
    """Fields of InferTensorContents."""
    outputs: tuple[bytes, ...] = ()
    more: bytes = b""

    def message(self) -> bytes:
        """Return the message."""
        shape = part(3, b"".join(map(varint, self.shape)))
        contents = part(5, self.contents) if self.contents else b""
        tensor = part(1, self.name) + part(2, self.datatype) + shape + contents
        return b"".join(
            [
                part(1, self.model),
                part(2, self.version) if self.version else b"",
                part(5, tensor),
                *(part(6, part(1, name)) for name in self.outputs),
                *(part(7, data) for data in self.raw),
                self.more,
            ]
        )


def calls(chance: random.Random, row: list[float], count: int) -> Iterator[Call]:
    """Yield calls of all kinds."""
    raw = struct.pack("<64f", *row)
    for _ in range(count):
        kind = chance.choices(("field", "bytes", "prefix", "method"), (10, 6, 1, 1))[0]
        request = Infer(raw=(raw,)) if chance.random() < 0.6 else Infer(contents=part(6, raw))
        if kind == "field":
            yield Call(kind, "ModelInfer", prefixed(_spoiled(request, chance).message()))
        elif kind == "bytes":
            yield Call(kind, "ModelInfer", prefixed(values.spoil_bytes(request.message(), chance)))
        elif kind == "prefix":
            message = request.message()
            length = chance.choice([0, 1, len(message) - 1, len(message) + 1, 2**31, 2**32 - 1])
            yield Call(kind, "ModelInfer", struct.pack(">BI", chance.choice([0, 1, 2, 255]), length) + message)
        else:
            yield Call(
                kind, chance.choice(METHODS), prefixed(chance.choice([b"", request.message(), chance.randbytes(30)]))
            )


METHODS = [
    "ServerLive",
    "ServerReady",
    "ModelReady",
    "ServerMetadata",
    "ModelMetadata",
    "ModelStreamInfer",
    "RepositoryIndex",
    "RepositoryModelLoad",
    "Nothing",
    "/grpc.health.v1.Health/Check",
    "/a",
    "/",
    "/v2/models/digits/infer",
    "/inference.GRPCInferenceService/",
    "/%",
]
_TEXTS = [b"", b"x", b"\xff\xfe", b"a" * 3_000, b"digits\x00", b"FP64", b"INT64", b"BYTES", b"BOOL", b"%s", b"label"]
_SHAPES = [(), (0,), (64,), (1, 65), (-1, 64), (2**40, 2**40), (1, 64, 1), (2**63, 1), (0, 64), (64, 1)]


def _spoiled(request: Infer, chance: random.Random) -> Infer:
    for _ in range(chance.choice([1, 1, 2])):
        field = chance.randrange(9)
        if field == 0:
            request.model = chance.choice(_TEXTS)
        elif field == 1:
            request.version = chance.choice(_TEXTS)
        elif field == 2:
            request.name = chance.choice(_TEXTS)
        elif field == 3:
            request.datatype = chance.choice(_TEXTS)
        elif field == 4:
            request.shape = chance.choice(_SHAPES)
        elif field == 5:
            data = request.raw[0] if request.raw else bytes(256)
            request.raw = chance.choice([(), (data, data), (data[:-1],), (data + b"\x00",), (b"",), (bytes(2**17),)])
        elif field == 6:
            number = chance.randrange(1, 10)
            request.contents = part(
                number, chance.choice([b"", b"\x80", bytes(256), chance.randbytes(64), b"\xff" * 11])
            )
        elif field == 7:
            request.outputs = chance.choice([(b"",), (b"label", b"label"), (b"other",), (b"label",), (b"\xff",)])
        else:
            request.more = chance.choice(
                [
                    part(4, b"\x0a\x01a"),
                    part(99, b"x"),
                    b"\x0b",
                    b"\x0c",
                    b"\x0f",
                    part(3, b"\xff"),
                    part(1, b"digits"),
                    part(5, b""),
                ]
            )
    return request


def conversations(chance: random.Random, row: list[float], count: int) -> Iterator[bytes]:
    """Yield what a client sends on one connection: right at first, then not."""
    message = prefixed(Infer(raw=(struct.pack("<64f", *row),)).message())
    encoder = hpack.Encoder()
    right = [frame(SETTINGS, 0, 0)]
    for stream in (1, 3):
        right += [frame(HEADERS, END_HEADERS, stream, block(encoder)), frame(DATA, END_STREAM, stream, message)]
    for _ in range(count):
        frames = list(right)
        kind = chance.randrange(4)
        if kind == 0:
            yield PREFACE + values.spoil_bytes(b"".join(frames), chance)
            continue
        for _ in range(chance.choice([1, 1, 3, 40])):
            frames.insert(chance.randrange(len(frames) + 1), _odd_frame(chance))
        if kind == 1:
            chance.shuffle(frames)
        yield (PREFACE if kind != 2 or chance.random() < 0.8 else values.spoil_bytes(PREFACE, chance)) + b"".join(
            frames
        )


_STREAMS = [0, 1, 2, 3, 5, 7, 2**31 - 1, 2**31, 2**32 - 1]
_FLAGS = [0, 1, 4, 5, 8, 9, 32]
_PAYLOADS = [b"", bytes(4), b"\xff" * 4, bytes(8), b"\x3f\xff\xff\xff\xff\xff", bytes(20_000)]
_HEADERS = [
    hpack.Encoder().encode([(":method", "POST"), (name, "y" * length)])
    for name in ("connection", "Upper", ":path", "x", "te")
    for length in (0, 1, 5_000)
]


def _odd_frame(chance: random.Random) -> bytes:
    kind = chance.randrange(4)
    if kind == 0:
        payload = chance.choice(_PAYLOADS)
    elif kind == 1:
        payload = chance.choice(_HEADERS)
    elif kind == 2:
        payload = chance.randbytes(chance.choice([1, 5, 6, 9, 200]))
    else:
        payload = struct.pack(">HI", chance.randrange(8), chance.choice([0, 1, 65_535, 2**31, 2**32 - 1]))
    flags = chance.randrange(256) if chance.random() < 0.5 else chance.choice(_FLAGS)
    return frame(chance.randrange(12), flags, chance.choice(_STREAMS), payload)
