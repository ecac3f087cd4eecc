"""Judge revisions by how their pods answer: `spec.objectives`.

A candidate that misses one while it answers a share of the requests is rejected, unless the serving revision misses one at the
same time. A serving revision that misses one soon after the switch is left for the last good one, provisionally: where that
one misses one as well, it was not the model, and the rejection is withdrawn. Later it is only said. What was counted is in
`service_levels`; where the traffic goes is decided in `rollout`.
"""

from collections.abc import Mapping
from typing import Final

from leadline_api import quantities
from leadline_api.reasons import Reason
from leadline_stats import verdicts

from leadline_operator.reconcile import gate, measured, service_levels
from leadline_operator.reconcile.decision import Decision
from leadline_operator.reconcile.findings import Finding
from leadline_operator.reconcile.observed import Observed
from leadline_operator.reconcile.plan import Event
from leadline_operator.reconcile.records import Record, Rejection
from leadline_operator.reconcile.service_levels import ERRORS, Asked, ServiceLevel

AGAIN_SECONDS: Final = 3_600.0
"""After which one that missed an objective, and serves on, is looked at anew."""
WRITE_SECONDS: Final = 60.0
"""Between two writes of what was counted, at least."""


def seen(observed: Observed, kept: Mapping[str, ServiceLevel], now: float) -> dict[str, ServiceLevel]:
    """Return how the pods of each revision that gets requests have answered by now.

    Args:
        observed: Everything else.
        kept: What this returned last; without it what the records hold goes on.
        now: Seconds since the epoch.
    """
    found = {}
    for revision in observed.revisions:
        record = revision.record
        asked = _asked(observed, record)
        if asked is None:
            continue
        reports = {
            pod.uid: pod.report.service if pod.report is not None else None for pod in observed.pods_of(revision.name)
        }
        level = kept.get(revision.name) or _stored(record)
        is_over = level is not None and level.missed_at is not None and now - level.missed_at >= AGAIN_SECONDS
        if level is None or level.key != asked.key or is_over:
            begun = level.begun + 1 if level is not None else 0
            level = service_levels.begin(asked, reports, now, begun=begun)
        found[revision.name] = service_levels.fold(level, asked, reports, now)
    return found


def judge_serving(observed: Observed, decision: Decision, now: float) -> None:
    """Judge the serving revision, and take a finding back that the one before it shares."""
    name = decision.serving
    level = _kept(observed, decision, name, now)
    if level is None or not level.missed or not decision.may_try(name):
        return
    _withdraw(decision, level, now)
    record = decision.records[name]
    since = record.serving_since or now
    is_compared = now - since < quantities.seconds(observed.spec.quality.compare_for)
    may_go_back = observed.spec.objectives is not None and observed.spec.objectives.on_missed == "Rollback"
    if not (decision.last_good and may_go_back and is_compared) or record.withdrawn_at is not None:
        return
    before = _stored(decision.records[decision.last_good])
    if before is not None and before.missed:
        return  # it missed one when it answered: to go back would not help
    finding = Rejection(
        gate=decision.gate.key,
        reason=Reason.OBJECTIVES_MISSED,
        message=said(observed, level),
        at=now,
        served=True,
        provisional=True,
        measured=measured.by_objectives(level),
    )
    decision.records[name] = record.rejected(finding).with_(admitted_gate="", compared_with=decision.last_good)


def is_missed(observed: Observed, decision: Decision, name: str, now: float) -> bool:
    """Reject a candidate that misses an objective while the serving revision misses none; tell whether it was."""
    level, rival = _kept(observed, decision, name, now), observed.service_levels.get(decision.serving)
    if level is None or not level.missed or (rival is not None and rival.missed):
        return False
    numbers = measured.by_objectives(level)
    decision.reject(
        name, Reason.OBJECTIVES_MISSED, said(observed, level), now, gate=decision.gate.key, measured=numbers
    )
    return True


