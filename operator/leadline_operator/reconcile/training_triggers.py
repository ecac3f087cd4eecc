"""What starts a training run: a verdict, new outcomes, a schedule; each says so once.

A trigger is a word that no other start has. That it was started before is read from the runs, so that a verdict that stands,
or a time that was kept, starts nothing again.

Must not look at what runs, or at when the last run was: see `retraining`.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from cronsim import CronSim, CronSimError
from leadline_api.reasons import Reason
from leadline_api.retraining import Retrain
from leadline_stats.verdicts import Name

from leadline_operator.reconcile.decision import Decision
from leadline_operator.reconcile.evidence import Evidence

_WORD: Final = {
    Reason.DECAYED: "Decayed",
    Reason.ROLLBACK_WOULD_NOT_HELP: "Decayed",
    Reason.DEGRADED: "Degraded",
    Reason.BELOW_FLOOR: "Degraded",
}
"""Verdict by what was found."""


@dataclass(frozen=True, slots=True)
class Trigger:
    """What starts a run."""

    name: str
    because: str
    """The same for people."""


def triggers(
    decision: Decision, evidence: Evidence, retrain: Retrain, *, since: float, runs: int, now: float
) -> Iterator[Trigger]:
    """Yield what asks for a run, the weightiest first; what was started before is among it.

    Args:
        decision: After everything was judged.
        evidence: What the ledger's log says.
        retrain: As the spec has it.
        since: When the spec began to ask for this, in seconds since the epoch; times of a schedule before it are none.
        runs: How many runs were started so far.
        now: Seconds since the epoch.
    """
    for word, revision in _verdicts(decision, since):
        if word in retrain.when.verdicts:
            # One for each try of a revision: where it is Decayed and found to be Degraded later, the world is the same.
            tries = decision.records[revision].retries if revision in decision.records else 0
            yield Trigger(f"verdict/{revision}/{tries}", f"{revision} is {word}")
    wanted = retrain.when.new_outcomes
    if wanted is not None and evidence.new_outcomes >= wanted:
        yield Trigger(f"newOutcomes/{runs}", f"{wanted} outcomes came since the last run")
    if retrain.when.schedule is not None:
        at = last_time(retrain.when.schedule, now)
        if at is not None and at > since:
            stamp = f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"
            yield Trigger(f"schedule/{stamp}", f"Schedule {retrain.when.schedule}, due at {stamp}")


def _verdicts(decision: Decision, since: float) -> Iterator[tuple[str, str]]:
    """Yield verdicts, each with the revision that it is on: that serves, or lost the traffic for it."""
    name = decision.serving
    judged = (verdict for (_, revision, _), verdict in decision.verdicts.items() if revision == name)
    if any(verdict.name is Name.DECAYED for verdict in judged):
        yield "Decayed", name
    if decision.finding is not None and decision.finding.reason in _WORD:
        yield _WORD[decision.finding.reason], name
    for revision, record in decision.records.items():
        for each in record.rejections:
            word = next((_WORD[reason] for reason in _WORD if reason == each.reason), "")
            if word and each.served and each.at >= since:
                yield word, revision


def last_time(schedule: str, now: float) -> float | None:
    """Return when a schedule was due last, in seconds since the epoch; None: never, as on 30 February."""
    # One second on, for the last time may be now.
    return _first(schedule, now + 1, reverse=True)


def next_time(schedule: str, now: float) -> float | None:
    """Return when a schedule is due next, in seconds since the epoch; None: never."""
    return _first(schedule, now, reverse=False)


def _first(schedule: str, start: float, *, reverse: bool) -> float | None:
    try:
        times = CronSim(schedule, datetime.fromtimestamp(int(start), UTC), reverse=reverse)
        found = next(itertools.islice(times, 1), None)
    except CronSimError:
        return None
    return found.timestamp() if found is not None else None
