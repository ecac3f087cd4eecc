"""A test set out of outcomes: when one is to be made, and what holds while there is none.

One is made for each revision that is to be tested, once: so its answers are one look, and the serving revision answers the same
rows to be compared. With too few rows everything is as if there were no test set. Must not talk to the ledger.
"""

from dataclasses import replace
from typing import Final

from leadline_api.reasons import Reason
from leadline_wire.exchange import Trouble

from leadline_operator.reconcile.decision import Decision
from leadline_operator.reconcile.gate import Gate, gate_of
from leadline_operator.reconcile.observed import Observed
from leadline_operator.reconcile.plan import Grow

ROWS_LEAST: Final = 50
"""With fewer a test set shows nothing but chance."""
SIZE: Final = 2_000
"""Most rows, unless the spec says otherwise."""


def gate_now(observed: Observed) -> Gate:
    """Return the gate of a spec with what is known of its test set today."""
    gate, grown = gate_of(observed.spec), observed.grown
    if not gate.grows:
        return gate
    if not observed.settings.ledger_url:
        return replace(gate, test_set=None)
    if grown is None or grown.revision != observed.desired or grown.trouble:
        return gate
    return replace(gate, grown=grown) if grown.rows >= ROWS_LEAST else replace(gate, test_set=None)


def wanted(observed: Observed, decision: Decision) -> Grow | None:
    """Return the test set that is to be made; None: none is needed now."""
    gate = decision.gate
    if not gate.grows or not observed.settings.ledger_url or not decision.may_try(decision.desired):
        return None
    record = decision.records.get(decision.desired)
    if record is not None and record.test is not None and record.test.key == gate.set_key:
        return None
    asked = observed.spec.quality.test_set
    return Grow(decision.desired, (asked.size if asked is not None else None) or SIZE, ROWS_LEAST)


def trouble(observed: Observed) -> Trouble | None:
    """Return why no test set could be made; None: nobody has said."""
    said = observed.grown.trouble if observed.grown is not None else ""
    return Trouble(Reason.TEST_SET_UNREACHABLE, f"test set from outcomes: {said}", "surroundings") if said else None


def does_not_fit(decision: Decision, answered: object) -> bool:
    """Tell whether a revision takes other inputs than were captured: it is judged without those rows, and that is said."""
    if not decision.gate.grows or not isinstance(answered, Trouble) or answered.reason != Reason.INVALID_TEST_SET:
        return False
    decision.notes.append(answered)
    return True


def note(observed: Observed, decision: Decision) -> None:
    """Say that there are too few rows yet."""
    grown, gate = observed.grown, decision.gate
    if gate.grows and gate.test_set is None and grown is not None:
        said = f"test set from outcomes: {grown.rows} rows yet, {ROWS_LEAST} are needed"
        decision.notes.append(Trouble(Reason.TEST_SET_TOO_SMALL, said, "surroundings"))
