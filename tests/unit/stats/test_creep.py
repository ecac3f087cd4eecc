"""Margins add up: levels, what twice the margin means by each measure, and simulated lives of ten successors.

Lives are seeded. Who is compared with whom in an operator is in tests/unit/reconcile/test_creep.py.
"""

import itertools

import numpy as np
import pytest
from leadline_stats import creep, deviations, intervals, test_sets
from leadline_stats.creep import Accepted
from leadline_stats.measures import Measure, Reading
from scipy import stats

ACCURACY = Reading(margin=0.02)


def summary(loss: float, outcomes: int) -> intervals.Summary:
    wrong = round(loss * outcomes)
    return intervals.fold(intervals.EMPTY, np.repeat([1.0, 0.0], [wrong, outcomes - wrong]))


def accepted(loss: float, outcomes: int = 4_000, alpha: float = 0.004) -> Accepted:
    return Accepted(summary(loss, outcomes), alpha)


def test_levels_of_all_comparisons_and_of_all_intervals_sum_to_no_more_than_alpha():
    compared = sum(creep.test_set_level(0.01, *places) for places in itertools.permutations(range(1, 301), 2))
    assert 0.0099 < compared < 0.01
    shown = sum(creep.interval_level(0.01, place, begun=begun) for place in range(1, 301) for begun in range(300))
    assert 0.0099 < shown < 0.01


def test_level_of_a_thousandth_successor_still_lets_something_be_found():
    level = creep.test_set_level(0.002, 1, 5_000)
    everything = test_sets.Flips(breaks=900, fixes=0)
    assert creep.test_set_pvalue(everything, 1_000, 0.02, level=level) < level


@pytest.mark.parametrize("places", [(0, 1), (2, 2)])
def test_a_revision_is_not_compared_with_itself(places):
    with pytest.raises(ValueError, match="place: expected two from 1 on, got"):
        creep.test_set_level(0.01, *places)


def test_twice_the_margin_is_tolerated_on_the_test_set_and_more_is_not():
    assert creep.test_set_pvalue(test_sets.Flips(40, 0), 1_000, 0.02, level=1e-3) > 0.4
    assert creep.test_set_pvalue(test_sets.Flips(90, 0), 1_000, 0.02, level=1e-3) < 1e-3
    assert creep.test_set_pvalue(test_sets.Flips(1_000, 0), 1_000, 0.6, level=1e-3) == 1.0


def test_fall_is_shown_where_intervals_are_further_apart_than_twice_the_margin():
    fall = creep.fall(ACCURACY, accepted(0.12), {"first": accepted(0.02), "second": accepted(0.04)})
    assert fall is not None
    assert (fall.best, fall.is_shown) == ("first", True)
    assert (fall.estimate, fall.best_estimate) == (pytest.approx(0.88), pytest.approx(0.98))
    assert fall.interval[0] < 0.88 < fall.interval[1] < fall.best_interval[0] - 0.04
    assert creep.fall(ACCURACY, accepted(0.059), {"first": accepted(0.02, 10**6)}) is None


def test_what_only_the_estimates_show_is_a_fall_where_it_was_said_before():
    judged, others = accepted(0.08), {"first": accepted(0.03)}
    assert creep.fall(ACCURACY, judged, others) is None
    fall = creep.fall(ACCURACY, judged, others, by_estimates=True)
    assert fall is not None
    assert not fall.is_shown
    assert creep.fall(ACCURACY, accepted(0.069), others, by_estimates=True) is None


def test_few_outcomes_make_nobody_the_best():
    others = {"lucky": accepted(0.0, 20), "first": accepted(0.02)}
    fall = creep.fall(ACCURACY, accepted(0.12), others)
    assert fall is not None
    assert fall.best == "first"
    assert creep.fall(ACCURACY, accepted(0.12), {"lucky": accepted(0.0, 20)}) is None


def test_nothing_is_said_of_a_revision_or_beside_one_without_outcomes():
    empty = Accepted(intervals.EMPTY, 0.004)
    assert creep.fall(ACCURACY, empty, {"first": accepted(0.02)}) is None
    assert creep.fall(ACCURACY, accepted(0.5), {"first": empty}) is None


@pytest.mark.parametrize(
    ("measure", "margin", "tolerated", "too_much"),
    [
        (Measure.MAE, 0.1, 1.19, 1.21),  # 20 % more error
        (Measure.RMSE, 0.1, 1.19**2, 1.21**2),  # of squares
        (Measure.F1, 0.05, None, None),
        (Measure.R2, 0.05, None, None),
    ],
)
def test_twice_the_margin_is_meant_in_the_units_of_the_measure(measure, margin, tolerated, too_much):
    scale = None
    if measure.is_of_errors:
        scale = deviations.Scale(deviations.Measure(measure.value), 10.0, 0.0, 20.0, 0.8)
    reading, best = Reading(measure, margin, scale), 0.3
    if tolerated is None:  # a difference of the measure itself
        losses = np.linspace(best, 0.9, 2_000)
        values = np.array([reading.value(1 - loss) for loss in losses])
        below = losses[values < reading.value(1 - best) - 2 * margin][0]
        tolerated, too_much = (below - 0.005) / best, (below + 0.005) / best
    of = summary(best, 10_000)
    assert not creep.is_below(reading, summary(best * tolerated, 10_000), of)
    assert creep.is_below(reading, summary(best * too_much, 10_000), of)


