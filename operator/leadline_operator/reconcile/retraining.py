"""Train anew, and take or propose what comes of it: `spec.retrain`.

One run at a time. It begins with a Job and is told to the ledger, and so is its end; the next one begins when the log holds
both. What a run brought in mode Auto stands in for the model that the spec names: the spec is laid over with it before a rollout
is decided, so that it is a candidate as any other. It does so until it is rejected, a newer one is there, or the spec itself
asks for another model. A ledger that does not answer starts no run and takes none back: no answer is not a bad answer.

Must not judge a model: a run's product is tested, compared and rejected by `rollout` as any revision.
"""

import hashlib
import json
from dataclasses import replace
from typing import Final

from leadline_api import quantities
from leadline_api.retraining import Retrain
from leadline_wire.ledger import Decision as Told

from leadline_operator.reconcile import announcing, training_runs, training_triggers
from leadline_operator.reconcile.decision import Decision, Training
from leadline_operator.reconcile.evidence import Evidence
from leadline_operator.reconcile.observed import Observed
from leadline_operator.reconcile.records import Record, Trained
from leadline_operator.reconcile.training_runs import Run
from leadline_operator.reconcile.training_status import status
from leadline_operator.reconcile.training_triggers import Trigger
from leadline_operator.specs import training
from leadline_operator.specs.metadata import Manifest

LONGEST_BACKOFF_SECONDS: Final = 86_400.0
NEWS_SECONDS: Final = 86_400.0
"""For how long it is news that a run ended: somebody is to change the spec, and may be away for a night."""
_ASKED: Final = "RetrainAsked"


def with_product(observed: Observed) -> Observed:
    """Return what was observed with the product of the newest training run in the place of the spec's own model.

    The same where there is none, where it is rejected, or where the spec has asked for another model since.
    """
    retrain = observed.spec.retrain
    if retrain is None or retrain.mode != "Auto":
        return observed
    base, evidence = training_runs.model_key(observed.spec), _evidence(observed)
    products = _products(observed, evidence)
    if not any(each.base == base for each in products):
        return observed
    own = observed.by_name.get(observed.desired)
    record = own.record if own is not None else Record()
    if record.asked_at < max((each.record.asked_at for each in observed.revisions), default=0.0):
        return observed  # the spec has come back to it in this pass
    since = max(record.asked_at, record.wanted_at, _promoted_by_the_spec(evidence, products))
    for product in products:
        if product.base != base or product.at < since:
            continue
        laid = _laid_over(observed, product)
        if not _is_rejected(laid, evidence):
            return laid
    return observed


def _laid_over(observed: Observed, product: Trained) -> Observed:
    spec = observed.spec
    model = spec.model.model_copy(update={"uri": product.uri, "digest": product.digest})
    laid = spec.model_copy(update={"model": model})
    return replace(observed, spec=laid, own_spec=spec, product=product)


def _products(observed: Observed, evidence: Evidence) -> list[Trained]:
    """Return what runs brought in mode Auto, newest first: by the ledger's log, and by the records where it was not read."""
    found = {each.record.trained.run: each.record.trained for each in observed.revisions if each.record.trained}
    for entry in evidence.decisions.values():
        if entry.kind == "RetrainProduced":
            data = entry.data
            found[data["id"]] = Trained(
                run=data["id"], uri=data["uri"], digest=data["digest"], base=data["base"], at=entry.at_ms / 1000
            )
    return sorted(found.values(), key=lambda each: -each.at)


def _promoted_by_the_spec(evidence: Evidence, products: list[Trained]) -> float:
    """Return when a revision that no run brought last got the traffic because the spec asked for it, by the ledger's log."""
    brought = {(each.uri, each.digest) for each in products}
    for entry in reversed(tuple(evidence.decisions.values())):
        if entry.kind == "Promoted" and "inputs" in entry.data:
            inputs = json.loads(entry.data["inputs"])
            if (inputs.get("uri"), inputs.get("digest")) not in brought:
                return entry.at_ms / 1000
    return 0.0


def _is_rejected(laid: Observed, evidence: Evidence) -> bool:
    """Tell whether anything was ever found against a product: unlike what the spec names, nobody asks for it again."""
    known = laid.by_name.get(laid.desired)
    record = known.record if known is not None else announcing.record_of(evidence, laid.desired)
    return record is not None and bool(record.rejections)


def step(observed: Observed, decision: Decision, now: float) -> None:
    """Say what follows for training runs, after the rollout was decided."""
    spec = observed.spec
    evidence = _evidence(observed)
    asked = [each for each in evidence.decisions.values() if each.kind == _ASKED]
    if spec.retrain is None and not observed.jobs and not (asked and asked[-1].data["key"]):
        return
    _remember(observed, decision, now)
    runs = training_runs.runs_of(observed, observed.own_spec or spec, now)
    told = [told for run in runs if not run.is_settled for told in training_runs.told_of(run)]
    key = _key(spec.retrain)
    if key != (asked[-1].data["key"] if asked else ""):
        told.append(Told(f"retrain/asked/{len(asked)}/{key}", _ASKED, "", round(now * 1000), data={"key": key}))
    if any(run.end is None and run.is_complete for run in runs):
        decision.wakes.append(training_runs.POD_SECONDS)
    starting = None
    hindrance = _hindrance(observed, decision, runs)
    if spec.retrain is not None and not hindrance and asked and asked[-1].data["key"] == key:
        starting = _due(observed, decision, spec.retrain, runs, since=asked[-1].at_ms / 1000, now=now)
    created = _begun(observed, decision, spec.retrain, starting) if spec.retrain is not None and starting else None
    decision.training = Training(
        create=created,
        delete=tuple(
            run.job
            for i, run in enumerate(runs)
            if run.job is not None and _is_over(run, spec.retrain, i == len(runs) - 1)
        ),
        told=tuple(told),
        notices=tuple(
            training_runs.told_end(run, run.end)
            for run in runs
            if run.end is not None and now - run.end.at < NEWS_SECONDS
        ),
        status=status(observed, decision, runs, hindrance=hindrance, again=_retry_at(spec.retrain, runs)),
    )


