"""A world with training runs: Jobs that end as a test says, and a ledger that is told of them."""

import dataclasses
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from leadline_api import names
from leadline_api.spec import ModelDeploymentSpec
from leadline_operator.reconcile.observed import Observed
from leadline_operator.specs import revisions

from tests.unit.reconcile.outcomes_world import OutcomesWorld
from tests.unit.reconcile.world import TEST_SET, a_world, copied, uri


@dataclass
class TrainingWorld(OutcomesWorld):
    """A World whose Jobs run until they are told to end."""

    trainers: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Pods by the name of their Job."""

    def observe(self) -> Observed:
        observed = super().observe()
        jobs = self._of("Job")
        pods = tuple(copied(pod) for name, pod in self.trainers.items() if name in jobs)
        return dataclasses.replace(observed, jobs=jobs, trainers=pods)

    def write(self, write: Any) -> None:
        super().write(write)
        for (kind, _), live in self.objects.items():
            if kind == "Job":
                live["metadata"].setdefault("creationTimestamp", _stamp(self.now))

    @property
    def jobs(self) -> list[dict[str, Any]]:
        """Jobs that have not ended."""
        return [live for (kind, _), live in self.objects.items() if kind == "Job" and "status" not in live]

    @property
    def retrain(self) -> dict[str, Any]:
        found: dict[str, Any] = self.status["retrain"]
        return found

    def facts(self) -> dict[str, str]:
        """Why the only Job that runs was begun."""
        (job,) = self.jobs
        found: dict[str, str] = json.loads(job["metadata"]["annotations"][names.RETRAIN_ANNOTATION])
        return found

    def end_job(self, message: str = "", *, status: int = 0, pod: bool = True) -> None:
        """Have the only Job that runs end."""
        (job,) = self.jobs
        kind = "Failed" if status else "Complete"
        job["status"] = {"conditions": [{"type": kind, "status": "True", "lastTransitionTime": _stamp(self.now)}]}
        job["metadata"]["resourceVersion"] += "1"
        if pod:
            ended = {"name": "train", "state": {"terminated": {"exitCode": status, "message": message}}}
            labels = job["spec"]["template"]["metadata"]["labels"]
            self.trainers[job["metadata"]["name"]] = {
                "metadata": {"name": "p", "labels": labels},
                "status": {"containerStatuses": [ended]},
            }

    def bring(self, model: str) -> None:
        """Have the only Job that runs bring a model."""
        self.end_job(json.dumps({"uri": uri(model), "digest": self.models[uri(model)].digest, "metrics": {"f1": 0.9}}))

    def trained(self, model: str) -> str:
        """Return the name of the revision that a product is."""
        named = {"uri": uri(model), "digest": self.models[uri(model)].digest}
        return revisions.name_of("digits", ModelDeploymentSpec.model_validate({"model": named}))

    def told(self, kind: str) -> list[Any]:
        return [each for each in self.log if getattr(each, "kind", "") == kind]


def _stamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def a_training_world(*, when: dict[str, Any] | None = None, tested: bool = True, **retrain: Any) -> TrainingWorld:
    """Return a world that trains anew; by a test set, where it is tested, else by outcomes."""
    plain = a_world(tested=tested)
    metric = {"name": "accuracy", "metric": "accuracy", "margin": "0.02"}
    asked = {"when": when or {}, "jobTemplate": {"image": "trainer:1"}, "cooldown": "0s", **retrain}
    spec = {
        **plain.spec,
        "quality": {"metrics": [metric], **({"testSet": dict(TEST_SET)} if tested else {})},
        "outcomes": {"maturity": "0s"},
        "retrain": asked,
    }
    return TrainingWorld(spec, plain.models)
