"""Every measure that a metric may be of: what a margin means in losses, and how a mean score is said to people.

The engine knows losses in [0, 1] and nothing else. A `Reading` is what stands between it and people: of accuracy and its kin
a score is what it says; F1 is a bent share; MAE, RMSE and R2 are clipped errors on a `deviations.Scale`.

Must not weigh anything.
"""

import enum
from dataclasses import dataclass
from typing import Final

from leadline_stats import classes, deviations


class Measure(enum.StrEnum):
    """What is measured; the values are those of `spec.quality.metrics[].metric`."""

    ACCURACY = "accuracy"
    """Share of right answers."""
    PRECISION = "precision"
    """The same where the class was predicted."""
    RECALL = "recall"
    """The same where the class is true."""
    F1 = "f1"
    """The harmonic mean of both."""
    SCORE = "score"
    """Mean of scores that outcomes bring."""
    MAE = "mae"
    """Mean absolute error."""
    RMSE = "rmse"
    """Root of the mean squared error."""
    R2 = "r2"
    """Share of the truths' variance that is explained."""
    AUC = "auc"
    """Area under the ROC curve of a class: how often it gets a higher score where it is true than where it is not."""

    @property
    def is_of_a_class(self) -> bool:
        """Tell whether it is about one class (`positive`)."""
        return self in (Measure.PRECISION, Measure.RECALL, Measure.F1)

    @property
    def is_of_errors(self) -> bool:
        """Tell whether predictions are numbers, and errors are measured."""
        return self in (Measure.MAE, Measure.RMSE, Measure.R2)

    @property
    def is_graded(self) -> bool:
        """Tell whether losses are any numbers in [0, 1]; else right or wrong."""
        return self in (Measure.SCORE, Measure.AUC) or self.is_of_errors

    @property
    def has_relative_margin(self) -> bool:
        """Tell whether the margin is a share of the measure's value."""
        return self in (Measure.MAE, Measure.RMSE)

    @property
    def contrasts(self) -> bool:
        """Tell whether two revisions are compared by `contrasts`: their rows are not the same."""
        return self in (Measure.PRECISION, Measure.F1)


@dataclass(frozen=True, slots=True)
class Reading:
    """How losses of one metric are read."""

    measure: Measure = Measure.ACCURACY
    margin: float = 0.0
    """What may be lost of the measure; of MAE and RMSE the share by which it may grow."""
    scale: deviations.Scale | None = None
    """Of MAE, RMSE and R2, once there is one."""

    def tolerated(self, mean_loss: float) -> float:
        """Return how much the mean loss may grow beyond that of the revision that others are held against, in [0, 1].

        Raises:
            ValueError: The loss is not in [0, 1].
        """
        if self.scale is not None:
            return deviations.tolerated(self.scale, mean_loss, self.margin)
        if self.measure is Measure.F1:
            return classes.margin_of_share(classes.Measure.F1, 1 - mean_loss, self.margin)
        return self.margin

    def value(self, score: float) -> float:
        """Return the measure at a mean score in [0, 1]: in its own units."""
        if self.scale is not None:
            return deviations.value_of(self.scale, 1 - score)
        if self.measure is Measure.F1:
            return classes.score_of(classes.Measure.F1, score)
        return score

    def values(self, low: float, high: float) -> tuple[float, float]:
        """Return the measure between two mean scores, the smaller value first."""
        ends = self.value(low), self.value(high)
        return min(ends), max(ends)

    def text(self, value: float) -> str:
        """Return a value of the measure as people read it: 0.953, or four digits in the target's units."""
        return f"{value:#.4g}".rstrip(".") if self.measure.has_relative_margin else f"{value:.3f}"

    @property
    def terms(self) -> str:
        """The margin in words."""
        return f"margin {100 * self.margin:g}%" if self.measure.has_relative_margin else f"margin {self.margin:g}"


PLAIN: Final = Reading()
"""Scores are said as they are."""
