"""Lives of the measures beside accuracy, for decisions.py: precision, recall, F1, AUC, MAE, RMSE and R2, alone and in pairs.

Each life is a stream of rows with a true answer, drawn from a distribution whose measure is known exactly; the rows go
through the losses that ship. Shown are delays in rows that count (recall: positives; AUC: positives), and the share of lives
that are rolled back exactly at the limit.
"""

from collections.abc import Callable

import numpy as np
from leadline_stats import betting, classes, contrasts, deviations, pairs, ranking
from scipy import stats

NEVER = np.inf
LIVES = 500
LENGTH = 5_000
"""Rows that count, of a life at the limit."""
MARGIN = 0.02
"""Of a share; of AUC too."""
GROWTH = 0.1
"""Tolerated growth of MAE and RMSE."""
CONTRAST_LIVES = 400
CONTRAST_LENGTH = 2_000
"""Rows; contrasts are slower than the engine."""
REFERENCE = 20_000
"""Outcomes that scales are made of: so many that their own noise is small beside what is measured."""


def experiments(alpha: float) -> dict[str, tuple[float, float]]:
    """Return for each measure the share of false findings at the limit, and the median delay of the drop of the table."""
    return {
        "recall .90 to .75": of_share(classes.Measure.RECALL, 0.90, 0.75, alpha),
        "precision .90 to .75": of_share(classes.Measure.PRECISION, 0.90, 0.75, alpha),
        "F1 .80 to .65": of_share(classes.Measure.F1, 0.80, 0.65, alpha),
        "AUC .90 to .80": of_ranking(0.90, 0.80, alpha),
        "MAE x 1.5": of_errors(deviations.Measure.MAE, 1.5, alpha),
        "RMSE x 2": of_errors(deviations.Measure.RMSE, 2.0, alpha),
        "R2 .80 to .60": of_explained(0.80, 0.60, alpha),
        "paired MAE x 1.5": of_pairs(deviations.Measure.MAE, 1.5, alpha),
        "paired RMSE x 2": of_pairs(deviations.Measure.RMSE, 2.0, alpha),
        "paired precision .90 to .75": of_contrast(classes.Measure.PRECISION, 0.90, 0.75, alpha),
        "paired F1 .80 to .65": of_contrast(classes.Measure.F1, 0.80, 0.65, alpha),
    }


def of_share(measure: classes.Measure, before: float, after: float, alpha: float) -> tuple[float, float]:
    """Rows that count are right with the probability that the score says; the limit is MARGIN below."""
    limit = 1 - classes.share_of(measure, before - MARGIN)

    def losses(generator: np.random.Generator, score: float, length: int) -> np.ndarray:
        # As rows: a wrong one is a false negative for recall, a false positive for precision, either for F1.
        right = generator.random(length) < classes.share_of(measure, score)
        missed = generator.random(length) < 0.5
        if measure is classes.Measure.RECALL:
            return classes.losses(measure, right, np.ones(length))
        if measure is classes.Measure.PRECISION:
            return classes.losses(measure, np.ones(length), right)
        return classes.losses(measure, right | ~missed, right | missed)

    return rates(losses, before - MARGIN, after, limit, alpha)


def of_ranking(before: float, after: float, alpha: float) -> tuple[float, float]:
    """Scores are normal, one apart from the other so far that the area is what is asked for; one row in four is positive."""

    def losses(generator: np.random.Generator, area: float, length: int) -> np.ndarray:
        true = generator.random(4 * length) < 0.25
        distance = np.sqrt(2) * stats.norm.ppf(area)
        _, found, _ = ranking.fold(ranking.EMPTY, generator.normal(distance * true), true)
        return found[:, 0]

    return rates(losses, before - MARGIN, after, 1 - (before - MARGIN), alpha, lives=200, length=2_000)


def of_errors(measure: deviations.Measure, growth: float, alpha: float) -> tuple[float, float]:
    """Errors are normal."""
    generator = np.random.default_rng(seed(f"reference {measure}"))
    reference = generator.normal(size=REFERENCE)
    scale = deviations.of_first(measure, reference, np.zeros(REFERENCE))
    mean = float(deviations.losses(scale, reference, np.zeros(REFERENCE)).mean())
    limit = mean + deviations.tolerated(scale, mean, GROWTH)

    def losses(generator: np.random.Generator, spread: float, length: int) -> np.ndarray:
        return deviations.losses(scale, spread * generator.normal(size=length), np.zeros(length))

    # Clipping takes more of larger errors than of the reference's, so the limit lies a little above 1 + GROWTH.
    return rates(losses, 1 + GROWTH, growth, limit, alpha / 2)


