"""What follows from answers that come back: decided step by step, with a ledger's log beside the objects.

Not covered: how outcomes get into the log (tests/wiring/ledger, tests/wiring/runtime), and traffic (tests/cluster).
"""

import dataclasses
from datetime import UTC, datetime

import pytest
from leadline_api import names
from leadline_operator.reconcile import evidence_state
from leadline_operator.reconcile.evidence import Evidence, fold
from leadline_wire.exchange import OutcomesReport
from leadline_wire.ledger import DecisionEntry

from tests.unit.reconcile.outcomes_world import OutcomesWorld, an_outcomes_world
from tests.unit.reconcile.world import Model, reasons, served, uri

EVERY_SECOND_WRONG = Model(range(0, 1000, 2), "sha256:" + "e" * 64)


def quality(world: OutcomesWorld) -> dict:
    (entry,) = world.status["quality"]
    return entry


def kinds(world: OutcomesWorld) -> list[str]:
    return [each.kind for each in world.log if isinstance(each, DecisionEntry)]


def test_ledger_hears_the_terms_before_who_serves():
    world = an_outcomes_world()
    world.settle()
    assert kinds(world) == ["Terms", "Promoted"]
    assert world.condition("OutcomesFlowing") == ("Unknown", "NoOutcomes")
    assert quality(world)["verdict"] == "Collecting"


def test_status_says_why_no_outcome_comes_where_answers_have_no_receipt():
    world = an_outcomes_world()
    world.settle()
    message = next(each["message"] for each in world.status["conditions"] if each["type"] == "OutcomesFlowing")
    assert message == "No outcome came yet"
    for model in world.models.values():
        model.requests = 5_000
    world.pass_time(60)
    message = next(each["message"] for each in world.status["conditions"] if each["type"] == "OutcomesFlowing")
    assert "spec.model.predictions" in message


def test_outcomes_of_one_class_alone_are_warned_about_and_judged_all_the_same():
    world = an_outcomes_world()
    world.settle()
    world.ask(60, step_every=5)
    verdict = quality(world)["verdict"]
    for model in world.models.values():
        model.told = OutcomesReport(receipts=9_000, predicted={"i0": 4_000, "i1": 500}, reported={"i0": 60, "i1": 300})
    world.pass_time(60)
    assert world.condition("OutcomesFlowing") == ("True", "SelectionBias")
    assert quality(world)["verdict"] == verdict


def test_outcomes_are_counted_and_shown_in_the_columns():
    world = an_outcomes_world()
    world.settle()
    world.ask(60, step_every=5)
    assert world.condition("OutcomesFlowing") == ("True", "OutcomesJudged")
    assert int(world.status["summary"]["outcomes"]) in range(50, 61)
    assert world.status["summary"]["verdict"] == "Collecting"
    assert "more outcomes make a reference" in quality(world)["message"]
    world.ask(600, step_every=20)
    assert quality(world)["verdict"] in ("Watching", "Healthy")
    assert quality(world)["detectable"].startswith("5 points in")


def test_pods_learn_how_receipts_are_signed_and_the_key_changes_with_the_calendar():
    world = an_outcomes_world()
    world.spec["outcomes"] = {"maturity": "24h", "maxAge": "7d", "percent": 50, "keyBy": "id"}
    world.spec["model"] |= {"predictions": [{"output": "label"}]}
    world.settle()
    (told,) = {sounding.outcomes for _, sounding in world.pods.values()}
    assert (told.ledger, told.share, told.key_by, told.output) == ("http://ledger", 500_000, "id", "label")
    assert (told.maturity_ms, told.max_age_ms) == (86_400_000, 7 * 86_400_000)
    world.now += 90 * 86_400
    world.settle()
    assert {sounding.outcomes.rotation for _, sounding in world.pods.values()} == {told.rotation + 1}


def test_requests_are_copied_to_the_last_good_revision_after_a_switch_and_to_nobody_before():
    world = an_outcomes_world()
    world.settle()
    assert not any(told.copies for _, told in world.pods.values())
    world.ask_for(model=uri("honest")).settle()
    good, honest = world.revision(uri("good")), world.revision(uri("honest"))
    copied_to = {revision: {copy.revision for copy in told.copies} for revision, told in world.pods.values()}
    assert copied_to == {honest: {good}, good: set()}


def test_worse_revision_is_condemned_by_pairs_and_the_traffic_goes_back():
    world = an_outcomes_world()
    world.settle()
    world.ask(20)
    world.ask_for(model=uri("worse")).settle()
    world.ask(400, serving="good")
    assert served(world) == ["good", "worse", "good"]
    assert world.condition("Stalled") == ("True", "RolledBack")
    worse, good = world.revision(uri("worse")), world.revision(uri("good"))
    compared = world.evidence.first.pairs[worse, good]
    assert compared.is_worse
    assert 60 < compared.comparison.worse.crossed_at < 300
    assert (compared.decided_seq, compared.comparison.pairs) != (0, 0)
    (rejected,) = world.status["rejected"]
    assert (rejected["revision"], rejected["reason"]) == (worse, "Degraded")
    assert "evidence" in rejected["message"]
    assert kinds(world) == ["Terms", "Promoted", "Promoted", "Rejected", "RolledBack"]