def condition(observed: Observed, decision: Decision) -> Finding:
    """Say how the serving revision's pods answer, by what was written last: numbers that move all the time are not status."""
    if observed.spec.objectives is None:
        return Finding("Unknown", Reason.NO_OBJECTIVES)
    record = decision.records.get(decision.serving)
    asked = _asked(observed, record) if record is not None else None
    level = _stored(record) if record is not None else None
    if level is None or asked is None or level.key != asked.key or not level.slots:
        return Finding("Unknown", Reason.NOT_MEASURED, "No request was counted yet")
    if level.missed:
        return Finding("False", Reason.OBJECTIVES_MISSED, said(observed, level))
    return Finding("True", Reason.OBJECTIVES_MET, said(observed, level))


def said(observed: Observed, level: ServiceLevel) -> str:
    """Say what was counted, e.g. `0.21 % of 4120 requests failed (at most 1 %)`."""
    objectives = observed.spec.objectives
    words = []
    for name, monitor in level.monitors.items():
        if name == ERRORS:
            share = level.failures / level.requests if level.requests else 0.0
            words.append(
                f"{100 * share:.3g} % of {level.requests} requests failed (at most {100 * monitor.limit:.3g} %)"
            )
        elif objectives is not None and objectives.latency is not None:
            share = level.slow / level.requests if level.requests else 0.0
            words.append(
                f"{100 * share:.3g} % of {level.requests} requests took longer than {objectives.latency.under} "
                f"(at most {100 * monitor.limit:.3g} %)"
            )
    text = ", ".join(words)
    if level.missed:
        worst = level.monitors[level.missed[0]]
        odds, needed = verdicts.odds(worst.evidence), verdicts.odds(worst.needed)
        text += f": missed (evidence {odds} of {worst.crossed_at} slots, needs {needed})"
    return text


def slot_seconds(observed: Observed, name: str, now: float) -> float | None:
    """Return how often the pods of a revision are to be asked for their counters; None: nobody wants them."""
    level = observed.service_levels.get(name)
    return level.slot_seconds(now) if level is not None else None


def _asked(observed: Observed, record: Record) -> Asked | None:
    """Return what a revision is held against at present; None: nothing, or it gets no requests."""
    objectives = observed.spec.objectives
    if objectives is None:
        return None
    if record.serving_since is not None and record.served_until is None:
        stretch = f"serving {record.serving_since}"
    elif record.canary_since is not None and record.serving_since is None:
        stretch = f"canary {record.wanted_at}"
    else:
        return None
    latency = objectives.latency
    return Asked(
        key=gate.key_of([objectives.words, stretch]),
        error_rate=float(objectives.error_rate) if objectives.error_rate is not None else None,
        under_seconds=quantities.seconds(latency.under) if latency is not None else None,
        slow_share=1 - float(latency.share) if latency is not None else 0.0,
    )


def _stored(record: Record) -> ServiceLevel | None:
    """Return what a record holds; None: nothing that this version can read."""
    if record.service_level is None:
        return None
    try:
        return service_levels.from_plain(record.service_level)
    except ValueError:
        return None


def _kept(observed: Observed, decision: Decision, name: str, now: float) -> ServiceLevel | None:
    """Return a revision's service level; write it down where it says something new, or has grown by a tenth."""
    level = observed.service_levels.get(name)
    if level is None or decision.is_unreadable(name):
        return None
    decision.wakes.append(max(level.seconds_left(now), 0.1))
    record = decision.records[name]
    before = _stored(record)
    is_other = before is None or before.key != level.key or before.began_at != level.began_at
    has_grown = before is not None and level.slots >= 1.1 * before.slots and now - before.slot_at >= WRITE_SECONDS
    is_news = before is not None and before.missed != level.missed
    if level.slots and (is_other or is_news or (has_grown and before is not None and level.slots > before.slots)):
        decision.records[name] = record.with_(service_level=service_levels.to_plain(level))
    return level


def _withdraw(decision: Decision, level: ServiceLevel, now: float) -> None:
    """Take a rejection back where the revision that the traffic went back to answers no better."""
    for name, record in list(decision.records.items()):
        found = [each for each in record.rejections if each.provisional and each.reason == Reason.OBJECTIVES_MISSED]
        if not found or name == decision.serving:
            continue
        kept = [each for each in record.rejections if each not in found]
        decision.records[name] = record.with_(rejections=kept, withdrawn_at=now)
        text = f"The rejection of {name} is withdrawn: {decision.serving} misses its objectives as well, in {level.slots} slots"
        decision.events.append(Event("Warning", Reason.WITHDRAWN, text))
