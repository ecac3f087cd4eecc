"""The numbers that a finding rests on, as they were when it was made: for records, for whoever is told, for a recomputation.

Values are strings with all digits, names are those of docs/decisions.md. Must not judge.
"""

from leadline_stats import test_sets
from leadline_stats.verdicts import Verdict

from leadline_operator.reconcile.gate import Gate
from leadline_operator.reconcile.records import TestResult
from leadline_operator.reconcile.service_levels import ServiceLevel
from leadline_operator.reconcile.streams import Stream


def by_outcomes(stream: Stream, verdict: Verdict, *, seq: int) -> dict[str, str]:
    """Return what a verdict by outcomes rests on.

    Args:
        stream: Of the metric.
        verdict: What follows from it.
        seq: The ledger's entry that decided.
    """
    terms = stream.terms
    found = {
        "by": "limit" if verdict.limit is not None else "pairs",
        "metric": terms.metric,
        "measure": terms.measures.value,
        "positive": terms.positive,
        "terms": terms.key,
        "outcomes": str(verdict.outcomes),
        "estimate": _number(verdict.estimate),
        "low": _number(verdict.interval[0]),
        "high": _number(verdict.interval[1]),
        "reference": _number(verdict.reference),
        "limit": _number(verdict.limit),
        "margin": repr(terms.margin),
        "alpha": repr(verdict.alpha),
        "evidence": repr(verdict.evidence),
        "needed": repr(verdict.needed),
        "decidedAt": str(verdict.decided_at or ""),
        "ledgerEntry": str(seq or ""),
    }
    return {name: value for name, value in found.items() if value}


def by_test_set(
    gate: Gate, test: TestResult, *, reference: float | None, p_value: float | None, alpha: float
) -> dict[str, str]:
    """Return what a finding by the test set rests on."""
    low, high = test_sets.accuracy_interval(test.right_rows, test.rows)
    found = {
        "by": "testSet",
        "metric": gate.metric,
        "measure": "accuracy",
        "testSetDigest": test.digest,
        "rows": str(test.rows),
        "right": str(test.right_rows),
        "estimate": _number(test.estimate),
        "low": _number(low),
        "high": _number(high),
        "reference": _number(reference),
        "floor": _number(gate.floor),
        "margin": repr(gate.margin),
        "alpha": repr(alpha),
        "pValue": _number(p_value),
    }
    return {name: value for name, value in found.items() if value}


def by_objectives(level: ServiceLevel) -> dict[str, str]:
    """Return what a finding by the objectives rests on: of the one that was missed first."""
    name = level.missed[0]
    monitor = level.monitors[name]
    return {
        "by": "objectives",
        "metric": name,
        "requests": str(level.requests),
        "failures": str(level.failures),
        "slow": str(level.slow),
        "slots": str(monitor.outcomes),
        "estimate": _number(monitor.mean),
        "limit": repr(monitor.limit),
        "alpha": repr(monitor.alpha),
        "evidence": repr(monitor.evidence),
        "needed": repr(monitor.needed),
        "decidedAt": str(monitor.crossed_at),
    }


def _number(value: float | None) -> str:
    return "" if value is None else repr(value)