def test_a_margin_of_everything_lets_everything_be_lost():
    assert not creep.is_below(Reading(margin=0.7), summary(1.0, 100), summary(0.0, 100))
    assert not creep.is_below(Reading(Measure.F1, 0.7), summary(1.0, 100), summary(0.1, 100))


def successors(
    chance: np.random.Generator, rows: int, *, right: float, breaks: float, fixes: float
) -> list[np.ndarray]:
    """Right or wrong per row, of a first revision and ten successors, each made from the one before it."""
    found = [chance.random(rows) < right]
    for step in range(10):
        share = right + step * (fixes - breaks)
        draw, now = chance.random(rows), found[-1]
        found.append(np.where(now, draw >= breaks / share, draw < fixes / (1 - share)))
    return found


def said_by_test_set(answers: list[np.ndarray], margin: float, alpha: float) -> int:
    """Number of the first successor of which creep is said; 0: of none. All are accepted."""
    for place in range(2, len(answers) + 1):
        now = answers[place - 1]
        best = max(range(place - 1), key=lambda each: answers[each].sum())
        flips = test_sets.Flips(int((answers[best] & ~now).sum()), int((now & ~answers[best]).sum()))
        level = creep.test_set_level(alpha, place, best + 1)
        if flips.breaks > flips.fixes and creep.test_set_pvalue(flips, len(now), margin, level=level) <= level:
            return place - 1
    return 0


def test_ten_successors_each_within_the_margin_by_a_hair_are_said_on_the_test_set():
    chance = np.random.default_rng(1)
    found = [
        said_by_test_set(successors(chance, 2_000, right=0.96, breaks=0.0259, fixes=0.006), 0.02, 0.002)
        for _ in range(30)
    ]
    assert min(found) >= 3, "two of them have lost no more than twice the margin"
    assert max(found) <= 6
    assert np.median(found) <= 5


def test_equal_successors_are_said_on_the_test_set_in_no_more_than_alpha_of_lives():
    chance, alpha, lives = np.random.default_rng(2), 0.1, 300
    found = [
        said_by_test_set(successors(chance, 1_000, right=0.9, breaks=0.02, fixes=0.02), 0.0, alpha)
        for _ in range(lives)
    ]
    assert np.count_nonzero(found) <= stats.binom.ppf(0.999, lives, alpha)


def said_by_outcomes(errors: list[np.ndarray], margin: float, alpha: float, looks: int) -> int:
    """The same by outcomes: the newest one is looked at again and again while its outcomes come."""
    known: dict[str, Accepted] = {}
    for place, bits in enumerate(errors, start=1):
        level, losses = creep.interval_level(alpha, place), intervals.EMPTY
        for arrived in np.array_split(bits, looks):
            losses = intervals.fold(losses, arrived)
            if creep.fall(Reading(margin=margin), Accepted(losses, level), known) is not None:
                return place - 1
        known[str(place)] = Accepted(losses, level)
    return 0


def test_ten_successors_each_within_the_margin_by_a_hair_are_said_by_outcomes():
    chance = np.random.default_rng(3)
    found = [
        said_by_outcomes([chance.random(4_000) < 0.04 + 0.0199 * step for step in range(11)], 0.02, 0.004, 5)
        for _ in range(10)
    ]
    assert min(found) >= 3, "two of them have lost no more than twice the margin"
    assert max(found) <= 6


def test_equal_successors_are_said_by_outcomes_in_no_more_than_alpha_of_lives():
    chance, alpha, lives = np.random.default_rng(4), 0.5, 40
    found = [said_by_outcomes([chance.random(1_000) < 0.1 for _ in range(11)], 0.0, alpha, 5) for _ in range(lives)]
    assert np.count_nonzero(found) <= 0.5 * lives


def test_measures_that_count_losses_say_what_is_lost_in_their_own_units():
    scale = deviations.Scale(deviations.Measure.MAE, 50.0, 0.0, 0.0, 0.0)
    reading = Reading(Measure.MAE, 0.1, scale)
    values = {name: np.full(4_000, loss) for name, loss in (("now", 0.4), ("best", 0.2))}
    now, best = (Accepted(intervals.fold(intervals.EMPTY, values[name]), 0.004) for name in ("now", "best"))
    fall = creep.fall(reading, now, {"first": best})
    assert fall is not None
    assert (fall.estimate, fall.best_estimate) == (pytest.approx(20), pytest.approx(10))
    assert fall.best_interval[0] <= 10 <= fall.best_interval[1] < fall.interval[0] <= 20 <= fall.interval[1]
