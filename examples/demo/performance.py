"""The demo from curtain to curtain: sets the stage, plays the acts, sums up, and takes everything away again.

Started by `demo.py`. Its exit status is 0 only if all that must be seen was seen.
"""

import asyncio
import os
import signal
import sys
from typing import Final

from examples.demo import acts, ending, outcome_acts
from examples.demo.commands import DemoError, Tools
from examples.demo.report import Report
from examples.demo.stage import Stage
from examples.demo.watching import Watched

ACTS: Final = (
    acts.good_model,
    acts.worse_model_blue_green,
    acts.worse_model_rolling,
    acts.successor,
    acts.changed_bytes,
    outcome_acts.pairs,
    outcome_acts.limit_alone,
    outcome_acts.replay,
)


async def perform(stage: Stage) -> None:
    """Play all acts and print the summary.

    Raises:
        DemoError: Something that must be seen was not.
    """
    play = acts.Play(stage, Watched(stage.kubectl))
    try:
        await stage.set_up()
        async with play.watched.running():
            for act in ACTS:
                await act(play)
            for client in play.clients.values():
                await client.stop()
    except DemoError:
        await ending.diagnose(play)
        raise
    finally:
        for client in play.clients.values():
            await client.leave()
    ending.summarize(play)


async def _main() -> int:
    """Run the demo; return the exit status."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        stage = Stage(Tools.from_environment(), Report(), keep=os.environ.get("KEEP", "") not in ("", "0"))
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    problems = []
    try:
        await perform(stage)
    except DemoError as error:
        problems.append(error)
    finally:
        try:
            await stage.tear_down()
        except DemoError as error:
            problems.append(error)
    for problem in problems:
        print(f"\ndemo: {problem}", file=sys.stderr, flush=True)
    return 1 if problems else 0


def main() -> None:
    """Run the demo and end the process."""
    try:
        sys.exit(asyncio.run(_main()))
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit("demo: interrupted")
