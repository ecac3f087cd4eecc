"""Whose a reporter's token is: the ledger asks the API server, and what it answers is remembered for a minute.

A pod may not ask by itself, for that needs a right over the whole cluster. Tokens are remembered by their SHA-256 only. That the
ledger cannot tell is nobody's fault: the report is answered 503 and told again. Next step: `reporting`, which writes the source
beside each outcome.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

import msgspec
from leadline_wire import ledger

from leadline_runtime import errors
from leadline_runtime.outcomes import intake
from leadline_runtime.worker.links import Answer, Job, Link
from leadline_runtime.worker.pool import Pool

KNOWN_SECONDS: Final = 60.0
"""A token that was taken back is good for so long at most, and as long again in the ledger."""
UNKNOWN_SECONDS: Final = 5.0
REMEMBERED_MAX: Final = 4_096
TOKEN_BYTES_MAX: Final = 16_384
_TIMEOUT_SECONDS: Final = 10.0
_ASKING_MAX: Final = 64
"""Tokens asked for at the same time; reports with others are answered 503."""
_EXPECTED: Final = (
    f"expected authorization: Bearer TOKEN, a service account's token for the audience {ledger.OUTCOMES_AUDIENCE}"
)


class Sources:
    """Asks the ledger, and remembers."""

    def __init__(self, loop: asyncio.AbstractEventLoop, token: Callable[[], bytes], path: str) -> None:
        self._loop = loop
        self._token = token
        """The pod's own, by which it may ask."""
        self._path = path.encode()
        self._host = b""
        self._base = b""
        self._pool = Pool("ledger", loop, links_max=2, queue_max=_ASKING_MAX, make=Link[Job])
        self._known: OrderedDict[bytes, tuple[float, str]] = OrderedDict()
        self._asking: dict[bytes, asyncio.Future[str]] = {}

    def aim(self, url: str) -> None:
        """Ask the ledger at this URL; empty: nobody."""
        target = intake.target_of(url)
        self._host = urlsplit(url).netloc.rpartition("@")[2].encode() if target is not None else b""
        self._base = urlsplit(url).path.rstrip("/").encode() if target is not None else b""
        self._pool.aim(target)

    def close(self) -> None:
        """Cut all connections."""
        self._pool.close()

    async def source_of(self, header: bytes, *, required: bool) -> str:
        """Return who reports, as `ledger.Source` has it; empty: nobody says, and nobody must.

        Args:
            header: `authorization`, as it came; empty: there is none.
            required: Whether a report without one is refused.

        Raises:
            BadRequestError: Status 401: there is no token, or none that the API server knows for this audience.
            UnavailableError: The ledger cannot tell now.
        """
        if not header and not required:
            return ""
        scheme, _, token = header.partition(b" ")
        token = token.strip()
        if scheme.lower() != b"bearer" or not 0 < len(token) <= TOKEN_BYTES_MAX or not token.isascii():
            raise errors.BadRequestError(f"{'another header' if header else 'no token'}; {_EXPECTED}", status=401)
        key = hashlib.sha256(token).digest()
        found = self._known.get(key)
        source = found[1] if found is not None and self._loop.time() < found[0] else await self._asked(key, token)
        if not source:
            raise errors.BadRequestError(f"the API server does not know this token; {_EXPECTED}", status=401)
        return source

    async def _asked(self, key: bytes, token: bytes) -> str:
        """Ask once for all reports with the same token."""
        asking = self._asking.get(key)
        if asking is None:
            if self._pool.target is None or len(self._asking) >= _ASKING_MAX:
                raise intake.UnavailableError("whose the token is cannot be asked now")
            asking = self._asking[key] = self._loop.create_future()
            self._ask(key, token, asking)
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                return await asyncio.shield(asking)
        except TimeoutError as error:
            raise intake.UnavailableError(
                f"the ledger did not say within {_TIMEOUT_SECONDS:g} s whose the token is"
            ) from error

    def _ask(self, key: bytes, token: bytes, asking: asyncio.Future[str]) -> None:
        body = msgspec.json.encode(ledger.Reporter(token.decode("ascii")))
        own = self._token()
        request = (
            b"POST %b%b HTTP/1.1\r\nhost: %b\r\n%bcontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
            % (
                self._base,
                self._path,
                self._host,
                b"authorization: Bearer %b\r\n" % own if own else b"",
                len(body),
                body,
            )
        )

        def done(answer: Answer | None) -> None:
            self._asking.pop(key, None)
            source, why = _read(answer)
            if why:
                asking.set_exception(intake.UnavailableError(f"whose the token is cannot be told: {why}"))
                asking.exception()  # looked at, so that nothing is logged where all who asked have left
                return
            self._known[key] = (self._loop.time() + (KNOWN_SECONDS if source else UNKNOWN_SECONDS), source)
            self._known.move_to_end(key)
            if len(self._known) > REMEMBERED_MAX:
                self._known.popitem(last=False)
            asking.set_result(source)

        if not self._pool.send(Job(request, self._loop.time() + _TIMEOUT_SECONDS, done)):
            done(None)


def _read(answer: Answer | None) -> tuple[str, str]:
    """Return the source that the ledger named, or why there is none."""
    if answer is None:
        return "", "the ledger does not answer"
    if answer.status == 404:
        return "", "the ledger is older than this pod and knows no sources"
    if answer.status != 200:
        return "", f"the ledger answered {answer.status}"
    try:
        return msgspec.json.decode(answer.body, type=ledger.Source).source, ""
    except msgspec.MsgspecError as error:
        return "", f"the ledger's answer cannot be read: {errors.shorten(str(error), 200)}"
