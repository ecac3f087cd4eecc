"""Inputs for the REST protocol: requests whose body, path or head is not as it should be."""

from __future__ import annotations

import gzip
import json
import random
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.wiring.runtime.fuzzing import values

INFER = "/v2/models/digits/infer"
KINDS = ("value", "text", "bytes", "binary", "packed", "path", "method")


@dataclass(frozen=True)
class Input:
    """One request, and what its refusal must name."""

    kind: str
    request: bytes
    names: tuple[str, ...] = ()
    """Words of which the message must have one; empty: any message will do."""
    is_head: bool = False
    """Asked with HEAD: the answer has no body."""


def framed(body: bytes, *, method: str = "POST", target: str = INFER, head: str = "") -> bytes:
    """Return a request whose head is right."""
    return (
        f"{method} {target} HTTP/1.1\r\nhost: x\r\n{head}content-length: {len(body)}\r\n\r\n".encode("latin-1") + body
    )


def valid(row: list[float]) -> dict[str, object]:
    """Return a request with everything that the protocol knows."""
    return {
        "id": "a",
        "parameters": {"p": 1},
        "inputs": [{"name": "X", "shape": [1, 64], "datatype": "FP32", "data": row, "parameters": {"q": "r"}}],
        "outputs": [{"name": "label", "parameters": {}}, {"name": "probabilities"}],
    }


def inputs(chance: random.Random, row: list[float], count: int) -> Iterator[Input]:
    """Yield inputs of all kinds."""
    whole = valid(row)
    text = json.dumps(whole).encode()
    for _ in range(count):
        kind = chance.choices(KINDS, (10, 4, 4, 6, 1, 1, 1))[0]
        if kind == "value":
            spoiled, at = values.spoil_value(whole, chance)
            yield Input(kind, framed(json.dumps(spoiled).encode()), named(at))
        elif kind == "text":
            yield Input(kind, framed(values.spoil_text(whole, chance)))
        elif kind == "bytes":
            yield Input(kind, framed(values.spoil_bytes(text, chance)))
        elif kind == "binary":
            yield Input(kind, _binary(chance, row))
        elif kind == "packed":
            coding = chance.choice(["gzip", "deflate", "br", "x", "identity", "gzip, gzip"])
            pack = gzip.compress if "gzip" in coding else zlib.compress
            packed = pack(chance.choice([text, text, bytes(10**6), b""]), 1)
            body = values.spoil_bytes(packed, chance) if chance.random() < 0.5 else packed
            yield Input(kind, framed(body, head=f"content-encoding: {coding}\r\n"))
        elif kind == "path":
            target = values.spoil_bytes(chance.choice(TARGETS).encode(), chance)
            clean = bytes(byte for byte in target if 0x21 <= byte < 0x7F) or b"/"
            method = chance.choice(["GET", "POST"])
            yield Input(kind, framed(text, method=method, target="/" + clean.decode().lstrip("/")))
        else:
            method = chance.choice(METHODS)
            target = chance.choice(TARGETS)
            yield Input(kind, framed(b"", method=method, target=target), is_head=method == "HEAD")


def _binary(chance: random.Random, row: list[float]) -> bytes:
    """Return a request with binary tensors of which the head, the numbers or the lengths are spoiled."""
    raw = struct.pack("<64f", *row)
    tensor: dict[str, Any] = {
        "name": "X",
        "shape": [1, 64],
        "datatype": "FP32",
        "parameters": {"binary_data_size": len(raw)},
    }
    whole: dict[str, Any] = {"inputs": [tensor], "parameters": {"binary_data_output": True}}
    kind = chance.randrange(5)
    if kind == 0:
        whole, _ = values.spoil_value(whole, chance)
    elif kind == 1:
        tensor["parameters"]["binary_data_size"] = chance.choice(
            [0, -1, 255, 257, 2**31, 2**63, 1.5, "256", None, True, [256]]
        )
    elif kind == 2:
        tensor["datatype"] = chance.choice(["BYTES", "BOOL", "FP16", "BF16", "INT64", "X", "", None])
    head = json.dumps(whole).encode()
    length: Any = len(head)
    body = head + chance.choice([raw, raw, raw[:-1], raw + b"\x00", b"", raw + raw, chance.randbytes(256)])
    if kind == 3:
        length = chance.choice(
            [0, -1, length - 1, length + 1, len(body), len(body) + 1, 2**31, 2**63, "x", "1e3", "", " "]
        )
    elif kind == 4:
        body = values.spoil_bytes(body, chance)
    return framed(body, head=f"inference-header-content-length: {length}\r\n")


def named(at: values.Path) -> tuple[str, ...]:
    """Return words of which a message about a part of the request must have one."""
    parts = [str(step) for step in at if isinstance(step, str)]
    deepest = parts[-1]
    # Of a tensor that is no object or has no name, a message can only tell the place.
    words = {"data": ("data", "element", "elements"), "p": ("parameters",), "q": ("parameters",)}.get(
        deepest, (deepest,)
    )
    return (*words, "inputs", "outputs", 'input "X"') if deepest in {"inputs", "outputs", "name"} else words


METHODS = ["GET", "POST", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"]
TARGETS = [
    "/v2",
    "/v2/health/live",
    "/v2/health/ready",
    "/v2/models/digits",
    "/v2/models/digits/ready",
    "/v2/models/digits/infer",
    "/v2/models/digits/outcomes",
    "/v2/models/digits/versions/digits-1/infer",
    "/v2/models/other/infer",
    "/v2/repository/index",
]


def heads(chance: random.Random, row: list[float], count: int) -> Iterator[bytes]:
    """Yield whole streams of bytes of which the head is spoiled: what comes of them ends with the connection."""
    body = json.dumps(valid(row)).encode()
    lines = [
        b"host: x",
        b"content-type: application/json",
        b"content-length: %d" % len(body),
        b"connection: keep-alive",
        b"x-a: b",
    ]
    odd = [
        b"transfer-encoding: chunked",
        b"transfer-encoding: gzip, chunked",
        b"transfer-encoding : chunked",
        b"content-length: 5",
        b"content-length: -1",
        b"content-length: 99999999999999999999",
        b"content-length: 1e3",
        b"expect: 100-continue",
        b"expect: 200-ok",
        b"upgrade: h2c",
        b"connection: upgrade",
        b"connection: close",
        b"host: y",
        b"a" * 70_000 + b": b",
        b"x: " + b"y" * 70_000,
        b" folded",
        b"x\x00y: z",
        b"x: \xff\xfe",
        b": empty",
        b"noname",
        b"inference-header-content-length: 10",
        b"inference-header-content-length: x",
        b"content-encoding: gzip",
    ]
    for _ in range(count):
        chosen = list(lines)
        for _ in range(chance.choice([0, 1, 1, 2])):
            chosen.insert(chance.randrange(len(chosen) + 1), chance.choice(odd))
        if chance.random() < 0.2:
            chosen.pop(chance.randrange(len(chosen)))
        first = (
            chance.choice([b"POST %b HTTP/1.1", b"POST %b HTTP/1.0", b"POST %b HTTP/2.0", b"post %b", b"%b"])
            % INFER.encode()
        )
        head = b"\r\n".join([first, *chosen, b"", b""])
        if chance.random() < 0.7:
            head = values.spoil_bytes(head, chance)
        yield head + body * chance.choice([1, 1, 1, 2])