def _remember(observed: Observed, decision: Decision, now: float) -> None:
    """Note in the desired revision's record that a run brought it, or since when the spec itself asks for it."""
    name = decision.desired
    if decision.is_unreadable(name):
        return
    record, product = decision.records[name], observed.product
    if product is not None and (record.trained is None or record.trained.run != product.run):
        decision.records[name] = record.with_(trained=product)
    elif product is None and observed.spec.retrain is not None:
        newest = max(each.asked_at for each in decision.records.values())
        if record.asked_at == 0.0 or record.asked_at < newest:
            decision.records[name] = record.with_(asked_at=max(now, newest))


def _hindrance(observed: Observed, decision: Decision, runs: tuple[Run, ...]) -> str:
    """Return why no run may begin, whatever asks for one; empty: one may."""
    if not observed.settings.ledger_url:
        return "No run begins: the operator was installed without a ledger"
    if observed.ledger is None or observed.ledger.trouble:
        return "No run begins while the ledger does not answer"
    serving = observed.by_name.get(decision.serving)
    if serving is None or not serving.digest:
        return "No run begins before a revision serves"
    if not all(run.is_settled for run in runs):
        return "Another run is not over"
    return ""


def _due(
    observed: Observed, decision: Decision, retrain: Retrain, runs: tuple[Run, ...], *, since: float, now: float
) -> tuple[Trigger, int] | None:
    """Return what a run is to begin for now, and which try it is; None: nothing, and it is noted when to look again."""
    last = runs[-1] if runs else None
    if decision.retrain_command:
        return Trigger(f"command/{decision.retrain_command}", f"Command {decision.retrain_command}"), 1
    if retrain.when.schedule is not None:
        at = training_triggers.next_time(retrain.when.schedule, now)
        if at is not None:
            decision.wakes.append(max(1.0, at - now))
    again = _retry_at(retrain, runs)
    if last is not None and again is not None and last.base == _base(observed):
        if now >= again:
            return Trigger(last.trigger, last.because), last.attempt + 1
        decision.wakes.append(again - now)
        return None
    known = {run.trigger for run in runs}
    evidence, count = _evidence(observed), len(known)
    found = training_triggers.triggers(decision, evidence, retrain, since=since, runs=count, now=now)
    fresh = next((each for each in found if each.name not in known), None)
    left = last.at + quantities.seconds(retrain.cooldown) - now if last is not None else 0.0
    if fresh is not None and left > 0:
        decision.wakes.append(left)
        return None
    return (fresh, 1) if fresh is not None else None


def _retry_at(retrain: Retrain | None, runs: tuple[Run, ...]) -> float | None:
    """Return when the newest run is to be tried again; None: it is not, or it did not fail."""
    last = runs[-1] if runs else None
    if retrain is None or last is None or last.end is None or last.end.result != "RetrainFailed":
        return None
    if last.attempt > retrain.retries:
        return None
    pause: float = quantities.seconds(retrain.backoff) * 2.0 ** (last.attempt - 1)
    return last.end.at + min(LONGEST_BACKOFF_SECONDS, pause)


def _begun(observed: Observed, decision: Decision, retrain: Retrain, starting: tuple[Trigger, int]) -> Manifest:
    trigger, attempt = starting
    serving = observed.by_name[decision.serving]
    run = Run(
        id=training_runs.run_id(trigger.name, attempt),
        trigger=trigger.name,
        because=trigger.because,
        attempt=attempt,
        mode=retrain.mode,
        base=_base(observed),
        revision=serving.name,
        at=0.0,
    )
    return training.job(
        observed.owner,
        run=run.id,
        facts=run.facts,
        retrain=retrain,
        ledger_url=observed.settings.ledger_url,
        serving={
            "revision": serving.name,
            "uri": serving.stored.inputs.get("uri", ""),
            "digest": serving.digest,
        },
    )


def _is_over(run: Run, retrain: Retrain | None, is_newest: bool) -> bool:  # noqa: FBT001 - one caller
    """Tell whether a run's Job is to go: the ledger knows how it ended, and a newer one is there; or nobody asks for it."""
    if run.job is None or run.job["metadata"].get("deletionTimestamp"):
        return False
    if retrain is None:
        return run.end is None or run.end.is_known
    return not is_newest and run.end is not None and run.end.is_known


def _key(retrain: Retrain | None) -> str:
    """Return the hash of what times and outcomes are counted for; empty: for nothing."""
    if retrain is None:
        return ""
    asked = json.dumps([retrain.when.schedule, retrain.when.new_outcomes is not None])
    return hashlib.sha256(asked.encode()).hexdigest()[:8]


def _base(observed: Observed) -> str:
    return training_runs.model_key(observed.own_spec or observed.spec)


def _evidence(observed: Observed) -> Evidence:
    return observed.ledger.evidence if observed.ledger is not None else Evidence()
