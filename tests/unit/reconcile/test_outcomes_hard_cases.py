"""Outcomes where time, trouble or a second life come between: stale evidence, cold last good ones, cut passes.

Not covered: how outcomes get into the log (tests/wiring/ledger, tests/wiring/runtime).
"""

import dataclasses
from datetime import UTC, datetime

import pytest
from leadline_api.status import ModelDeploymentStatus
from leadline_operator.reconcile import evidence_state, records, terms
from leadline_operator.reconcile.evidence import REVISIONS_KEPT, Evidence, fold
from leadline_operator.reconcile.streams import Compared
from leadline_operator.reconcile.terms import Terms
from leadline_wire.exchange import Trouble
from leadline_wire.ledger import STATE_BYTES_MAX, DecisionEntry, OutcomeEntry, PairEntry

from tests.unit.reconcile.outcomes_world import MODEL, OutcomesWorld, an_outcomes_world
from tests.unit.reconcile.test_outcomes import EVERY_SECOND_WRONG, kinds, quality
from tests.unit.reconcile.world import a_world, copied, served, uri

TERMS = Terms("key", "accuracy", graded=False, margin=0.02, comparison_alpha=0.004, limit_alpha=0.004)


def turn_bad(world: OutcomesWorld, *names: str) -> None:
    for name in names:
        world.models[uri(name)] = dataclasses.replace(world.models[uri(name)], wrong=EVERY_SECOND_WRONG.wrong)


def command(world: OutcomesWorld, verb: str) -> str:
    return f"{verb}@{datetime.fromtimestamp(world.now, UTC).isoformat()}"


def test_margin_of_all_accuracy_is_judged_like_any_other():
    world = an_outcomes_world()
    world.spec["quality"]["metrics"][0]["margin"] = "1"
    world.settle()
    world.ask_for(model=uri("worse")).settle()
    world.ask(100)
    assert served(world) == ["good", "worse"]
    assert quality(world)["verdict"] == "Healthy"


def test_decay_wakes_a_last_good_one_that_went_cold_before_the_comparison_was_decided():
    world = an_outcomes_world(lastGood={"replicas": "Same", "for": "10s"})
    world.settle()
    world.ask(520, step_every=20)
    world.ask_for(model=uri("honest")).settle()
    world.ask(60)
    world.pass_time(12)
    assert not any(revision == world.revision(uri("good")) for revision, _ in world.pods.values())
    turn_bad(world, "honest")
    world.ask(600, serving="good")
    assert served(world) == ["good", "honest", "good"]


def test_going_back_that_would_not_help_is_not_tried_when_the_last_good_one_goes_cold():
    world = an_outcomes_world(quality={"compareFor": "0s"}, lastGood={"replicas": "Same", "for": "1h"})
    world.settle()
    world.ask(520, step_every=20)
    world.ask_for(model=uri("honest")).settle()
    turn_bad(world, "good", "honest")
    world.ask(2500, step_every=50)
    assert world.condition("QualityOK") == ("False", "RollbackWouldNotHelp")
    world.now += 3600
    world.settle()
    assert not any(revision == world.revision(uri("good")) for revision, _ in world.pods.values())
    assert world.condition("QualityOK") == ("False", "RollbackWouldNotHelp")
    assert served(world) == ["good", "honest"]


def test_candidate_rejected_on_copies_is_compared_anew_after_a_retry():
    world = an_outcomes_world(strategy="BlueGreen", shadow={"percent": 100, "for": "10m"})
    world.settle()
    world.ask_for(model=uri("worse")).settle()
    world.ask(400)
    assert world.condition("Stalled") == ("True", "Degraded")
    world.models[uri("worse")] = dataclasses.replace(world.models[uri("worse")], wrong=range(15))
    world.now += 3600
    world.action = command(world, "retry")
    world.settle()
    world.ask(30)
    assert world.condition("Reconciling") == ("True", "Shadowing")
    assert kinds(world) == ["Terms", "Promoted", "Rejected", "Retried"]


