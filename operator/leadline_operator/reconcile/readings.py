"""What an entry of the log says by one metric: a loss in [0, 1], an error, or nothing.

A failure of a revision that was reached is the largest loss by each measure. Where a prediction was only called right or wrong,
measures that need the true answer (recall, F1, errors) say nothing of it. The rows of one request depend on each other, and
count as their mean. Must not know what came before.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from leadline_stats.measures import Measure
from leadline_wire import predictions
from leadline_wire.ledger import OutcomeEntry, PairEntry

from leadline_operator.reconcile.ranks import Scored
from leadline_operator.reconcile.terms import Terms

_NAN: Final = math.nan
MARGIN_MAX: Final = 0.999
"""A spec may ask for all of it; a comparison needs something that can be lost beyond the margin."""


@dataclass(frozen=True, slots=True)
class Error:
    """How far a prediction was from the truth."""

    error: float
    """Prediction - truth; inf: the revision failed."""
    truth: float


@dataclass(frozen=True, slots=True)
class Pair:
    """What one input says of the revision that is judged and of the other: as it speaks for the judged one, and against it.

    The two differ where an answer was only called wrong, and the other revision's is another one, right or wrong. Such a
    pair must neither be left out, for those where it was called right are in, nor decide anything.
    """

    judged: tuple[float, float]
    """Losses; for MAE, RMSE and R2 errors; NaN where the input does not count for it."""
    other: tuple[float, float]
    seq: int
    """Rows of one request have the same."""
    truth: float = 0.0
    shown: tuple[float, float] | None = None
    """Losses that the means are of; None: as they speak for it."""

    @property
    def is_doubtful(self) -> bool:
        """Tell whether nobody knows what one of the answers was worth."""
        return _differ(*self.judged) or _differ(*self.other)


def of_outcome(terms: Terms, entry: OutcomeEntry) -> float | Error | Scored | None:
    """Return what an outcome says of its revision; None: nothing."""
    measure = terms.measures
    # What is asked for only where revisions differ is harder than the rest: it counts in pairs alone.
    if entry.repeats or entry.wanted:
        return None
    if measure.is_of_errors:
        return _error(entry.prediction, entry.truth)
    if measure is Measure.AUC:
        return _scored(terms, [entry.prediction], entry.truth, entry.seq, entry.came_at_ms)
    if measure.is_of_a_class:
        return _of_class(terms, entry.prediction, entry.truth, correct=entry.correct)
    loss = predictions.loss(entry.prediction, truth=entry.truth, correct=entry.correct, score=entry.score)
    return loss if loss is not None and _counts(terms, loss) else None


def of_pair(terms: Terms, entry: PairEntry, *, judges_served: bool) -> Pair | Scored | None:
    """Return what a pair says of the revision that is judged: the one that answered the client, or the other; None: nothing."""
    measure = terms.measures
    if entry.repeats or (entry.agreements > 0 and (measure.is_graded or measure.is_of_a_class)):
        return None  # what an answer stands for is known of right and wrong alone
    if measure is Measure.AUC:
        words = [entry.prediction, entry.other_prediction]
        return _scored(terms, words if judges_served else words[::-1], entry.truth, entry.seq, entry.came_at_ms)
    if measure.is_of_errors:
        served, other = _error(entry.prediction, entry.truth), _error(entry.other_prediction, entry.truth)
        if served is None or other is None:
            return None
        return _pair(served.error, other.error, entry.seq, truth=served.truth, judges_served=judges_served)
    if measure.contrasts:
        losses = [_of_class(terms, word, entry.truth) for word in (entry.prediction, entry.other_prediction)]
        if losses == [None, None] or not _is_whole(entry):
            return None
        first, second = (_NAN if loss is None else loss for loss in losses)
        return _pair(first, second, entry.seq, judges_served=judges_served)
    if measure is Measure.RECALL and not predictions.is_class(entry.truth, terms.positive):
        return None
    found = pair_losses(entry)
    if found is None or not all(_counts(terms, loss) for loss in found if loss is not None):
        return None
    first, unsure = found
    if unsure is not None:
        pair = _pair(first, unsure, entry.seq, judges_served=judges_served)
    elif judges_served:
        pair = Pair((first, first), (1.0, 0.0), entry.seq)
    else:
        pair = Pair((0.0, 1.0), (first, first), entry.seq)
    return _among_agreements(pair, entry.agreements, min(terms.margin, MARGIN_MAX)) if entry.agreements > 0 else pair


def mean(losses: Sequence[float]) -> float:
    """Return the mean loss of the rows of one request: what the request counts as; NaN: none of them counts."""
    counted = [each for each in losses if not math.isnan(each)]
    if len(counted) == 1:
        return counted[0]
    return sum(counted) / len(counted) if counted else _NAN


def by_outcome(rows: Sequence[Pair]) -> list[Pair]:
    """Return pairs of losses with the rows of each request, which have the same `seq`, as their mean."""
    if len({row.seq for row in rows}) == len(rows):
        return list(rows)
    return [_together(list(group)) for _, group in itertools.groupby(rows, lambda row: row.seq)]


def _together(rows: Sequence[Pair]) -> Pair:
    if len(rows) == 1:
        return rows[0]
    judged, other = ([mean([row[way] for row in side]) for way in (0, 1)] for side in _sides(rows))
    return Pair((judged[0], judged[1]), (other[0], other[1]), rows[0].seq, rows[0].truth)


def _sides(rows: Sequence[Pair]) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    return [row.judged for row in rows], [row.other for row in rows]


def pair_losses(entry: PairEntry) -> tuple[float, float | None] | None:
    """Return the losses of the revision that answered the client and of the other; None where it cannot be told."""
    if predictions.is_failure(entry.prediction):
        return 1.0, float(predictions.is_failure(entry.other_prediction))
    served = predictions.loss(entry.prediction, truth=entry.truth, correct=entry.correct, score=entry.score)
    other = predictions.other_loss(
        entry.other_prediction, entry.prediction, truth=entry.truth, correct=entry.correct, score=entry.score
    )
    return None if served is None else (served, other)


def _among_agreements(pair: Pair, agreements: float, margin: float) -> Pair:
    """Return a pair that was asked for because both differ, as it weighs with the inputs on which they agree.

    A difference of `margin` over all inputs is one of margin x (1 + agreements) over those on which they differ. So the loss
    is scaled to that limit: its mean given the past is above the tolerated one exactly where that of all inputs would be, and
    each answer tells as much as it can. For being within the margin, and for the means, it is the mean of all inputs.
    """
    share = 1 / (1 + agreements)
    lost = (1 + pair.judged[0] - pair.other[0]) / 2 * (1 + margin) / (1 + margin / share)
    return Pair(
        judged=(max(2 * lost - 1, 0.0), share * pair.judged[1]),
        other=(max(1 - 2 * lost, 0.0), share * pair.other[1]),
        seq=pair.seq,
        shown=(share * pair.judged[0], share * pair.other[0]),
    )


def _pair(served: float, other: float, seq: int, *, truth: float = 0.0, judges_served: bool) -> Pair:
    first, second = (served, other) if judges_served else (other, served)
    return Pair((first, first), (second, second), seq, truth)


def _is_whole(entry: PairEntry) -> bool:
    """Tell whether the true answer is known, or one of both failed, so that nobody can know it."""
    failed = predictions.is_failure(entry.prediction) or predictions.is_failure(entry.other_prediction)
    return bool(entry.truth) or failed


def _of_class(terms: Terms, prediction: str, truth: str, *, correct: bool | None = None) -> float | None:
    """Return the loss of a prediction by a measure of one class; None: it is not about this row, or nobody knows."""
    measure, failed = terms.measures, predictions.is_failure(prediction)
    is_true = bool(truth) and predictions.is_class(truth, terms.positive)
    predicted = not failed and predictions.is_class(prediction, terms.positive)
    if measure is Measure.RECALL:
        return float(not predicted) if is_true else None
    if failed:
        return 1.0
    if not truth:
        # By right or wrong alone only precision is known: a right one that was predicted is true.
        return float(not correct) if measure is Measure.PRECISION and predicted and correct is not None else None
    counted = predicted or (is_true and measure is Measure.F1)
    return float(predicted != is_true) if counted else None


def _scored(terms: Terms, words: Sequence[str], truth: str, seq: int, came_ms: int) -> Scored | None:
    """Return the scores that predictions of one input give to the class; None: one has none, or the truth is not known."""
    if not truth:
        return None
    is_positive = predictions.is_class(truth, terms.positive)
    scores = []
    for word in words:
        score = predictions.score_of(word)
        if predictions.is_failure(word):
            score = -math.inf if is_positive else math.inf
        if score is None or math.isnan(score):
            return None
        scores.append(score)
    return Scored(tuple(scores), is_positive, seq, came_ms)


def _error(prediction: str, truth: str) -> Error | None:
    true = _number(truth)
    if predictions.is_failure(prediction):
        return Error(math.inf, true if true is not None else 0.0)
    predicted = _number(prediction)
    return Error(predicted - true, true) if predicted is not None and true is not None else None


def _number(word: str) -> float | None:
    try:
        value = predictions.read(word)
    except predictions.BadWordError:
        return None
    return float(value) if not isinstance(value, str) and math.isfinite(value) else None


def _counts(terms: Terms, loss: float) -> bool:
    """Tell whether an outcome is of the kind that the metric measures."""
    return terms.graded or loss in (0.0, 1.0)


def _differ(one: float, other: float) -> bool:
    return one != other and not (math.isnan(one) and math.isnan(other))
