"""Recall of one class: accuracy among the outcomes whose true answer it is, and of no others."""

import random

import pytest
from leadline_operator.reconcile import evidence_state
from leadline_operator.reconcile.evidence import Evidence, fold
from leadline_operator.reconcile.terms import Terms, data_of, read
from leadline_wire import predictions
from leadline_wire.ledger import DecisionEntry, OutcomeEntry, PairEntry

from tests.unit.reconcile.outcomes_world import an_outcomes_world
from tests.unit.reconcile.world import served, uri

TERMS = Terms("key", "frauds", graded=False, margin=0.02, comparison_alpha=0.004, limit_alpha=0.004, positive="fraud")
FRAUD, FINE = predictions.of_class("fraud"), predictions.of_class("fine")


def begun(terms=TERMS):
    told = DecisionEntry(1, "ml/m", "terms/key", "Terms", "", 0, "", data_of((terms,)))
    promoted = [
        DecisionEntry(seq, "ml/m", f"promoted/{name}", "Promoted", name, 0, "", {})
        for seq, name in ((2, "old"), (3, "new"))
    ]
    return fold(Evidence(), [told, *promoted])


def stream(count, found, seed=1):
    """Pairs of which one in ten is a fraud; the old revision finds nine of ten, the new one so many; both know what is fine."""
    chance = random.Random(seed)
    entries = []
    for seq in range(4, count + 4):
        is_fraud = seq % 10 == 0
        old = FRAUD if is_fraud and chance.random() < 0.9 else FINE
        new = FRAUD if is_fraud and chance.random() < found else FINE
        entries.append(
            PairEntry(seq, "ml/m", f"{seq:032x}", 0, "new", new, "old", old, seq, truth=FRAUD if is_fraud else FINE)
        )
    return entries


def test_a_revision_that_finds_fewer_is_found_though_its_accuracy_hardly_moves():
    evidence = fold(begun(), stream(6_000, 0.6))
    compared = evidence.first.pairs["new", "old"]
    assert compared.is_worse
    assert compared.comparison.pairs <= 600, "only frauds count"
    plain = fold(
        begun(Terms("key", "accuracy", graded=False, margin=0.02, comparison_alpha=0.004, limit_alpha=0.004)),
        stream(6_000, 0.6),
    )
    decided = plain.first.pairs["new", "old"].decided_seq
    assert not decided or decided > compared.decided_seq


def test_an_equal_one_is_shown_to_be_within_the_margin():
    compared = fold(begun(), stream(60_000, 0.9)).first.pairs["new", "old"]
    assert (compared.is_worse, compared.is_within) == (False, True)


@pytest.mark.parametrize("said", [{"truth": FINE}, {"correct": False}, {"score": 0.0}, {"truth": "p3fe0000000000000"}])
def test_outcomes_that_are_not_about_the_class_say_nothing(said):
    entries = [OutcomeEntry(seq, "ml/m", f"{seq:032x}", 0, "new", FRAUD, seq, **said) for seq in range(4, 50)]
    assert fold(begun(), entries).first.own == {}


def test_a_class_is_known_by_name_and_by_number():
    assert predictions.is_class("i7", "7")
    assert predictions.is_class(predictions.of_class("7"), "7")
    assert not any(predictions.is_class(word, "7") for word in ("i8", "", "x5xx", predictions.of_value(7.0)))


def test_terms_come_back_from_decision_and_checkpoint_and_say_nothing_new_where_there_is_no_class():
    evidence = begun()
    assert evidence.first.terms == TERMS
    assert evidence_state.read(evidence_state.write(evidence), evidence.decisions.values()) == evidence
    plain = Terms("key", "accuracy", graded=False, margin=0.02, comparison_alpha=0.004, limit_alpha=0.004)
    assert "positive" not in data_of((plain,))
    assert "positive" not in evidence_state.write(begun(plain))
    assert read(DecisionEntry(1, "m", "t", "Terms", "", 0, "", data_of((plain,)))) == (plain,)


def test_recall_is_judged_like_accuracy_by_the_operator():
    metric = {"name": "ones-found", "metric": "recall", "positive": "1", "margin": "0.02"}
    world = an_outcomes_world(quality={"metrics": [metric]})
    world.settle()
    world.ask_for(model=uri("worse")).settle()
    world.ask(400, serving="good")
    assert served(world) == ["good", "worse", "good"]
    assert "ones-found 0." in world.status["rejected"][0]["message"]
    other = an_outcomes_world(quality={"metrics": [metric | {"positive": "0"}]})
    other.settle()
    other.ask_for(model=uri("worse")).settle()
    other.ask(400)
    assert served(other) == ["good", "worse"], "no true answer is of that class"
