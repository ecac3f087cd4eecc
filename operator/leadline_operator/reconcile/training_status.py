"""What is said of training runs: `status.retrain`, and the Events that follow from it.

Must not decide anything.
"""

from datetime import UTC, datetime
from typing import Any, Final, Literal

from leadline_api.reasons import Reason

from leadline_operator.reconcile.decision import Decision
from leadline_operator.reconcile.observed import Observed
from leadline_operator.reconcile.plan import Event
from leadline_operator.reconcile.training_runs import End, Run
from leadline_operator.specs import revisions

_BY_HAND: Final = "leadline.dev/action=retrain@<now> begins a run"


def status(
    observed: Observed, decision: Decision, runs: tuple[Run, ...], *, hindrance: str, again: float | None
) -> dict[str, Any] | None:
    """Return `status.retrain`; None: there is nothing to say.

    Args:
        observed: What there is.
        decision: What follows for the rollout.
        runs: Oldest first.
        hindrance: Why no run begins; empty: one may.
        again: When the newest run is tried again; None: it is not.
    """
    said: dict[str, Any] | None = observed.status.get("retrain")
    if observed.spec.retrain is None:
        return None
    if observed.ledger is None and observed.settings.ledger_url:
        return said or {"phase": "Waiting", "message": hindrance}  # what the ledger knows is said once it was read
    last = runs[-1] if runs else None
    result: dict[str, Any] = {"phase": "Waiting", "message": hindrance or f"No run yet; {_BY_HAND}"}
    if last is not None:
        result = _of_run(observed, decision, last, again)
    waits = hindrance if last is None or last.end is not None else ""
    if decision.retrain_command and hindrance:
        result["message"] = f"{result['message']}; {decision.retrain_command} waits: {hindrance}"
    elif last is not None and waits and "ledger" in waits:
        result["message"] = f"{result['message']}; {waits}"
    if observed.product is not None:
        product = observed.product
        result["product"] = {
            "id": product.run,
            "revision": decision.desired,
            "uri": product.uri,
            "digest": product.digest,
        }
    return result


def _of_run(observed: Observed, decision: Decision, run: Run, again: float | None) -> dict[str, Any]:
    result: dict[str, Any] = {
        "phase": "Running",
        "id": run.id,
        "attempt": run.attempt,
        "reason": run.because[:256],
        "startedAt": _stamp(run.at),
    }
    if run.end is None:
        job = run.job["metadata"]["name"] if run.job is not None else ""
        return result | {"message": f"Job {job}" + (f": {run.waiting}" if run.waiting else "")}
    phase, message = _outcome(observed, decision, run.end, again)
    brought = {"uri": run.end.uri, "digest": run.end.digest} if run.end.uri else {}
    return result | {"phase": phase, "endedAt": _stamp(run.end.at), **brought, "message": message}


def _outcome(observed: Observed, decision: Decision, end: End, again: float | None) -> tuple[str, str]:
    notes = f"; {end.notes}" if end.notes else ""
    if end.result == "RetrainFailed":
        then = f"tried again at {_stamp(again)}" if again is not None else f"not tried again; {_BY_HAND}"
        return "Failed", f"{end.message}; {then}"
    written = (observed.own_spec or observed.spec).model
    if (written.uri, written.digest) == (end.uri, end.digest):
        phase = "Serving" if decision.serving == decision.desired else "Candidate"
        return phase, f"spec.model names what it brought: {decision.desired}{notes}"
    if end.result == "RetrainProposed":
        return "Proposed", f"To serve it, put spec.model.uri: {end.uri} and digest: {end.digest}{notes}"
    if not end.is_known:
        return "Candidate", f"It is tried once the ledger holds it{notes}"
    spec = observed.own_spec or observed.spec
    model = spec.model.model_copy(update={"uri": end.uri, "digest": end.digest})
    name = revisions.name_of(observed.owner.name, spec.model_copy(update={"model": model}))
    record = decision.records.get(name)
    if record is not None and record.rejections:
        finding = record.rejections[-1]
        return "Rejected", f"{name} is rejected: {finding.reason}: {finding.message}"
    if decision.desired != name:
        return "Superseded", "The spec has asked for another model since, or spec.retrain.mode is no longer Auto"
    if decision.serving == name:
        return "Serving", f"{name} serves in the place of spec.model{notes}"
    return "Candidate", f"{name} is tried in the place of spec.model{notes}"


_EVENTS: Final[dict[str, tuple[Literal["Normal", "Warning"], Reason]]] = {
    "Running": ("Normal", Reason.RETRAIN_STARTED),
    "Failed": ("Warning", Reason.RETRAIN_FAILED),
    "Proposed": ("Normal", Reason.RETRAIN_PROPOSED),
    "Candidate": ("Normal", Reason.RETRAIN_PRODUCED),
    "Serving": ("Normal", Reason.RETRAIN_PRODUCED),
    "Rejected": ("Normal", Reason.RETRAIN_PRODUCED),
    "Superseded": ("Normal", Reason.RETRAIN_PRODUCED),
}


def events(before: dict[str, Any], after: dict[str, Any]) -> tuple[Event, ...]:
    """Return the Event that follows where one `status.retrain` comes after another: a run began, or it ended."""
    same = before.get("id") == after.get("id")
    if after.get("phase") not in _EVENTS or not after.get("id") or (same and before["phase"] != "Running"):
        return ()
    if same and after["phase"] == "Running":
        return ()
    kind, reason = _EVENTS[after["phase"]]
    said = f"Run {after['id']}, try {after['attempt']} ({after['reason']}): {after['message']}"
    return (Event(kind, reason, said[:1024]),)


def _stamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
