"""A client that asks one model at a steady rate, and keeps account of who answered.

Runs in a pod of its own, from a ConfigMap, with the standard library alone. Two kinds of client share the work: one keeps
its connections (`keep-alive`), one makes a new connection for each request (`new`). A request is never tried again: what
the model's URL did not answer within the limit is a failed request. Every second the whole account goes to stdout as one
line of JSON, read by `answers.py`; SIGTERM ends it with a last line.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import signal
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

LIMIT_SECONDS: Final = 5.0  # from asking for a connection to the last byte of the answer
LINE_SECONDS: Final = 1.0
LAST_LINE_SECONDS: Final = 1.0
"""The process stays this long after its last line, so that whoever follows the log gets it."""
ERRORS_KEPT: Final = 5


class BadAnswerError(Exception):
    """An answer came, and it was no prediction."""


@dataclass
class Answers:
    """What one revision answered to one kind of client."""

    count: int = 0
    right: int = 0
    first: float = 0.0
    last: float = 0.0
    """Seconds since the epoch, when the answer was read; so is `first`."""


@dataclass
class Account:
    """What became of the requests of one kind of client."""

    sent: int = 0
    failed: int = 0
    slowest_seconds: float = 0.0
    errors: list[str] = field(default_factory=list)
    """The first few, each with its time."""
    revisions: dict[str, Answers] = field(default_factory=dict)

    def answered(self, revision: str, *, right: bool, asked: float, now: float) -> None:
        """Count one answer."""
        answers = self.revisions.setdefault(revision, Answers(first=now))
        answers.count += 1
        answers.right += right
        answers.last = now
        self.slowest_seconds = max(self.slowest_seconds, now - asked)

    def missed(self, error: Exception, *, asked: float, now: float) -> None:
        """Count one failed request."""
        self.failed += 1
        if len(self.errors) < ERRORS_KEPT:
            self.errors.append(f"{asked:.3f} after {now - asked:.3f} s: {type(error).__name__}: {error}"[:300])


@dataclass(frozen=True)
class Connection:
    """An open connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def is_usable(self) -> bool:
        """Tell whether the server has not closed it."""
        return not self.reader.at_eof() and not self.writer.is_closing()

    async def ask(self, request: bytes) -> tuple[bytes, bool]:
        """Send a request; return the body of the answer, and whether the server keeps the connection."""
        self.writer.write(request)
        await self.writer.drain()
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        status, _, rest = head.partition("\r\n")
        headers = dict(line.split(": ", 1) for line in rest.split("\r\n") if ": " in line)
        body = await self.reader.readexactly(int(headers["content-length"]))
        if status.split(" ")[1] != "200":
            raise BadAnswerError(f"{status}: {body[:200].decode(errors='replace')}")
        return body, headers.get("connection") != "close"


@dataclass
class Target:
    """The model that is asked, and the connections to it that are kept."""

    host: str
    port: int
    path: str
    connections: int = 4
    """That are kept; more than one, so that they reach several pods."""
    kept: deque[Connection] = field(default_factory=deque)
    busy: int = 0

    def request(self, body: bytes, *, keep: bool, path: str = "") -> bytes:
        """Return the bytes of one request."""
        head = f"POST {path or self.path} HTTP/1.1\r\nhost: {self.host}\r\ncontent-type: application/json\r\n"
        end = f"content-length: {len(body)}\r\nconnection: {'keep-alive' if keep else 'close'}\r\n\r\n"
        return (head + end).encode() + body

    async def ask_on_kept(self, body: bytes, path: str = "") -> bytes:
        """Ask on the connection that rested longest, so that all of them stay in use."""
        while self.kept and not self.kept[0].is_usable():
            self.kept.popleft().writer.close()
        if self.kept and len(self.kept) + self.busy >= self.connections:
            connection = self.kept.popleft()
        else:
            connection = Connection(*await asyncio.open_connection(self.host, self.port))
        keep = False
        self.busy += 1
        try:
            answer, keep = await connection.ask(self.request(body, keep=True, path=path))
        finally:
            self.busy -= 1
            if keep:
                self.kept.append(connection)
            else:
                connection.writer.close()
        return answer

    async def ask_on_new(self, body: bytes) -> bytes:
        """Ask on a connection of its own."""
        connection = Connection(*await asyncio.open_connection(self.host, self.port))
        try:
            return (await connection.ask(self.request(body, keep=False)))[0]
        finally:
            connection.writer.close()


class Question(NamedTuple):
    """One row of data."""

    body: bytes
    """Of the request."""
    truth: int


