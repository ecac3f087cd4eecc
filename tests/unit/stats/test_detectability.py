"""How long a drop takes: the figures and words of the docs, and what is refused. Simulations are in tests/property."""

import pytest
from leadline_stats import detectability

DOCS = {
    (0.95, 0.0): (1_481, 275, 84, 30),
    (0.95, 0.01): (6_592, 483, 115, 34),
    (0.95, 0.02): (None, 879, 153, 37),
    (0.90, 0.0): (2_564, 480, 139, 41),
    (0.90, 0.02): (None, 1_375, 226, 53),
    (0.80, 0.0): (4_483, 768, 220, 57),
    (0.80, 0.02): (None, 2_212, 348, 77),
}
"""Simulated medians at alpha .01, by reference and margin, for drops of 2, 5, 10 and 20 points."""


def found(drop: float, **changes) -> detectability.Detectable:
    return detectability.detectable(drop, **{"reference": 0.95, "margin": 0.02, "alpha": 0.01, "per_day": 40} | changes)


@pytest.mark.parametrize(("reference", "margin"), DOCS)
def test_medians_are_those_of_the_docs_within_15_percent(reference, margin):
    for drop, median in zip((0.02, 0.05, 0.1, 0.2), DOCS[reference, margin], strict=True):
        outcomes = found(drop, reference=reference, margin=margin).outcomes
        assert outcomes is None if median is None else outcomes == pytest.approx(median, rel=0.15)


@pytest.mark.parametrize(
    ("after", "drop", "median"), [(10_000, 0.05, 2_144), (10_000, 0.1, 357), (10_000, 0.2, 94), (100_000, 0.1, 461)]
)
def test_medians_of_a_late_drop_are_those_of_the_docs_within_15_percent(after, drop, median):
    assert found(drop, after=after).outcomes == pytest.approx(median, rel=0.15)


@pytest.mark.parametrize(
    ("margin", "drop", "median"),
    [(0, 0.02, 1_718), (0, 0.05, 436), (0, 0.1, 174), (0.02, 0.05, 1_053), (0.02, 0.1, 250)],
)
def test_medians_of_pairs_are_those_of_the_docs_within_15_percent(margin, drop, median):
    pairs = detectability.detectable_in_pairs(drop, reference=0.95, margin=margin, alpha=0.01, per_day=40)
    assert pairs.outcomes == pytest.approx(median, rel=0.15)


@pytest.mark.parametrize(
    ("drop", "per_day", "words"),
    [
        (0.05, 40, "at 40 outcomes/day a 5-point drop from 0.950 takes about 24 days"),
        (0.05, 1_000, "at 1,000 outcomes/day a 5-point drop from 0.950 takes about 23 hours"),
        (0.05, 2, "at 2 outcomes/day a 5-point drop from 0.950 takes about 16 months"),
        (0.025, 2, "at 2 outcomes/day a 2.5-point drop from 0.950 takes more than 10 years"),
        (0.2, 1e6, "at 1,000,000 outcomes/day a 20-point drop from 0.950 takes about 1 minute"),
        (0.05, 0, "without outcomes a 5-point drop from 0.950 is never found"),
        (0.02, 40, "a 2-point drop from 0.950 is tolerated"),
    ],
)
def test_words_say_how_long_it_takes(drop, per_day, words):
    assert found(drop, per_day=per_day).words == words


@pytest.mark.parametrize(
    ("drop", "per_day", "short"),
    [(0.05, 300, "5 points in about 3.2 days"), (0.01, 300, "1 point never"), (0.05, 0, "5 points never")],
)
def test_short_words_fit_into_a_status(drop, per_day, short):
    assert found(drop, per_day=per_day).short == short


def test_lower_limit_of_an_estimated_reference_takes_longer():
    assert found(0.1, limit=0.9152).outcomes > 1.3 * found(0.1).outcomes


def test_smaller_drops_take_longer():
    outcomes = [found(drop).outcomes for drop in (0.3, 0.2, 0.1, 0.05, 0.03)]
    assert outcomes == sorted(outcomes)


def test_total_failure_is_found_in_a_few_outcomes():
    assert found(0.95).outcomes <= 5


@pytest.mark.parametrize(
    ("drop", "changes", "message"),
    [
        (0, {}, r"drop: expected above 0 and at most the reference \(0.95\), got 0"),
        (0.96, {}, r"drop: expected above 0 and at most the reference \(0.95\), got 0.96"),
        (0.1, {"reference": 1}, "reference: expected a number between 0 and 1, got 1"),
        (0.1, {"per_day": -1}, "outcomes per day: expected 0 to inf, got -1"),
        (0.1, {"alpha": 0}, "alpha: expected a number between 0 and 1, got 0"),
        (0.1, {"limit": 1}, "limit: expected 0.0001 to 1, got 0"),
    ],
)
def test_numbers_out_of_range_are_refused(drop, changes, message):
    with pytest.raises(ValueError, match=message):
        found(drop, **changes)
