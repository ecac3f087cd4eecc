"""What the ledger is to be told: every decision that the records hold and its log does not.

Asked anew at each pass, so that nothing is lost when the operator is killed or the ledger is away; each decision has a
name of its own, so that it stands in the log once. Also the way back: what the log remembers of a ModelDeployment that
was deleted and made again. Must not decide anything new.
"""

import json
from collections.abc import Mapping
from typing import Any

from leadline_wire.ledger import Decision as Told
from leadline_wire.ledger import DecisionEntry

from leadline_operator.reconcile import judging_outcomes, terms
from leadline_operator.reconcile.decision import Decision
from leadline_operator.reconcile.evidence import Evidence
from leadline_operator.reconcile.observed import Observed
from leadline_operator.reconcile.records import Record, Rejection

_TEXT_MAX = 1_024
NOTICE_SECONDS = 3_600.0
"""For how long a decision is news."""


def announcements(observed: Observed, decision: Decision, now: float) -> tuple[Told, ...]:
    """Return the decisions that the ledger's log lacks, in the order in which it is to hold them."""
    if observed.ledger is None:
        return ()
    evidence = observed.ledger.evidence
    told = [*_terms(observed, evidence, now), *_findings(decision), *_switches(observed, decision, evidence)]
    serving, back = decision.serving, decision.last_good
    if decision.must_begin_verifying:
        number = evidence.remembered(serving).verifications + 1
        told.append(Told(f"verify/{serving}/{number}", "Verifying", serving, _ms(now), other=back))
    if decision.training is not None:
        told += decision.training.told
    return tuple(each for each in told if each.id not in evidence.decisions)


def notices(observed: Observed, decision: Decision, now: float) -> tuple[Told, ...]:
    """Return what was decided lately, oldest first, whether or not there is a ledger: for whoever wants to be told."""
    since = _ms(now - NOTICE_SECONDS)
    switches = [
        _switch(observed, decision, name, record.serving_since)
        for name, record in decision.records.items()
        if record.serving_since is not None and _ms(record.serving_since) >= since
    ]
    lately = [each for each in (*_findings(decision), *switches) if each.at_ms >= since]
    told = [_with_digests(observed, decision, each) for each in lately]
    if decision.training is not None:
        told += decision.training.notices
    return tuple(sorted(told, key=lambda each: each.at_ms))


def _with_digests(observed: Observed, decision: Decision, told: Told) -> Told:
    """Return a decision without what only a restored revision needs, and with the models' digests."""
    digests = {
        key: decision.digests.get(name) or (observed.by_name[name].digest if name in observed.by_name else "")
        for key, name in (("digest", told.revision), ("otherDigest", told.other))
    }
    kept = {key: value for key, value in told.data.items() if key not in ("inputs", "template")}
    probability = observed.spec.quality.false_rollback_probability
    more = {"falseRollbackProbability": probability, **{key: value for key, value in digests.items() if value}}
    return Told(told.id, told.kind, told.revision, told.at_ms, other=told.other, data=kept | more)


def _terms(observed: Observed, evidence: Evidence, now: float) -> list[Told]:
    asked = terms.asked(observed.spec)
    if not asked or evidence.key == asked[0].key:
        return []
    number = sum(each.kind == "Terms" for each in evidence.decisions.values())
    return [Told(f"terms/{number}/{asked[0].key}", "Terms", "", _ms(now), data=terms.data_of(asked))]


def _findings(decision: Decision) -> list[Told]:
    found = []
    for name, record in decision.records.items():
        for rejection in (*record.pardoned, *record.rejections):
            data = {"gate": rejection.gate, "reason": rejection.reason, "message": rejection.message[:_TEXT_MAX]}
            if rejection.served:
                data["served"] = "true"
            if rejection.provisional:
                data["provisional"] = "true"
            if rejection.command:
                data["command"] = rejection.command
            if rejection.measured:
                data["measured"] = json.dumps(rejection.measured)
            told = Told(f"rejected/{name}/{_ms(rejection.at)}", "Rejected", name, _ms(rejection.at), data=data)
            found.append((rejection.at, 0, told))
        if record.retries:
            told = Told(judging_outcomes.retry_id(name, record), "Retried", name, _ms(record.wanted_at))
            # In its place among the findings: its own time moves when the revision is wanted anew.
            found.append((max(each.at for each in record.pardoned), 1, told))
        if record.withdrawn_at is not None:
            told = Told(f"withdrawn/{name}", "Withdrawn", name, _ms(record.withdrawn_at))
            found.append((record.withdrawn_at, 2, told))
    return [told for _, _, told in sorted(found, key=lambda each: each[:2])]


def _switches(observed: Observed, decision: Decision, evidence: Evidence) -> list[Told]:
    """Tell who got the traffic when: promoted by the spec, or because the one before was found bad."""
    serving = sorted(
        (record.serving_since, name) for name, record in decision.records.items() if record.serving_since is not None
    )
    # What the log has is not put together again at each pass: a pod template is some kilobytes.
    return [
        _switch(observed, decision, name, since)
        for since, name in serving
        if _switch_id(name, since) not in evidence.decisions
    ]


