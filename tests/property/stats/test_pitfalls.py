"""The pitfalls of judging by true answers that come back: each shown as a trap, and as what the product does about it.

Lives are simulated and seeded: nothing is wrong with the revision, .95 of its answers are right, the margin is 2 points. A
naive rule falls into the trap; the rule that ships stays under its level. Through a real ledger, what delay and entities do is
in tests/unit/ledger/test_pitfalls.py. That the rules are kept is shown elsewhere: answers once each and in their order in
tests/property/ledger/test_any_order.py and tests/unit/ledger/test_maturing.py, evidence over restarts and cuts in
tests/property/reconcile/test_evidence.py, terms that change in tests/unit/reconcile/test_outcomes.py
(`test_other_terms_begin_all_evidence_anew`), wanted answers in tests/unit/reconcile/test_wanted_outcomes.py.
"""

import numpy as np
import pytest
from leadline_stats import arms, betting, budgets, deviations, pairs, references, test_sets
from leadline_stats.deviations import Measure

ERRORS, MARGIN, ALPHA = 0.05, 0.02, 0.01
LIMIT = ERRORS + MARGIN


def false(losses: np.ndarray, limit: float = LIMIT, alpha: float = ALPHA) -> float:
    """Share of lives in which the evidence ever reaches 1 / alpha; one life in a row."""
    return float(np.count_nonzero(betting.crossings(losses, limit=limit, alpha=alpha)) / len(losses))


def by_arrival(bits: np.ndarray, came: np.ndarray) -> np.ndarray:
    return np.take_along_axis(bits, np.argsort(came, axis=1, kind="stable"), axis=1)


# Outcome-dependent delay


def delayed(lives: int, length: int, seed: int, ten_times: float = 2_000.0) -> tuple[np.ndarray, np.ndarray]:
    """Errors, and how long each takes to be told: an error a tenth as long as a right answer; a prediction each 1."""
    chance = np.random.default_rng(seed)
    bits = (chance.random((lives, length)) < ERRORS).astype(float)
    return bits, chance.exponential(np.where(bits > 0, ten_times / 10, ten_times))


def test_errors_that_are_told_sooner_condemn_nobody_where_all_are_judged_at_the_same_age():
    bits, delays = delayed(200, 6_000, 1)
    at = np.arange(6_000.0)
    at_once = by_arrival(bits, at + delays)[:, :3_000]  # what has come halfway through
    assert false(at_once) > 0.95
    maturity = 3 * 2_000.0
    judged = np.where(delays <= maturity, bits, np.nan)
    lives = [life[~np.isnan(life)] for life in judged]
    shortest = min(map(len, lives))
    assert false(np.array([life[:shortest] for life in lives])) <= 0.02


def test_young_candidate_is_worse_than_an_old_serving_one_only_by_its_answers_age():
    bits, delays = delayed(200, 8_000, 2)
    young = by_arrival(bits[:, :4_000], np.arange(4_000.0) + delays[:, :4_000])[:, :2_000]
    old = bits[:, 4_000:6_000]  # all its answers have come
    assert false((1 + young - old) / 2, (1 + MARGIN) / 2) > 0.5
    other, other_delays = delayed(200, 4_000, 3)
    equal = by_arrival(other, np.arange(4_000.0) + other_delays)[:, :2_000]
    assert false((1 + young - equal) / 2, (1 + MARGIN) / 2) <= 0.02


# Clustered truths


def test_truths_of_one_entity_are_wrong_together_and_count_as_one():
    chance = np.random.default_rng(4)
    entities = (chance.random((200, 300)) < ERRORS).astype(float)
    singly = np.repeat(entities, 20, axis=1)
    assert false(singly) > 0.9
    assert false(entities) <= 0.02


# Noise of the truths


def noisy(chance: np.random.Generator, lives: int, length: int) -> np.ndarray:
    wrong = chance.random((lives, length)) < ERRORS
    return (wrong ^ (chance.random((lives, length)) < 0.03)).astype(float)


