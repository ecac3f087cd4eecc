"""A test set that has judged too many revisions: the one that was chosen by it may only fit it.

Revisions are counted by the rows that they answered; the count goes from record to record, and outlives those that are deleted.
"""

from typing import Final

from leadline_api.reasons import Reason
from leadline_wire.exchange import Trouble

from leadline_operator.reconcile.decision import Decision
from leadline_operator.reconcile.plan import Event
from leadline_operator.reconcile.records import TestResult

WORN_AFTER: Final = 20
"""Revisions that one test set may judge."""


def numbered(decision: Decision, name: str, answered: TestResult) -> TestResult:
    """Return what a revision answered with how many were judged by the same rows; say so where they are many."""
    others = (
        record.test.number
        for other, record in decision.records.items()
        if other != name and record.test is not None and record.test.digest == answered.digest
    )
    before = decision.records[name].test
    again = before is not None and before.digest == answered.digest and before.number
    number = before.number if before is not None and again else max(others, default=0) + 1
    if number > WORN_AFTER and not again:
        decision.events.append(Event("Warning", Reason.TEST_SET_WORN, f"{name}: {_worn(number)}"))
    return answered.with_number(number)


def look(decision: Decision) -> None:
    """Note that the serving revision is one of many that the same rows have judged."""
    record = decision.records.get(decision.serving)
    test = record.test if record is not None else None
    if test is not None and test.key == decision.gate.set_key and test.number > WORN_AFTER:
        decision.notes.append(Trouble(Reason.TEST_SET_WORN, _worn(test.number), "surroundings"))


def _worn(number: int) -> str:
    return f"{number} revisions were judged by the same rows of the test set; after {WORN_AFTER} a new one is due"
