"""Judge revisions by the answers that came back: beside another one on the same inputs, and against their own limit.

Only a comparison on the same inputs says that a revision is worse. A limit of its own says that it, or the world, has
changed: then the last good one answers copies of fresh requests first, and gets the traffic only if it is shown to be
better. Where nothing can be compared, a limit that was crossed within the first outcomes sends the traffic back
provisionally, once. What was found goes into the records; where the traffic goes is decided in `rollout`, what the
ledger is told in `announcing`.
"""

from typing import Final

from leadline_api import quantities
from leadline_api.reasons import Reason
from leadline_stats import budgets

from leadline_operator.reconcile import judging, testing
from leadline_operator.reconcile.decision import Decision
from leadline_operator.reconcile.evidence import Compared, Evidence, Own, Terms
from leadline_operator.reconcile.gate import key_of
from leadline_operator.reconcile.observed import Observed
from leadline_operator.reconcile.plan import Event
from leadline_operator.reconcile.records import Rejection

FIRST_OUTCOMES: Final = 1_000
"""Outcomes within which a limit that is crossed speaks of the revision rather than of the world."""
SILENCE_SECONDS: Final = 60.0
"""Without an outcome for so long, none flow, and a candidate does not wait for any."""
WHOLE_SHARE: Final = 1_000_000


def terms_of(observed: Observed) -> Terms | None:
    """Return what outcomes are to be judged by; None where the spec asks for no judgement of outcomes."""
    quality = observed.spec.quality
    if observed.spec.outcomes is None or not quality.metrics:
        return None
    metric = quality.metrics[0]
    shares = budgets.shares(float(quality.false_rollback_probability))
    return Terms(
        key=key_of([metric.name, metric.metric, metric.margin, quality.false_rollback_probability]),
        metric=metric.name,
        graded=metric.metric == "score",
        margin=float(metric.margin),
        comparison_alpha=shares.comparison,
        limit_alpha=shares.fixed_limit,
    )


def evidence_of(observed: Observed) -> Evidence | None:
    """Return the evidence under the terms of today; None where there is none, or the ledger was not read yet."""
    terms = terms_of(observed)
    if terms is None or observed.ledger is None:
        return None
    evidence = observed.ledger.evidence
    return evidence if evidence.terms is not None and evidence.terms.key == terms.key else None


def judge_serving(observed: Observed, decision: Decision, now: float) -> None:
    """Judge the serving revision by pairs with the last good one, and by its own limit."""
    evidence, name, other = evidence_of(observed), decision.serving, decision.last_good
    if evidence is None or name not in observed.by_name or not decision.may_try(name):
        return
    compared, own = evidence.pairs.get((name, other)), evidence.own.get(name)
    if compared is not None and compared.is_worse:
        _condemn(observed, decision, degraded(decision, compared, other), now)
    elif own is not None and own.has_decayed and not _withdraws(decision, evidence, own):
        _decayed(observed, decision, evidence, own, now)
    _compare(observed, decision, evidence, now)


def passes(observed: Observed, decision: Decision, name: str, now: float) -> bool:
    """Judge a candidate that answers copies of requests; True where it need not be compared any longer."""
    shadow, evidence, rival = observed.spec.rollout.shadow, evidence_of(observed), decision.serving
    if shadow is None or not rival or decision.is_rejected(rival) or decision.records[name].serving_since is not None:
        return True
    record = decision.records[name]
    if record.shadow_since is None:
        record = decision.records[name] = record.with_(shadow_since=now)
    since = record.shadow_since or now
    compared = evidence.pairs.get((name, rival)) if evidence is not None else None
    if compared is not None and compared.is_worse:
        decision.reject(name, Reason.DEGRADED, degraded(decision, compared, rival).message, now, gate=decision.gate.key)
        return False
    left = since + quantities.seconds(shadow.for_) - now
    own = evidence.own.get(rival) if evidence is not None else None
    silent_since = max(since, own.last_ms / 1000 if own is not None else 0.0)
    quiet = silent_since + SILENCE_SECONDS - now
    if left <= 0 or (compared is not None and compared.is_within):
        return True
    if quiet <= 0 and observed.ledger is not None and not observed.ledger.trouble:
        return True
    decision.copies[name] = shadow.percent * WHOLE_SHARE // 100
    decision.wakes += [left, max(0.1, quiet)]
    return False


def degraded(decision: Decision, compared: Compared, other: str) -> testing.Judgement:
    """Say that a revision is worse than another on the same inputs."""
    comparison = compared.comparison
    new, old = 1 - (comparison.new.mean or 0.0), 1 - (comparison.old.mean or 0.0)
    message = (
        f"{decision.gate.metric} {new:.3f} vs {old:.3f} of {other} over {comparison.pairs} outcomes on the same inputs: "
        f"degraded (margin {comparison.margin:g}; evidence {comparison.worse.evidence:.3g}:1, "
        f"needs {comparison.worse.needed:.0f}:1)"
    )
    return testing.Judgement(Reason.DEGRADED, message, None, old)


