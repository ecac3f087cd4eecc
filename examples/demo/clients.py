"""The client pods of the demo: one for each model, asking at a steady rate from start to end; see `client.py`.

Follows each pod's log into an `answers.Account`. Knows nothing of what the demo expects of the answers.
"""

import asyncio
import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from string import Template
from typing import Any, Final

import pyarrow.parquet

from examples.demo.answers import Account
from examples.demo.commands import CommandError, DemoError, Kubectl

HERE: Final = Path(__file__).resolve().parent
ROWS: Final = 200
"""Rows that the clients ask in turn, of those that no model was trained on."""
CONNECTIONS: Final = 4
"""That a client keeps; more than one, so that they reach several pods."""
START_LIMIT_SECONDS: Final = 60.0
STOP_LIMIT_SECONDS: Final = 30.0


def rows_json(test_set: Path, *, truth: str, rows: int | None = ROWS) -> str:
    """Return the first rows of a test set, or all, as the client reads them."""
    table = pyarrow.parquet.read_table(test_set).slice(0, rows)
    name = next(each for each in table.column_names if each != truth)
    told = {"input": name, "rows": table[name].to_pylist(), "truths": table[truth].to_pylist()}
    return json.dumps(told, separators=(",", ":"))


async def prepare(kubectl: Kubectl, test_set: Path, *, truth: str) -> None:
    """Put the clients' programs and their questions into a ConfigMap."""
    data = {name: (HERE / name).read_text(encoding="utf-8") for name in ("client.py", "reporter.py")}
    data["rows.json"] = rows_json(test_set, truth=truth)
    data["all-rows.json"] = rows_json(test_set, truth=truth, rows=None)
    await kubectl.apply(
        json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "client"}, "data": data})
    )


class Client:
    """A client pod and its account."""

    def __init__(self, kubectl: Kubectl, name: str) -> None:
        self._kubectl = kubectl
        self._following: asyncio.Task[None] | None = None
        self._heard = asyncio.Event()
        self.name = name
        self.pod = f"client-{name}"
        self.account = Account(name)

    async def start(self, url: str, *, image: str, reports: bool = False, connections: int = CONNECTIONS) -> None:
        """Start the pod and wait for its first line; with `reports` it reports true answers, too."""
        manifest = Template((HERE / "client.yaml").read_text(encoding="utf-8"))
        await self._kubectl.apply(
            manifest.substitute(
                NAME=self.name,
                URL=f"{url}/v2/models/{self.name}/infer",
                PROGRAM="reporter.py" if reports else "client.py",
                ROWS="all-rows.json" if reports else "rows.json",
                CONNECTIONS=connections,
                RUNTIME_IMAGE=image,
            )
        )
        await self._kubectl(
            "wait", f"pod/{self.pod}", "--for=condition=Ready", f"--timeout={START_LIMIT_SECONDS:g}s",
            limit_seconds=START_LIMIT_SECONDS + 5,
        )  # fmt: skip
        self._following = asyncio.create_task(self._follow())
        await self.until(
            lambda account: bool(account.snapshots), limit_seconds=START_LIMIT_SECONDS, what="a first line"
        )

    async def _follow(self) -> None:
        while not self.account.newest.final:
            async for line in self._kubectl.lines("logs", "-f", self.pod):
                self.account.add(line)
                self._heard.set()
            await asyncio.sleep(0.5)

    async def until(self, holds: Callable[[Account], bool], *, limit_seconds: float, what: str) -> None:
        """Wait until something holds of the account.

        Raises:
            DemoError: It does not hold within the limit.
        """
        try:
            async with asyncio.timeout(limit_seconds):
                while not holds(self.account):
                    self._heard.clear()
                    await self._heard.wait()
        except TimeoutError:
            said = "; ".join([*self.account.errors, *self.account.other_lines[-5:]]) or "no errors"
            raise DemoError(
                f"{self.pod}: expected {what} within {limit_seconds:g} s; {self.account.sent} requests, {said}"
            ) from None

    async def lines(self, count: int) -> None:
        """Wait for some more lines of the account, of which there is one a second."""
        wanted = len(self.account.snapshots) + count
        await self.until(
            lambda account: len(account.snapshots) >= wanted, limit_seconds=count + 15, what=f"{count} more lines"
        )

    async def stop(self) -> None:
        """End the client and wait for its last line."""
        if self._following is None:
            return
        ending = asyncio.create_task(self._kubectl("delete", "pod", self.pod, limit_seconds=STOP_LIMIT_SECONDS))
        try:
            await self.until(
                lambda account: account.newest.final, limit_seconds=STOP_LIMIT_SECONDS, what="the last line at SIGTERM"
            )
        finally:
            await self.leave()
            await ending

    async def leave(self) -> None:
        """Follow the log no longer."""
        if self._following is not None:
            self._following.cancel()
            with contextlib.suppress(asyncio.CancelledError, CommandError):
                await self._following
            self._following = None


async def pods(kubectl: Kubectl, revision: str) -> dict[str, dict[str, Any]]:
    """Return a revision's pods by name: uid, whether ready, and restarts."""
    listed = await kubectl.get("pods", "-l", f"leadline.dev/revision={revision}")
    found = {}
    for each in listed["items"]:
        conditions = {told["type"]: told["status"] for told in each["status"].get("conditions") or ()}
        restarts = sum(told["restartCount"] for told in each["status"].get("containerStatuses") or ())
        if not each["metadata"].get("deletionTimestamp"):
            ready = conditions.get("Ready") == "True"
            found[each["metadata"]["name"]] = {"uid": each["metadata"]["uid"], "ready": ready, "restarts": restarts}
    return found