def test_retry_is_not_undone_by_evidence_from_before_it_when_the_ledger_is_away():
    world = an_outcomes_world()
    world.settle()
    world.ask_for(model=uri("worse")).settle()
    world.ask(400, serving="good")
    world.trouble = "ledger http://ledger: TimeoutError"
    world.action = command(world, "retry")
    world.pass_time(5)
    assert served(world) == ["good", "worse", "good", "worse"]
    world.trouble = ""
    world.pass_time(5)
    assert served(world) == ["good", "worse", "good", "worse"]
    world.ask(500, serving="good")


def test_candidate_that_was_dropped_is_compared_from_the_begin_when_it_is_wanted_again():
    world = an_outcomes_world(strategy="BlueGreen", shadow={"percent": 100, "for": "10m"})
    world.settle()
    world.ask_for(model=uri("worse")).settle()
    world.ask(20)
    world.ask_for(model=uri("good")).settle()
    assert not any(told.copies for _, told in world.pods.values() if told is not None)
    world.now += 3600
    world.ask(20)
    world.ask_for(model=uri("worse")).settle()
    world.ask(20)
    assert served(world) == ["good"]
    assert world.condition("Reconciling") == ("True", "Shadowing")


def test_shadow_is_not_over_because_the_ledger_was_away_for_longer_than_a_silence():
    world = an_outcomes_world(strategy="BlueGreen", shadow={"percent": 100, "for": "10m"})
    world.settle()
    world.ask_for(model=uri("worse")).settle()
    world.ask(20)
    world.trouble = "ledger http://ledger: TimeoutError"
    world.now += 90
    plan = world.settle()
    assert plan.wake_after_seconds > 1, "nothing is to be had from looking again and again"
    world.trouble, world.answers_since = "", world.now
    world.settle()
    assert served(world) == ["good"]
    world.ask(400)
    assert served(world) == ["good"]
    assert world.condition("Stalled") == ("True", "Degraded")


def test_limit_is_inherited_when_outcomes_come_before_the_ledger_hears_of_the_switch():
    world = an_outcomes_world(lastGood={"replicas": 0})
    world.settle()
    world.ask(520, step_every=20)
    world.trouble = "ledger http://ledger: TimeoutError"
    world.ask_for(model=uri("worse")).settle()
    world.ask(5)
    world.trouble = ""
    world.settle()
    world.ask(600, serving="good")
    assert served(world) == ["good", "worse", "good"]


def test_ledger_hears_of_a_promotion_when_a_candidate_takes_over_from_a_revision_whose_way_back_has_no_pods():
    world = an_outcomes_world(lastGood={"replicas": 0})
    world.settle()
    world.ask(520, step_every=20)
    world.ask_for(model=uri("worse")).settle()
    world.models[uri("good")] = dataclasses.replace(
        world.models[uri("good")], trouble=Trouble("StoreUnreachable", "away", "surroundings")
    )
    world.ask(600)
    assert world.condition("Reconciling") == ("True", "RollingBack")
    world.ask_for(model=uri("honest")).settle()
    assert served(world) == ["good", "worse", "honest"]
    assert kinds(world) == ["Terms", "Promoted", "Promoted", "Rejected", "Promoted"]


def test_ledger_hears_of_a_rollback_whose_writes_were_cut_between_two_records():
    world = an_outcomes_world()
    world.settle()
    world.ask_for(model=uri("worse")).settle()
    world.is_cut_after = world.revision(uri("good"))
    world.ask(400, serving="good")
    assert not world.is_cut_after, "a pass was cut"
    assert kinds(world) == ["Terms", "Promoted", "Promoted", "Rejected", "RolledBack"]


