"""No single source decides, and none hides more than its share: what is weighed without each, and what that costs.

Lives are simulated and seeded. Who a source is, and how many outcomes are taken of it, is in tests/unit/ledger/test_sources.py.
"""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
from leadline_cli import replays
from leadline_operator.reconcile import evidence_state, quorum, sources, terms
from leadline_operator.reconcile.evidence import Evidence, fold
from leadline_operator.reconcile.terms import Terms
from leadline_stats import betting
from leadline_wire.ledger import DecisionEntry, OutcomeEntry, PairEntry

from tests.unit.reconcile.outcomes_world import an_outcomes_world
from tests.unit.reconcile.world import served, uri

MODEL = "ml/digits"
ONE = Terms("k", "accuracy", graded=False, margin=0.02, comparison_alpha=0.004, limit_alpha=0.004)
QUORUM = replace(ONE, key="q", quorum=2)
SHARE = replace(ONE, key="s", max_share=0.5)
BOTH = replace(ONE, key="b", quorum=2, max_share=0.5)


def begun(asked):
    return fold(
        Evidence(),
        [
            DecisionEntry(1, MODEL, "t", "Terms", "", 0, data=terms.data_of((asked,))),
            DecisionEntry(2, MODEL, "old", "Promoted", "old", 0),
            DecisionEntry(3, MODEL, "new", "Promoted", "new", 0, other="old"),
        ],
    )


def pairs(told):
    """Entries of pairs, each told as (source, whether the new revision is right, whether the old one is)."""
    return [
        PairEntry(
            seq,
            MODEL,
            f"{seq:032x}",
            0,
            "new",
            "i1" if new else "i0",
            "old",
            "i1" if old else "i0",
            seq,
            truth="i1",
            source=by,
        )
        for seq, (by, new, old) in enumerate(told, 4)
    ]


def outcomes(told, first=4):
    return [
        OutcomeEntry(seq, MODEL, f"{seq:032x}", 0, "new", "i1" if right else "i0", seq, truth="i1", source=by)
        for seq, (by, right) in enumerate(told, first)
    ]


def compared(evidence):
    return quorum.view(evidence).first.pairs["new", "old"]


def honest(chance, count, names, *, drop=0.0, churn=0.02):
    """Pairs of honest sources in turn: each revision alone is wrong in a share of `churn`, the new one in `drop` more."""
    draws = chance.random(count)
    return [
        (
            names[place % len(names)],
            not draws[place] < churn + drop,
            not churn + drop <= draws[place] < 2 * churn + drop,
        )
        for place in range(count)
    ]


def mixed(chance, told, liar, share, *, new=False, old=True):
    """The same among which a share is told by one who says what it likes."""
    found = iter(told)
    return list(
        itertools.chain.from_iterable([(liar, new, old)] if chance.random() < share else [next(found)] for _ in told)
    )


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_one_source_that_says_all_is_wrong_condemns_a_good_revision_unless_others_have_to_agree(share):
    chance = np.random.default_rng(1)
    told = pairs(mixed(chance, honest(chance, 2_000, ["ml/a", "ml/b"]), "ml/liar", share))
    assert compared(fold(begun(ONE), told)).is_worse
    held = compared(fold(begun(QUORUM), told))
    assert not held.is_worse
    assert "with ml/liar, not enough without: no single source decides" in held.held


def test_lie_that_began_before_anybody_else_reports_decides_nothing_either():
    chance = np.random.default_rng(2)
    told = pairs([("ml/liar", False, True)] * 300 + honest(chance, 1_500, ["ml/a", "ml/b"]))
    assert compared(fold(begun(ONE), told)).decided_seq < 30
    assert not compared(fold(begun(QUORUM), told)).is_worse


def test_limit_of_its_own_is_not_raised_by_one_source_that_says_all_is_right_first():
    chance = np.random.default_rng(3)
    told = [("ml/liar", True)] * 600 + [(f"ml/{'ab'[place % 2]}", chance.random() > 0.1) for place in range(4_000)]
    lone = fold(begun(ONE), outcomes(told)).first.own["new"]
    assert lone.has_decayed, "against what the liar said, what is so is worse"
    assert not quorum.view(fold(begun(QUORUM), outcomes(told))).first.own["new"].has_decayed


