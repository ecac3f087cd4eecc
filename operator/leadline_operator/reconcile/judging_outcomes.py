"""Judge revisions by the answers that came back: beside another one on the same inputs, and against their own limit.

Only a comparison on the same inputs says that a revision is worse. A limit of its own says that it, or the world, has
changed: then the last good one answers copies of fresh requests first, and gets the traffic only if it is shown to be
better. Where nothing can be compared, a limit that was crossed within the first outcomes sends the traffic back
provisionally, once. What was found goes into the records; where the traffic goes is decided in `rollout`, what the
ledger is told in `announcing`.
"""

from dataclasses import dataclass, replace
from typing import Final

from leadline_api import quantities
from leadline_api.reasons import Reason
from leadline_stats import verdicts

from leadline_operator.reconcile import capacity, judging, measured, quorum, terms, testing, troubles
from leadline_operator.reconcile.decision import Decision
from leadline_operator.reconcile.evidence import Evidence
from leadline_operator.reconcile.observed import Observed
from leadline_operator.reconcile.plan import Event
from leadline_operator.reconcile.records import Record, Rejection
from leadline_operator.reconcile.streams import Compared, Own, Stream

SILENCE_SECONDS: Final = 60.0
"""Without an outcome for so long, none flow, and a candidate does not wait for any."""
WHOLE_SHARE: Final = 1_000_000


def evidence_of(observed: Observed) -> Evidence | None:
    """Return the evidence under the terms of today; None where there is none, or the ledger was not read yet."""
    asked = terms.asked(observed.spec)
    if not asked or observed.ledger is None:
        return None
    evidence = observed.ledger.evidence
    return quorum.view(evidence) if evidence.key == asked[0].key else None


def retry_id(name: str, record: Record) -> str:
    """Return the name under which the ledger holds a revision's newest retry."""
    return f"retried/{name}/{record.retries}"


