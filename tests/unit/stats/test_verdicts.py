"""Who may say what: pairs say Degraded, a limit alone says Decayed, and what is missing is said."""

import numpy as np
import pytest
from leadline_stats import limits, measures, pairs, references, verdicts
from leadline_stats.verdicts import Name, Verification


def bits(rate: float, length: int, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).random(length) < rate).astype(float)


def compared(new: float, old: float, length: int = 2_000) -> pairs.Comparison:
    """Pairs in which the better one's errors are the worse one's, too, so that nothing but the difference is noise."""
    uniform = np.random.default_rng(1).random(length)
    return pairs.fold(pairs.begin(margin=0.02, alpha=0.004), uniform < new, uniform < old)


def against_floor(rate: float, length: int, floor: float = 0.9) -> limits.Watch:
    return limits.fold(limits.against(references.floor(floor, alpha=0.004)), bits(rate, length))


def own(*rates: float, length: int = 1_500) -> limits.Watch:
    plan = limits.Plan(margin=0.02, alpha=0.004)
    return limits.fold(limits.planned(plan), np.concatenate([bits(rate, length) for rate in rates]))


def decide(comparison=None, watch=None, **changes) -> verdicts.Verdict:
    return verdicts.decide(verdicts.Case("accuracy", measures.Reading(margin=0.02), comparison, watch, **changes))


def test_revision_is_degraded_when_pairs_show_that_it_is_worse():
    verdict = decide(compared(0.15, 0.05), own(0.15))
    assert (verdict.name, verdict.provisional, verdict.needed, verdict.limit) == (Name.DEGRADED, False, 250, None)
    assert verdict.evidence >= 250
    assert 0 < verdict.decided_at < 500
    assert verdict.message.startswith("accuracy 0.8")
    assert "over 2000 outcomes vs last good 0.9" in verdict.message
    assert verdict.message.endswith(f"evidence {verdicts.odds(verdict.evidence)}, needs 250:1)")


def test_message_is_the_sentence_that_the_docs_show():
    comparison = pairs.fold(
        pairs.begin(margin=0.02, alpha=0.004),
        np.arange(812) % 8 == 0,
        (np.arange(812) % 8 == 0) & (np.arange(812) % 3 == 0),
    )
    assert decide(comparison, other="digits-7").message == (
        "accuracy 0.874 [0.827, 0.913] over 812 outcomes vs digits-7 0.958: degraded"
        " (margin 0.02, alpha 0.004; evidence 379:1, needs 250:1)"
    )


def test_revision_is_decayed_when_only_its_own_limit_is_crossed():
    verdict = decide(compared(0.15, 0.15), own(0.05, 0.3))
    assert (verdict.name, verdict.provisional, verdict.needed) == (Name.DECAYED, False, 500)
    assert verdict.decided_at > 1_000
    assert verdict.limit == own(0.05).reference.limit
    assert verdict.since == 1_500
    assert (
        f"vs limit {verdict.limit:.3f}: decayed since about outcome 1500 (estimate {verdict.reference:.3f} over 500 outcomes"
        in verdict.message
    )


def test_new_revision_is_degraded_provisionally_when_nothing_can_be_compared():
    verdict = decide(None, against_floor(0.3, 900), comparable=False)
    assert (verdict.name, verdict.provisional) == (Name.DEGRADED, True)
    assert "degraded provisionally, for nothing can be compared (floor 0.900, alpha 0.004;" in verdict.message


@pytest.mark.parametrize(
    ("watch", "changes"),
    [
        pytest.param(against_floor(0.3, 900), {"comparable": True}, id="pairs can be had"),
        pytest.param(against_floor(0.3, 900), {"comparable": False, "has_last_good": False}, id="first revision"),
        pytest.param(own(0.05, 0.5, length=550), {"comparable": False}, id="reference is its own"),
        pytest.param(
            limits.fold(against_floor(0.05, 2_000), bits(0.4, 500)),
            {"comparable": False},
            id="after its first outcomes",
        ),
    ],
)
def test_fixed_limit_alone_says_only_decayed(watch, changes):
    verdict = decide(None, watch, **changes)
    assert (verdict.name, verdict.provisional) == (Name.DECAYED, False)


