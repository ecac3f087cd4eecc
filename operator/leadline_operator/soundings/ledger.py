"""Calls to the ledger: one method each, bounded in time and size, with one error for all that is not an answer.

Must not decide when to call, and must not remember anything of what was answered: see `outcomes`.
"""

from pathlib import Path
from typing import Final, TypeVar

import aiohttp
import msgspec
from leadline_wire import captures, ledger

CALL_SECONDS: Final = 10.0
WAIT_SECONDS: Final = 25.0
"""How long the ledger holds a question for news before it says that there is none."""
TEST_SET_SECONDS: Final = 120.0
"""It reads the log and what was captured."""
ENTRIES: Final = 5_000
"""Most entries in one answer."""
T = TypeVar("T")


class LedgerUnreachableError(Exception):
    """The ledger gave no answer: nothing is known, and nothing is held against anybody."""


class LedgerRefusedError(Exception):
    """The ledger answered that it will not: the call, or the cursor, is wrong."""


class Ledger:
    """The ledger's API as the operator uses it.

    Args:
        url: Of the ledger, without a path.
        token_file: Projected service account token for the ledger; read anew for each call, for it is exchanged.
    """

    def __init__(self, url: str, token_file: Path) -> None:
        self._url, self._token_file = url.rstrip("/"), token_file
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=8))

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def resume(self) -> ledger.Resume:
        """Return where all evidence stands."""
        return _read(await self._call("GET", "/v1/resume"), ledger.Resume)

    async def log(self, after: int, *, timeline: str, wait_seconds: float = WAIT_SECONDS) -> ledger.Log:
        """Return what came after an entry: at once where there is something, else after a while nothing."""
        path = f"/v1/log?after={after}&wait={wait_seconds:g}&limit={ENTRIES}&timeline={timeline}"
        return _read(await self._call("GET", path, seconds=wait_seconds + CALL_SECONDS), ledger.Log)

    async def decide(self, namespace: str, name: str, decision: ledger.Decision) -> ledger.Decided:
        """Have a decision kept."""
        path = f"/v1/namespaces/{namespace}/models/{name}/decisions"
        return _read(await self._call("POST", path, decision), ledger.Decided)

    async def checkpoint(self, namespace: str, name: str, checkpoint: ledger.Checkpoint) -> None:
        """Have the evidence up to an entry kept."""
        await self._call("PUT", f"/v1/namespaces/{namespace}/models/{name}/checkpoint", checkpoint)

    async def test_set(self, namespace: str, name: str, *, size: int) -> captures.GrownSet:
        """Have a test set made out of outcomes."""
        path = f"/v1/namespaces/{namespace}/models/{name}/test-set?size={size}"
        return _read(await self._call("POST", path, seconds=TEST_SET_SECONDS), captures.GrownSet)

    async def _call(
        self, method: str, path: str, body: msgspec.Struct | None = None, *, seconds: float = CALL_SECONDS
    ) -> bytes:
        try:
            token = self._token_file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise LedgerUnreachableError(f"token for the ledger, {self._token_file}: {error}") from error
        headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        data = msgspec.json.encode(body) if body is not None else None
        limit = aiohttp.ClientTimeout(total=seconds)
        try:
            async with self._session.request(
                method, self._url + path, data=data, headers=headers, timeout=limit
            ) as told:
                raw = await told.read()
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise LedgerUnreachableError(f"ledger {self._url}: {type(error).__name__}: {error}") from error
        if told.status >= 500 or told.status in (401, 403, 429):
            raise LedgerUnreachableError(f"ledger {self._url} answers {told.status}: {_said(raw)}")
        if told.status >= 400:
            raise LedgerRefusedError(f"ledger {self._url}{path} answers {told.status}: {_said(raw)}")
        return raw


def _read(raw: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.DecodeError as error:
        raise LedgerUnreachableError(f"not an answer of a ledger: {error}") from error


def _said(raw: bytes) -> str:
    try:
        return msgspec.json.decode(raw, type=ledger.LedgerError).error[:500]
    except msgspec.DecodeError:
        return raw[:200].decode(errors="replace")
