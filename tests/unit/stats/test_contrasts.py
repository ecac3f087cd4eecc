"""Precision and F1 of two revisions on the same inputs."""

import json

import numpy as np
import pytest
from leadline_stats import classes, contrasts, pairs
from leadline_stats.classes import Measure

ROWS = 6_000


def rows(measure, seed, *, recall=0.8, noise=0.1, worse=0.0, eager=0.0):
    """Losses of a new and an old revision; the new one errs as the old does, and on a share of the rows besides.

    Args:
        measure: What is measured.
        seed: Of the stream.
        recall: Share of the positives that the old one finds.
        noise: Share of the negatives that it takes for positives.
        worse: Share of the rows whose answer the new one turns round.
        eager: Share of the rows that the new one calls positive whatever they are.
    """
    chance = np.random.default_rng(seed)
    true = chance.random(ROWS) < 0.3
    old = np.where(true, chance.random(ROWS) < recall, chance.random(ROWS) < noise)
    new = np.where(chance.random(ROWS) < worse, ~old, old) | (chance.random(ROWS) < eager)

    def losses(predicted):
        found = np.full(ROWS, np.nan)
        found[classes.counted(measure, predicted, true)] = classes.losses(measure, predicted, true)
        return found

    return losses(new), losses(old)


def begun(measure=Measure.PRECISION, margin=0.02):
    return contrasts.begin(measure, margin=margin, alpha=0.004)


@pytest.mark.parametrize("measure", [Measure.PRECISION, Measure.F1])
def test_a_worse_one_is_found_and_an_equal_one_is_shown_to_be_within_the_margin(measure):
    worse = contrasts.fold(begun(measure), *rows(measure, 1, worse=0.1))
    assert worse.worse.crossed
    assert 20 < worse.worse.crossed_at < 1_500
    assert not worse.within.crossed
    equal = contrasts.fold(begun(measure, margin=0.05), *rows(measure, 2))
    assert (equal.worse.crossed, equal.within.crossed) == (False, True)


def test_one_that_only_predicts_the_class_more_often_is_worse_by_precision():
    """Their rows differ in number, so that the guessed share of the old one matters."""
    found = contrasts.fold(begun(), *rows(Measure.PRECISION, 3, eager=0.2))
    assert found.worse.crossed
    fewer = rows(Measure.PRECISION, 3, eager=0.2)[::-1]
    assert not contrasts.fold(begun(), *fewer).worse.crossed, "the other way about it is better"


def test_where_all_rows_count_for_both_it_decides_like_pairs():
    chance = np.random.default_rng(4)
    old = (chance.random(2_000) < 0.1).astype(float)
    new = np.where(chance.random(2_000) < 0.12, 1.0, old)
    paired = pairs.fold(pairs.begin(margin=0.02, alpha=0.004), new, old).worse.crossed_at
    found = contrasts.fold(begun(Measure.ACCURACY), new, old).worse.crossed_at
    assert paired <= found <= 1.3 * paired + contrasts.LOOK_EVERY


@pytest.mark.parametrize("cuts", [[1], [9, 10, 11], [777, 778, 5_000], range(0, ROWS, 7)])
def test_the_cut_of_the_stream_changes_nothing(cuts):
    new, old = rows(Measure.F1, 5, worse=0.03)
    whole = contrasts.fold(begun(Measure.F1), new, old)
    parts = begun(Measure.F1)
    for some_new, some_old in zip(np.split(new, cuts), np.split(old, cuts), strict=True):
        parts = contrasts.fold(parts, some_new, some_old)
    assert parts == whole
    plain = json.loads(json.dumps(contrasts.to_plain(whole)))
    back = contrasts.from_plain(plain)
    assert contrasts.to_plain(back) == contrasts.to_plain(whole)
    assert contrasts.to_plain(contrasts.fold(back, new, old)) == contrasts.to_plain(contrasts.fold(whole, new, old))


def test_inputs_that_count_for_neither_say_nothing():
    nothing = np.full(50, np.nan)
    assert contrasts.fold(begun(), nothing, nothing) == begun()
    assert contrasts.fold(begun(), [np.nan, 1.0], [0.0, np.nan]).pairs == 2


def test_the_evidence_stands_still_once_it_decided():
    new, old = rows(Measure.PRECISION, 1, worse=0.3)
    decided = contrasts.fold(begun(), new[:2_000], old[:2_000]).worse
    later = contrasts.fold(begun(), new, old).worse
    assert decided.crossed
    assert (later.evidence, later.crossed_at) == (decided.evidence, decided.crossed_at)
    assert later.outcomes > decided.outcomes


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: begun(margin=1.5), "margin"),
        (lambda: contrasts.fold(begun(), [0.0], []), r"old: expected shape \[1\] like new, got \[0\]"),
        (lambda: contrasts.fold(begun(), [2.0], [0.0]), "expected numbers from 0 to 1"),
        (lambda: contrasts.from_plain({"version": 99}), "version"),
        (lambda: contrasts.from_plain({**contrasts.to_plain(begun()), "waiting": [[None, "0x1p0"]]}), "do not fit"),
        (lambda: contrasts.from_plain({**contrasts.to_plain(begun()), "waiting": [[7]]}), "two losses"),
    ],
)
def test_what_cannot_be_is_said(call, said):
    with pytest.raises(ValueError, match=said):
        call()
