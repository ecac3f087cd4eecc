"""One revision against its own limit: the reference freezes at a fixed count, whatever was fetched at a time."""

import json

import numpy as np
import pytest
from leadline_stats import intervals, limits, references

PLAN = limits.Plan(margin=0.02, alpha=0.004)


def bits(rate: float, length: int, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).random(length) < rate).astype(float)


def test_first_outcomes_make_the_reference_and_only_the_others_are_held_against_it():
    losses = bits(0.05, 700)
    watch = limits.fold(limits.planned(PLAN), losses)
    right = int(500 - losses[:500].sum())
    assert watch.reference == references.of_answers(right, 500, margin=0.02, alpha=0.004)
    assert (watch.worse.outcomes, watch.within.outcomes, watch.all.outcomes) == (200, 200, 700)
    assert (watch.worse.limit, watch.worse.needed) == (watch.reference.tolerated_loss, 500)


def test_nothing_is_judged_before_the_reference_is_there():
    watch = limits.fold(limits.planned(PLAN), np.ones(499))
    assert (watch.reference, watch.worse, watch.missing) == (None, None, 1)


def test_flaw_is_said_and_nothing_judged_when_the_first_outcomes_make_no_reference():
    watch = limits.fold(limits.planned(PLAN), np.ones(600))
    assert watch.reference is None
    assert watch.flaw.startswith("reference: expected a limit of 0.0001 to 0.9999, got 0 of the estimate 0")
    assert limits.fold(watch, np.zeros(10)).all.outcomes == 610


def test_decay_is_found_against_a_floor_from_the_first_outcome_on():
    watch = limits.fold(limits.against(references.floor(0.9, alpha=0.004)), bits(0.3, 400))
    assert watch.worse.crossed
    assert watch.missing == 0


def test_decay_is_found_against_an_own_reference():
    watch = limits.fold(limits.planned(PLAN), np.concatenate([bits(0.05, 1_500), bits(0.2, 1_500, seed=1)]))
    assert watch.worse.crossed_at > 1_000


def test_good_revision_is_shown_to_be_within_its_limit():
    watch = limits.fold(limits.against(references.floor(0.9, alpha=0.004)), bits(0.05, 1_000))
    assert watch.within.crossed
    assert not watch.worse.crossed


def test_scores_make_a_reference_when_the_plan_says_graded():
    scores = np.random.default_rng(0).beta(9, 1, 800)
    watch = limits.fold(limits.planned(limits.Plan(margin=0.02, alpha=0.004, graded=True)), 1 - scores)
    assert watch.reference.value == pytest.approx(scores[:500].mean())
    assert watch.worse.outcomes == 300


@pytest.mark.parametrize("size", [1, 99, 250, 499, 500, 501, 1_700])
def test_watch_in_parts_and_through_json_is_the_same_in_every_bit(size):
    losses = bits(0.05, 1_700)
    parts = limits.planned(PLAN)
    for start in range(0, 1_700, size):
        parts = limits.fold(parts, losses[start : start + size])
        if size > 1:
            parts = limits.from_plain(json.loads(json.dumps(limits.to_plain(parts))))
    assert parts == limits.fold(limits.planned(PLAN), losses)


def test_watch_against_a_floor_survives_json():
    watch = limits.fold(limits.against(references.floor(0.9, alpha=0.004)), bits(0.05, 150))
    assert limits.from_plain(json.loads(json.dumps(limits.to_plain(watch)))) == watch


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "version: expected 1, got 2"),
        ({"reference": None, "plan": None}, "reference: expected one, or a plan to make one"),
        ({"worse": None}, "worse: expected an object, got None"),
        ({"flaw": None}, "flaw: expected str, got None"),
    ],
)
def test_stored_watch_is_refused_when_a_field_is_impossible(change, message):
    record = limits.to_plain(limits.against(references.floor(0.9, alpha=0.004)))
    with pytest.raises(ValueError, match=message):
        limits.from_plain(record | change)


def test_stored_watch_is_refused_when_the_reference_is_another_than_its_monitors():
    record = limits.to_plain(limits.against(references.floor(0.9, alpha=0.004)))
    other = limits.to_plain(limits.against(references.floor(0.8, alpha=0.004)))
    with pytest.raises(ValueError, match=r"reference: the limit 0.8 does not fit its monitor"):
        limits.from_plain(record | {"reference": other["reference"]})


def test_plan_refuses_fewer_outcomes_than_a_reference_needs():
    with pytest.raises(ValueError, match="outcomes: expected 500 or more, got 100"):
        limits.Plan(margin=0.02, alpha=0.004, outcomes=100)


def test_outcomes_of_several_rows_make_a_reference_by_the_bound_for_scores():
    in_halves = [0.0, 0.5] * 250
    watch = limits.fold(limits.planned(PLAN), in_halves)
    scores = intervals.fold(intervals.EMPTY, [1 - loss for loss in in_halves])
    assert watch.reference == references.of_scores(scores, margin=PLAN.margin, alpha=PLAN.alpha)
    assert watch.reference.value == 0.75
