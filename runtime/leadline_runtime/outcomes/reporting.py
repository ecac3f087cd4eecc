"""`POST /v2/models/NAME/outcomes`: what came true, reported by whoever learned of it.

One outcome is answered by its own status; of many the good ones are handed over and the others are told one by one.
Nothing is answered before the ledger has it. Checking goes on in small pieces, so that a large report does not hold up
predictions. Next step: `checking`, then `intake`. Must not keep anything for later.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgspec
import orjson
from leadline_wire import ledger

from leadline_runtime import errors, logs
from leadline_runtime.engine.counters import Counters
from leadline_runtime.outcomes import checking
from leadline_runtime.outcomes.intake import Intake, UnavailableError
from leadline_runtime.outcomes.sources import Sources
from leadline_runtime.web import responses
from leadline_runtime.web.connection import Connection

REPORTS_MAX: Final = 256
"""Reports under way; more are answered 503."""
REPORT_BYTES_MAX: Final = 64 << 20
"""Bytes of their bodies, which are held until they are answered."""
_ITEMS_PER_TURN: Final = 32
"""Outcomes checked in one turn of the event loop: below half a millisecond."""
BODY_BYTES_MAX: Final = 4 << 20
"""A longer one would hold up predictions for more than some 10 ms while it is read; 4,096 usual outcomes are 1 MiB."""
_SMALL_BYTES: Final = 64 << 10
"""A body up to here is read at once; several large ones wait for each other."""

_HOUR_SECONDS: Final = 3_600
_LATE: Final = "kept, but its maturity had passed before it came, so it is not judged"
_REFUSALS: Final[dict[str, tuple[int, str]]] = {
    "Conflict": (409, "another answer was reported before, which stays; this one is kept as a correction, not judged"),
    "UnknownId": (404, "no prediction is kept under this id: it was not made here, had no receipt, or is too old"),
    "Expired": (410, "the prediction is older than outcomes are taken for (spec.outcomes.maxAge)"),
}


_FIRST: Final = frozenset({"Accepted", "TooLate"})
"""Fates of an outcome that was not there before."""


class _Good(NamedTuple):
    """An outcome to be brought."""

    place: int
    """In the report."""
    body: bytes
    word: str
    """Of what this revision predicted; empty: it was another one, or the answer was asked for."""


class Reporting:
    """Answers reports."""

    def __init__(
        self, intake: Intake, counters: Counters, now_ms: Callable[[], int], sources: Sources | None = None
    ) -> None:
        self.rules: checking.Rules | None = None
        """None: outcomes are not taken, and `why_not` says why."""
        self.why_not = (503, "the operator has not said yet whether outcomes are taken")
        self._intake = intake
        self._counters = counters
        self._now_ms = now_ms
        self._sources = sources
        self._tasks: set[asyncio.Task[None]] = set()
        self._bytes = 0
        """Of the bodies of reports under way."""
        self._large = asyncio.Lock()

    def handle(self, connection: Connection) -> None:
        """Answer one report, when the ledger has answered."""
        rules = self.rules
        if rules is None:
            connection.refuse(*self.why_not)
            return
        if len(connection.body) > BODY_BYTES_MAX:
            self._count("Refused", 1)
            size = len(connection.body)
            connection.refuse(413, f"body of {size} bytes, expected at most {BODY_BYTES_MAX}; send fewer at once")
            return
        size = len(connection.body)
        if len(self._tasks) >= REPORTS_MAX or self._bytes + size > REPORT_BYTES_MAX:
            self._count("Unavailable", 1)
            waiting = f"{len(self._tasks)} reports of {self._bytes} bytes wait for the ledger"
            connection.refuse(503, f"{waiting}; the limit is {REPORTS_MAX} of {REPORT_BYTES_MAX}")
            return
        self._bytes += size
        task = asyncio.get_running_loop().create_task(self._report(connection, rules))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """End what is under way."""
        for task in self._tasks:
            task.cancel()

    async def _report(self, connection: Connection, rules: checking.Rules) -> None:
        size = len(connection.body)
        answer = refusal = None
        try:
            if len(connection.body) <= _SMALL_BYTES:
                answer = await self._answered(connection, rules)
            else:
                async with self._large:
                    checked = await self._read(connection, rules)
                answer = await self._brought(*checked)
        except errors.BadRequestError as error:
            self._count("Refused", 1)
            refusal = error.status, str(error)
        except UnavailableError as error:
            self._count("Unavailable", 1)
            refusal = 503, f"{error}; report again, nothing is counted twice"
        except Exception:  # noqa: BLE001  # a defect here must not end the worker, which serves
            logs.error("report of outcomes failed", exc_info=True)
            refusal = 500, "internal error of the runtime; its log has the details"
        self._bytes -= size  # before the answer: whoever has it may report again
        if refusal is not None:
            connection.refuse(*refusal)
        elif answer is not None:
            connection.answer(answer)

    async def _answered(self, connection: Connection, rules: checking.Rules) -> bytes:
        return await self._brought(*await self._read(connection, rules))

    async def _read(
        self, connection: Connection, rules: checking.Rules
    ) -> tuple[list[_Good], list[dict[str, Any]], bool]:
        """Return the outcomes to be brought with their places, those refused, and whether it was one by itself."""
        source = await self._source(connection, rules)
        found, is_one = checking.items(connection.body, connection.headers.get(b"content-type", b""))
        now_ms = self._now_ms()
        good: list[_Good] = []
        refused: list[dict[str, Any]] = []
        for place, item in enumerate(found):
            if place and place % _ITEMS_PER_TURN == 0:
                await asyncio.sleep(0)
            try:
                outcome = checking.outcome(item, rules, now_ms)
                if rules.settings.sources:
                    outcome = msgspec.structs.replace(outcome, source=source, per_hour=rules.settings.per_hour)
                is_own = outcome.revision == rules.revision and not outcome.wanted
                good.append(_Good(place, msgspec.json.encode(outcome), outcome.prediction if is_own else ""))
            except errors.BadRequestError as error:
                if is_one:
                    raise
                refused.append({"index": place, "status": error.status, "error": str(error)})
        if sum(len(each.body) + 1 for each in good) > ledger.INTAKE_BYTES_MAX - 4_096:
            raise errors.BadRequestError(
                "too many outcomes with long names in one request; send half of them", status=413
            )
        return good, refused, is_one

    async def _source(self, connection: Connection, rules: checking.Rules) -> str:
        """Return who reports; empty: nobody is asked, or nobody says."""
        asked = rules.settings.sources
        if not asked or self._sources is None:
            return ""
        return await self._sources.source_of(
            connection.headers.get(b"authorization", b""), required=asked == "Required"
        )

    async def _brought(self, good: list[_Good], refused: list[dict[str, Any]], is_one: bool) -> bytes:  # noqa: FBT001  # of `_read`
        fates: list[ledger.Fate] = []
        if good:
            try:
                fates = await self._intake.bring([each.body for each in good])
            except UnavailableError as error:
                self._count("Unavailable", len(good))
                return responses.error(503, f"{error}; report again, nothing is counted twice")
        self._count("Refused", len(refused))
        for each, fate in zip(good, fates, strict=True):
            self._count(fate, 1)
            if each.word and fate in _FIRST:
                self._counters.count_class(self._counters.reported, each.word)
        if over := fates.count("OverQuota"):
            # As a whole, though some were taken: whoever is told 429 tells it again, and those are duplicates then.
            return _over_quota(over, len(fates), self._now_ms())
        if is_one:
            return _of_one(fates[0])
        for each, fate in zip(good, fates, strict=True):
            if fate in _REFUSALS:
                status, why = _REFUSALS[fate]
                refused.append({"index": each.place, "status": status, "error": why})
        refused.sort(key=_index)
        told: dict[str, Any] = {
            "accepted": sum(fate in {"Accepted", "TooLate"} for fate in fates),
            "duplicates": fates.count("Duplicate"),
        }
        if told["duplicates"] and told["accepted"]:
            told["repeated"] = _places(good, fates, "Duplicate")
        if late := _places(good, fates, "TooLate"):
            told["note"] = f"{len(late)} of them {_LATE}"
            told["late"] = late
        if refused:
            told["refused"] = refused
        return responses.json(orjson.dumps(told), 207 if refused else 200)

    def _count(self, fate: str, number: int) -> None:
        if number:
            outcomes = self._counters.outcomes
            outcomes[fate] = outcomes.get(fate, 0) + number


def _over_quota(over: int, number: int, now_ms: int) -> bytes:
    """Return the answer to a report that brings more than is taken of its source in this hour."""
    said = (
        f"{over} of {number} outcomes were not taken: their source has had as many in this hour as are taken "
        "(spec.outcomes.sources.perHour); report all again in the next, nothing is counted twice"
    )
    after = b"retry-after: %d\r\n" % (_HOUR_SECONDS - now_ms // 1000 % _HOUR_SECONDS)
    return responses.json(orjson.dumps({"error": said}), 429, extra=after)


def _of_one(fate: str) -> bytes:
    if fate in _REFUSALS:
        return responses.error(*_REFUSALS[fate])
    told: dict[str, Any] = {"duplicate": 1} if fate == "Duplicate" else {"accepted": 1}
    if fate == "TooLate":
        told["note"] = _LATE
    return responses.json(orjson.dumps(told))


def _places(good: list[_Good], fates: list[ledger.Fate], fate: ledger.Fate) -> list[int]:
    """Return where in the report the outcomes of one fate are."""
    return [outcome.place for outcome, each in zip(good, fates, strict=True) if each == fate]


def _index(refusal: dict[str, Any]) -> int:
    return int(refusal["index"])