def test_fresh_outcomes_of_one_rollback_are_not_held_against_the_next():
    world = an_outcomes_world(lastGood={"replicas": 0})
    world.settle()
    world.ask(520, step_every=20)
    world.ask_for(model=uri("honest")).settle()
    turn_bad(world, "good", "honest")
    world.ask(1500, step_every=50)
    assert served(world) == ["good", "honest", "good", "honest"]
    assert world.evidence.first.fresh == {}


def test_second_decay_is_verified_on_requests_that_are_fresh_then():
    world = an_outcomes_world()
    world.settle()
    world.ask(520, step_every=20)
    world.ask_for(model=uri("honest")).settle()
    turn_bad(world, "good", "honest")
    world.ask(2600, step_every=50)
    assert world.condition("QualityOK") == ("False", "RollbackWouldNotHelp")
    world.spec["quality"]["metrics"][0]["margin"] = "0.03"
    world.generation += 1
    world.settle()
    world.ask(1500, step_every=50)
    assert quality(world)["verdict"] == "Healthy"
    world.models[uri("honest")] = dataclasses.replace(world.models[uri("honest")], wrong=range(1000))
    world.ask(600, serving="good")
    assert kinds(world).count("Verifying") == 2


def test_revision_found_worse_on_the_same_inputs_gets_no_traffic_for_another_floor():
    world = an_outcomes_world()
    world.settle()
    world.ask_for(model=uri("worse")).settle()
    world.ask(400, serving="good")
    world.spec["quality"]["metrics"][0]["floor"] = "0.5"
    world.generation += 1
    world.settle()
    assert served(world) == ["good", "worse", "good"]
    assert world.condition("Stalled") == ("True", "Degraded")


def test_status_of_a_decayed_revision_stays_as_it_is_while_a_few_more_outcomes_come():
    world = an_outcomes_world(quality={"compareFor": "0s"})
    world.settle()
    world.ask(520, step_every=20)
    world.ask_for(model=uri("honest")).settle()
    turn_bad(world, "good", "honest")
    world.ask(2500, step_every=50)
    assert world.condition("QualityOK") == ("False", "RollbackWouldNotHelp")
    before = copied(world.status)
    world.ask(20, step_every=5)
    assert world.status == before


def test_status_stays_as_it_is_while_a_few_more_outcomes_make_a_reference():
    world = an_outcomes_world()
    world.settle()
    world.ask(300, step_every=20)
    before = copied(world.status)
    assert quality(world)["verdict"] == "Collecting"
    world.ask(4, step_every=1)
    assert world.status == before
    world.ask(300, step_every=20)
    assert quality(world)["verdict"] != "Collecting"


@pytest.mark.parametrize("is_bad", [False, True])
def test_operator_that_has_not_read_the_ledger_yet_takes_no_verdict_back(is_bad):
    world = an_outcomes_world(quality={"onDecay": "Alert", "compareFor": "0s"})
    world.settle()
    world.ask(520, step_every=20)
    world.ask_for(model=uri("honest")).settle()
    if is_bad:
        turn_bad(world, "honest")
    world.ask(200)
    found = quality(world), world.condition("QualityOK")
    assert found[1] == (("False", "Decayed") if is_bad else ("True", "QualityWatched"))
    world.is_read = False
    world.settle()
    assert (quality(world), world.condition("QualityOK")) == found
    assert world.condition("OutcomesFlowing") == ("Unknown", "LedgerUnreachable")


def test_status_is_one_that_the_crd_takes_however_long_names_and_troubles_are():
    world = a_world(strategy="RollingUpdate", floor="0.95")
    world.spec["quality"]["metrics"][0]["name"] = "a" * 63
    world.spec["rollout"]["lastGood"] = {"replicas": 0}
    world.settle()
    world.models[uri("good")] = dataclasses.replace(
        world.models[uri("good")], trouble=Trouble("StoreUnreachable", "away " * 600, "surroundings")
    )
    world.ask_for(model=uri("worse")).settle()
    assert world.condition("QualityOK") == ("False", "BelowFloor")
    ModelDeploymentStatus.model_validate(world.status)


