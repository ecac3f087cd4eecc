"""How long a worse model goes on answering after the outcome that condemns it: twenty rollbacks on a real cluster.

Each time a good model serves, a client asks 40 times a second (30 on sixteen kept connections, 10 each on a new one) and reports
what is true, and another one asks 10 times a second over one gRPC stream; the worse model is switched in, its requests are copied to
the good one, pairs condemn it. Measured is the time from the acknowledgement of the deciding outcome to the worse model's last
answer to either, by the clock of the node that both run on, and every request that was not answered. Stage and client are those of
the demo; the stream needs the Service's address to be reachable from here, as it is with the cluster of hack/cluster.
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
sys.path.insert(0, str(ROOT))  # the repository, beside the folder of this file, which is started by its path

from rollback_stream import Stream  # noqa: E402
from serving import page, places  # noqa: E402

from examples.demo import outcome_acts  # noqa: E402 - found only now
from examples.demo.acts import Play  # noqa: E402
from examples.demo.clients import rows_json  # noqa: E402
from examples.demo.commands import DemoError, Tools  # noqa: E402
from examples.demo.report import Report  # noqa: E402
from examples.demo.stage import MODELS, TRUTH, Stage  # noqa: E402
from examples.demo.watching import Watched  # noqa: E402

FIRST_OUTCOMES: Final = 40
CONNECTIONS: Final = 16


async def once(play: Play, number: int) -> dict[str, float]:
    """See one rollback, and take its objects away again."""
    name = f"digits-{number}"
    generation = await outcome_acts.apply(play, name, "good", last_good="Same")
    good = await outcome_acts.serving(play, name, generation)
    client = await outcome_acts.ask(play, name, connections=CONNECTIONS)
    rows = json.loads(rows_json(MODELS / "good" / "testset.parquet", truth=TRUTH, rows=1))
    service = await play.stage.kubectl("get", "service", name, "-o", "jsonpath={.spec.clusterIP}")
    async with Stream(f"{service.strip()}:80", name, rows["input"], rows["rows"][0]).asking() as stream:
        await outcome_acts.reported(client, FIRST_OUTCOMES)
        found = await outcome_acts.condemned(play, name, good, client)
        await client.stop()
    by_stream = stream.last.get(found.revision, found.acknowledged) - found.acknowledged
    await play.stage.kubectl("delete", "mdep", name, "--wait=false")
    account = client.account
    play.stage.report.step(
        f"{name}: {found.seconds:.2f} s after pair {found.number}, the stream {by_stream:.2f} s; {account.failed} of "
        f"{account.sent} requests failed, {stream.failed} of {stream.sent} messages; {'; '.join(stream.errors)}"
    )
    if account.report_errors:
        raise DemoError(f"{name}: true answers were refused: {account.report_errors}")
    return {
        "seconds": round(max(found.seconds, by_stream), 3),
        "stream_seconds": round(by_stream, 3),
        "pair": found.number,
        "answers_of_the_worse_model": found.answers,
        "requests": account.sent,
        "failed_requests": account.failed,
        "messages": stream.sent,
        "failed_messages": stream.failed,
        "messages_asked_again": stream.resent,
        "streams_opened": stream.opened,
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
        "median_stream_seconds": round(statistics.median(each["stream_seconds"] for each in found), 3),
        "failed_requests": sum(int(each["failed_requests"]) for each in found),
        "failed_messages": sum(int(each["failed_messages"]) for each in found),
        "messages_asked_again": sum(int(each["messages_asked_again"]) for each in found),
        "rounds": rounds,
        "median_pairs": statistics.median(each["pair"] for each in found),
    }
    machine = {"cores": os.cpu_count(), "python": platform.python_version(), "load": round(os.getloadavg()[0], 1)}
    places.ROLLBACKS.write_text(json.dumps({"summary": summary, "machine": machine, "rounds": found}, indent=2) + "\n")
    page.write()
    stage.report.table("summary", [(name, str(value)) for name, value in summary.items()])
    return 0


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description="time from the deciding outcome to the worse model's last answer")
    parser.add_argument("--rounds", type=int, default=20)
    told = parser.parse_args()
    try:
        sys.exit(asyncio.run(measure(told.rounds)))
    except DemoError as error:
        sys.exit(f"rollback: {error}")


if __name__ == "__main__":
    main()
