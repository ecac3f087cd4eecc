"""A gRPC stream that is kept open through a rollback, and account of who answered its messages.

Runs in the benchmark's own process, on the Service's address, and asks ten times a second. A pod that is left ends its streams with
UNAVAILABLE and says to call again: the stream is opened anew, and what had no answer yet is asked once more on it, and counted. A
message that nobody ever answers, or answers with an error, is a failed request.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
import numpy as np
import tritonclient.grpc.aio as triton
from tritonclient.utils import InferenceServerException

PAUSE_SECONDS: Final = 0.1
END_SECONDS: Final = 10.0


@dataclass
class Stream:
    """One client, and what it saw."""

    target: str
    """HOST:PORT of the Service."""
    model: str
    input_name: str
    row: list[float]
    sent: int = 0
    resent: int = 0
    opened: int = 0
    failed: int = 0
    """Messages that were answered with an error, or never."""
    errors: list[str] = field(default_factory=list)
    last: dict[str, float] = field(default_factory=dict)
    """When each revision answered last, in seconds since the epoch."""
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _open: set[str] = field(default_factory=set)
    """Ids of messages without an answer."""

    @contextlib.asynccontextmanager
    async def asking(self) -> AsyncIterator["Stream"]:
        """Ask while the block lasts, then wait for the answers that are under way."""
        task = asyncio.create_task(self._run())
        try:
            yield self
        finally:
            self._stop.set()
            async with asyncio.timeout(END_SECONDS):
                await task
            self.failed += len(self._open)

    async def _run(self) -> None:
        async with triton.InferenceServerClient(self.target) as client:
            while not self._stop.is_set():
                self.opened += 1
                try:
                    async for result, error in client.stream_infer(self._messages()):
                        self._took(result, error)
                except (InferenceServerException, grpc.RpcError) as error:
                    told = error.details() if isinstance(error, grpc.aio.AioRpcError) else str(error)
                    self.errors = [*self.errors, str(told)[:200]][-3:]
                    await asyncio.sleep(PAUSE_SECONDS)

    async def _messages(self) -> AsyncIterator[dict[str, Any]]:
        tensor = triton.InferInput(self.input_name, [1, len(self.row)], "FP32")
        tensor.set_data_from_numpy(np.array([self.row], dtype=np.float32))
        for identifier in list(self._open):
            self.resent += 1
            yield {"model_name": self.model, "inputs": [tensor], "request_id": identifier}
        while not self._stop.is_set():
            self.sent += 1
            self._open.add(str(self.sent))
            yield {"model_name": self.model, "inputs": [tensor], "request_id": str(self.sent)}
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PAUSE_SECONDS):
                    await self._stop.wait()

    def _took(self, result: Any, error: Any) -> None:
        if error is not None:
            self.failed += 1
            self.errors = [*self.errors, str(error)[:200]][-3:]
            return
        answer = result.get_response()
        self._open.discard(answer.id)
        self.last[answer.model_version] = time.time()
