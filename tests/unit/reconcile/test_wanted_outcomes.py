"""Answers that were asked for where two revisions differ: what they say of a pair, and that they say nothing else.

Simulated lives are seeded: bounds leave room for their noise.
"""

import numpy as np
import pytest
from leadline_operator.reconcile.evidence import Evidence, fold
from leadline_operator.reconcile.terms import Terms, data_of
from leadline_stats import budgets, pairs
from leadline_wire.ledger import DecisionEntry, OutcomeEntry, PairEntry

MODEL = "ml/digits"
TERMS = Terms("k", "accuracy", graded=False, margin=0.02, comparison_alpha=0.004, limit_alpha=0.004)
BEGIN = (
    DecisionEntry(1, MODEL, "t", "Terms", "", 0, data=data_of((TERMS,))),
    DecisionEntry(2, MODEL, "old", "Promoted", "old", 0),
    DecisionEntry(3, MODEL, "new", "Promoted", "new", 0, other="old"),
)


def pair(seq: int, *, new_is_right: bool, agreements: float, truth: str = "i1") -> PairEntry:
    """Return a pair of two revisions that differ, one of them right."""
    said, beside = ("i1", "i0") if new_is_right else ("i0", "i1")
    return PairEntry(seq, MODEL, "", 0, "new", said, "old", beside, 0, truth=truth, agreements=agreements)


def compared(found: Evidence):
    return found.first.pairs["new", "old"]


def life(rng, *, answers: int, differ: float, drop: float, agreements: float) -> Evidence:
    """Return the evidence of answers to nothing but inputs on which the revisions differ.

    Args:
        rng: Draws.
        answers: How many are answered.
        differ: Share of inputs on which they differ, each time with one of them right.
        drop: How much worse the new one is on all inputs.
        agreements: What each answer is told to stand for.
    """
    right = rng.random(answers) < (1 - drop / differ) / 2
    told = [pair(seq, new_is_right=bool(each), agreements=agreements) for seq, each in enumerate(right, 4)]
    return fold(Evidence(), (*BEGIN, *told))


def test_wanted_outcome_says_nothing_of_the_share_of_right_answers():
    asked = OutcomeEntry(4, MODEL, "", 0, "new", "i0", 0, truth="i1", wanted="old", agreements=9.0)
    by_itself = OutcomeEntry(5, MODEL, "", 0, "new", "i1", 0, truth="i1")
    found = fold(Evidence(), (*BEGIN, asked, by_itself))
    assert (found.first.own["new"].outcomes, found.first.own["new"].watch.all.mean, found.cursor) == (1, 0.0, 5)


def test_pair_is_held_to_the_margin_of_the_inputs_on_which_both_differ_and_shown_as_the_mean_of_all():
    found = compared(fold(Evidence(), (*BEGIN, pair(4, new_is_right=False, agreements=3.0)))).comparison
    of_all = pairs.fold(pairs.begin(margin=0.02, alpha=0.004), [0.25], [0.0])
    of_differing = pairs.fold(pairs.begin(margin=0.08, alpha=0.004), [1.0], [0.0])
    assert found.worse.evidence == pytest.approx(of_differing.worse.evidence, rel=1e-12)
    assert (found.within, found.new, found.old) == (of_all.within, of_all.new, of_all.old)


def test_pair_whose_other_answer_nobody_knows_is_weighed_alike_both_ways():
    unknown = PairEntry(4, MODEL, "", 0, "old", "i1", "new", "i2", 0, correct=False, agreements=3.0)
    found = compared(fold(Evidence(), (*BEGIN, unknown))).comparison
    for_it = pairs.fold(pairs.begin(margin=0.08, alpha=0.004), [0.0], [1.0])
    against_it = pairs.fold(pairs.begin(margin=0.02, alpha=0.004), [0.25], [0.25])
    assert found.worse.evidence == pytest.approx(for_it.worse.evidence, rel=1e-12)
    assert found.within == against_it.within


@pytest.mark.parametrize("differ", [0.03, 0.05, 0.1])
def test_revision_within_the_margin_is_hardly_ever_found_worse_by_wanted_answers(differ):
    rng = np.random.default_rng(0)
    agreements = (1 - differ) / differ
    lives = [life(rng, answers=1000, differ=differ, drop=0.02, agreements=agreements) for _ in range(150)]
    assert sum(compared(each).is_worse for each in lives) <= 4
    # As if each stood for itself alone: what is tolerated would be condemned.
    unweighed = [life(rng, answers=1000, differ=differ, drop=0.02, agreements=0.0) for _ in range(20)]
    assert sum(compared(each).is_worse for each in unweighed) >= 15


def test_revision_below_the_margin_is_hardly_ever_shown_to_be_within_it():
    rng = np.random.default_rng(1)
    lives = [life(rng, answers=1000, differ=0.1, drop=0.02, agreements=9.0) for _ in range(150)]
    assert sum(compared(each).is_within for each in lives) <= 150 * budgets.PROMOTION + 6


def test_drop_is_found_with_a_sixth_of_the_answers():
    rng = np.random.default_rng(2)
    lives = [life(rng, answers=600, differ=0.14, drop=0.1, agreements=0.86 / 0.14) for _ in range(40)]
    decided = [compared(each).decided_seq - 3 for each in lives]
    assert 0 < np.median(decided) < 50