def test_evidence_is_the_same_however_the_log_is_cut_when_answers_come_in_another_order_than_predictions():
    came = [1000, 5000, 2000, 9000, 3000, 4000]
    log = [DecisionEntry(1, MODEL, "t", "Terms", "", 0, data=terms.data_of((TERMS,)))]
    log += [
        OutcomeEntry(seq, MODEL, f"{seq:032x}", 0, "new", "i1", at, truth="i1") for seq, at in enumerate(came, start=2)
    ]
    one_by_one = Evidence()
    for entry in log:
        one_by_one = fold(one_by_one, [entry])
    assert fold(Evidence(), log) == one_by_one
    assert one_by_one.first.own["new"].last_ms == 9000


def test_retry_works_when_the_object_was_made_again_before_the_ledger_could_be_read():
    world = an_outcomes_world(strategy="BlueGreen", shadow={"percent": 100, "for": "10m"})
    world.settle()
    world.ask_for(model=uri("worse")).settle()
    world.ask(400)
    world.action = command(world, "retry")
    world.settle()
    world.ask(600)
    assert kinds(world) == ["Terms", "Promoted", "Rejected", "Retried", "Rejected"]
    world.objects.clear()
    world.pods.clear()
    world.status, world.is_read, world.starts_pods = {"observedGeneration": -1}, False, False
    world.now += 31
    world.settle()
    world.is_read = world.starts_pods = True
    world.settle()
    assert served(world)[-1] == "good"
    assert world.condition("Stalled") == ("True", "Degraded")
    world.now += 1
    world.action = command(world, "retry")
    world.settle()
    assert kinds(world)[-2:] == ["Rejected", "Retried"]
    assert world.condition("Reconciling") == ("True", "Shadowing")


def test_decay_says_what_keeps_the_last_good_one_from_being_compared():
    world = an_outcomes_world(quality={"compareFor": "0s"}, lastGood={"replicas": "Same", "for": "1m"})
    world.settle()
    world.ask(520, step_every=20)
    world.ask_for(model=uri("honest")).settle()
    world.ask(20)
    world.models[uri("good")] = dataclasses.replace(
        world.models[uri("good")], trouble=Trouble("StoreUnreachable", "the bucket is away", "surroundings")
    )
    turn_bad(world, "honest")
    world.ask(100)
    assert world.condition("QualityOK") == ("False", "Decayed")
    assert "the bucket is away" in quality(world)["message"]


def test_record_of_a_revision_that_is_retried_every_hour_for_days_fits_into_an_annotation():
    world = a_world()
    world.settle()
    world.models[uri("worse")].trouble = Trouble("InvalidModel", "no such operator " * 30, "model")
    world.ask_for(model=uri("worse")).settle()
    worse = world.revision(uri("worse"))
    for _ in range(100):
        world.now += 3600
        world.action = command(world, "retry")
        world.settle()
    assert world.record(worse).retries == 100
    assert len(records.write(world.record(worse))) < 30_000


def test_shadow_goes_on_when_the_margin_is_changed_meanwhile():
    world = an_outcomes_world(strategy="BlueGreen", shadow={"percent": 100, "for": "30m"})
    world.settle()
    world.ask_for(model=uri("honest")).settle()
    world.ask(700, step_every=20)
    assert world.condition("Reconciling") == ("True", "Shadowing")
    world.spec["quality"]["metrics"][0]["margin"] = "0.03"
    world.generation += 1
    world.settle()
    world.ask(20)
    assert served(world) == ["good"]
    assert world.condition("Reconciling") == ("True", "Shadowing")
    world.pass_time(65)
    assert served(world) == ["good", "honest"], "no outcome came for a minute"


