"""How good the model must be, and what happens when it is not: `spec.quality`.

Must not have a field that does not work yet.
"""

from typing import Annotated, Final, Literal

from pydantic import Field

from leadline_api.fields import AT_LEAST_ONE_SECOND, NOT_NEGATIVE, Digest, Duration, FileUri, Part
from leadline_api.rules import Rule, decimal, matches


class Metric(Part):
    """One measure of quality and what is tolerated."""

    name: Annotated[
        str,
        Field(min_length=1, max_length=63),
        matches(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", "must hold only a-z, 0-9 and -, such as accuracy"),
    ]
    """What the metric is called in status and messages."""
    metric: Literal["accuracy", "precision", "recall", "f1", "auc", "score", "mae", "rmse", "r2"]
    """What is measured: accuracy, the share of right answers; precision, recall or f1 of the class `positive`; auc, how often that
    class gets a higher score where it is true than where it is not; score, the mean of what outcomes say in `score`; of numbers mae (mean absolute error), rmse (root mean squared error) or r2 (explained share)."""
    positive: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    """The class that precision, recall, f1 or auc is of, as the model names or numbers it."""
    margin: (
        Annotated[
            str,
            Field(max_length=11),
            decimal(
                low=0.0,
                high=1.0,
                message='must be a number from 0 to 1 in quotes, such as "0.02": how much accuracy a revision may lose '
                "against the last good one and still count as good",
            ),
        ]
        | None
    ) = None
    """How much worse than the last good revision a revision may be and still count as good. Left out: 0.02."""
    relative_margin: (
        Annotated[
            str,
            Field(max_length=8),
            matches(
                r"(100|[0-9]{1,2})(\.[0-9]{1,3})?%",
                'must be a percentage in quotes, such as "10%": how much larger than the last good revision\'s a '
                "revision's error may be",
            ),
        ]
        | None
    ) = None
    """The same of mae and rmse: by what share they may grow. Left out: 10%."""
    floor: (
        Annotated[
            str,
            Field(max_length=11),
            decimal(
                above=0.0,
                high=0.9999,
                message='must be a number above 0 and at most 0.9999 in quotes, such as "0.90": the lowest accuracy '
                "on the test set with which a revision is admitted; leave it out for no floor",
            ),
        ]
        | None
    ) = None
    """Lowest accuracy on the test set with which a revision is admitted."""

    @property
    def is_of_errors(self) -> bool:
        """Tell whether errors are measured, which may grow by a share of what they are."""
        return self.metric in ("mae", "rmse")

    @property
    def tolerance(self) -> str:
        """The margin as it was written, or as it is where it was left out."""
        return (self.relative_margin or "10%") if self.is_of_errors else (self.margin or "0.02")

    @property
    def tolerated(self) -> float:
        """The margin as a number: a difference, of mae and rmse a share."""
        return float(self.tolerance.rstrip("%")) / (100 if self.is_of_errors else 1)


_MarginFits = Rule(
    cel="self.metric in ['mae', 'rmse'] ? !has(self.margin) : !has(self.relativeMargin)",
    message="an error may grow by relativeMargin (metric: mae or rmse), every other metric may lose a margin; give the one "
    "that fits the metric",
    holds=lambda metric: (metric.margin if metric.is_of_errors else metric.relative_margin) is None,
    shows_value=False,
)
_FloorIsOfAShare = Rule(
    cel="!has(self.floor) || !(self.metric in ['mae', 'rmse', 'r2'])",
    message="floor is the lowest accuracy on the test set; metric: mae, rmse and r2 have none",
    holds=lambda metric: metric.floor is None or metric.metric not in ("mae", "rmse", "r2"),
    shows_value=False,
)


class TestSet(Part):
    """Labelled examples that every revision answers at admission and again at each interval."""

    __test__ = False  # pytest: a name that begins with Test is not always a test

    uri: FileUri | None = None
    """A Parquet, CSV (gzipped or not) or .npz file: a column per model input, and one with the true answers."""
    digest: Digest | None = None
    """`sha256:` and 64 hexadecimal digits of the file. Left out: whatever is there."""
    truth: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    """Column that holds the true answers."""
    from_: Annotated[Literal["outcomes"] | None, Field(alias="from")] = None
    """outcomes: captured inputs with the true answers that came for them, of the test side of the split, in place of a file."""
    size: Annotated[int, Field(ge=100, le=65_536)] | None = None
    """Most rows of a test set from outcomes; a random sample where there are more. Left out: 2000."""
    interval: Annotated[Duration, AT_LEAST_ONE_SECOND] = "10m"
    """How often the serving revision answers it again."""


ONE_SOURCE = Rule(
    cel="has(self.from) ? !has(self.uri) && !has(self.truth) && !has(self.digest) : "
    "has(self.uri) && has(self.truth) && !has(self.size)",
    message="spec.quality.testSet needs either uri and truth (a file), or from: outcomes (and size, if you like)",
    holds=lambda found: (
        found.uri is None and found.truth is None and found.digest is None
        if found.from_ is not None
        else found.uri is not None and found.truth is not None and found.size is None
    ),
    shows_value=False,
)


class Quality(Part):
    """How good the model must be, and what happens when it is not."""

    metrics: Annotated[
        list[Annotated[Metric, _MarginFits, _FloorIsOfAShare]],
        Field(
            max_length=8,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ] = []
    """What is measured, by name. The false rollback probability is shared out between them."""
    false_rollback_probability: Annotated[
        str,
        Field(max_length=11),
        decimal(
            above=0.0,
            high=0.5,
            message='must be a number above 0 and at most 0.5 in quotes, such as "0.01": the probability of ever '
            "rolling back a revision that is as good as the last good one",
        ),
    ] = "0.01"
    """Probability of ever rolling back a revision that is as good as the last good one."""
    test_set: Annotated[TestSet, ONE_SOURCE] | None = None
    """Labelled examples that every revision answers at admission and again at each interval."""
    compare_for: Annotated[Duration, NOT_NEGATIVE] = "7d"
    """How long after a switch requests are copied to the last good revision, so that both are judged on the same inputs."""
    on_degraded: Literal["Rollback", "Alert"] = "Rollback"
    """What happens when the serving revision is found worse than the last good one."""
    on_decay: Literal["VerifyThenRollback", "Alert"] = "VerifyThenRollback"
    """What happens when outcomes fall below the serving revision's own limit. VerifyThenRollback: the last good one
    answers copies of fresh requests, and gets the traffic if it is shown to be better."""


TEST_SET_NEEDS_ACCURACY = Rule(
    cel="!has(self.testSet) || !has(self.metrics) || size(self.metrics) == 0 || self.metrics.exists(m, m.metric == 'accuracy')",
    message="spec.quality.testSet needs a metric: accuracy, for that is what is measured on it; add one, or leave testSet out",
    holds=lambda quality: (
        quality.test_set is None or not quality.metrics or any(each.metric == "accuracy" for each in quality.metrics)
    ),
    shows_value=False,
)
_OfAClass: Final = ("precision", "recall", "f1", "auc")
SOME_ARE_OF_A_CLASS = Rule(
    cel="!has(self.metrics) || self.metrics.all(m, (m.metric in ['precision', 'recall', 'f1', 'auc']) == has(m.positive))",
    message="spec.quality.metrics with metric: precision, recall, f1 or auc needs positive (the class that is to be found, such as "
    "fraud), and no other metric has it",
    holds=lambda quality: all((each.metric in _OfAClass) == (each.positive is not None) for each in quality.metrics),
    shows_value=False,
)
ONE_IS_OF_SCORES = Rule(
    cel="!has(self.metrics) || self.metrics.filter(m, m.metric == 'auc').size() <= 1",
    message="spec.quality.metrics may have one metric: auc: the score of one class goes with each prediction",
    holds=lambda quality: sum(each.metric == "auc" for each in quality.metrics) <= 1,
    shows_value=False,
)
TEST_SET_NEEDS_METRICS = Rule(
    cel="!has(self.testSet) || has(self.metrics) && size(self.metrics) > 0",
    message="spec.quality.testSet needs spec.quality.metrics: what is to be measured on it; "
    "add {name: accuracy, metric: accuracy}",
    holds=lambda quality: bool(quality.metrics) or quality.test_set is None,
    shows_value=False,
)