def test_reference_is_made_of_truths_as_noisy_as_those_that_are_held_against_it():
    chance = np.random.default_rng(5)
    told = noisy(chance, 150, 10_500)
    assert false(told[:, 500:]) > 0.15, "held against what clean truths would have shown"
    found = 0
    for life in told:
        right = int(500 - life[:500].sum())
        reference = references.of_answers(right, 500, margin=MARGIN, alpha=ALPHA)
        found += false(life[np.newaxis, 500:], reference.tolerated_loss, reference.alpha) > 0
    assert found <= 0.02 * len(told)
    both = (1 + noisy(chance, 150, 5_000) - noisy(chance, 150, 5_000)) / 2
    assert false(both, (1 + MARGIN) / 2) <= 0.02


# Season


def test_season_is_below_a_limit_now_and_then_and_condemns_nobody_beside_another_revision():
    chance = np.random.default_rng(6)
    rate = 0.05 + 0.04 * np.sin(np.arange(10_000) * 2 * np.pi / 2_500)
    new, old = ((chance.random((300, 10_000)) < rate).astype(float) for _ in range(2))
    assert 0.01 < false(new) < 0.1, "worse than the limit for a while is below it: the promise is not of the mean"
    assert false((1 + new - old) / 2, (1 + MARGIN) / 2) <= 0.02


# Selection


def test_complaints_alone_condemn_and_a_share_drawn_at_the_prediction_does_not():
    chance = np.random.default_rng(7)
    bits = (chance.random((150, 20_000)) < ERRORS).astype(float)
    complained = chance.random(bits.shape) < np.where(bits > 0, 0.5, 0.05)
    drawn = chance.random(bits.shape) < 0.1
    chosen, sampled = (
        np.array([life[mask][:1_000] for life, mask in zip(bits, masks, strict=True)]) for masks in (complained, drawn)
    )
    assert false(chosen) > 0.95
    assert false(sampled) <= 0.02


def test_complaints_about_whoever_serves_condemn_it_beside_another_revision_too():
    chance = np.random.default_rng(8)
    new, old = ((chance.random((150, 20_000)) < ERRORS).astype(float) for _ in range(2))
    complained = chance.random(new.shape) < np.where(new > 0, 0.5, 0.05)  # the client saw the new one's answer alone
    pair = (1 + new - old) / 2
    told = np.array([life[mask][:1_000] for life, mask in zip(pair, complained, strict=True)])
    assert false(told, (1 + MARGIN) / 2) > 0.95
    drawn = np.array([life[mask][:1_000] for life, mask in zip(pair, chance.random(new.shape) < 0.1, strict=True)])
    assert false(drawn, (1 + MARGIN) / 2) <= 0.02


def test_answers_weighed_by_the_inverse_of_their_probability_are_as_good_as_a_random_sample():
    """Not in the product, which samples at random: here so that whoever builds on it knows that it holds."""
    chance = np.random.default_rng(9)
    hard = chance.random((300, 5_000)) < 0.2
    bits = (chance.random(hard.shape) < np.where(hard, 0.17, 0.02)).astype(float)  # .05 in all
    probability = np.where(hard, 0.8, 0.2)
    asked = chance.random(hard.shape) < probability
    assert false(np.array([life[mask][:1_400] for life, mask in zip(bits, asked, strict=True)])) > 0.5
    bound = 1 / 0.2
    weighed = np.where(asked, bits / probability, 0.0) / bound
    assert false(weighed, LIMIT / bound) <= 0.02
    worse = np.where(asked, np.minimum(1, bits + (chance.random(hard.shape) < 0.1)) / probability, 0.0) / bound
    assert false(worse, LIMIT / bound) > 0.9


# Counts of a tick


