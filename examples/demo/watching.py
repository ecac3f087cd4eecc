"""The ModelDeployments of the demo, watched: the newest state of each, and waits for what should become true.

One `kubectl get -w` brings every change as it happens; a watch that ends is started again, and begins with everything
that is there. What a wait saw last is kept for the report on its failure.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Final

from examples.demo.commands import DemoError, Kubectl
from examples.demo.reading import Object, summary

RESTART_PAUSE_SECONDS: Final = 0.5


class NotSeenError(DemoError):
    """What a wait was for did not come in time."""


class Watched:
    """The newest state of each ModelDeployment of a namespace."""

    def __init__(self, kubectl: Kubectl) -> None:
        self._kubectl = kubectl
        self._changed = asyncio.Condition()
        self.objects: dict[str, Object] = {}
        """By name."""

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Watched"]:
        """Watch while the block runs."""
        task = asyncio.create_task(self._run())
        try:
            yield self
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _run(self) -> None:
        while True:
            watch = self._kubectl.lines("get", "mdep", "-w", "-o", 'jsonpath={@}{"\\n"}')
            async for line in watch:
                told = json.loads(line)
                async with self._changed:
                    self.objects[told["metadata"]["name"]] = told
                    self._changed.notify_all()
            await asyncio.sleep(RESTART_PAUSE_SECONDS)

    async def until(
        self, name: str, holds: Callable[[Object], bool], *, limit_seconds: float, what: str
    ) -> tuple[Object, float]:
        """Wait until something holds of a ModelDeployment; return it and when it was seen, in seconds since the epoch.

        Raises:
            NotSeenError: It does not hold within the limit.
        """
        try:
            async with asyncio.timeout(limit_seconds), self._changed:
                while name not in self.objects or not holds(self.objects[name]):
                    await self._changed.wait()
                return self.objects[name], time.time()
        except TimeoutError:
            raise NotSeenError(f"{name}: expected {what} within {limit_seconds:g} s; {self._last(name)}") from None

    async def steady(self, name: str, holds: Callable[[Object], bool], *, for_seconds: float, what: str) -> Object:
        """See that something keeps holding of a ModelDeployment for a while.

        Raises:
            NotSeenError: It stops holding.
        """
        try:
            await self.until(name, lambda each: not holds(each), limit_seconds=for_seconds, what=what)
        except NotSeenError:
            return self.objects[name]
        raise NotSeenError(f"{name}: expected {what} for {for_seconds:g} s; {self._last(name)}")

    def _last(self, name: str) -> str:
        last = self.objects.get(name)
        if last is None:
            return "no such object was seen"
        return f"last seen: {summary(last)}"
