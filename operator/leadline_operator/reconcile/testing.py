"""The test set: which run a revision's pods are asked for, what they answered together, and what follows.

A deterministic model gives the same answers again, so a replay is never new data: at admission one exact one-look test;
later replays are compared with the revision's own answers. A row counts as wrong only where every pod says so: one odd
pod says nothing about the revision, so at least two are heard wherever two are ready.
"""

from dataclasses import dataclass
from typing import Final

from leadline_api.reasons import Reason
from leadline_stats import test_sets
from leadline_wire.captures import GROWN_TRUTH
from leadline_wire.exchange import LEDGER_SCHEME, TestSetReport, TestSetRequest, Trouble

from leadline_operator.reconcile.gate import Gate
from leadline_operator.reconcile.observed import Observed, Revision
from leadline_operator.reconcile.records import TestResult, compressed

HEARD_LEAST: Final = 2
"""Pods that must be heard before their answers count, where as many are ready: one that is heard alone may be the odd one."""
LATE_REPLAYS: Final = 10
"""Intervals after which a replay that has not come to its end is given up for a new one."""


def admission_request(gate: Gate, revision: Revision, *, digest: str = "") -> TestSetRequest | None:
    """Return the run that a revision is admitted by: two passes, to learn whether its answers vary."""
    return _request(gate, f"a{revision.record.retries}", digest=digest, passes=2, pace_seconds=0.0)


def replay_requests(
    gate: Gate, observed: Observed, revision: Revision, now: float
) -> tuple[TestSetRequest, TestSetRequest] | None:
    """Return the replay to ask for now, and the one to judge: the same rows again, once per interval.

    A replay that takes longer than the interval is let come to its end, or none ever would.
    """
    test = revision.record.test
    if test is None:
        return None
    due = replay_number(gate, test, now)
    begun = {number: unfinished for number, unfinished in _replays(gate, observed, revision.name) if number <= due}
    newest = max(begun, default=due)
    goes_on = begun.get(newest, False) and due - newest <= LATE_REPLAYS

    def asked(number: int) -> TestSetRequest | None:
        return _request(gate, f"r{number}", digest=test.digest, passes=1, pace_seconds=gate.interval_seconds / 2)

    ask_for, to_judge = asked(newest if goes_on else due), asked(newest)
    return (ask_for, to_judge) if ask_for is not None and to_judge is not None else None


def _replays(gate: Gate, observed: Observed, revision: str) -> list[tuple[int, bool]]:
    """Return the number of each replay that ready pods report, and whether it is unfinished; unfinished ones last."""
    found = []
    for pod in observed.ready_pods(revision):
        report = pod.report.test_set if pod.report is not None else None
        key, _, run = report.run.partition(".") if report is not None else ("", "", "")
        if report is not None and key == gate.set_key and run.startswith("r") and run[1:].isdigit():
            found.append((int(run[1:]), report.state in ("Fetching", "Running")))
    return sorted(found, key=lambda each: each[1])