def test_counts_of_a_tick_are_paired_at_random_never_in_the_order_of_what_they_count():
    chance = np.random.default_rng(10)
    ordered = shuffled = 0
    for _ in range(60):
        first = arms.begin(margin=MARGIN, alpha=ALPHA, per=1)
        known = {"ordered": first, "shuffled": first}
        for _ in range(60):
            # Twenty outcomes of the new revision, forty of the old one; a counter gives the right ones first.
            wrong = chance.binomial(20, ERRORS), chance.binomial(40, ERRORS)
            new, old = np.zeros(20), np.zeros(40)
            new[20 - wrong[0] :], old[40 - wrong[1] :] = 1, 1
            known["ordered"] = _tick(known["ordered"], new, old)
            known["shuffled"] = _tick(known["shuffled"], chance.permutation(new), chance.permutation(old))
        ordered += known["ordered"].comparison.worse.crossed
        shuffled += known["shuffled"].comparison.worse.crossed
    assert ordered > 50
    assert shuffled <= 3


def _tick(known: arms.Arms, new: np.ndarray, old: np.ndarray) -> arms.Arms:
    """Pair the outcomes of one tick; what is left of it waits for none of the next."""
    after, _ = arms.fold(known, np.concatenate([new, old[: len(new)]]), [True] * len(new) + [False] * len(new))
    return after


@pytest.mark.parametrize("tick", [1_000, 3_700])
def test_tick_of_thousands_restarts_where_outcomes_that_came_one_by_one_would(tick):
    chance = np.random.default_rng(11)
    bits = (chance.random(12_000) < np.where(np.arange(12_000) < 11_000, ERRORS, 0.5)).astype(float)
    monitor = betting.begin(limit=LIMIT, alpha=ALPHA)
    for start in range(0, len(bits), tick):
        monitor = betting.fold(monitor, bits[start : start + tick])
    (alone,) = betting.crossings(bits[np.newaxis], limit=LIMIT, alpha=ALPHA)
    assert monitor.crossed_at == alone
    assert 11_000 < alone < 11_100


# Imbalance


def test_dead_minority_class_is_hidden_by_accuracy_and_found_by_recall_at_its_own_level():
    chance = np.random.default_rng(12)
    rare = chance.random((100, 20_000)) < 0.01
    served = (chance.random(rare.shape) < np.where(rare, 1.0, 0.04)).astype(float)  # never says the rare class
    before = (chance.random(rare.shape) < np.where(rare, 0.2, 0.04)).astype(float)
    level = budgets.shares(0.01, metrics=2).comparison
    assert level == pytest.approx(0.002)
    assert false((1 + served - before) / 2, (1 + MARGIN) / 2, level) <= 0.02
    positives = np.array([((1 + s - b) / 2)[mask][:150] for s, b, mask in zip(served, before, rare, strict=True)])
    assert false(positives, (1 + MARGIN) / 2, level) > 0.99


# Errors without a bound


def test_one_outlier_decides_where_squared_errors_are_not_clipped():
    chance = np.random.default_rng(13)
    errors = chance.normal(0, 1, 2_000)
    scale = deviations.of_first(Measure.RMSE, errors[:500], np.zeros(500))
    errors[1_500] = 10_000.0
    mean = (errors[:500] ** 2).mean()
    unclipped = errors[500:] ** 2 / (1.2 * mean)  # as the engine takes it, y / r
    wealth = np.mean([np.prod(1 - bet + bet * unclipped[:1_001]) for bet in betting.BETS[:2]])
    assert wealth > 1 / ALPHA
    losses = deviations.losses(scale, errors, np.zeros(2_000))
    limit = losses[:500].mean() + deviations.tolerated(scale, losses[:500].mean(), 0.1)
    assert false(losses[np.newaxis, 500:], limit) == 0


