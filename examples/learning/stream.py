"""Ask how long each flight will be in the air, in order, and report how long it was: the program of the client's pod.

Prints one line of JSON a second: `answers`, each with the flight's place, who answered and what, and `failed`. Runs in the
trainer's image, beside a Python that has no Leadline but its client.
"""

import argparse
import asyncio
import csv
import io
import json
import time

import obstore
from leadline_client import AsyncClient, ClientError
from obstore.store import S3Store

NAMES = ("origin", "dest", "carrier", "distance", "hour")
NUMBERS = ("distance", "hour")


async def main() -> None:
    """Ask, report, and say so."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="of the model's Service")
    parser.add_argument("model", help="its name")
    parser.add_argument("--rows", default="flights/stream.csv", help="in the bucket `models`")
    parser.add_argument("--per-second", type=float, default=60.0)
    options = parser.parse_args()
    content = bytes((await obstore.get_async(S3Store("models"), options.rows)).bytes())
    rows = list(csv.DictReader(io.StringIO(content.decode())))
    told: list[tuple[int, str, float]] = []
    failed: list[str] = []
    asking: set[asyncio.Task[None]] = set()
    async with AsyncClient(options.url, model=options.model, store=None) as client:

        async def ask(place: int, row: dict[str, str]) -> None:
            inputs = {name: [[float(row[name]) if name in NUMBERS else row[name]]] for name in NAMES}
            try:
                answer = await client.predict(inputs)
                minutes = float(answer.outputs["minutes"].ravel()[0])
                told.append((place, answer.revision, round(minutes, 2)))
                await client.report(truth=float(row["minutes"]), receipt=answer.receipt)
            except ClientError as error:
                failed.append(f"{place}: {error}"[:200])

        begun, said = time.monotonic(), 0.0
        for place, row in enumerate(rows):
            await asyncio.sleep(max(0.0, begun + place / options.per_second - time.monotonic()))
            task = asyncio.create_task(ask(place, row))
            asking.add(task)
            task.add_done_callback(asking.discard)
            if time.monotonic() > said + 1.0:
                said = time.monotonic()
                say(told, failed)
        if asking:
            await asyncio.wait(asking, timeout=60.0)
    say(told, failed, final=True)
    await asyncio.Event().wait()  # the pod stays, so that its log can be read to the end


def say(told: list[tuple[int, str, float]], failed: list[str], *, final: bool = False) -> None:
    """Print a line, and forget what was in it."""
    print(json.dumps({"answers": told, "failed": failed, "final": final}, separators=(",", ":")), flush=True)
    told.clear()
    failed.clear()


if __name__ == "__main__":
    asyncio.run(main())
