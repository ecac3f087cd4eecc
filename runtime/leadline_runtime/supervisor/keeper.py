"""Keeps one worker running: starts it, passes messages, and starts another when it ends.

Each worker inherits the listening sockets of all: its own, and those that it may have to take over (`fleet`). Next step of
what a worker says: `on_message`.
"""

import asyncio
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Final

from leadline_runtime import channel, logs, messages

PAUSE_SECONDS_FIRST: Final = 0.1
PAUSE_SECONDS_MAX: Final = 15.0
STABLE_SECONDS: Final = 30.0
"""A worker that lived so long is restarted at once."""
_END_SECONDS: Final = 3.0
"""What a worker has to end in after its channel is closed."""
_MAIN: Final = "leadline_runtime.worker.app"


class Keeper:
    """Owner of one worker process."""

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        *,
        on_start: Callable[[], None],
        on_message: Callable[[messages.ToSupervisor], None],
        on_end: Callable[[int], None],
    ) -> None:
        self._listeners = listeners
        self._on_start = on_start
        self._on_message = on_message
        self._on_end = on_end
        self._channel: channel.Channel[messages.ToSupervisor, messages.ToWorker] | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = False

    @property
    def pid(self) -> int:
        """Return the process id; 0 where no worker runs."""
        return self._process.pid if self._process is not None and self._process.returncode is None else 0

    def send(self, message: messages.ToWorker) -> bool:
        """Tell the worker; return whether there is one."""
        if self._channel is None:
            return False
        try:
            self._channel.send(message)
        except channel.ChannelError as error:
            logs.error("worker does not listen and is killed", error=error)
            self.kill()
            return False
        return True

    def stop(self) -> None:
        """Start no further worker."""
        self._stopping = True

    def kill(self) -> None:
        """End the worker at once."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def run(self) -> None:
        """Keep a worker running until `stop`, and until the last one has ended."""
        loop = asyncio.get_running_loop()
        failures = 0
        while not self._stopping:
            began = loop.time()
            status = await self._run_one()
            if self._stopping:
                return
            lived = loop.time() - began
            failures = 1 if lived > STABLE_SECONDS else failures + 1
            pause = 0.0 if failures == 1 else min(PAUSE_SECONDS_MAX, PAUSE_SECONDS_FIRST * 2.0 ** min(failures, 10))
            logs.error("worker ended", cause=cause(status), lived_seconds=round(lived, 1), next_in_seconds=pause)
            await asyncio.sleep(pause)

    async def _run_one(self) -> int:
        """Run one worker; return its exit status, negative for a signal."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        descriptors = [end.fileno() for end in (theirs, *self._listeners)]
        try:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                _MAIN,
                *map(str, descriptors),
                pass_fds=descriptors,
                stdin=asyncio.subprocess.DEVNULL,
            )
        finally:
            theirs.close()
        self._channel = await channel.Channel.over(ours, messages.ToSupervisor)
        self._on_start()
        try:
            async for message in self._channel.receive():
                self._on_message(message)
        except channel.ChannelError as error:
            logs.error("worker does not speak our language and is killed", error=error)
            self.kill()
        finally:
            self._channel.close()
            self._channel = None
        try:
            async with asyncio.timeout(_END_SECONDS):
                status = await self._process.wait()
        except TimeoutError:
            self.kill()
            status = await self._process.wait()
        self._on_end(status)
        return status


def cause(status: int) -> str:
    """Return how a process ended, for messages."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"