Told = Callable[[Question, bytes, str], Awaitable[None]]
"""Called with each question that was answered, the body of the answer, and the revision that gave it."""


def questions(text: str) -> list[Question]:
    """Return the questions in a `rows.json`, as `clients.rows_json` writes it."""
    told = json.loads(text)
    about = {"name": told["input"], "shape": [1, len(told["rows"][0])], "datatype": "FP32"}
    return [
        Question(json.dumps({"inputs": [{**about, "data": row}]}).encode(), truth)
        for row, truth in zip(told["rows"], told["truths"], strict=True)
    ]


def prediction(body: bytes) -> tuple[str, Any]:
    """Return the revision that answered, and what it predicted.

    Raises:
        BadAnswerError: The answer names no revision or holds no class.
    """
    told = json.loads(body)
    classes = [each["data"][0] for each in told["outputs"] if each["datatype"] == "INT64"]
    if not told.get("model_version") or not classes:
        raise BadAnswerError(f"no model_version or no INT64 output: {body[:200].decode(errors='replace')}")
    return told["model_version"], classes[0]


async def ask(
    send: Callable[[bytes], Awaitable[bytes]], question: Question, account: Account, told: Told | None = None
) -> None:
    """Ask one question and write down what became of it."""
    asked = time.time()
    account.sent += 1
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            body = await send(question.body)
        revision, label = prediction(body)
    except (OSError, asyncio.IncompleteReadError, BadAnswerError, LookupError, ValueError, TypeError) as error:
        account.missed(error, asked=asked, now=time.time())
    else:
        account.answered(revision, right=label == question.truth, asked=asked, now=time.time())
        if told is not None:
            await told(question, body, revision)


async def ask_steadily(
    send: Callable[[bytes], Awaitable[bytes]],
    account: Account,
    asking: Iterator[Question],
    *,
    rate: float,
    stop: asyncio.Event,
    told: Told | None = None,
) -> None:
    """Ask `rate` questions a second until stopped, however long the answers take; then wait for the last ones."""
    loop = asyncio.get_running_loop()
    begin = loop.time()
    async with asyncio.TaskGroup() as under_way:
        for number, question in enumerate(asking):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(begin + number / rate):
                    await stop.wait()
            if stop.is_set():
                return
            under_way.create_task(ask(send, question, account, told))


def line(accounts: dict[str, Account], *, final: bool) -> str:
    """Return the account as one line of JSON."""
    return json.dumps({"at": time.time(), "final": final, "modes": {k: asdict(v) for k, v in accounts.items()}})


async def report(accounts: dict[str, Account], stop: asyncio.Event) -> None:
    """Print the account every second until stopped."""
    while not stop.is_set():
        print(line(accounts, final=False), flush=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINE_SECONDS):
                await stop.wait()


async def run(url: str, asking: list[Question], *, keep_alive_rate: float, new_rate: float, connections: int) -> None:
    """Ask until SIGTERM comes."""
    parts = urlsplit(url)
    target = Target(parts.hostname or "", parts.port or 80, parts.path, connections)
    accounts = {"keep-alive": Account(), "new": Account()}
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await asyncio.gather(
        ask_steadily(
            target.ask_on_kept, accounts["keep-alive"], itertools.cycle(asking), rate=keep_alive_rate, stop=stop
        ),
        ask_steadily(target.ask_on_new, accounts["new"], itertools.cycle(asking), rate=new_rate, stop=stop),
        report(accounts, stop),
    )
    print(line(accounts, final=True), flush=True)
    await asyncio.sleep(LAST_LINE_SECONDS)


def main() -> None:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(description="ask one model at a steady rate and keep account of who answered")
    parser.add_argument("url", help="http://HOST[:PORT]/v2/models/NAME/infer")
    parser.add_argument("rows", type=Path, help="rows.json: input, rows and truths")
    parser.add_argument("--keep-alive-rate", type=float, default=20.0, help="requests a second on kept connections")
    parser.add_argument("--new-rate", type=float, default=10.0, help="requests a second, each on a new connection")
    parser.add_argument("--connections", type=int, default=4, help="connections that are kept")
    told = parser.parse_args()
    if urlsplit(told.url).scheme != "http":
        sys.exit(f"expected http://HOST[:PORT]/v2/models/NAME/infer, got {told.url!r}")
    asking = questions(told.rows.read_text(encoding="utf-8"))
    asyncio.run(
        run(
            told.url,
            asking,
            keep_alive_rate=told.keep_alive_rate,
            new_rate=told.new_rate,
            connections=told.connections,
        )
    )


if __name__ == "__main__":
    main()
