"""What a revision is judged by. Memory of a finding is keyed by it: another gate, another chance."""

import hashlib
import json
from dataclasses import dataclass

from leadline_api import quantities
from leadline_api.spec import ModelDeploymentSpec, TestSet
from leadline_stats import budgets


@dataclass(frozen=True, slots=True)
class Gate:
    """The metric, its limits, and the test set that it is measured on."""

    key: str
    metric: str
    """Name of the metric; empty: nothing is judged."""
    margin: float
    floor: float | None
    alpha: float
    """Probability with which the test set may condemn a good revision, over all its tries."""
    test_set: TestSet | None
    set_key: str
    output: str
    interval_seconds: float

    def alpha_of_try(self, retries: int) -> float:
        """Return the level of a try; those of all retries sum to alpha."""
        return self.alpha if retries == 0 else budgets.retest_alpha(self.alpha, retries)


def gate_of(spec: ModelDeploymentSpec) -> Gate:
    """Return the gate that a spec asks for."""
    quality = spec.quality
    metric = quality.metrics[0] if quality.metrics else None
    test_set = quality.test_set if metric else None
    output = spec.model.predictions[0].output if spec.model.predictions else ""
    named = [test_set.uri, test_set.digest, test_set.truth, output] if test_set else []
    limits = [metric.name, metric.metric, metric.margin, metric.floor] if metric else []
    limits += [metric.positive] if metric and metric.positive is not None else []
    return Gate(
        key=key_of([limits, quality.false_rollback_probability, named]),
        metric=metric.name if metric else "",
        margin=float(metric.margin) if metric else 0.0,
        floor=float(metric.floor) if metric and metric.floor is not None else None,
        alpha=budgets.shares(float(quality.false_rollback_probability)).test_set,
        test_set=test_set,
        set_key=key_of(named) if test_set else "",
        output=output,
        interval_seconds=quantities.seconds(test_set.interval) if test_set else 0.0,
    )


def key_of(value: object) -> str:
    """Return the hash by which one gate is told from another."""
    return hashlib.sha256(json.dumps(value, separators=(",", ":")).encode()).hexdigest()[:12]