def test_without_a_source_is_what_the_log_without_its_entries_gives():
    chance = np.random.default_rng(4)
    told = pairs(mixed(chance, honest(chance, 700, ["ml/a", "ml/b"], drop=0.05), "ml/c", 0.3))
    evidence = fold(begun(QUORUM), told)
    for source in ("ml/a", "ml/b", "ml/c"):
        others = fold(begun(ONE), [each for each in told if each.source != source]).first
        found = evidence.without[source]["accuracy"].pairs["new", "old"]
        assert found.comparison == others.pairs["new", "old"].comparison


@pytest.mark.parametrize(
    ("shares", "ratio"), [((1 / 2,) * 2, 2.4), ((1 / 3,) * 3, 1.9), ((1 / 5,) * 5, 1.55), ((0.8, 0.1, 0.1), 4.5)]
)
def test_drop_that_all_sources_see_is_found_with_so_many_more_outcomes(shares, ratio):
    """The figures of docs/sources.md: 10 points, margin 2, churn 2 %, pairs at 250:1; without a quorum it takes 299 of them."""
    chance = np.random.default_rng(5)
    draws, by = chance.random((200, 5_000)), chance.choice(len(shares), 5_000, p=shares)
    losses = (1.0 + (draws < 0.12) - ((draws >= 0.12) & (draws < 0.14))) / 2

    def decided(kept):
        places = np.flatnonzero(kept)
        found = betting.crossings(losses[:, kept], limit=0.51, alpha=0.004)
        return np.where(found > 0, places[found - 1] + 1, np.inf)

    alone = decided(np.ones(5_000, dtype=bool))
    agreed = np.max([alone, *(decided(by != source) for source in range(len(shares)))], axis=0)
    assert np.median(alone) == pytest.approx(299, rel=0.1)
    assert np.median(agreed) / np.median(alone) == pytest.approx(ratio, rel=0.15)


def test_good_revision_is_condemned_no_oftener_with_a_quorum_than_without():
    chance, strict = np.random.default_rng(6), {"margin": 0.0, "comparison_alpha": 0.2}
    found = {"alone": 0, "agreed": 0}
    for _ in range(60):
        told = pairs(honest(chance, 800, ["ml/a", "ml/b"], churn=0.05))
        found["alone"] += compared(fold(begun(replace(ONE, **strict)), told)).is_worse
        found["agreed"] += compared(fold(begun(replace(QUORUM, **strict)), told)).is_worse
    assert found["alone"] > 0
    assert found["agreed"] <= found["alone"]


def test_source_that_floods_with_right_answers_hides_no_more_than_its_share():
    chance = np.random.default_rng(7)
    told = honest(chance, 9_000, ["ml/a", "ml/b"], drop=0.3)
    flood = mixed(chance, told, "ml/liar", 0.95, new=True, old=True)
    assert not compared(fold(begun(ONE), pairs(flood))).is_worse, "one in twenty of what comes is true"
    shared = compared(fold(begun(BOTH), pairs(flood)))
    assert shared.is_worse
    tally = fold(begun(SHARE), pairs(flood)).tally.pairs
    assert tally["ml/liar"] <= 0.5 * sum(tally.values()) + sources.FREE


def test_share_lets_the_first_few_of_each_count_and_then_no_more_than_the_others_bring():
    lone = fold(begun(SHARE), outcomes([("ml/a", True)] * 100))
    assert (lone.first.own["new"].outcomes, lone.cursor) == (2 * sources.FREE, 103)
    both = fold(lone, outcomes([("ml/b", True)] * 300, first=104))
    assert dict(both.tally.outcomes) == {"ml/a": 40, "ml/b": 80}
    turns = fold(begun(SHARE), outcomes([(f"ml/{'ab'[place % 2]}", True) for place in range(300)]))
    assert turns.first.own["new"].outcomes == 300


def test_sources_beyond_the_seventh_are_one():
    evidence = fold(begun(QUORUM), outcomes([(f"ml/{place % 30}", True) for place in range(300)]))
    assert list(evidence.without) == [*(f"ml/{place}" for place in range(7)), sources.REST]
    assert evidence.tally.outcomes[sources.REST] == 230


def test_pair_whose_original_failed_is_nobodys_report_and_counts_in_every_view():
    failed = [PairEntry(seq, MODEL, f"{seq:032x}", 0, "new", "x5xx", "old", "i1", seq) for seq in range(4, 60)]
    evidence = fold(begun(QUORUM), failed)
    assert evidence.without == {}
    assert compared(evidence).is_worse


