"""Captured inputs as a runtime brings them."""

import struct

import msgspec
from leadline_wire import captures

from tests.unit.ledger.ledgers import identifier
from tests.wiring.ledger.parts import MODEL

PATH = f"{MODEL}/captures"


def floats(*values):
    return struct.pack(f"<{len(values)}f", *values)


def chunk(*numbers, at_ms=None, rows=(), name="X", size=2):
    """Return a chunk of predictions by number, whose `size` elements each are the number and so on."""
    ids = [identifier(number) if at_ms is None else identifier(number, at_ms) for number in numbers]
    values = [number + place / 2 for number in numbers for place in range(size)]
    return captures.Chunk("".join(ids), [captures.Column(name, "FP32", [size], floats(*values))], list(rows))


async def bring(ledger_here, brought, query="", **more):
    """Return status and body of one call."""
    data = brought if isinstance(brought, bytes) else msgspec.msgpack.encode(brought)
    status, body, _ = await ledger_here.call("POST", f"{PATH}{query}", data=data, **more)
    return status, body