def test_revision_within_the_margin_stays_and_is_shown_to_be_healthy():
    world = an_outcomes_world()
    world.settle()
    world.ask_for(model=uri("honest")).settle()
    world.ask(2500, step_every=50)
    assert served(world) == ["good", "honest"]
    assert quality(world)["verdict"] == "Healthy"
    assert world.condition("QualityOK") == ("True", "QualityWatched")
    assert not any(told.copies for _, told in world.pods.values() if told is not None), "the comparison is over"


def test_rejection_by_outcomes_is_only_said_when_the_spec_asks_for_an_alert():
    world = an_outcomes_world(quality={"onDegraded": "Alert"})
    world.settle()
    world.ask_for(model=uri("worse")).settle()
    world.ask(400, step_every=10)
    assert served(world) == ["good", "worse"]
    assert world.condition("QualityOK") == ("False", "Degraded")
    assert world.condition("UpToDate")[0] == "True"
    assert reasons(world).count("Alert") == 1


def test_world_that_moves_condemns_nobody_and_going_back_is_not_tried():
    world = an_outcomes_world()
    world.settle()
    world.ask(520, step_every=20)
    world.ask_for(model=uri("honest")).settle()
    world.ask(520, step_every=20)
    # From now on both are wrong on the same half of the inputs.
    for name in ("good", "honest"):
        world.models[uri(name)] = dataclasses.replace(world.models[uri(name)], wrong=EVERY_SECOND_WRONG.wrong)
    world.ask(100)
    assert quality(world)["verdict"] == "Decayed"
    assert world.condition("QualityOK") == ("False", "Decayed")
    assert "Verifying" not in kinds(world), "the comparison that began with the switch is still open"
    world.ask(2500, step_every=50)
    assert "Verifying" in kinds(world)
    assert served(world) == ["good", "honest"]
    assert world.condition("QualityOK") == ("False", "RollbackWouldNotHelp")
    assert world.condition("Stalled")[0] == "False"


def test_decayed_revision_is_left_for_the_last_good_one_when_that_wins_on_fresh_requests():
    world = an_outcomes_world(quality={"compareFor": "0s"})
    world.settle()
    world.ask(520, step_every=20)
    world.ask_for(model=uri("honest")).settle()
    world.ask(20)
    world.models[uri("honest")] = dataclasses.replace(world.models[uri("honest")], wrong=EVERY_SECOND_WRONG.wrong)
    world.ask(400, serving="good")
    assert served(world) == ["good", "honest", "good"]
    assert world.condition("Stalled") == ("True", "RolledBack")


def test_pods_that_only_hand_over_get_no_copies():
    world = an_outcomes_world(lastGood={"replicas": 0})
    world.settle()
    world.ask_for(model=uri("worse"))
    good, worse = world.revision(uri("good")), world.revision(uri("worse"))
    while [revision for revision, _ in world.pods.values()].count(worse) < 2:
        world.step()
    world.starts_pods = False  # and ends none: Kubernetes takes its time
    for _ in range(10):
        plan = world.step()
        world.now += 0.1
        assert not any(told.copies for told in plan.soundings)
    assert world.selected == worse
    assert good in [revision for revision, _ in world.pods.values()]


def test_limit_alone_sends_traffic_back_provisionally_when_nothing_can_be_compared():
    world = an_outcomes_world(lastGood={"replicas": 0})
    world.settle()
    world.ask(520, step_every=20)
    world.ask_for(model=uri("worse")).settle()
    assert not any(revision == world.revision(uri("good")) for revision, _ in world.pods.values())
    world.ask(600, serving="good")
    assert served(world) == ["good", "worse", "good"]
    (rejected,) = world.status["rejected"]
    assert rejected["reason"] == "Decayed"
    assert "provisionally" in rejected["message"]
    world.ask(2000, step_every=50)
    assert served(world) == ["good", "worse", "good"], "nothing takes turns"


def test_provisional_rejection_is_withdrawn_once_when_the_last_good_one_falls_below_too():
    world = an_outcomes_world(lastGood={"replicas": 0})
    world.settle()
    world.ask(520, step_every=20)
    world.ask_for(model=uri("honest")).settle()
    for name in ("good", "honest"):
        world.models[uri(name)] = dataclasses.replace(world.models[uri(name)], wrong=EVERY_SECOND_WRONG.wrong)
    world.ask(1500, step_every=50)
    assert served(world) == ["good", "honest", "good", "honest"]
    assert reasons(world).count("Withdrawn") == 1
    assert world.status["rejected"] == []
    assert world.condition("QualityOK")[0] == "False"


