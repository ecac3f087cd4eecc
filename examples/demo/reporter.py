"""A client that reports the true answer of each prediction: predict, remember the receipt, report later.

Asks as `client.py` does, whose account it keeps and prints, and beside it a line with what became of its reports. Each
row is reported once per revision, in a fixed order; a revision that has used up all rows is asked on without reports, so
that no answer counts twice.
"""

import argparse
import asyncio
import contextlib
import json
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import client

DELAY_SECONDS: Final = 0.05
"""Between a prediction and the report of its answer: nobody knows the truth at once."""
REPORT_LIMIT_SECONDS: Final = 10.0


@dataclass
class Order:
    """Which row is asked next: each revision gets all of them from the first one on."""

    questions: list[client.Question]
    revision: str = ""
    """That answered last."""
    positions: dict[str, int] = field(default_factory=dict)

    def __iter__(self) -> Iterator[client.Question]:
        """Yield questions without an end."""
        while True:
            position = self.positions.get(self.revision, 0)
            self.positions[self.revision] = position + 1
            yield self.questions[position % len(self.questions)]

    def is_used_up(self) -> bool:
        """Tell whether the revision that answers has been asked every row."""
        return self.positions.get(self.revision, 0) > len(self.questions)

    def answered_by(self, revision: str) -> None:
        """Note who answered."""
        self.revision = revision


@dataclass
class Reports:
    """What became of the reports."""

    accepted: int = 0
    refused: int = 0
    errors: list[str] = field(default_factory=list)
    acknowledged: dict[str, float] = field(default_factory=dict)
    """By the prediction's id: when its outcome was acknowledged, in seconds since the epoch."""


class Reporter:
    """Reports outcomes to the model that was asked."""

    def __init__(self, target: client.Target, order: Order) -> None:
        self.target, self.order, self.reports = target, order, Reports()
        self.path = target.path.removesuffix("/infer") + "/outcomes"

    async def told(self, question: client.Question, body: bytes, revision: str) -> None:
        """Report the truth of one answered question."""
        used_up = self.order.is_used_up()
        self.order.answered_by(revision)
        receipt = json.loads(body).get("parameters", {}).get("receipt")
        if used_up or receipt is None:
            return
        await asyncio.sleep(DELAY_SECONDS)
        outcome = json.dumps({"receipt": receipt, "truth": question.truth}).encode()
        try:
            async with asyncio.timeout(REPORT_LIMIT_SECONDS):
                await self.target.ask_on_kept(outcome, self.path)
        except (OSError, asyncio.IncompleteReadError, client.BadAnswerError, LookupError, ValueError) as error:
            self.reports.refused += 1
            self.reports.errors = [*self.reports.errors, f"{type(error).__name__}: {error}"[:300]][-3:]
        else:
            self.reports.accepted += 1
            self.reports.acknowledged[receipt.split(".")[-3]] = time.time()

    async def print_reports(self, stop: asyncio.Event) -> None:
        """Print what became of the reports every second until stopped, acknowledgements once."""
        while True:
            news, self.reports.acknowledged = self.reports.acknowledged, {}
            told = {"accepted": self.reports.accepted, "refused": self.reports.refused, "errors": self.reports.errors}
            print(json.dumps({"reports": told, "acknowledged": news}), flush=True)
            if stop.is_set():
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(client.LINE_SECONDS):
                    await stop.wait()


async def run(
    url: str, asking: list[client.Question], *, keep_alive_rate: float, new_rate: float, connections: int
) -> None:
    """Ask and report until SIGTERM comes."""
    parts = urlsplit(url)
    target = client.Target(parts.hostname or "", parts.port or 80, parts.path, connections)
    reporting = client.Target(target.host, target.port, target.path, connections)
    accounts = {"keep-alive": client.Account(), "new": client.Account()}
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    order = Order(asking)
    reporter, questions = Reporter(reporting, order), iter(order)
    await asyncio.gather(
        client.ask_steadily(
            target.ask_on_kept, accounts["keep-alive"], questions, rate=keep_alive_rate, stop=stop, told=reporter.told
        ),
        client.ask_steadily(
            target.ask_on_new, accounts["new"], questions, rate=new_rate, stop=stop, told=reporter.told
        ),
        client.report(accounts, stop),
        reporter.print_reports(stop),
    )
    print(client.line(accounts, final=True), flush=True)
    await asyncio.sleep(client.LAST_LINE_SECONDS)


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description="ask one model at a steady rate and report the true answers")
    parser.add_argument("url", help="http://HOST[:PORT]/v2/models/NAME/infer")
    parser.add_argument("rows", type=Path, help="rows.json: input, rows and truths")
    parser.add_argument("--keep-alive-rate", type=float, default=30.0, help="requests a second on kept connections")
    parser.add_argument("--new-rate", type=float, default=10.0, help="requests a second, each on a new connection")
    parser.add_argument("--connections", type=int, default=4, help="connections that are kept")
    told = parser.parse_args()
    if urlsplit(told.url).scheme != "http":
        sys.exit(f"expected http://HOST[:PORT]/v2/models/NAME/infer, got {told.url!r}")
    asking = client.questions(told.rows.read_text(encoding="utf-8"))
    asyncio.run(
        run(
            told.url,
            asking,
            keep_alive_rate=told.keep_alive_rate,
            new_rate=told.new_rate,
            connections=told.connections,
        )
    )


if __name__ == "__main__":
    main()