def decayed(decision: Decision, own: Own) -> testing.Judgement:
    """Say that a revision's outcomes are below its own limit."""
    watch = own.watch
    assert watch.reference is not None
    assert watch.worse is not None
    message = (
        f"{decision.gate.metric} {1 - (watch.worse.mean or 0.0):.3f} over {watch.worse.outcomes} outcomes is below the "
        f"limit {watch.reference.limit:.3f} (reference {watch.reference.value:.3f} of {watch.reference.outcomes} outcomes "
        f"of {own.reference_of}; evidence {watch.worse.evidence:.3g}:1, needs {watch.worse.needed:.0f}:1)"
    )
    return testing.Judgement(Reason.DECAYED, message, None, watch.reference.value)


def _condemn(observed: Observed, decision: Decision, judgement: testing.Judgement, now: float) -> None:
    """Remember that the serving revision is worse; where there is no way back, only say it."""
    name, back = decision.serving, decision.last_good
    if not back or observed.spec.quality.on_degraded != "Rollback":
        judging.alert(observed, decision, judgement)
        return
    _reject(decision, Rejection(decision.gate.key, Reason.DEGRADED, judgement.message, now, served=True), name)


def _reject(decision: Decision, finding: Rejection, name: str) -> None:
    record = decision.records[name]
    decision.records[name] = record.rejected(finding).with_(admitted_gate="", compared_with=decision.last_good)


def _decayed(observed: Observed, decision: Decision, evidence: Evidence, own: Own, now: float) -> None:
    """Say that the serving revision is below its limit, and find out whether the last good one is better."""
    name, back, judgement = decision.serving, decision.last_good, decayed(decision, own)
    memory = evidence.remembered(name)
    if not back or observed.spec.quality.on_decay == "Alert":
        judging.alert(observed, decision, judgement)
        return
    if _speaks_of_the_revision(observed, decision, evidence, own, now):
        message = (
            f"{judgement.message}; provisional, for {back} could not be compared: taken back if it falls below, too"
        )
        finding = Rejection(decision.gate.key, Reason.DECAYED, message, now, served=True, provisional=True)
        _reject(decision, finding, name)
        return
    compared = evidence.pairs.get((name, back)) if memory.verifications else None
    decision.to_measure = back
    if compared is not None and compared.is_within:
        said = f"{judgement.message}; {back} is not better on {compared.comparison.pairs} fresh requests"
        decision.finding = testing.Judgement(Reason.ROLLBACK_WOULD_NOT_HELP, said, None, judgement.reference)
        decision.to_measure = ""
        return
    count = compared.comparison.pairs if compared is not None else 0
    said = f"{judgement.message}; {back} answers copies of fresh requests to see if going back helps, {count} so far"
    decision.finding = testing.Judgement(Reason.DECAYED, said, None, judgement.reference)
    decision.verifying = True


def _speaks_of_the_revision(observed: Observed, decision: Decision, evidence: Evidence, own: Own, now: float) -> bool:
    """Tell whether a crossed limit may send the traffic back by itself: early, by the predecessor's limit, once."""
    name, back = decision.serving, decision.last_good
    worse = own.watch.worse
    return (
        observed.spec.quality.on_degraded == "Rollback"
        and own.reference_of == back
        and worse is not None
        and worse.crossed_at is not None
        and worse.crossed_at <= FIRST_OUTCOMES
        and (name, back) not in evidence.pairs
        and not observed.ready_pods(back)
        and not decision.records[name].withdrawn
        and evidence.remembered(name).verifications == 0
        and _warm_pods(observed, decision, now) == 0
    )


def _warm_pods(observed: Observed, decision: Decision, now: float) -> int:
    last_good = observed.spec.rollout.last_good
    until = (decision.records[decision.last_good].served_until or now) + quantities.seconds(last_good.for_)
    return quantities.pods(last_good.replicas, of=observed.spec.runtime.replicas) if until > now else 0


def _withdraws(decision: Decision, evidence: Evidence, own: Own) -> bool:
    """Take a provisional rejection back where the revision that the traffic went back to has fallen below, too."""
    rolled_back = [
        entry for entry in evidence.decisions.values() if entry.kind == "RolledBack" and entry.other == decision.serving
    ]
    if not rolled_back or own.decided_seq <= rolled_back[-1].seq:
        return False
    name = rolled_back[-1].revision
    record = decision.records.get(name)
    if record is None or not any(each.provisional for each in record.rejections):
        return False
    kept = [each for each in record.rejections if not each.provisional]
    decision.records[name] = record.with_(rejections=kept, withdrawn=True)
    note = f"The rejection of {name} is withdrawn: {decision.serving} is below its limit, too: {decayed(decision, own).message}"
    decision.events.append(Event("Warning", Reason.WITHDRAWN, note))
    return True


def _compare(observed: Observed, decision: Decision, evidence: Evidence, now: float) -> None:
    """Have requests copied to the last good revision while a comparison is open."""
    name, other = decision.serving, decision.last_good
    if not other or decision.is_rejected(name) or not observed.ready_pods(other):
        return
    compared = evidence.pairs.get((name, other))
    if not decision.verifying:
        left = (
            (decision.records[name].serving_since or now) + quantities.seconds(observed.spec.quality.compare_for) - now
        )
        if left <= 0 or (compared is not None and (compared.is_within or compared.is_worse)):
            return
        decision.wakes.append(left)
    decision.copies[other] = WHOLE_SHARE
