"""Lives of the measures beside accuracy, for decisions.py: precision, recall, F1, AUC, MAE, RMSE and R2.

Each life is a stream of rows with a true answer, drawn from a distribution whose measure is known exactly; the rows go
through the losses that ship. Shown are delays in rows that count (recall: positives; AUC: positives), and the share of lives
that are rolled back exactly at the limit.
"""

from collections.abc import Callable

import numpy as np
from leadline_stats import betting, classes, deviations, ranking
from scipy import stats

NEVER = np.inf
LIVES = 500
LENGTH = 5_000
"""Rows that count, of a life at the limit."""
MARGIN = 0.02
"""Of a share; of AUC too."""
GROWTH = 0.1
"""Tolerated growth of MAE and RMSE."""
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
        _, found = ranking.fold(ranking.EMPTY, generator.normal(distance * true), true)
        return found[:, 0]

    return rates(losses, before - MARGIN, after, 1 - (before - MARGIN), alpha, lives=200, length=2_000)


def of_errors(measure: deviations.Measure, growth: float, alpha: float) -> tuple[float, float]:
    """Errors are normal."""
    reference = np.random.default_rng(seed(f"reference {measure}")).normal(size=REFERENCE)
    scale = deviations.of_errors(measure, reference, margin=GROWTH, alpha=alpha)

    def losses(generator: np.random.Generator, spread: float, length: int) -> np.ndarray:
        return deviations.losses(scale, spread * generator.normal(size=length))

    # Clipping takes more of larger errors than of the reference's, so the limit lies a little above 1 + GROWTH.
    return rates(losses, 1 + GROWTH, growth, scale.tolerated_loss, alpha)


def of_explained(before: float, after: float, alpha: float) -> tuple[float, float]:
    """Truths and errors are normal; R2 is one less the share of the errors' variance."""
    least = before - MARGIN

    def rows(generator: np.random.Generator, explained: float, length: int) -> tuple[np.ndarray, np.ndarray]:
        return np.sqrt(1 - explained) * generator.normal(size=length), generator.normal(size=length)

    how = deviations.explained(*rows(np.random.default_rng(seed("reference R2")), before, REFERENCE), least=least)

    def losses(generator: np.random.Generator, explained: float, length: int) -> np.ndarray:
        return deviations.unexplained_losses(how, *rows(generator, explained, length))

    return rates(losses, least, after, how.tolerated_loss, alpha)


def of_pairs(measure: deviations.Measure, growth: float, alpha: float) -> tuple[float, float]:
    """Errors of both on the same input share half of their variance."""
    typical = float(np.sqrt(2 / np.pi)) if measure is deviations.Measure.MAE else 1.0
    how = deviations.pairing(measure, typical, margin=GROWTH)

    def losses(generator: np.random.Generator, spread: float, length: int) -> np.ndarray:
        common, new, old = generator.normal(size=(3, length)) * np.sqrt(0.5)
        return deviations.paired_losses(how, spread * (common + new), common + old)

    return rates(losses, 1 + GROWTH, growth, how.tolerated_loss, alpha)


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
