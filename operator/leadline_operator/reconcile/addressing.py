"""How each pod is to be addressed: its role, where it forwards, which run of the test set it should have done."""

from typing import Final

from leadline_api import names, quantities
from leadline_api.spec import Outcomes
from leadline_wire.exchange import CaptureSettings, Copy, Forward, LabelsRequest, OutcomeSettings, Role, Split

from leadline_operator.reconcile import labelling, objectives
from leadline_operator.reconcile.decision import Decision
from leadline_operator.reconcile.observed import Observed, Pod
from leadline_operator.reconcile.plan import Sounding

FAST_SECONDS: Final = 0.5
"""Between soundings of a pod that is on its way somewhere."""
SLOW_SECONDS: Final = 5.0
"""Between soundings of a pod that is stuck."""
STEADY_SECONDS: Final = 600.0
FIRST_ROTATION_AT: Final = 1_767_225_600.0
"""2026-01-01, in seconds since the epoch: rotations are counted by the calendar, so that nobody has to remember them."""
ROTATION_SECONDS: Final = 90 * 86_400.0
"""For which one key signs receipts; those before it are still believed."""


def soundings(observed: Observed, decision: Decision, now: float, *, stuck: bool) -> tuple[Sounding, ...]:
    """Return one Sounding per pod that has an address."""
    result = []
    labeller = labelling.pod(observed, decision)
    outcomes, copies, splits = _outcomes(observed, now), _copies(observed, decision), _splits(observed, decision)
    for pod in observed.pods:
        if not pod.ip or pod.terminating:
            continue
        role, forward = _role(observed, decision, pod)
        revision = observed.by_name.get(pod.revision)
        result.append(
            Sounding(
                pod=pod.name,
                uid=pod.uid,
                ip=pod.ip,
                revision=pod.revision,
                role=role,
                forward=forward,
                digest=revision.digest if revision else "",
                test_set=decision.requests.get(pod.revision),
                every_seconds=min(
                    _every(decision, pod, role, stuck=stuck),
                    objectives.slot_seconds(observed, pod.revision, now) or STEADY_SECONDS,
                ),
                outcomes=outcomes,
                copies=copies if pod.revision == decision.serving and role == "serving" else (),
                splits=splits if pod.revision == decision.serving and role == "serving" else (),
                labels=_labels(observed, decision) if pod is labeller and role == "serving" else None,
            )
        )
    return tuple(result)


def _outcomes(observed: Observed, now: float) -> OutcomeSettings | None:
    """Return how predictions get receipts; None where no outcomes are taken."""
    wanted = observed.spec.outcomes
    if wanted is None or not observed.settings.ledger_url:
        return None
    prediction = next(iter(observed.spec.model.predictions), None)
    return OutcomeSettings(
        ledger=observed.settings.ledger_url,
        share=wanted.percent * 10_000,
        key_by=wanted.key_by,
        maturity_ms=round(quantities.seconds(wanted.maturity) * 1000),
        max_age_ms=round(quantities.seconds(wanted.max_age) * 1000),
        entity=wanted.entity or "",
        rotation=max(0, int((now - FIRST_ROTATION_AT) // ROTATION_SECONDS)),
        output=prediction.output if prediction is not None else "",
        positive=next((each.positive or "" for each in observed.spec.quality.metrics if each.metric == "auc"), ""),
        sources="" if wanted.sources is None else "Required" if wanted.sources.required else "Optional",
        per_hour=wanted.sources.per_hour or 0 if wanted.sources is not None else 0,
        scores=(prediction.scores or "") if prediction is not None else "",
        capture=_capture(wanted),
    )


def _capture(wanted: Outcomes) -> CaptureSettings | None:
    """Return whose inputs are captured; None: nobody's."""
    capture = wanted.capture
    if capture is None:
        return None
    return CaptureSettings(
        share=capture.percent * 10_000,
        drop=list(capture.drop),
        keep_ms=round(quantities.seconds(capture.retention or wanted.max_age) * 1000),
        max_bytes=quantities.size_bytes(capture.max_size),
        gather_ms=round(quantities.seconds(capture.every) * 1000),
    )


def _copies(observed: Observed, decision: Decision) -> tuple[Copy, ...]:
    """Return where the serving pods copy requests to: the own port of others, which never forwards."""
    found = []
    for name, share in decision.copies.items():
        address = observed.address(name)
        if address:
            found.append(Copy(revision=name, host=address, port=names.SERVICE_PORT, share=share))
    return tuple(found)


def _labels(observed: Observed, decision: Decision) -> LabelsRequest:
    """Return who answers labelled rows beside the serving revision."""
    if not decision.labels:
        return LabelsRequest()
    return LabelsRequest(Copy(decision.labels, observed.address(decision.labels), names.SERVICE_PORT))


def _splits(observed: Observed, decision: Decision) -> tuple[Split, ...]:
    """Return who answers a share of the serving pods' requests: the own port of a candidate."""
    addresses = {name: observed.address(name) for name in decision.splits}
    return tuple(
        Split(revision=name, host=addresses[name], port=names.SERVICE_PORT, share=share)
        for name, share in decision.splits.items()
        if addresses[name]
    )


def _role(observed: Observed, decision: Decision, pod: Pod) -> tuple[Role, Forward | None]:
    # A pod that still gets traffic answers until the selector has moved; the target's answer before it moves.
    if pod.revision in (decision.serving, decision.selected, decision.target):
        return "serving", None
    record = decision.records.get(pod.revision)
    address = observed.address(decision.serving)
    may_have_served = record is not None and (record.serving_since is not None or decision.is_unreadable(pod.revision))
    if may_have_served and address:
        return "standby", Forward(revision=decision.serving, host=address, port=names.SERVICE_PORT)
    return "candidate", None


def _every(decision: Decision, pod: Pod, role: Role, *, stuck: bool) -> float:
    report = pod.report
    request = decision.requests.get(pod.revision)
    tested = request is None or (
        report is not None
        and report.test_set is not None
        and report.test_set.run == request.run
        and report.test_set.state in ("Done", "Failed")
    )
    arrived = (
        report is not None
        and pod.ready  # a container that starts anew has forgotten what it was told
        and report.phase == "Ready"
        and report.role == role
        and report.forwarding == (role == "standby")
        and tested
        and (pod.revision in (decision.serving, decision.last_good) or decision.is_unreadable(pod.revision))
    )
    if arrived:
        return min(STEADY_SECONDS, decision.gate.interval_seconds or STEADY_SECONDS)
    return SLOW_SECONDS if stuck else FAST_SECONDS