def compared_by_word(*, served_wrong: int, other_wrong: int) -> Compared:
    """Return a candidate's comparison by answers, of many classes, that are only called right or wrong; errors never meet."""
    log = [
        DecisionEntry(1, MODEL, "t", "Terms", "", 0, data=terms.data_of((TERMS,))),
        DecisionEntry(2, MODEL, "p", "Promoted", "old", 0),
    ]
    for number in range(3000):
        row = number * 37 % 100
        served, other = "i2" if row < served_wrong else "i1", "i3" if row >= 100 - other_wrong else "i1"
        identifier, correct = f"{number:032x}", served == "i1"
        log.append(PairEntry(3 + number, MODEL, identifier, 0, "old", served, "new", other, 0, correct=correct))
    return fold(Evidence(), log).first.pairs["new", "old"]


def test_candidate_is_not_condemned_for_answers_that_are_only_called_wrong():
    equal = compared_by_word(served_wrong=10, other_wrong=10)
    assert equal.comparison.pairs == 3000
    assert not equal.is_worse
    assert not equal.is_within, "nobody knows whether it was right where the serving one was not"
    assert compared_by_word(served_wrong=5, other_wrong=30).is_worse
    assert compared_by_word(served_wrong=0, other_wrong=0).is_within


def test_shadow_that_is_longer_than_the_progress_deadline_is_not_stalled():
    world = an_outcomes_world(strategy="BlueGreen", shadow={"percent": 100, "for": "30m"})
    world.settle()
    world.ask_for(model=uri("honest")).settle()
    world.ask(140, each_seconds=5)
    assert world.condition("Reconciling") == ("True", "Shadowing")
    assert world.condition("Stalled")[0] == "False"


def test_retry_of_a_revision_that_served_is_compared_on_copies_first():
    world = an_outcomes_world(strategy="BlueGreen")
    world.settle()
    world.ask_for(model=uri("worse")).settle()
    world.ask(400, serving="good")
    world.spec["rollout"]["shadow"] = {"percent": 100, "for": "10m"}
    world.action = command(world, "retry")
    world.settle()
    assert world.condition("Reconciling") == ("True", "Shadowing")
    world.ask(600)
    assert served(world) == ["good", "worse", "good"]
    assert world.condition("Stalled") == ("True", "Degraded")


def test_terms_that_cannot_be_read_judge_nothing_and_are_told_anew():
    broken = fold(Evidence(), [DecisionEntry(1, MODEL, "t", "Terms", "", 0, data={"key": "key"})])
    assert (broken.cursor, broken.streams) == (1, {})
    mended = fold(broken, [DecisionEntry(2, MODEL, "u", "Terms", "", 0, data=terms.data_of((TERMS,)))])
    assert mended.first.terms == TERMS


def test_evidence_of_a_long_life_stays_within_what_a_checkpoint_may_hold():
    told = DecisionEntry(1, "ml/m", "terms/key", "Terms", "", 0, "", terms.data_of((TERMS,)))
    log, before = [told], ""
    for place in range(REVISIONS_KEPT + 30):
        name = f"m-{place}"
        log.append(DecisionEntry(len(log) + 1, "ml/m", f"serves/{name}", "Promoted", name, 0, before, {}))
        for _ in range(3):
            seq = len(log) + 1
            log.append(OutcomeEntry(seq, "ml/m", f"{seq:032x}", 0, name, "i1", seq, truth="i1"))
            log.append(
                PairEntry(seq + 1, "ml/m", f"{seq:032x}", 0, name, "i1", before or "none", "i1", seq, truth="i1")
            )
        before = name
    found = fold(Evidence(), log)
    # The newest one came after the last look at what is old.
    assert REVISIONS_KEPT <= len(found.first.own) <= REVISIONS_KEPT + 1
    assert {f"m-{place}" for place in range(31, 50)} <= found.first.own.keys()
    assert len(found.first.pairs) <= REVISIONS_KEPT + 1
    assert (before, f"m-{place - 1}") in found.first.pairs
    assert len(evidence_state.write(found)) * 8 < STATE_BYTES_MAX
