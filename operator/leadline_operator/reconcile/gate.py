"""What a revision is judged by. Memory of a finding is keyed by it: another gate, another chance."""

import hashlib
import json
from dataclasses import dataclass

from leadline_api import quantities
from leadline_api.quality import Metric, TestSet
from leadline_api.spec import ModelDeploymentSpec
from leadline_stats import budgets


@dataclass(frozen=True, slots=True)
class Grown:
    """A test set that the ledger made out of outcomes, for one revision to be tested by."""

    revision: str
    rows: int = 0
    digest: str = ""
    trouble: str = ""
    """Why none could be made; empty: it was."""


@dataclass(frozen=True, slots=True)
class Gate:
    """The metrics, and the test set that one of them, of accuracy, is measured on."""

    key: str
    metric: str
    """Name of the metric that the test set measures, else of the first; empty: nothing is judged."""
    margin: float
    """Of that metric; 0 where the test set does not measure it."""
    floor: float | None
    alpha: float
    """Probability with which the test set may condemn a good revision, over all its tries."""
    test_set: TestSet | None
    set_key: str
    output: str
    interval_seconds: float
    grows: bool = False
    """The test set is made out of outcomes; it is then known by that alone, and not by what is in it today."""
    grown: Grown | None = None
    """The one that was made for the desired revision; None: none yet, and there is none to wait for where `test_set` is None."""

    @property
    def is_awaited(self) -> bool:
        """Tell whether a test set is still being made."""
        return self.test_set is not None and self.grows and self.grown is None

    def alpha_of_try(self, retries: int) -> float:
        """Return the level of a try; those of all retries sum to alpha."""
        return self.alpha if retries == 0 else budgets.retest_alpha(self.alpha, retries)


def gate_of(spec: ModelDeploymentSpec) -> Gate:
    """Return the gate that a spec asks for."""
    quality = spec.quality
    metric = next((each for each in quality.metrics if each.metric == "accuracy"), None)
    test_set = quality.test_set if metric else None
    if metric is None or test_set is None:
        metric = next(iter(quality.metrics), None)
    output = spec.model.predictions[0].output if spec.model.predictions else ""
    named = _named(test_set, output) if test_set else []
    others = [_limits(each) for each in quality.metrics if each is not metric]
    limits = (_limits(metric) if metric else []) + ([others] if others else [])
    objectives = [spec.objectives.words] if spec.objectives is not None else []
    shares = budgets.shares(float(quality.false_rollback_probability), metrics=max(1, len(quality.metrics)))
    return Gate(
        key=key_of([limits, quality.false_rollback_probability, named, *objectives]),
        metric=metric.name if metric else "",
        margin=metric.tolerated if metric and test_set else 0.0,
        floor=float(metric.floor) if metric and metric.floor is not None else None,
        alpha=shares.test_set,
        test_set=test_set,
        set_key=key_of(named) if test_set else "",
        output=output,
        interval_seconds=quantities.seconds(test_set.interval) if test_set else 0.0,
        grows=test_set is not None and test_set.from_ is not None,
    )


def _named(test_set: TestSet, output: str) -> list[str | None]:
    """Return how the spec names a test set."""
    if test_set.from_ is not None:
        return [f"from: {test_set.from_}", output]
    return [test_set.uri, test_set.digest, test_set.truth, output]


def _limits(metric: Metric) -> list[str | None]:
    """Return what a metric is judged by; what was added later is in it only where it says something."""
    positive = [metric.positive] if metric.positive is not None else []
    return [metric.name, metric.metric, metric.tolerance, metric.floor, *positive]


def key_of(value: object) -> str:
    """Return the hash by which one gate is told from another."""
    return hashlib.sha256(json.dumps(value, separators=(",", ":")).encode()).hexdigest()[:12]
