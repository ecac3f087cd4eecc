"""The learning demo from curtain to curtain. Started by `demo.py`; its status is 0 only if all was seen that must be."""

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import Callable
from typing import Final

from examples.demo import reading
from examples.demo.commands import CommandError, DemoError, Kubectl, Tools
from examples.demo.reading import Object
from examples.demo.report import Report
from examples.demo.stage import SYSTEM
from examples.demo.watching import Watched
from examples.learning.account import WINDOW, Account, mean_error, plot
from examples.learning.scene import FIRST, HERE, SECOND, Scene

NAME: Final = "flights"
PLOT: Final = HERE / "out" / "learning.png"
ROLLOUT_SECONDS: Final = 150.0
STREAM_SECONDS: Final = 700.0
SAID_SECONDS: Final = 10.0
SETTLED: Final = 1_500
"""Flights of the first model before the second one comes: they are what the second one is held to."""
BETTER: Final = 0.8
"""Share of the old model's error that learning must leave at most, over all flights since the first retrained model."""


class Watcher:
    """Says what happens to the ModelDeployment, once each."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._said: set[str] = set()
        self.runs: list[str] = []
        self.decays = 0

    def look(self, each: Object) -> None:
        """Say what is new."""
        status = each.get("status") or {}
        quality = (status.get("quality") or [{}])[0]
        # The figures grow, and stand for a moment beside the next revision's name; what decided stays the same.
        decided = _decided(quality.get("message", ""))
        if quality.get("verdict") == "Decayed" and decided and self._is_new(f"decayed {decided}"):
            self.decays += 1
            self._report.seen(f"{status.get('servingRevision')} has decayed")
            self._report.quote(quality.get("message", ""))
        fine = reading.condition(each, "QualityOK")
        decided = _decided(fine.get("message", ""))
        if fine.get("reason") == "RollbackWouldNotHelp" and decided and self._is_new(f"no way back {decided}"):
            self._report.seen("going back would not help")
            self._report.quote(fine.get("message", ""))
        told = status.get("retrain") or {}
        if told.get("id") and self._is_new(f"{told['id']} {told.get('phase')}"):
            self._report.seen(f"retraining {told['id']}: {told.get('phase')}")
            self._report.quote(told.get("message", ""))
            self.runs.append(f"{told['id']} {told.get('phase')}")
        if self._is_new(f"serves {status.get('servingRevision')}"):
            self._report.seen(f"{status.get('servingRevision')} serves")

    def _is_new(self, what: str) -> bool:
        is_new = what not in self._said
        self._said.add(what)
        return is_new


def _decided(message: str) -> str:
    """Return what a message says of the limit and the evidence; empty: nothing."""
    found = re.search(r"\(estimate .*?\)", message)
    return found[0] if found else ""


async def perform(scene: Scene) -> None:
    """Play all of it and draw the plot.

    Raises:
        DemoError: Something that must be seen was not.
    """
    account, watched = Account(), Watched(scene.kubectl)
    watcher = Watcher(scene.report)
    try:
        await scene.set_up()
        async with watched.running():
            try:
                await _play(scene, watched, watcher, account)
            except* DemoError as several:
                raise DemoError("; ".join(map(str, several.exceptions))) from None
    except DemoError:
        await _diagnose(scene)
        raise
    _conclude(scene, watcher, account)


async def _play(scene: Scene, watched: Watched, watcher: Watcher, account: Account) -> None:
    report = scene.report
    report.act(1, "a model of January is asked of February's flights")
    await _serves(watched, await scene.deploy(FIRST[0]))
    await scene.ask(watched.objects[NAME]["status"]["url"])
    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(_follow(scene.kubectl, account))
        watching = tasks.create_task(_watch(watched, watcher))
        await _until(lambda: len(account.answers) >= SETTLED, scene, account, f"{SETTLED} answers")
        report.act(2, "its successor, and a year goes by")
        await _serves(watched, await scene.deploy(SECOND[0]))
        await _until(lambda: account.is_over, scene, account, "the end of the year")
        following.cancel()
        watching.cancel()


async def _serves(watched: Watched, generation: int) -> None:
    def holds(each: Object) -> bool:
        return (
            reading.is_seen(each, generation)
            and reading.is_true(each, "UpToDate")
            and reading.serves(each, reading.desired(each))
        )

    await watched.until(NAME, holds, limit_seconds=ROLLOUT_SECONDS, what="Ready and UpToDate")


async def _watch(watched: Watched, watcher: Watcher) -> None:
    seen = ""
    while True:
        each, _ = await watched.until(
            NAME,
            lambda found: found["metadata"]["resourceVersion"] != seen,  # noqa: B023 - read while it is waited for
            limit_seconds=STREAM_SECONDS,
            what="news",
        )
        seen = each["metadata"]["resourceVersion"]
        watcher.look(each)


async def _follow(kubectl: Kubectl, account: Account) -> None:
    while not account.is_over:
        known = len(account.answers)
        fresh = Account()
        with contextlib.suppress(CommandError):
            async for line in kubectl.lines("logs", "-f", "client"):
                fresh.add(line)
                if len(fresh.answers) >= known:  # a log that is read anew begins at its beginning
                    account.answers, account.failed, account.is_over = fresh.answers, fresh.failed, fresh.is_over
                if fresh.is_over:
                    return
        pod = await kubectl.get("pod", "client")
        if pod["status"].get("phase") in ("Failed", "Succeeded"):
            raise DemoError(f"client: ended before the year did; {'; '.join(fresh.failed[-3:])}")
        await asyncio.sleep(0.5)


async def _until(holds: Callable[[], bool], scene: Scene, account: Account, what: str) -> None:
    """Wait until something holds, and say now and then how the year goes by."""
    loop = asyncio.get_running_loop()
    said = loop.time()
    try:
        async with asyncio.timeout(STREAM_SECONDS):
            while not holds():
                await asyncio.sleep(0.2)
                if account.answers and loop.time() > said + SAID_SECONDS:
                    said = loop.time()
                    recent = [(each.place, each.minutes) for each in account.answers[-WINDOW:]]
                    error = mean_error(scene.stream, recent)
                    date = scene.stream[account.answers[-1].place].date
                    scene.report.step(f"{date}: mean error of the last {WINDOW} flights {error:.1f} minutes")
    except TimeoutError:
        raise DemoError(f"client: expected {what}; {len(account.answers)} answers, {account.failed[-3:]}") from None


def _conclude(scene: Scene, watcher: Watcher, account: Account) -> None:
    frozen = scene.answers(SECOND[0])
    plot(PLOT, scene.stream, account, frozen)
    learned = account.revisions()[2:]
    since = min((each.place for each in account.answers if each.revision in learned), default=len(scene.stream))
    later = [each for each in account.answers if each.place >= since]
    served = mean_error(scene.stream, [(each.place, each.minutes) for each in later])
    old = mean_error(scene.stream, [(each.place, frozen[each.place]) for each in later])
    scene.report.table(
        "summary",
        [
            ("flights asked for, and reported", f"{len(account.answers):,}"),
            ("failed", str(len(account.failed))),
            ("times that a model decayed", str(watcher.decays)),
            ("models that learned from outcomes and served", str(len(learned))),
            ("mean error since the first of them, minutes", f"{served:.2f}"),
            ("of the model of January on the same flights", f"{old:.2f}"),
            ("plot", str(PLOT.relative_to(HERE.parents[1]))),
        ],
    )
    problems = []
    if account.failed:
        problems.append(f"{len(account.failed)} requests failed: {'; '.join(account.failed[:3])}")
    if not learned:
        problems.append("no model that learned from outcomes served")
    elif served > BETTER * old:
        problems.append(f"mean error {served:.2f} minutes, expected at most {BETTER:g} of {old:.2f}")
    if problems:
        raise DemoError("; ".join(problems))


async def _diagnose(scene: Scene) -> None:
    system = Kubectl(scene.kubectl.program, SYSTEM)
    for where, command in (
        (scene.kubectl, ("get", "mdep,controllerrevisions,deployments,jobs,pods", "-o", "wide")),
        (scene.kubectl, ("get", "mdep", "-o", "yaml")),
        (scene.kubectl, ("get", "events", "--sort-by=.lastTimestamp")),
        (scene.kubectl, ("logs", "client", "--tail=5")),
        (system, ("logs", "-l", "app.kubernetes.io/name=leadline", "--tail=40")),
    ):
        with contextlib.suppress(CommandError):
            told = await where(*command, limit_seconds=20)
            scene.report.shell(
                f"kubectl -n {where.namespace} {' '.join(command)}",
                "\n".join(line[:300] for line in told.splitlines()[-70:]),
            )


async def _main() -> int:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        scene = Scene(Tools.from_environment(), Report(), keep=os.environ.get("KEEP", "") not in ("", "0"))
    except DemoError as error:
        print(f"demo-learning: {error}", file=sys.stderr)
        return 2
    problems = []
    try:
        await perform(scene)
    except DemoError as error:
        problems.append(error)
    finally:
        try:
            await scene.tear_down()
        except DemoError as error:
            problems.append(error)
    for problem in problems:
        print(f"\ndemo-learning: {problem}", file=sys.stderr, flush=True)
    return 1 if problems else 0


def main() -> None:
    """Run the demo and end the process."""
    try:
        sys.exit(asyncio.run(_main()))
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit("demo-learning: interrupted")