@pytest.mark.parametrize("asked", [QUORUM, SHARE, BOTH])
@pytest.mark.parametrize("size", [1, 7, 400])
def test_log_in_any_cuts_and_through_checkpoints_gives_the_same_bits(asked, size):
    chance = np.random.default_rng(8)
    told = outcomes([(f"ml/{'abc'[chance.integers(3)]}", chance.random() > 0.07) for _ in range(700)])
    rows = [
        PairEntry(
            704 + place,
            MODEL,
            f"{place // 3:032x}",
            place % 3,
            "new",
            "i0",
            "old",
            "i1",
            9,
            truth="i1",
            more=2 - place % 3,
            source=f"ml/{'ab'[place // 3 % 2]}",
        )
        for place in range(120)
    ]
    log = [
        *told,
        *rows,
        DecisionEntry(824, MODEL, "r", "Retried", "new", 0),
        *outcomes([("ml/d", False)] * 50, first=825),
    ]
    whole = fold(begun(asked), log)
    evidence = begun(asked)
    decisions = [*evidence.decisions.values(), log[-51]]
    while evidence.cursor < log[-1].seq:
        rest = [each for each in log if each.seq > evidence.cursor]
        step = size
        while fold(evidence, rest[:step]).cursor == evidence.cursor:
            step += 1  # rows of one prediction are one outcome
        evidence = fold(evidence, rest[:step])
        evidence = evidence_state.read(evidence_state.write(evidence), decisions)
    assert evidence == whole


def test_other_terms_begin_views_and_counts_anew():
    evidence = fold(begun(BOTH), outcomes([("ml/a", True)] * 30))
    again = fold(evidence, [DecisionEntry(34, MODEL, "t2", "Terms", "", 0, data=terms.data_of((ONE,)))])
    assert (again.without, again.tally) == ({}, sources.EMPTY)
    assert again.remembered("new").changes == 1


def test_checkpoint_of_eight_sources_and_many_revisions_stays_within_what_it_may_hold():
    asked = tuple(replace(QUORUM, metric=f"m{number}") for number in range(8))
    log = [DecisionEntry(1, MODEL, "t", "Terms", "", 0, data=terms.data_of(asked))]
    chance = np.random.default_rng(9)
    for number in range(12):
        name, before = f"digits-{number:010d}", f"digits-{number - 1:010d}"
        log.append(DecisionEntry(len(log) + 1, MODEL, f"p{number}", "Promoted", name, 0, other=before))
        for place in range(450):
            at, by = len(log) + 1, f"namespace/{place % 9}"
            said = "i1" if chance.random() > 0.05 else "i0"
            log.append(
                OutcomeEntry(at, MODEL, f"{at:032x}", 0, name, said, 1_800_000_000_000 + at, truth="i1", source=by)
            )
            if place % 3 == 0:
                log.append(
                    PairEntry(
                        at + 1,
                        MODEL,
                        f"{at:032x}",
                        0,
                        name,
                        said,
                        before,
                        "i1",
                        1_800_000_000_000 + at,
                        truth="i1",
                        source=by,
                    )
                )
    evidence = fold(Evidence(), log)
    assert len(evidence.without) == 8
    assert len(evidence_state.write(evidence)) < 1 << 20


def test_terms_say_nothing_of_sources_where_nothing_is_asked_of_them():
    assert "quorum" not in terms.data_of((ONE,))
    assert "tally" not in json.loads(evidence_state.write(begun(ONE)))
    (read,) = terms.read(DecisionEntry(1, MODEL, "t", "Terms", "", 0, data=terms.data_of((BOTH,))))
    assert read == BOTH


def test_operator_rolls_back_when_two_sources_agree_and_says_what_holds_it_back_when_one_is_alone():
    for names, is_back in (("ab", True), ("a", False)):
        world = an_outcomes_world()
        world.spec["outcomes"]["sources"] = {"required": True, "quorum": 2}
        world.sources = [f"ml/{name}" for name in names]
        world.settle()
        world.ask(20)
        world.ask_for(model=uri("worse")).settle()
        world.ask(600)
        assert (served(world)[-1] == "good") is is_back
        again = replays.replay([world.log])
        assert again.agrees, "whoever replays the log finds the same"
        assert any(row.crossing is not None for row in again.rows) is is_back
        if not is_back:
            (entry,) = world.status["quality"]
            assert entry["verdict"] in ("Watching", "Collecting")
            assert "not enough without: no single source decides" in entry["message"]
