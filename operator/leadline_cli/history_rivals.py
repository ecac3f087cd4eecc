"""What window rules of others would have done with the rows of one revision, whatever the metric.

A rule looks at the metric in a window: the share of right answers, F1, or the mean error. It fails where that is worse than
the reference by 2 points, or by the share of an error that the options tolerate. The rules themselves are in
`leadline_stats.window_rules`. Next step: `history_text`.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from leadline_operator.reconcile.terms import Terms
from leadline_stats import classes, window_rules
from leadline_stats.measures import Measure

from leadline_cli.histories import History, IntArray
from leadline_cli.rivals import REFERENCE_OUTCOMES, answers_reference, fired


@dataclass(frozen=True, slots=True)
class Rival:
    """When each of `window_rules.RULES` would have ended a revision."""

    reference: float | None
    """What its outcomes are held against, in the metric's units; None: there were too few to make one."""
    is_own: bool
    """Whether that is of its own first outcomes."""
    rules: tuple[int, ...]
    """Number of the deciding outcome, where the first is 1; 0: never."""


def of_rows(history: History, terms: Terms, mine: IntArray, earlier: IntArray) -> Rival:
    """Return what the rules would have done.

    Args:
        history: All rows.
        terms: The metric, and its margin.
        mine: Places of the revision's rows that the metric is about.
        earlier: The same of the revision before it, up to then.
    """
    is_own = len(earlier) < REFERENCE_OUTCOMES
    base, judged = (mine[:REFERENCE_OUTCOMES], mine[REFERENCE_OUTCOMES:]) if is_own else (earlier, mine)
    passed = REFERENCE_OUTCOMES if is_own else 0
    of_errors = terms.measures.is_of_errors
    value, numbers = (
        _of_errors(history, terms, base, judged) if of_errors else _of_answers(history, terms, base, judged)
    )
    return Rival(value, is_own, tuple(number + passed if number else 0 for number in numbers))


def rule_names(terms: Terms) -> tuple[str, ...]:
    """Return what people call the rules."""
    if terms.measures.has_relative_margin:
        return window_rules.names(f"{100 * terms.margin:g}%")
    margin = terms.margin if terms.measures.is_of_errors else window_rules.MARGIN
    return window_rules.names(f"{100 * margin:g} points")


def _of_answers(
    history: History, terms: Terms, base: IntArray, judged: IntArray
) -> tuple[float | None, tuple[int, ...]]:
    wrong = history.predictions != history.truths
    share = answers_reference(wrong[base].tolist())
    if share is None:
        return None, fired((), None)
    measure = classes.Measure(terms.measures)
    margin = classes.margin_of_share(measure, share, window_rules.MARGIN)
    return classes.score_of(measure, share), fired(wrong[judged].tolist(), share, margin=margin)


def _of_errors(
    history: History, terms: Terms, base: IntArray, judged: IntArray
) -> tuple[float | None, tuple[int, ...]]:
    if len(base) < REFERENCE_OUTCOMES:
        return None, fired((), None)
    sizes = _sizes(terms.measures, history, base)
    mean, spread = float(sizes.mean()), float(sizes.std())
    variance = float(history.truths[base].var())
    if not (mean > 0 and spread > 0 and (terms.measures is not Measure.R2 or variance > 0)):
        return None, fired((), None)
    if terms.measures is Measure.R2:
        value, limit = 1 - mean / variance, mean + terms.margin * variance
    else:
        power = 2 if terms.measures is Measure.RMSE else 1
        value, limit = mean ** (1 / power), mean * (1 + terms.margin) ** power
    numbers = window_rules.on_errors(
        _sizes(terms.measures, history, judged), window_rules.Reference(mean, spread, limit)
    )
    return value, numbers


def _sizes(measure: Measure, history: History, places: IntArray) -> npt.NDArray[np.float64]:
    """Return absolute or squared errors; where there was no usable answer, the largest of all."""
    wrong = np.abs(history.predictions - history.truths)
    largest = wrong[np.isfinite(wrong)].max(initial=0.0)
    clipped = np.minimum(wrong[places], largest)
    return np.asarray(clipped if measure is Measure.MAE else clipped**2)