def test_ledger_that_does_not_answer_moves_no_verdict():
    world = an_outcomes_world()
    world.settle()
    world.ask_for(model=uri("worse")).settle()
    world.trouble = "ledger http://ledger: TimeoutError"
    world.pass_time(5)
    assert served(world) == ["good", "worse"]
    assert world.condition("OutcomesFlowing") == ("Unknown", "LedgerUnreachable")
    world.trouble = ""
    world.ask(400, serving="good")
    assert served(world) == ["good", "worse", "good"]


def test_candidate_is_rejected_on_copies_before_it_gets_traffic():
    world = an_outcomes_world(strategy="BlueGreen", shadow={"percent": 100, "for": "10m"})
    world.settle()
    world.ask_for(model=uri("worse")).settle()
    assert world.condition("Reconciling") == ("True", "Shadowing")
    world.ask(400)
    assert served(world) == ["good"]
    assert world.condition("Stalled") == ("True", "Degraded")


@pytest.mark.parametrize("flows", [True, False])
def test_candidate_that_is_not_found_worse_takes_over(flows):
    world = an_outcomes_world(strategy="BlueGreen", shadow={"percent": 100, "for": "2m"})
    world.settle()
    world.ask_for(model=uri("honest")).settle()
    assert served(world) == ["good"]
    if flows:
        world.ask(700, each_seconds=0.2, step_every=10)
    else:
        world.pass_time(65)
    assert served(world) == ["good", "honest"]


def test_rejection_and_last_good_are_remembered_when_the_object_is_made_again():
    world = an_outcomes_world()
    world.settle()
    world.ask_for(model=uri("worse")).settle()
    world.ask(400, serving="good")
    world.objects.clear()
    world.pods.clear()
    world.status = {"observedGeneration": -1}
    world.served.clear()
    world.settle()
    assert served(world) == ["good"]
    assert world.condition("Stalled") == ("True", "RolledBack")
    assert world.status["rejected"][0]["reason"] == "Degraded"
    world.ask_for(model=uri("honest")).settle()
    assert served(world) == ["good", "honest"]


def test_object_that_is_made_again_serves_with_the_digest_that_it_had():
    world = an_outcomes_world()
    world.settle()
    world.objects.clear()
    world.pods.clear()
    world.status = {"observedGeneration": -1}
    world.settle()
    assert served(world) == ["good"]
    good = world.objects["ControllerRevision", world.revision(uri("good"))]
    assert good["metadata"]["annotations"][names.DIGEST_ANNOTATION] == world.models[uri("good")].digest
    world.models[uri("good")] = Model(digest="sha256:" + "f" * 64)
    world.objects.clear()
    world.pods.clear()
    world.settle()
    assert world.condition("Ready")[0] == "False", "other bytes under the same URI are never a silent change"


def test_object_that_seems_new_waits_for_the_ledger_and_not_for_ever():
    world = an_outcomes_world()
    world.is_read = False
    world.settle()
    assert world.objects.keys() <= {("Service", "digits"), ("Secret", "digits-leadline")}
    world.now += 31
    world.settle()
    assert served(world) == ["good"]


def test_restart_at_any_point_changes_neither_evidence_nor_the_deciding_outcome():
    world = an_outcomes_world()
    world.settle()
    world.ask_for(model=uri("worse")).settle()
    for _ in range(40):
        world.ask(7)
        world.restart()
    world.settle()
    assert served(world) == ["good", "worse", "good"]
    assert fold(Evidence(), world.log) == world.evidence


def test_retry_begins_the_comparison_anew_at_a_smaller_level():
    world = an_outcomes_world()
    world.settle()
    world.ask_for(model=uri("worse")).settle()
    world.ask(400, serving="good")
    first = world.evidence.first.pairs[world.revision(uri("worse")), world.revision(uri("good"))].comparison.worse
    world.action = f"retry@{datetime.fromtimestamp(world.now, UTC).isoformat()}"
    world.settle()
    world.ask(500, serving="good")
    assert served(world) == ["good", "worse", "good", "worse", "good"]
    second = world.evidence.first.pairs[world.revision(uri("worse")), world.revision(uri("good"))].comparison.worse
    assert second.alpha < first.alpha


def test_other_terms_begin_all_evidence_anew():
    world = an_outcomes_world()
    world.settle()
    world.ask(50)
    world.spec["quality"]["metrics"][0]["margin"] = "0.05"
    world.generation += 1
    world.settle()
    assert kinds(world).count("Terms") == 2
    assert world.evidence.first.own == {}
    world.ask(10)
    plan = world.evidence.first.own[world.revision(uri("good"))].watch.plan
    assert plan.alpha < world.evidence.first.terms.limit_alpha, "at a level of its own, for answers had been seen"
    world.ask_for(model=uri("honest")).settle()
    world.ask(10)
    compared = world.evidence.first.pairs[world.revision(uri("honest")), world.revision(uri("good"))]
    assert compared.comparison.worse.alpha == world.evidence.first.terms.comparison_alpha, (
        "one that is new has the whole"
    )
    assert (
        evidence_state.read(evidence_state.write(world.evidence), world.evidence.decisions.values()) == world.evidence
    )
