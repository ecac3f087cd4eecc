"""Sends one request again and again to a server on this machine, and tells how soon it is answered.

A process of its own, so that it does not share an interpreter with what it measures: `python -m leadline_cli.pressing ORDER`,
an order and a result in JSON. Without a rate each connection sends its next request once the last is answered; with one,
requests are due at fixed times and their wait counts from then, whether or not a connection was free. Next step: `tuning`.
Must not know models.
"""

import asyncio
import contextlib
import json
import sys
from collections import deque
from dataclasses import asdict, dataclass
from typing import Final

HOST: Final = "127.0.0.1"
_TICK_SECONDS: Final = 0.001
_PATIENCE_SECONDS: Final = 10.0
"""How long answers may take that are still owed at the end."""
_LATE_MAX: Final = 100_000
"""Requests that may be due and unsent; a server that is so far behind has shown what it can."""


@dataclass(frozen=True, slots=True)
class Order:
    """What to send, and how."""

    port: int
    path: str
    body: str
    connections: int
    seconds: float
    rate: float = 0.0
    """Requests per second; 0: as many as are answered."""


@dataclass(frozen=True, slots=True)
class Result:
    """What came back."""

    answered: int
    """With status 200."""
    failed: int
    seconds: float
    p50_seconds: float
    p99_seconds: float

    @property
    def per_second(self) -> float:
        """Requests per second."""
        return self.answered / self.seconds


class _Client(asyncio.Protocol):
    """One connection."""

    def __init__(self, load: "_Load") -> None:
        self._load = load
        self._due = 0.0
        self._data = b""
        self._whole = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._load.free(self)

    def ask(self, due: float) -> None:
        self._due = due
        self._transport.write(self._load.request)

    def data_received(self, data: bytes) -> None:
        self._data = self._data + data if self._data else data
        if not self._whole:
            end = self._data.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self._data[:end].lower()
            self._whole = end + 4 + int(head.partition(b"content-length:")[2].partition(b"\r")[0])
        if len(self._data) >= self._whole:
            is_good = self._data.startswith(b"HTTP/1.1 200 ")
            self._data, self._whole = b"", 0
            self._load.answered(self, self._due, is_good=is_good)

    def connection_lost(self, exc: Exception | None) -> None:
        self._load.lost(exc)

    def close(self) -> None:
        self._transport.close()


class _Load:
    """All connections of one order."""

    def __init__(self, order: Order) -> None:
        body = order.body.encode()
        head = f"POST {order.path} HTTP/1.1\r\nhost: {HOST}\r\ncontent-type: application/json\r\n"
        self.request = head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body
        self._order = order
        self._loop = asyncio.get_running_loop()
        self._waits: list[float] = []
        self._failed = 0
        self._is_over = False
        self._settled = asyncio.Event()
        """Nothing is owed any more, and nothing will be asked."""
        self._sent = self._owed = 0
        self._free: list[_Client] = []
        self._late: deque[float] = deque(maxlen=_LATE_MAX)

    async def run(self) -> Result:
        order, loop = self._order, self._loop
        clients = [
            (await loop.create_connection(lambda: _Client(self), HOST, order.port))[1] for _ in range(order.connections)
        ]
        began = loop.time()
        if not order.rate:
            for client in clients:
                self._ask(client, loop.time())
        while (now := loop.time()) - began < order.seconds:
            due = int((now - began) * order.rate)
            while self._sent + len(self._late) < due:
                at = began + (self._sent + len(self._late)) / order.rate
                if self._free:
                    self._ask(self._free.pop(), at)
                else:
                    self._late.append(at)
            await asyncio.sleep(_TICK_SECONDS)
        self._is_over = True
        seconds = loop.time() - began
        answered = len(self._waits)
        self._settle()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await self._settled.wait()
        for client in clients:
            client.close()
        waits = sorted(self._waits) or [float("inf")]
        return Result(
            answered=answered,
            failed=self._failed + self._owed,
            seconds=seconds,
            p50_seconds=waits[len(waits) // 2],
            p99_seconds=waits[int(0.99 * (len(waits) - 1))],
        )

    def free(self, client: _Client) -> None:
        if self._order.rate:
            self._free.append(client)

    def answered(self, client: _Client, due: float, *, is_good: bool) -> None:
        self._owed -= 1
        if is_good:
            self._waits.append(self._loop.time() - due)
        else:
            self._failed += 1
        if self._is_over:
            self._settle()
            return
        if not self._order.rate:
            self._ask(client, self._loop.time())
        elif self._late:
            self._ask(client, self._late.popleft())
        else:
            self._free.append(client)

    def lost(self, error: Exception | None) -> None:
        if error is not None or not self._is_over:
            self._failed += 1

    def _settle(self) -> None:
        if not self._owed:
            self._settled.set()

    def _ask(self, client: _Client, due: float) -> None:
        self._sent += 1
        self._owed += 1
        client.ask(due)


async def press(order: Order) -> Result:
    """Carry out one order."""
    return await _Load(order).run()


def main() -> None:
    """Carry out the order that the only argument holds, and print the result."""
    print(json.dumps(asdict(asyncio.run(press(Order(**json.loads(sys.argv[1])))))))


if __name__ == "__main__":
    main()
