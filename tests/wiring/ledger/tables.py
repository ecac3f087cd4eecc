"""Ways to ask the ledger for tables of outcomes, and to read them."""

import io

import msgspec
import pyarrow.parquet
from leadline_wire import ledger

from tests.wiring.ledger.parts import MODEL


def parquet(body):
    """Return a table, of pyarrow, and its metadata."""
    file = pyarrow.parquet.ParquetFile(io.BytesIO(body))
    named = {name.decode(): value.decode() for name, value in file.schema_arrow.metadata.items()}
    return file.read(), {name.removeprefix("leadline."): value for name, value in named.items()}


async def asked(ledger_here, query="", **more):
    """Return rows, and headers, of one call that is answered."""
    status, body, headers = await ledger_here.call("GET", f"{MODEL}/outcomes{query}", **more)
    assert status == 200, body
    if headers["content-type"] == "application/x-ndjson":
        return [msgspec.json.decode(line) for line in body.splitlines()], headers
    return parquet(body)[0].to_pylist(), headers


def going_on(headers):
    """Return the part of a query that asks for what came since."""
    return f"after={headers[ledger.CURSOR_HEADER]}&timeline={headers[ledger.TIMELINE_HEADER]}"
