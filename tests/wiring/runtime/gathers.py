"""Fetch what a URI names in this process, against a real server: the model, or the first trouble that is told."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from leadline_runtime import errors
from leadline_runtime.fetch import folders, gathering
from leadline_wire.exchange import Trouble

LIMIT_SECONDS = 60.0


@dataclass
class Gather:
    """One gathering and what it told."""

    uri: str
    folder: Path
    limit_bytes: int = 1 << 30
    try_seconds: float = 60.0
    progress: list[tuple[int, int]] = field(default_factory=list)
    troubles: list[Trouble] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.target = self.folder / "model"
        self.told = asyncio.Event()
        self.work = gathering.Gathering(
            self.uri,
            self.target,
            limit_bytes=self.limit_bytes,
            try_seconds=self.try_seconds,
            on_progress=lambda done, total: self.progress.append((done, total)),
            on_trouble=self._take,
        )

    def _take(self, error: errors.BlockedError) -> None:
        self.troubles.append(error.trouble)
        self.told.set()

    async def found(self) -> gathering.Found:
        """Return what came; trouble on the way is an error."""
        running = asyncio.ensure_future(self.work.run())
        told = asyncio.ensure_future(self.told.wait())
        try:
            await asyncio.wait({running, told}, timeout=LIMIT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            assert running.done(), self.troubles
            return running.result()
        finally:
            for task in (running, told):
                task.cancel()

    async def model(self) -> folders.Model:
        return (await self.found()).model

    async def files(self) -> dict[str, bytes]:
        """Return what is in the folder afterwards."""
        await self.found()
        return {path: (self.target / path).read_bytes() for path, _, _ in folders.walk(self.target)}

    async def trouble(self) -> Trouble:
        """Return the first trouble, after which it is tried again."""
        running = asyncio.ensure_future(self.work.run())
        try:
            async with asyncio.timeout(LIMIT_SECONDS):
                await self.told.wait()
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        assert self.troubles[0].blame == "surroundings"
        return self.troubles[0]


def tree(folder: Path, files: dict[str, bytes]) -> Path:
    """Write files below a folder."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder
