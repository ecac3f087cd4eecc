"""Two arms: who is matched with whom, what waits and gives way, storage, and simulated lives against the known figures.

Lives are seeded, requests go to an arm by chance. Cuts of the stream are in tests/property/stats/test_arms_cuts.py.
"""

import json

import numpy as np
import pytest
from leadline_stats import arms, betting, intervals, pairs
from leadline_stats.arms import Arms
from scipy import stats

NEW, OLD = True, False


def begun(per: int = 1, margin: float = 0.02, alpha: float = 0.01) -> Arms:
    return arms.begin(margin=margin, alpha=alpha, per=per)


def told(first: Arms, *outcomes: tuple[bool, float]) -> tuple[Arms, tuple[int, ...]]:
    return arms.fold(first, [loss for _, loss in outcomes], [is_new for is_new, _ in outcomes])


def matched(known: Arms) -> tuple[int, float | None, float | None]:
    return known.comparison.pairs, known.comparison.new.mean, known.comparison.old.mean


def test_outcomes_are_matched_in_the_order_in_which_they_come():
    known, completed = told(begun(), (NEW, 1.0), (NEW, 0.0), (OLD, 0.25), (OLD, 0.75), (OLD, 0.5), (NEW, 1.0))
    assert completed == (2, 3, 5)
    assert known.comparison == pairs.fold(pairs.begin(margin=0.02, alpha=0.01), [1, 0, 1], [0.25, 0.75, 0.5])
    assert (known.candidate, known.serving, known.part) == ((), (), ())


def test_outcome_of_the_candidate_is_held_against_the_mean_of_several_fresh_ones():
    known, completed = told(begun(per=3), (OLD, 1.0), (NEW, 1.0), (OLD, 0.0), (OLD, 0.5), (OLD, 1.0), (NEW, 0.0))
    assert completed == (3,)
    assert matched(known) == (1, 1.0, 0.5)
    assert (known.candidate, known.part) == ((0.0,), (1.0,))


@pytest.mark.parametrize(("scarce", "plenty"), [(NEW, OLD), (OLD, NEW)])
def test_the_newest_wait_for_the_other_arm_and_older_ones_give_way(scarce, plenty):
    waiting = [(plenty, place / 100) for place in range(20)]
    known, completed = told(begun(), *waiting)
    assert completed == ()
    known, _ = told(known, *[(scarce, 1.0)] * 9)
    assert known.comparison.pairs == 8
    mean = known.comparison.old.mean if plenty is OLD else known.comparison.new.mean
    assert mean == pytest.approx(np.mean(np.arange(12, 20) / 100))


def test_another_share_of_the_requests_goes_on_with_what_was_found():
    known, _ = told(begun(per=2), (OLD, 0.0), (OLD, 0.0), (NEW, 1.0), (OLD, 1.0))
    more, _ = told(arms.with_per(known, 1), (NEW, 1.0), (OLD, 0.5))
    assert matched(more) == (2, 1.0, 0.25)
    assert more.comparison == pairs.fold(known.comparison, [1.0], [0.5])
    assert arms.with_per(known, 2) is known


@pytest.mark.parametrize(("share", "per"), [(0.001, 16), (0.05, 16), (0.1, 8), (0.25, 2), (0.5, 1), (0.9, 1)])
def test_a_smaller_share_is_held_against_more_serving_outcomes_with_some_to_spare(share, per):
    assert arms.per_of(share) == per


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: arms.per_of(1.0), "share: expected a number between 0 and 1"),
        (lambda: begun(per=0), "per: expected 1 to 16, got 0"),
        (lambda: arms.with_per(begun(), 17), "per: expected 1 to 16, got 17"),
        (lambda: arms.fold(begun(), [0.0, 1.0], [True]), r"of_candidate: expected 2 like losses, got shape \[1\]"),
        (lambda: arms.fold(begun(), [2.0], [True]), r"losses\[0\]: expected 0 to 1, got 2"),
        (lambda: arms.begin(margin=1.0, alpha=0.01, per=1), "margin: expected"),
    ],
)
def test_impossible_numbers_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "version: expected 1, got 2"),
        ({"per": 40}, "per: expected 1 to 16, got 40"),
        ({"candidate": [(0.5).hex()], "serving": [(0.5).hex()]}, "serving: 1 and 1 do not wait beside 1"),
        ({"part": [(0.5).hex()] * 3}, "serving: 0 and 3 do not wait beside 0"),
        ({"serving": [(2.0).hex()]}, r"serving\[0\]: expected 0 to 1, got 2"),
        ({"candidate": None}, "candidate: expected a list"),
    ],
)
def test_stored_arms_are_refused_when_their_parts_do_not_fit(change, message):
    record = arms.to_plain(told(begun(per=3), (OLD, 0.0))[0])
    with pytest.raises(ValueError, match=message):
        arms.from_plain(record | change)


def test_stored_arms_stay_small_however_many_outcomes_came():
    chance = np.random.default_rng(0)
    known, _ = arms.fold(begun(per=16), chance.random(50_000), chance.random(50_000) < 0.02)
    assert len(json.dumps(arms.to_plain(known))) < 14_000
    assert len(known.serving) == 8


def crossing(chance: np.random.Generator, share: float, new: np.ndarray, old: np.ndarray, first: Arms) -> int:
    """Number of the match that decides a life; 0: none does. Rates of errors are given for each request."""
    sides = chance.random(len(new)) < share
    losses = chance.random(len(new)) < np.where(sides, new, old)
    return arms.fold(first, losses, sides)[0].comparison.worse.crossed_at or 0


def crossings(lives: int, requests: int, share: float, errors: float, drop: float, **begin: float) -> np.ndarray:
    chance, first = np.random.default_rng(7), begun(arms.per_of(share), **begin)
    new, old = np.full(requests, errors + drop), np.full(requests, errors)
    return np.array([crossing(chance, share, new, old, first) for _ in range(lives)])


@pytest.mark.parametrize(
    ("share", "errors", "drop", "median"),
    [
        (0.5, 0.05, 0.1, 323),
        (0.5, 0.1, 0.1, 465),
        (0.5, 0.2, 0.1, 670),
        (0.5, 0.05, 0.2, 103),
        (0.5, 0.1, 0.2, 131),
        (0.5, 0.2, 0.2, 167),
        (0.1, 0.1, 0.1, 251),
    ],
)
def test_drops_are_found_after_as_many_matches_as_are_known(share, errors, drop, median):
    found = crossings(100, round(6 * median / min(share, 0.4)), share, errors, drop)
    assert np.count_nonzero(found) > 90
    assert np.median(found[found > 0]) == pytest.approx(median, rel=0.15)


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_equal_arms_are_found_worse_in_no_more_than_alpha_of_lives(share):
    found = crossings(60, 10_000, share, 0.1, 0.0, margin=0.0, alpha=0.1)
    assert np.count_nonzero(found) <= stats.binom.ppf(0.999, 60, 0.1)


def test_world_that_turns_over_again_and_again_condemns_no_equal_candidate():
    chance, first = np.random.default_rng(8), begun()
    errors = np.where(np.arange(10_000) // 500 % 2, 0.5, 0.05)
    found = [crossing(chance, 0.5, errors, errors, first) for _ in range(60)]
    assert np.count_nonzero(found) <= 1
    alone = betting.fold(betting.begin(limit=0.07, alpha=0.01), chance.random(10_000) < errors)
    assert alone.crossed, "a limit of its own would have"


def test_nothing_is_known_before_the_first_match():
    known, completed = told(begun(per=2), (OLD, 0.0), (NEW, 1.0))
    assert completed == ()
    assert known.comparison.new == intervals.EMPTY
    assert known.comparison.worse.evidence == pytest.approx(1)
