"""Values that clients send by mistake or on purpose, and the ways to spoil JSON and bytes. Everything is a function of the
random numbers it is given, so that a seed tells the whole run."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from typing import Any

Path = tuple[str | int, ...]

ODD: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    64,
    2**31,
    2**63,
    2**64,
    -(2**63) - 1,
    0.5,
    -0.0,
    1e39,
    1e308,
    "",
    "X",
    "x",
    "FP32",
    "\u0000",
    "\ud83d\ude00",
    "a" * 5_000,
    "%s%d%(x)s{}",
    "../../etc/passwd",
    [],
    [[]],
    [None],
    {},
    {"": ""},
    {"name": "X"},
    [1, "2", 3],
    [[1.0] * 64] * 3,
    [1] * 65,
    [-1, 64],
    [1, 64, 1],
    [2**40, 2**40],
    [1e300],
    [[[[[[[[[[1]]]]]]]]]],
]
"""What stands where something else is expected."""

TOKENS = [
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b"1e999",
    b"01",
    b"+1",
    b".5",
    b"0x10",
    b"1_000",
    b"tru",
    b"nul",
    b"'a'",
    b'"\\x41"',
    b'"\\ud800"',
    b'"\xff\xfe"',
    b"\xef\xbb\xbf1",
    b"[" * 2_000,
    b'{"a":' * 2_000,
    b"/* */1",
    b"1 2",
    b"",
]
"""What no JSON writer writes."""


def paths(value: Any, at: Path = ()) -> list[Path]:
    """Return the place of every part of a JSON value; of a list of numbers only the first elements."""
    found = [at]
    if isinstance(value, dict):
        for name, part in value.items():
            found += paths(part, (*at, name))
    elif isinstance(value, list):
        for place, part in enumerate(value[:2]):
            found += paths(part, (*at, place))
    return found


def changed(value: Any, at: Path, change: Callable[[Any, str | int], None]) -> Any:
    """Return a copy in which the owner of one part was changed."""
    whole = copy.deepcopy(value)
    owner = whole
    for step in at[:-1]:
        owner = owner[step]
    change(owner, at[-1])
    return whole


def spoil_value(value: Any, chance: random.Random) -> tuple[Any, Path]:
    """Return a JSON value in which one part is another one, is missing or comes twice, and the place of that part."""
    at = chance.choice([path for path in paths(value) if path])
    odd = copy.deepcopy(chance.choice(ODD))

    def put(owner: Any, step: str | int) -> None:
        owner[step] = odd

    def drop(owner: Any, step: str | int) -> None:
        del owner[step]

    def twice(owner: Any, step: str | int) -> None:
        if isinstance(owner, list):
            assert isinstance(step, int)
            owner.insert(step, copy.deepcopy(owner[step]))
        else:
            owner[f"{step}{chance.randrange(3)}"] = owner[step]

    def wrap(owner: Any, step: str | int) -> None:
        owner[step] = [owner[step]]

    def rename(owner: Any, step: str | int) -> None:
        if isinstance(owner, dict):
            owner[str(step).upper()] = owner.pop(step)
        else:
            owner[step] = str(owner[step])

    return changed(value, at, chance.choice([put, put, put, drop, twice, wrap, rename])), at


def spoil_text(value: Any, chance: random.Random) -> bytes:
    """Return JSON in which one part is no JSON, is there twice, or is nested without end."""
    mark = "\u2622"
    at = chance.choice([path for path in paths(value) if path])
    text = json.dumps(changed(value, at, lambda owner, step: owner.__setitem__(step, mark)), ensure_ascii=False)
    return text.encode().replace(json.dumps(mark, ensure_ascii=False).encode(), chance.choice(TOKENS))


def spoil_bytes(data: bytes, chance: random.Random) -> bytes:
    """Return bytes of which some were changed, left out, put in, moved or cut off."""
    spoiled = bytearray(data)
    for _ in range(chance.choice([1, 1, 1, 2, 4])):
        place = chance.randrange(len(spoiled) + 1)
        length = chance.choice([1, 1, 2, 4, 16, 64])
        kind = chance.randrange(6)
        if kind == 0 and place < len(spoiled):
            spoiled[place] ^= 1 << chance.randrange(8)
        elif kind == 1:
            spoiled[place : place + length] = chance.randbytes(length)
        elif kind == 2:
            del spoiled[place : place + length]
        elif kind == 3:
            spoiled[place:place] = spoiled[place : place + length] * chance.choice([1, 2, 50])
        elif kind == 4:
            spoiled[place:place] = chance.choice(
                [b"\x00", b"\r\n", b"\n", b"\r", b":", b" ", b",", b'"', b"\xff\xff", b"%"]
            )
        else:
            del spoiled[place:]
    return bytes(spoiled)
