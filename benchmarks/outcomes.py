"""How soon outcomes are judged, and all figures on them in one place: the last part of `make bench-outcomes`.

  fold_per_second  entries of the log that the operator's own code reads from a real ledger and folds into evidence, one core,
                   a quarter of them pairs
  verdict_seconds  from the acknowledgement of an outcome that decides to the verdict: a real ledger in its process, the
                   operator's follower and decision here, whatever else they do; median of `--verdicts` lives of a worse model

The other figures are those of `make bench-ledger` and `make bench-exactly-once`, which go before. Writes
benchmarks/results/outcomes.json.
"""

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Self

import aiohttp
import msgspec
from leadline_operator.reconcile.evidence import Evidence
from leadline_operator.reconcile.terms import Terms, data_of
from leadline_operator.soundings.ledger import Ledger
from leadline_operator.soundings.outcomes import Outcomes
from leadline_wire import ledger

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the repository, beside the folder of this file, which is started by its path

from serving import page, places  # noqa: E402 - found only now

from tests.wiring.ledger.parts import OPERATOR, ApiServer, Process  # noqa: E402

TERMS = Terms("bench", "accuracy", graded=False, margin=0.02, comparison_alpha=0.004, limit_alpha=0.004)
ENTRIES = 200_000
CALL = 500
WRONG, WRONG_BEFORE = 0.15, 0.05
Words = tuple[str, str, str]
"""What the judged revision said, what the one before said, what was true."""
REST = {
    "sqlite_batch1_per_s": (places.LEDGER, "outcomes_per_second_1"),
    "sqlite_batch100_per_s": (places.LEDGER, "outcomes_per_second_100"),
    "postgres_batch1_per_s": (places.LEDGER, "postgres_per_second_1"),
    "sqlite_batch1_p99_ms": (places.LEDGER, "p99_ms_1"),
    "postgres_batch1_p99_ms": (places.LEDGER, "postgres_p99_ms_1"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--verdicts", type=int, default=20)
    options = parser.parse_args()
    api = ApiServer()
    try:
        with tempfile.TemporaryDirectory(prefix="leadline-bench-") as name:
            volume = Path(name) / "volume"
            volume.mkdir()
            process = Process(volume, api).start()
            try:
                rate = asyncio.run(fold_rate(process, Path(name)))
                waits = asyncio.run(verdicts(process, Path(name), options.verdicts))
            finally:
                process.end()
    finally:
        api.close()
    summary = {name: json.loads(path.read_text())["summary"][key] for name, (path, key) in REST.items()}
    once = json.loads(places.ONCE.read_text())
    summary |= {name: sum(each[name] for each in once.values()) for name in ("lost", "double")}
    summary |= {"fold_per_s": round(rate), "verdict_seconds": round(statistics.median(waits), 4)}
    summary["verdict_seconds_worst"] = round(max(waits), 4)
    places.OUTCOMES.write_text(json.dumps({"summary": summary}, indent=2) + "\n")
    page.write()
    for name, value in summary.items():
        print(f"{name:<24}{value:>12,}")


class Follower:
    """The operator's part that reads the ledger, with what it wakes."""

    def __init__(self, process: Process, folder: Path) -> None:
        token = folder / "operator-token"
        token.write_text(OPERATOR)
        self.news = asyncio.Event()
        self._ledger = Ledger(f"http://127.0.0.1:{process.port}", token)
        self.outcomes = Outcomes(self._ledger, woken=lambda *_: self.news.set(), now=time.time)

    async def __aenter__(self) -> Self:
        self._running = asyncio.create_task(self.outcomes.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)
        await self._ledger.close()

    async def evidence(self, name: str, until) -> Evidence:
        """Wait until the evidence of a ModelDeployment is as it is waited for."""
        async with asyncio.timeout(120):
            while True:
                view = self.outcomes.view("shop", name)
                if view is not None and until(view.evidence):
                    return view.evidence
                self.news.clear()
                await self.news.wait()


class Caller:
    """A runtime that reports."""

    def __init__(self, process: Process) -> None:
        self._url = f"http://127.0.0.1:{process.port}"
        self._session = aiohttp.ClientSession(headers={"authorization": f"Bearer {OPERATOR}"})

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def call(self, method: str, path: str, message: object = None) -> dict:
        """Call the ledger; return what it answers."""
        body = msgspec.json.encode(message) if message is not None else None
        async with self._session.request(method, self._url + path, data=body) as answer:
            answer.raise_for_status()
            return json.loads(await answer.read())

    async def begin(self, name: str) -> None:
        """Say by which terms a ModelDeployment is judged, and that a first revision serves, then a second one."""
        for number, (kind, revision, other, data) in enumerate(
            (("Terms", "", "", data_of((TERMS,))), ("Promoted", "a", "", {}), ("Promoted", "b", "a", {}))
        ):
            told = ledger.Decision(f"d{number}", kind, revision, time.time_ns() // 1_000_000, other, data)
            await self.call("POST", f"/v1/namespaces/shop/models/{name}/decisions", told)

    async def tell(self, name: str, identifiers: list[str], *, copies: int, words: Words = ("i1", "i1", "i1")) -> None:
        """Report predictions of b with what a said to each `copies`th of them."""
        mine, other, truth = words
        brought = ledger.Intake(
            outcomes=[ledger.Outcome(0, each, revision="b", prediction=mine, truth=truth) for each in identifiers],
            copies=[ledger.Copied(each, "b", "a", mine, other) for each in identifiers[::copies]],
        )
        await self.call("POST", f"/v1/namespaces/shop/models/{name}/intake", brought)


async def fold_rate(process: Process, folder: Path) -> float:
    """Return how many entries a second a follower reads and folds that begins anew."""
    async with Caller(process) as caller:
        await caller.begin("folded")
        at_ms = time.time_ns() // 1_000_000
        for first in range(0, ENTRIES * 4 // 5, CALL):
            await caller.tell("folded", [identifier(at_ms, number) for number in range(first, first + CALL)], copies=4)
        head = (await caller.call("GET", "/v1/log?after=0&limit=1"))["head"]
    begun = time.process_time()
    async with Follower(process, folder) as follower:
        await follower.evidence("folded", lambda found: found.cursor >= head)
    return head / (time.process_time() - begun)


async def verdicts(process: Process, folder: Path, lives: int) -> list[float]:
    """Return the seconds from the acknowledgement of each life's deciding outcome to the verdict."""
    rng, waits = random.Random(1), []
    async with Caller(process) as caller, Follower(process, folder) as follower:
        for life in range(lives):
            name, number, at_ms = f"life-{life}", 0, time.time_ns() // 1_000_000
            await caller.begin(name)
            while len(waits) == life:
                number += 1
                mine = "i0" if rng.random() < WRONG else "i1"
                other = "i0" if rng.random() < WRONG_BEFORE else "i1"
                await caller.tell(name, [identifier(at_ms, number)], copies=1, words=(mine, other, "i1"))
                acknowledged = time.perf_counter()
                evidence = await follower.evidence(name, lambda found, n=number: heard(found) >= n)
                if evidence.first.pairs[("b", "a")].is_worse:
                    waits.append(time.perf_counter() - acknowledged)
            print(f"\rverdict {life + 1} of {lives}: {number} pairs, {waits[-1]:.4f} s ", end="", file=sys.stderr)
    print(file=sys.stderr)
    return waits


def heard(evidence: Evidence) -> int:
    """Return how many outcomes are in the evidence."""
    return sum(own.outcomes for own in evidence.owns)


def identifier(at_ms: int, number: int) -> str:
    """Return the UUIDv7 of a prediction."""
    return f"{at_ms - 10_000 + number // 40:012x}7{number % 4_096:03x}8{number:015x}"


if __name__ == "__main__":
    main()