def _is_current(evidence: Evidence, name: str, record: Record) -> bool:
    """Tell whether the log holds a revision's newest retry: what came before it is evidence no longer."""
    return not record.retries or retry_id(name, record) in evidence.decisions


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of the serving revision by outcomes, by one metric."""

    evidence: Evidence
    stream: Stream
    own: Own | None
    compared: Compared | None
    """With the last good revision."""
    verdict: verdicts.Verdict

    @property
    def metric(self) -> str:
        """Name of the metric."""
        return self.stream.terms.metric


def known(observed: Observed, decision: Decision, now: float) -> list[Known]:
    """Return what outcomes say of the serving revision by each metric, in the order of the spec.

    None of it where they are not judged, or the ledger was not read.
    """
    evidence, name = evidence_of(observed), decision.serving
    if evidence is None or name not in observed.by_name:
        return []
    is_current = _is_current(evidence, name, decision.records[name])
    return [
        _known(observed, decision, evidence, stream, now=now, is_current=is_current)
        for stream in evidence.streams.values()
    ]


def _known(
    observed: Observed, decision: Decision, evidence: Evidence, stream: Stream, *, now: float, is_current: bool
) -> Known:
    name, other, metric = decision.serving, decision.last_good, stream.terms.metric
    own, compared = stream.own.get(name), stream.pairs.get((name, other))
    if not is_current:
        own = compared = None
    verdict = decision.verdicts.get((metric, name, other))
    if verdict is None:
        was_compared = (compared is not None and compared.comparison.pairs > 0) or evidence.remembered(
            name
        ).verifications
        case = verdicts.Case(
            metric=metric,
            reading=stream.reading,
            comparison=compared.comparison if compared is not None else None,
            watch=own.watch if own is not None else None,
            other=other or "last good",
            comparable=bool(other) and (bool(observed.ready_pods(other)) or _warm_pods(observed, decision, now) > 0),
            has_last_good=bool(other) and not was_compared,
            missing=stream.missing,
        )
        verdict = verdicts.decide(case)
        said = quorum.held([each.held for each in (compared, own) if each is not None])
        if said:
            verdict = replace(verdict, message=verdict.message + said)
        decision.verdicts[metric, name, other] = verdict
    return Known(evidence, stream, own, compared, verdict)


def judge_serving(observed: Observed, decision: Decision, now: float) -> None:
    """Judge the serving revision by pairs with the last good one, and by its own limits; the worst of all metrics counts."""
    found = known(observed, decision, now) if decision.may_try(decision.serving) else []
    if not found:
        return
    _withdraw(observed, decision, found, now)
    degraded = [each for each in found if each.verdict.name is verdicts.Name.DEGRADED]
    worst = next((each for each in degraded if not each.verdict.provisional), None)
    if worst is not None and _leads_back(observed, decision):
        _reject(decision, worst, Reason.DEGRADED, now)
    elif worst is not None:
        said = worst.verdict
        judging.alert(observed, decision, testing.Judgement(Reason.DEGRADED, said.message, None, said.reference))
    elif degraded:
        _provisionally(observed, decision, degraded[0], now)
    else:
        # What is said last is said: by the first metric of the spec that has decayed.
        for each in reversed(found):
            if each.verdict.name is verdicts.Name.DECAYED:
                _decayed(observed, decision, each, now)
    _compare(observed, decision, found, now)


def is_found_worse(observed: Observed, decision: Decision, name: str, now: float) -> bool:
    """Reject a candidate that was found to be worse than the serving revision on the same inputs; tell whether it was."""
    evidence, rival = evidence_of(observed), decision.serving
    if evidence is None or decision.is_rejected(rival) or not _is_current(evidence, name, decision.records[name]):
        return False
    for stream in evidence.streams.values():
        compared = stream.pairs.get((name, rival))
        if compared is not None and compared.is_worse:
            case = verdicts.Case(stream.terms.metric, stream.reading, compared.comparison, None, other=rival)
            verdict = verdicts.decide(case)
            numbers = measured.by_outcomes(stream, verdict, seq=compared.decided_seq)
            decision.reject(name, Reason.DEGRADED, verdict.message, now, gate=decision.gate.key, measured=numbers)
            return True
    return False


def passes(observed: Observed, decision: Decision, name: str, now: float) -> bool:
    """Tell whether a candidate that answers copies of requests need not be compared any longer."""
    shadow, evidence, rival = observed.spec.rollout.shadow, evidence_of(observed), decision.serving
    if shadow is None or not rival or decision.is_rejected(rival):
        return True
    record = decision.records[name]
    if record.is_promoted:
        return True
    if record.shadow_since is None:
        record = decision.records[name] = record.with_(shadow_since=now)
    since = record.shadow_since or now
    left = since + quantities.seconds(shadow.for_) - now
    quiet = _last_heard(observed, evidence, rival, since) + SILENCE_SECONDS - now
    if evidence is not None and _is_current(evidence, name, record) and _is_within(evidence, name, rival):
        return True
    is_heard = evidence is not None or not terms.asked(observed.spec)  # else the terms of today are on their way
    is_silent = quiet <= 0 and is_heard and observed.ledger is not None and not observed.ledger.trouble
    if left <= 0 or is_silent:
        if observed.spec.rollout.on_undecided == "Promote":
            return True
        decision.phase = Reason.UNDECIDED
    decision.copies[name] = shadow.percent * WHOLE_SHARE // 100
    # Silence is none while the ledger is away; its return wakes by itself.
    decision.wakes += [each for each in (left, quiet) if each > 0]
    return False


def _is_within(evidence: Evidence, name: str, rival: str) -> bool:
    """Tell whether a candidate was shown to be within the margin of another revision by every metric."""
    compared = [stream.pairs.get((name, rival)) for stream in evidence.streams.values()]
    return bool(compared) and all(each is not None and each.is_within for each in compared)


def _last_heard(observed: Observed, evidence: Evidence | None, rival: str, since: float) -> float:
    """Return when outcomes came last, or could have begun to come; seconds since the epoch."""
    heard = [since, observed.ledger.answers_since if observed.ledger is not None else 0.0]
    if evidence is not None:
        heard += [each.at_ms / 1000 for each in evidence.decisions.values() if each.kind == "Terms"]
        owns = (stream.own.get(rival) for stream in evidence.streams.values())
        heard += [own.last_ms / 1000 for own in owns if own is not None]
    return max(heard)


def _leads_back(observed: Observed, decision: Decision) -> bool:
    return bool(decision.last_good) and observed.spec.quality.on_degraded == "Rollback"


def _reject(decision: Decision, found: Known, reason: Reason, now: float, *, provisional: bool = False) -> None:
    """Remember a finding against the serving revision that leads back."""
    name, compared, own = decision.serving, found.compared, found.own
    decided = own.decided_seq if own is not None else 0
    if compared is not None and compared.is_worse:
        decided = compared.decided_seq
    finding = Rejection(
        gate=decision.gate.key,
        reason=reason,
        message=found.verdict.message,
        at=now,
        served=True,
        provisional=provisional,
        measured=measured.by_outcomes(found.stream, found.verdict, seq=decided),
    )
    record = decision.records[name].rejected(finding)
    decision.records[name] = record.with_(admitted_gate="", compared_with=decision.last_good)


def _provisionally(observed: Observed, decision: Decision, found: Known, now: float) -> None:
    """Go back by a limit alone, where nothing can be compared; once, or two bad ones would take turns."""
    name, verdict = decision.serving, found.verdict
    if decision.records[name].withdrawn_at is not None or not _leads_back(observed, decision):
        judging.alert(observed, decision, testing.Judgement(Reason.DECAYED, verdict.message, None, verdict.reference))
        return
    _reject(decision, found, Reason.DECAYED, now, provisional=True)


def _decayed(observed: Observed, decision: Decision, found: Known, now: float) -> None:
    """Say that the serving revision is below its limit, and find out whether the last good one is better."""
    name, back, verdict = decision.serving, decision.last_good, found.verdict
    judgement = testing.Judgement(Reason.DECAYED, verdict.message, None, verdict.reference)
    if not back or observed.spec.quality.on_decay == "Alert":
        judging.alert(observed, decision, judgement)
        return
    if _open_seconds(observed, decision, [found], now) > 0 and found.compared is not None:
        count = found.compared.comparison.pairs
        said = f"{verdict.message}; it is compared with {back} on the same inputs, {count} pairs so far"
        decision.finding = testing.Judgement(Reason.DECAYED, said, None, verdict.reference)
        decision.to_measure = back  # it may have gone cold since the switch
        return
    fresh = found.compared if _is_verified(found, name, back) else None
    count = fresh.comparison.pairs if fresh is not None else 0
    if fresh is not None and verdicts.verification(fresh.comparison) is verdicts.Verification.WOULD_NOT_HELP:
        said = f"{verdict.message}; {back} is not better on {count} fresh requests"
        decision.finding = testing.Judgement(Reason.ROLLBACK_WOULD_NOT_HELP, said, None, verdict.reference)
        return
    said = f"{verdict.message}; {back} answers copies of fresh requests to see if going back helps, {count} so far"
    trouble = troubles.trouble(observed, back)
    said += f"; {trouble.reason}: {trouble.message}" if trouble is not None else ""
    decision.finding = testing.Judgement(Reason.DECAYED, said, None, verdict.reference)
    decision.verifying, decision.to_measure = True, back
    decision.must_begin_verifying |= fresh is None


def _is_verified(found: Known, name: str, back: str) -> bool:
    """Tell whether the pairs of two revisions began after the first was found to be below its limit."""
    decided = found.own.decided_seq if found.own is not None else 0
    return any(
        each.kind == "Verifying" and (each.revision, each.other) == (name, back) and each.seq > decided
        for each in found.evidence.decisions.values()
    )


def _withdraw(observed: Observed, decision: Decision, found: list[Known], now: float) -> None:
    """Take a provisional rejection back where the revision that the traffic went back to has fallen below, too."""
    trials = (each.stream.fresh.get(decision.serving) for each in found)
    fallen = next((each.watch.worse for each in trials if each is not None and verdicts.withdrawn(each.watch)), None)
    if fallen is None:
        return
    worse = fallen
    for name, record in list(decision.records.items()):
        if not any(each.provisional for each in record.rejections) or name not in observed.by_name:
            continue
        kept = [each for each in record.rejections if not each.provisional]
        decision.records[name] = record.with_(rejections=kept, withdrawn_at=now)
        note = (
            f"The rejection of {name} is withdrawn: {decision.serving} falls below the same limit on {worse.outcomes} fresh "
            f"outcomes (evidence {verdicts.odds(worse.evidence)}, needs {verdicts.odds(worse.needed)})"
        )
        decision.events.append(Event("Warning", Reason.WITHDRAWN, note))


def _warm_pods(observed: Observed, decision: Decision, now: float) -> int:
    last_good = observed.spec.rollout.last_good
    until = (decision.records[decision.last_good].served_until or now) + quantities.seconds(last_good.for_)
    return quantities.pods(last_good.replicas, of=capacity.whole(observed, decision)) if until > now else 0


def _compare(observed: Observed, decision: Decision, found: list[Known], now: float) -> None:
    """Have requests copied to the last good revision while a comparison is open."""
    name, other = decision.serving, decision.last_good
    if not other or decision.is_rejected(name) or not observed.ready_pods(other):
        return
    if decision.to_measure != other and _warm_pods(observed, decision, now) == 0:
        return  # its pods only hand over, and are gone in a moment
    if not decision.verifying:
        left = _open_seconds(observed, decision, found, now)
        if left <= 0:
            return
        decision.wakes.append(left)
    decision.copies[other] = WHOLE_SHARE


def _open_seconds(observed: Observed, decision: Decision, found: list[Known], now: float) -> float:
    """Return how long the comparison that began with the switch is still open; 0: it is over, or was decided by each metric."""
    decided = [each.compared is not None and (each.compared.is_within or each.compared.is_worse) for each in found]
    if not decision.last_good or all(decided):
        return 0.0
    since = decision.records[decision.serving].serving_since or now
    return max(0.0, since + quantities.seconds(observed.spec.quality.compare_for) - now)
