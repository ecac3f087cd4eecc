"""The demo's one door to other programs: kubectl, helm, kind.

Every command has a limit in seconds; one that ends badly or too late is a `CommandError` with what it said. Where the
programs are comes from the environment that `hack/cluster/env` prints.
"""

import asyncio
import contextlib
import json
import os
import re
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

ROOT: Final = Path(__file__).resolve().parents[2]
LINE_LIMIT_BYTES: Final = 1 << 22
"""Longest line that is read from a program: a ModelDeployment or a client's account."""


class DemoError(Exception):
    """Something that should happen did not; the message says what."""


class CommandError(DemoError):
    """A program ended badly, too late, or could not be started."""


@dataclass(frozen=True)
class Tools:
    """The programs that the demo uses, and the name of its cluster."""

    kubectl: str
    helm: str
    kind: str
    cluster: str

    @classmethod
    def from_environment(cls) -> "Tools":
        """Return what `hack/cluster/env` exported.

        Raises:
            DemoError: A variable is missing.
        """
        names = {
            "kubectl": "LEADLINE_KUBECTL",
            "helm": "LEADLINE_HELM",
            "kind": "LEADLINE_KIND",
            "cluster": "LEADLINE_CLUSTER_NAME",
        }
        missing = [name for name in names.values() if not os.environ.get(name)]
        if missing:
            raise DemoError(f'not set: {", ".join(missing)}; run make demo, or eval "$(hack/cluster/env)" first')
        return cls(**{key: os.environ[name] for key, name in names.items()})


async def run(*command: str, limit_seconds: float = 60.0, stdin: str | None = None) -> str:
    """Run a program to its end and return its stdout.

    Raises:
        CommandError: It could not be started, was not done in time, or ended with another status than 0.
    """
    process = await _start(*command, stdin=stdin is not None, stderr=asyncio.subprocess.PIPE)
    try:
        async with asyncio.timeout(limit_seconds):
            out, err = await process.communicate(stdin.encode() if stdin is not None else None)
    except TimeoutError:
        raise CommandError(f"{_shown(command)}: not done after {limit_seconds:g} s") from None
    finally:
        await end(process)
    if process.returncode != 0:
        said = (err or out).decode(errors="replace").strip()
        raise CommandError(f"{_shown(command)}: status {process.returncode}: {said[-1500:]}")
    return out.decode()


async def lines(*command: str) -> AsyncGenerator[str, None]:
    """Start a program and return its lines, until it ends or nobody wants more."""
    process = await _start(*command, stdin=False, stderr=asyncio.subprocess.DEVNULL)
    assert process.stdout is not None
    try:
        async for line in process.stdout:
            yield line.decode(errors="replace").rstrip("\n")
    finally:
        await end(process)


async def _start(*command: str, stdin: bool, stderr: int) -> asyncio.subprocess.Process:
    try:
        return await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE if stdin else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            limit=LINE_LIMIT_BYTES,
            cwd=ROOT,
        )
    except OSError as error:
        raise CommandError(f"{_shown(command)}: {error.strerror}") from None


async def end(process: asyncio.subprocess.Process) -> None:
    """End a program that still runs, and wait for it."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _shown(command: tuple[str, ...]) -> str:
    return " ".join([Path(command[0]).name, *command[1:]])[:200]


@dataclass(frozen=False)
class Kubectl:
    """Kubectl in one namespace."""

    program: str
    namespace: str

    async def __call__(self, *told: str, limit_seconds: float = 60.0, stdin: str | None = None) -> str:
        """Run one kubectl command and return its stdout."""
        return await run(self.program, "-n", self.namespace, *told, limit_seconds=limit_seconds, stdin=stdin)

    async def get(self, *told: str) -> dict[str, Any]:
        """Return an object, or a list of them."""
        return cast("dict[str, Any]", json.loads(await self("get", *told, "-o", "json")))

    async def apply(self, manifest: str) -> dict[str, Any]:
        """Apply YAML and return what the API server made of it: an object, or a List of several."""
        # Server-side, for what kubectl itself remembers of an object has a limit of 256 KiB.
        told = await self("apply", "--server-side", "--force-conflicts", "-f", "-", "-o", "json", stdin=manifest)
        return cast("dict[str, Any]", json.loads(told))

    def lines(self, *told: str) -> AsyncGenerator[str, None]:
        """Return the lines of a kubectl command that goes on, such as a watch."""
        return lines(self.program, "-n", self.namespace, *told)

    @contextlib.asynccontextmanager
    async def forwarded(self, target: str, port: int, *, limit_seconds: float = 20.0) -> AsyncIterator[str]:
        """Make a port of a pod or Service reachable from here, as HOST:PORT."""
        forwarding = self.lines("port-forward", target, f":{port}")
        async with contextlib.aclosing(forwarding):
            try:
                async with asyncio.timeout(limit_seconds):
                    said = await anext(forwarding, "nothing")
            except TimeoutError:
                said = "nothing"
            found = re.match(r"Forwarding from (\S+:\d+) ->", said)
            if found is None:
                raise CommandError(f"kubectl port-forward {target}: expected an address, it said {said!r}")
            yield found[1]