def of_explained(before: float, after: float, alpha: float) -> tuple[float, float]:
    """Truths and errors are normal; R2 is one less the share of the errors' variance."""

    def rows(generator: np.random.Generator, explained: float, length: int) -> tuple[np.ndarray, np.ndarray]:
        return np.sqrt(1 - explained) * generator.normal(size=length), generator.normal(size=length)

    reference = rows(np.random.default_rng(seed("reference R2")), before, REFERENCE)
    scale = deviations.of_first(deviations.Measure.R2, *reference)
    mean = float(deviations.losses(scale, *reference).mean())
    limit = mean + deviations.tolerated(scale, mean, MARGIN)

    def losses(generator: np.random.Generator, explained: float, length: int) -> np.ndarray:
        return deviations.losses(scale, *rows(generator, explained, length))

    return rates(losses, before - MARGIN, after, limit, alpha)


def of_pairs(measure: deviations.Measure, growth: float, alpha: float) -> tuple[float, float]:
    """Errors of both on the same input share half of their variance."""
    reference = np.random.default_rng(seed(f"reference of pairs {measure}")).normal(size=REFERENCE)
    scale = deviations.of_first(measure, reference, np.zeros(REFERENCE))
    mean = float(deviations.losses(scale, reference, np.zeros(REFERENCE)).mean())
    limit = pairs.tolerated_loss(deviations.tolerated(scale, mean, GROWTH))

    def losses(generator: np.random.Generator, spread: float, length: int) -> np.ndarray:
        common, new, old = generator.normal(size=(3, length)) * np.sqrt(0.5)
        erred, before = (
            deviations.losses(scale, each, np.zeros(length)) for each in (spread * (common + new), common + old)
        )
        return pairs.losses(erred, before)

    return rates(losses, 1 + GROWTH, growth, limit, alpha)


def of_contrast(measure: classes.Measure, before: float, after: float, alpha: float) -> tuple[float, float]:
    """Both predict alike but for one row in twenty, and what is right of either is drawn by one chance for both.

    Rows that count for one alone are drawn beside the others; at the limit the new one is MARGIN worse.
    """

    def rows(generator: np.random.Generator, score: float, length: int) -> tuple[np.ndarray, np.ndarray]:
        chance, alone = generator.random(length), generator.random(length)
        new, old = ((chance >= classes.share_of(measure, value)).astype(float) for value in (score, before))
        return np.where(alone < 0.025, np.nan, new), np.where(alone > 0.975, np.nan, old)

    def crossed(score: float, life: int) -> int | None:
        generator = np.random.default_rng([*seed(f"{measure} {score}"), life])
        begun = contrasts.begin(measure, margin=MARGIN, alpha=alpha)
        return contrasts.fold(begun, *rows(generator, score, CONTRAST_LENGTH)).worse.crossed_at

    false = [crossed(before - MARGIN, life) is not None for life in range(CONTRAST_LIVES)]
    delays = [crossed(after, life) or NEVER for life in range(CONTRAST_LIVES // 2)]
    return float(np.mean(false)), float(np.median(delays))


def rates(
    losses: Callable[[np.random.Generator, float, int], np.ndarray],
    at_limit: float,
    after: float,
    limit: float,
    alpha: float,
    *,
    lives: int = LIVES,
    length: int = LENGTH,
) -> tuple[float, float]:
    """Return the share of lives that are found at the limit, and the median delay beyond it."""
    generator = np.random.default_rng(seed(f"{losses.__qualname__} {at_limit} {after}"))
    shortest = int(0.9 * length)
    good = np.array([losses(generator, at_limit, length)[:shortest] for _ in range(lives)])
    bad = np.array([losses(generator, after, length)[:shortest] for _ in range(lives)])
    found = betting.crossings(good, limit=limit, alpha=alpha) > 0
    delays = betting.crossings(bad, limit=limit, alpha=alpha)
    return float(found.mean()), float(np.median(np.where(delays > 0, delays, NEVER)))


def seed(name: str) -> list[int]:
    """Return a seed of its own for each stream, the same in every run."""
    return list(name.encode())
