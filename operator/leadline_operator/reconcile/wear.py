"""A test set that has judged too many revisions: the one that was chosen by it may only fit it.

Revisions are counted by the rows that they answered. The number goes from record to record, so that it outlives the records of
revisions that are deleted, and a revision that is judged again by the same rows is no new one.
"""

from collections.abc import Iterable
from typing import Final

from leadline_api.reasons import Reason
from leadline_wire.exchange import Trouble

from leadline_operator.reconcile.decision import Decision
from leadline_operator.reconcile.plan import Event
from leadline_operator.reconcile.records import Judged, Record, TestResult

WORN_AFTER: Final = 20
"""Revisions that one test set may judge."""


def count(decision: Decision, name: str, answered: TestResult) -> None:
    """Number a revision among those that the same rows have judged; say so where they are too many."""
    record = decision.records[name]
    if record.judged is not None and record.judged.digest == answered.digest:
        return
    others = [each for other, each in decision.records.items() if other != name]
    # Those that an operator judged which did not count yet have answers, and no number.
    seen = sum(each.test is not None and each.test.digest == answered.digest for each in others)
    number = max(_counted(others, answered.digest), seen) + 1
    decision.records[name] = record.with_(judged=Judged(digest=answered.digest, number=number))
    if number > WORN_AFTER:
        decision.events.append(Event("Warning", Reason.TEST_SET_WORN, f"{name}: {_worn(number)}"))


def note(decision: Decision) -> None:
    """Note that the rows by which the serving revision is judged have judged too many."""
    record = decision.records.get(decision.serving)
    if record is None or record.test is None or record.test.key != decision.gate.set_key:
        return
    number = _counted(decision.records.values(), record.test.digest)
    if number > WORN_AFTER:
        decision.notes.append(Trouble(Reason.TEST_SET_WORN, _worn(number), "surroundings"))


def _counted(found: Iterable[Record], digest: str) -> int:
    """Return how many revisions these rows have judged, as far as records say."""
    numbers = (each.judged.number for each in found if each.judged is not None and each.judged.digest == digest)
    return max(numbers, default=0)


def _worn(number: int) -> str:
    return f"{number} revisions were judged by the same rows of the test set; after {WORN_AFTER} a new one is due"