def test_provisional_verdict_is_withdrawn_when_the_last_good_one_falls_below_the_limit_too():
    assert verdicts.withdrawn(against_floor(0.25, 900))
    assert not verdicts.withdrawn(against_floor(0.05, 900))


@pytest.mark.parametrize(
    ("fresh", "expected"),
    [
        (compared(0.3, 0.05), Verification.GO_BACK),
        (compared(0.3, 0.3), Verification.WOULD_NOT_HELP),
        (compared(0.3, 0.3, length=20), Verification.PENDING),
    ],
)
def test_verification_on_fresh_pairs_says_whether_going_back_would_help(fresh, expected):
    assert verdicts.verification(fresh) is expected


def test_revision_is_healthy_when_pairs_show_that_it_is_within_the_margin():
    verdict = decide(compared(0.05, 0.05), own(0.05))
    assert (verdict.name, verdict.needed, verdict.alpha) == (Name.HEALTHY, 20, 0.05)
    assert "shown to be within the margin (margin 0.02, alpha 0.05; evidence" in verdict.message


def test_revision_is_healthy_when_its_own_limit_shows_it_and_nothing_is_compared_any_more():
    verdict = decide(compared(0.05, 0.05, length=30), against_floor(0.05, 3_000), comparable=False)
    assert (verdict.name, verdict.outcomes, verdict.limit) == (Name.HEALTHY, 3_000, 0.9)
    assert "vs limit 0.900: shown to be above it (floor 0.900, alpha 0.05;" in verdict.message


def test_revision_is_watched_when_there_are_pairs_but_no_finding():
    verdict = decide(compared(0.05, 0.05, length=30), own(0.05))
    assert (verdict.name, verdict.outcomes, verdict.decided_at) == (Name.WATCHING, 30, None)
    assert 0 < verdict.evidence < verdict.needed == 250
    assert ": nothing found (margin 0.02, alpha 0.004; evidence" in verdict.message


@pytest.mark.parametrize(
    ("comparison", "watch", "why"),
    [
        (None, None, "neither a limit nor a revision to compare with"),
        (None, against_floor(0.1, 0), "no outcomes yet"),
        (None, own(0.1, length=312), "188 more outcomes make a reference"),
        (None, own(1, length=600), "reference: expected a limit of 0.0001 to 0.9999, got 0 of the estimate 0"),
        (compared(0.1, 0.1, length=0), None, "no outcomes yet"),
        (compared(0.1, 0.1, length=0), own(0.1, length=312), "188 more outcomes make a reference"),
    ],
)
def test_verdict_says_what_is_missing_when_nothing_can_be_judged(comparison, watch, why):
    verdict = decide(comparison, watch)
    assert verdict.name is Name.COLLECTING
    assert verdict.why.startswith(why)
    assert verdict.message.endswith(verdict.why)
    assert verdict.message.startswith("accuracy")
    assert (verdict.evidence, verdict.decided_at) == (1, None)


def test_estimate_is_shown_while_the_reference_is_being_made():
    message = decide(None, own(0.1, length=312)).message
    assert message == "accuracy 0.894 [0.817, 0.947] over 312 outcomes: 188 more outcomes make a reference"


@pytest.mark.parametrize(
    ("evidence", "words"),
    [
        (1.0, "1:1"),
        (0.4, "0.4:1"),
        (250.0, "250:1"),
        (2_345.6, "2346:1"),
        (28_000_000.0, "2.8e7:1"),
        (0.0004, "4.0e-4:1"),
    ],
)
def test_odds_read_as_people_write_them(evidence, words):
    assert verdicts.odds(evidence) == words