def replay_number(gate: Gate, test: TestResult, now: float) -> int:
    """Return how many intervals have passed since admission; survives restarts, for it needs no counter."""
    return int(max(0.0, now - test.at) // gate.interval_seconds)


def next_replay_seconds(gate: Gate, test: TestResult, now: float) -> float:
    """Return the seconds until the next replay is due."""
    return test.at + (replay_number(gate, test, now) + 1) * gate.interval_seconds - now


def _request(gate: Gate, run: str, *, digest: str, passes: int, pace_seconds: float) -> TestSetRequest | None:
    wanted = gate.test_set
    if wanted is None:
        return None
    if gate.grows:
        return _request_of_grown(gate, run, digest=digest, passes=passes, pace_seconds=pace_seconds)
    assert wanted.uri is not None
    assert wanted.truth is not None
    return TestSetRequest(
        uri=wanted.uri,
        truth=wanted.truth,
        run=f"{gate.set_key}.{run}",
        digest=wanted.digest or digest,
        output=gate.output,
        passes=passes,
        pace_seconds=pace_seconds,
    )


def _request_of_grown(gate: Gate, run: str, *, digest: str, passes: int, pace_seconds: float) -> TestSetRequest | None:
    """Return a run of the rows of this digest, or of those that were made for the desired revision; None: none were."""
    rows = digest or (gate.grown.digest if gate.grown is not None else "")
    if not rows:
        return None
    return TestSetRequest(
        uri=f"{LEDGER_SCHEME}{rows}",
        truth=GROWN_TRUTH,
        # Two revisions that are compared answer the same rows, whatever others they answered before.
        run=f"{gate.set_key}.{run}" if run.startswith("r") else f"{gate.set_key}.{run}-{rows[7:19]}",
        digest=rows,
        output=gate.output,
        passes=passes,
        pace_seconds=pace_seconds,
    )


def result(observed: Observed, revision: str, request: TestSetRequest, *, now: float) -> TestResult | Trouble | None:
    """Return what a revision's ready pods answered together.

    None while a pod that can be reached has not, and while too few can be reached (`unheard`).
    """
    reports: list[TestSetReport] = []
    for pod in observed.ready_pods(revision):
        if pod.report is None:
            continue
        report = pod.report.test_set
        if report is None or report.run != request.run or report.state in ("Fetching", "Running"):
            if report is not None and report.run == request.run and report.trouble is not None:
                return report.trouble
            return None
        if report.state == "Failed":
            return report.trouble or Trouble(
                Reason.INVALID_TEST_SET, "the test set could not be answered", "surroundings"
            )
        reports.append(report)
    if not reports or unheard(observed, revision) is not None:
        return None
    first = reports[0]
    same = [report for report in reports if report.digest == first.digest and len(report.right) == len(first.right)]
    right = 0
    for report in same:
        right |= int.from_bytes(report.right, "big")
    return TestResult(
        key=request.run.partition(".")[0],
        digest=first.digest,
        rows=first.rows,
        right=compressed(right.to_bytes(len(first.right), "big")),
        answers=first.answers,
        changed=max(report.changed for report in same),
        invalid=min(report.invalid for report in same),
        at=now,
    )


def unheard(observed: Observed, revision: str) -> Trouble | None:
    """Return that too few of a revision's ready pods can be reached for their answers to count; None: enough can."""
    ready = observed.ready_pods(revision)
    heard = sum(pod.report is not None for pod in ready)
    needed = min(HEARD_LEAST, len(ready))
    if heard >= needed:
        return None
    message = (
        f"{heard} of {len(ready)} ready pods of {revision} answer the operator; {needed} must to judge by the test set"
    )
    return Trouble(Reason.PODS_NOT_REACHED, message, "surroundings")


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a test set says of a revision."""

    reason: Reason | None
    """None: nothing was found against it."""
    message: str
    p_value: float | None = None
    reference: float | None = None


def below_floor(gate: Gate, test: TestResult) -> Judgement | None:
    """Hold one revision's answers against the floor; None: they are not below it."""
    if gate.floor is None or test.estimate >= gate.floor:
        return None
    return Judgement(Reason.BELOW_FLOOR, f"{describe(gate, test)}, below the floor {gate.floor:g}")


def judge(
    gate: Gate, test: TestResult, reference: TestResult | None, *, reference_name: str, alpha: float
) -> Judgement:
    """Hold one revision's answers against the floor, and against another revision's answers to the same rows."""
    below = below_floor(gate, test)
    if below is not None:
        return below
    measured = describe(gate, test)
    if reference is None or reference.digest != test.digest or reference.rows != test.rows:
        return Judgement(None, measured)
    breaks, fixes = test_sets.breaks_and_fixes(reference.bitmap, test.bitmap, test.rows)
    risk = test_sets.churn_risk_for(alpha)
    p_value = test_sets.test_set_pvalue(breaks, fixes, test.rows, gate.margin, churn_risk=risk)
    compared = f"{measured} vs {reference.estimate:.3f} of {reference_name} (margin {gate.margin:g}, p {p_value:.2g}, limit {alpha:.2g})"
    reason = Reason.TEST_DEGRADED if p_value <= alpha else None
    return Judgement(reason, compared, p_value, reference.estimate)


def judge_replay(gate: Gate, admitted: TestResult, replayed: TestResult) -> Judgement:
    """Hold a replay against the revision's own answers at admission: no sampling, so no probability.

    Answers that differed between the passes of the admission may differ again: as many rows may be lost besides.
    """
    if replayed.digest != admitted.digest or replayed.rows != admitted.rows:
        return Judgement(None, "")
    steady = max(0, admitted.right_rows - admitted.changed)
    if not test_sets.replay_is_worse(steady, replayed.right_rows, admitted.rows, gate.margin):
        return Judgement(None, "")
    message = f"{describe(gate, replayed)}; at admission it was {admitted.estimate:.3f} on the same rows (margin {gate.margin:g})"
    return Judgement(Reason.DEGRADED, message, None, admitted.estimate)


def describe(gate: Gate, test: TestResult) -> str:
    """Say what was measured, e.g. `accuracy 0.984 [0.973, 0.991] on 1197 rows`."""
    low, high = test_sets.accuracy_interval(test.right_rows, test.rows)
    varying = f", {test.changed} of them answered differently in two passes" if test.changed else ""
    return f"{gate.metric} {test.estimate:.3f} [{low:.3f}, {high:.3f}] on {test.rows} rows{varying}"