def _switch_id(name: str, since: float) -> str:
    return f"serves/{name}/{_ms(since)}"


def _switch(observed: Observed, decision: Decision, name: str, since: float) -> Told:
    identifier = _switch_id(name, since)
    before = _lost_to(decision, since)
    lost = decision.records[before] if before else Record()
    findings = [
        each
        for each in lost.rejections
        if each.served and (lost.serving_since or 0) <= each.at <= since and each.gate in ("", decision.gate.key)
    ]
    data: dict[str, str] = {}
    evidence = observed.ledger.evidence if observed.ledger is not None else Evidence()
    # A candidate need not wait for a way back that has no pods.
    rolls_forward = name == decision.desired and not evidence.remembered(name).served
    if findings and not rolls_forward:
        if any(each.provisional for each in findings):
            data["provisional"] = "true"
        return Told(identifier, "RolledBack", before, _ms(since), other=name, data=data)
    revision = observed.by_name.get(name)
    if revision is not None:
        data = {
            "inputs": json.dumps(revision.stored.inputs, sort_keys=True),
            "template": json.dumps(revision.stored.template, sort_keys=True),
            "digest": decision.digests.get(name) or revision.digest,
        }
    return Told(identifier, "Promoted", name, _ms(since), other=before, data=data)


def _lost_to(decision: Decision, since: float) -> str:
    """Return who lost the traffic at a time: later by its record, where the pass was cut between the two; empty: nobody."""
    return next(
        (
            name
            for name, each in decision.records.items()
            if each.serving_since is not None and each.serving_since < since <= (each.served_until or 0)
        ),
        "",
    )


def remembered(evidence: Evidence, desired: str, gate: str) -> dict[str, Record]:
    """Return the records of revisions that a ModelDeployment of this name had, as the log knows them.

    Of the desired one what was found against it; where that still holds, also the one that served last, so that the
    traffic has a place to go. One against which nothing was found starts like any other, with the digest it had.
    """
    record = record_of(evidence, desired)
    if record is None or not (record.rejections or record.pardoned or record.withdrawn_at):
        return {}
    found = {desired: record}
    serving = evidence.serving
    if record.rejection(gate) is not None and serving and serving != desired and template_of(evidence, serving):
        known = record_of(evidence, serving)
        if known is not None:
            found[serving] = known
    return found


def template_of(evidence: Evidence, revision: str) -> dict[str, Any] | None:
    """Return inputs, pod template and digest of a revision that served, as they were frozen; None where none is known."""
    for entry in reversed(tuple(evidence.decisions.values())):
        if entry.kind == "Promoted" and entry.revision == revision and entry.data.get("template"):
            return {
                "inputs": json.loads(entry.data["inputs"]),
                "template": json.loads(entry.data["template"]),
                "digest": entry.data.get("digest", ""),
            }
    return None


def digest_of(evidence: Evidence, revision: str) -> str:
    """Return the digest that a revision's bytes had when it served; empty: none is known."""
    known = template_of(evidence, revision)
    return str(known["digest"]) if known else ""


def record_of(evidence: Evidence, revision: str) -> Record | None:
    """Return what the log knows of a revision, as a record holds it; None: nothing that a record would hold."""
    record, is_known = Record(), False
    for entry in evidence.decisions.values():
        at = entry.at_ms / 1000
        if entry.kind == "Rejected" and entry.revision == revision:
            record, is_known = record.rejected(_rejection(entry)), True
        elif entry.kind == "Retried" and entry.revision == revision:
            record = record.with_(pardoned=[*record.pardoned, *record.rejections], rejections=[])
        elif entry.kind == "Withdrawn" and entry.revision == revision:
            record = record.with_(
                rejections=[each for each in record.rejections if not each.provisional], withdrawn_at=at
            )
        elif entry.kind in ("Promoted", "RolledBack"):
            gains = entry.revision if entry.kind == "Promoted" else entry.other
            if gains == revision:
                record, is_known = record.with_(serving_since=at, served_until=None), True
            elif record.serving_since is not None and record.served_until is None:
                record = record.with_(served_until=at)
    return record if is_known else None


def measured_of(data: Mapping[str, str]) -> dict[str, str]:
    """Return the numbers that a decision rests on, as they were told; empty: none were."""
    found: dict[str, str] = json.loads(data.get("measured", "{}"))
    return found


def _rejection(entry: DecisionEntry) -> Rejection:
    data = entry.data
    return Rejection(
        gate=data.get("gate", ""),
        reason=data.get("reason", ""),
        message=data.get("message", ""),
        at=entry.at_ms / 1000,
        served=data.get("served") == "true",
        command=data.get("command", ""),
        provisional=data.get("provisional") == "true",
        measured=measured_of(data),
    )


def _ms(at: float) -> int:
    return round(at * 1000)
