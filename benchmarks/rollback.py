"""How long a worse model goes on answering after the outcome that condemns it: ten rollbacks on a real cluster.

Each time a good model serves, a client asks 40 times a second (30 on kept connections, 10 each on a new one) and reports
what is true; the worse model is switched in, its requests are copied to the good one, pairs condemn it. Measured is the
time from the acknowledgement of the deciding outcome to the worse model's last answer, both by the client's clock, and
every request that was not answered. Stage and client are those of the demo.
"""

import argparse
import asyncio
import json
import os
import platform
import statistics
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)  # the repository, for this file is started by its path

from examples.demo import outcome_acts  # noqa: E402 - found only now
from examples.demo.acts import Play  # noqa: E402
from examples.demo.commands import DemoError, Tools  # noqa: E402
from examples.demo.report import Report  # noqa: E402
from examples.demo.stage import Stage  # noqa: E402
from examples.demo.watching import Watched  # noqa: E402

RESULT: Final = ROOT / "benchmarks" / "results" / "rollback.json"
FIRST_OUTCOMES: Final = 40


async def once(play: Play, number: int) -> dict[str, float]:
    """See one rollback, and take its objects away again."""
    name = f"digits-{number}"
    generation = await outcome_acts.apply(play, name, "good", last_good="Same")
    good = await outcome_acts.serving(play, name, generation)
    client = await outcome_acts.ask(play, name)
    await outcome_acts.reported(client, FIRST_OUTCOMES)
    found = await outcome_acts.condemned(play, name, good, client)
    await client.stop()
    await play.stage.kubectl("delete", "mdep", name, "--wait=false")
    account = client.account
    play.stage.report.step(f"{name}: {found.seconds:.2f} s after pair {found.number}, {account.failed} failed requests")
    if account.report_errors:
        raise DemoError(f"{name}: true answers were refused: {account.report_errors}")
    return {
        "seconds": round(found.seconds, 3),
        "pair": found.number,
        "answers_of_the_worse_model": found.answers,
        "requests": account.sent,
        "failed_requests": account.failed,
    }


async def measure(rounds: int) -> int:
    """Run all rounds and write the result; return the exit status."""
    stage = Stage(Tools.from_environment(), Report(), keep=os.environ.get("KEEP", "") not in ("", "0"))
    play = Play(stage, Watched(stage.kubectl))
    try:
        await stage.set_up()
        async with play.watched.running():
            found = [await once(play, number) for number in range(rounds)]
    finally:
        for client in play.clients.values():
            await client.leave()
        await stage.tear_down()
    seconds = [each["seconds"] for each in found]
    summary = {
        "median_seconds": round(statistics.median(seconds), 3),
        "worst_seconds": max(seconds),
        "failed_requests": sum(int(each["failed_requests"]) for each in found),
        "rounds": rounds,
        "median_pairs": statistics.median(each["pair"] for each in found),
    }
    machine = {"cores": os.cpu_count(), "python": platform.python_version(), "load": round(os.getloadavg()[0], 1)}
    RESULT.write_text(json.dumps({"summary": summary, "machine": machine, "rounds": found}, indent=2) + "\n")
    stage.report.table("summary", [(name, str(value)) for name, value in summary.items()])
    return 0


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description="time from the deciding outcome to the worse model's last answer")
    parser.add_argument("--rounds", type=int, default=10)
    told = parser.parse_args()
    try:
        sys.exit(asyncio.run(measure(told.rounds)))
    except DemoError as error:
        sys.exit(f"rollback: {error}")


if __name__ == "__main__":
    main()