@pytest.mark.parametrize("memory", [0.5, 0.9])
def test_errors_that_depend_on_those_before_condemn_hardly_anybody_on_the_same_inputs(memory):
    """Errors of a regression drift for a while: by its own limit that is a decay, beside another revision it is none."""
    chance = np.random.default_rng(14)
    drift = _drift(chance, 100, 4_000, memory)
    new, old = (np.abs(drift + chance.normal(0, 0.5, drift.shape)) for _ in range(2))
    bound = 3 * old[:, :500].mean()
    pair = (np.clip(new - old, -bound, bound)[:, 500:] + bound) / (2 * bound)
    limit = (0.1 * old[:, :500].mean() + bound) / (2 * bound)
    assert false(pair, limit) <= 0.02


def _drift(chance: np.random.Generator, lives: int, length: int, memory: float) -> np.ndarray:
    """Shape (lives, length): a first-order autoregression of variance 1."""
    steps = chance.normal(0, np.sqrt(1 - memory**2), (length, lives))
    found = np.empty((length, lives))
    last = chance.normal(0, 1, lives)
    for place, step in enumerate(steps):
        last = memory * last + step
        found[place] = last
    return found.T


# Alpha is per revision


def test_all_tests_of_one_revision_together_spend_its_probability_and_no_more():
    """Test set, pairs and a limit of estimated accuracy, each at its part of .05, on a revision as good as the one before."""
    chance, whole, lives = np.random.default_rng(15), 0.05, 400
    parts = budgets.shares(whole)
    found = {"test set": 0, "pairs": 0, "limit": 0, "any": 0}
    for _ in range(lives):
        breaks, fixes = chance.multinomial(500, [0.03, 0.03, 0.94])[:2]
        condemned = {"test set": test_sets.test_set_pvalue(int(breaks), int(fixes), 500, 0.0) < parts.test_set}
        new, old = ((chance.random(3_000) < ERRORS).astype(float) for _ in range(2))
        condemned["pairs"] = pairs.fold(pairs.begin(margin=0.0, alpha=parts.comparison), new, old).worse.crossed
        before = chance.binomial(500, 1 - ERRORS)
        reference = references.of_answers(int(before), 500, margin=0.0, alpha=parts.fixed_limit)
        condemned["limit"] = betting.fold(
            betting.begin(limit=reference.tolerated_loss, alpha=reference.alpha), new
        ).crossed
        for name, each in condemned.items():
            found[name] += each
        found["any"] += any(condemned.values())
    noise = 3 * np.sqrt(whole * (1 - whole) * lives)
    assert found["any"] <= whole * lives + noise
    assert found["test set"] + found["pairs"] + found["limit"] > 0, "at margin 0 something of it is spent"


def test_hundred_good_revisions_a_year_at_one_in_a_hundred_are_at_most_one_false_rollback_to_be_expected():
    chance = np.random.default_rng(16)
    years = 10
    losses = (chance.random((100 * years, 3_000)) < ERRORS).astype(float)
    found = np.count_nonzero(betting.crossings(losses, limit=ERRORS, alpha=ALPHA))
    assert found <= years + 3 * np.sqrt(years)
    assert found > 0, "at the very limit it is no more than a probability"


# Terms that change in mid-life


def test_margin_that_is_moved_to_what_was_seen_condemns_where_it_does_not_begin_anew():
    chance = np.random.default_rng(17)
    losses = (chance.random((300, 3_000)) < ERRORS).astype(float)
    seen = losses[:, :1_000]
    chosen = np.maximum(seen.mean(axis=1) - 0.012, betting.LEAST_LIMIT)  # just below what it showed
    kept = sum(false(life[np.newaxis], limit) for life, limit in zip(losses, chosen, strict=True))
    assert kept > 0.05 * len(losses)
    level = budgets.retest_alpha(ALPHA, 1)
    anew = sum(
        false(life[np.newaxis, 1_000:], max(limit, ERRORS), level) for life, limit in zip(losses, chosen, strict=True)
    )
    assert anew <= 0.02 * len(losses)
