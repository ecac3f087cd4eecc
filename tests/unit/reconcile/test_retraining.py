"""Training anew: what begins a run, what is made of its product, and what is remembered of both."""

import dataclasses
import itertools
import json

import pytest
from leadline_operator.reconcile import announcing, retraining
from leadline_operator.reconcile.observed import LedgerView
from leadline_operator.reconcile.reconciler import reconcile
from leadline_operator.reconcile.training_triggers import last_time, next_time

from tests.unit.reconcile.training_world import a_training_world
from tests.unit.reconcile.world import reasons, served, uri

COMMAND = "retrain@2027-01-15T08:00:00Z"


def begun(world, action=COMMAND):
    """Settle, and begin a run by command."""
    world.settle()
    world.action = action
    world.settle()
    assert len(world.jobs) == 1
    return world


def test_command_begins_one_run_and_is_done_once():
    world = begun(a_training_world())
    assert world.retrain["phase"] == "Running"
    assert world.facts()["trigger"] == f"command/{COMMAND}"
    assert reasons(world).count("CommandDone") == reasons(world).count("RetrainStarted") == 1
    world.bring("honest")
    world.settle()
    world.pass_time(30)
    assert world.jobs == []
    assert len(world.told("RetrainStarted")) == 1


def test_proposal_is_said_and_changes_nothing_that_serves():
    world = begun(a_training_world())
    world.bring("honest")
    world.settle()
    assert (world.retrain["phase"], world.retrain["uri"]) == ("Proposed", uri("honest"))
    assert world.retrain["digest"] == world.models[uri("honest")].digest
    assert served(world) == ["good"]
    assert reasons(world).count("RetrainProposed") == 1
    (told,) = world.told("RetrainProposed")
    assert json.loads(told.data["metrics"]) == {"f1": 0.9}
    (news,) = [each for each in reconcile(world.observe(), world.now).notices if each.kind == "RetrainProposed"]
    assert (news.id, news.data["uri"]) == (told.id, uri("honest"))


def test_proposal_that_is_written_into_the_spec_is_proposed_no_longer():
    world = begun(a_training_world())
    world.bring("honest")
    world.settle()
    world.ask_for(model={"uri": uri("honest"), "digest": world.models[uri("honest")].digest}).settle()
    assert (world.retrain["phase"], world.selected) == ("Serving", world.trained("honest"))
    assert [each for each in reasons(world) if each.startswith("Retrain")] == ["RetrainStarted", "RetrainProposed"]


def test_proposal_is_news_for_a_day():
    world = begun(a_training_world())
    world.bring("honest")
    world.settle()
    world.now += announcing.NOTICE_SECONDS + 60
    kinds = {each.kind for each in reconcile(world.observe(), world.now).notices}
    assert kinds == {"RetrainProposed"}
    world.now += retraining.NEWS_SECONDS
    assert reconcile(world.observe(), world.now).notices == ()


def test_product_is_a_candidate_like_any_other_and_the_spec_stays():
    world = begun(a_training_world(mode="Auto"))
    spec = json.dumps(world.spec)
    world.bring("honest")
    world.settle()
    assert world.selected == world.trained("honest") == world.status["desiredRevision"]
    assert world.retrain["phase"] == "Serving"
    assert world.retrain["product"]["uri"] == uri("honest")
    assert world.condition("UpToDate") == ("True", "ServingDesired")
    assert json.dumps(world.spec) == spec
    assert world.record(world.trained("honest")).test is not None, "it passed the test set"


def test_worse_product_is_rejected_once_and_needs_no_person():
    world = begun(a_training_world(mode="Auto"))
    world.bring("worse")
    world.settle()
    assert served(world) == ["good"]
    assert world.retrain["phase"] == "Rejected"
    assert "TestDegraded" in world.retrain["message"]
    assert world.condition("UpToDate") == ("True", "ServingDesired")
    assert world.condition("Stalled") == ("False", "NotStalled")
    assert reasons(world).count("TestDegraded") == 1
    world.action = "retrain@2027-01-15T08:00:05Z"
    world.now += 5
    world.settle()
    world.bring("worse")
    world.settle()
    assert reasons(world).count("TestDegraded") == 1, "the same bytes are not tried again"
    assert served(world) == ["good"]


def test_product_that_is_rolled_back_leads_to_what_served_before_and_is_not_tried_again():
    world = begun(a_training_world(mode="Auto"))
    world.bring("honest")
    world.settle()
    world.now += 60
    world.action = "rollback@2027-01-15T08:01:00Z"
    world.settle()
    assert world.selected == world.revision(uri("good"))
    assert world.condition("UpToDate") == ("True", "ServingDesired")
    world.pass_time(60)
    assert world.selected == world.revision(uri("good"))
    assert "product" not in world.retrain


def test_other_model_in_the_spec_supersedes_a_product_at_once_and_for_good():
    world = begun(a_training_world(mode="Auto"))
    world.bring("honest")
    world.settle()
    world.models[uri("other")] = dataclasses.replace(world.models[uri("good")], digest="sha256:" + "e" * 64)
    world.ask_for(model=uri("other")).settle()
    assert world.selected == world.revision(uri("other"))
    assert world.retrain["phase"] == "Superseded"
    world.ask_for(model=uri("good")).settle()
    assert world.selected == world.revision(uri("good")), "who goes back to a model wants that one"


def test_product_that_is_written_into_the_spec_changes_nothing_and_can_be_taken_back():
    world = begun(a_training_world(mode="Auto"))
    world.bring("honest")
    world.settle()
    deployments = {name for kind, name in world.objects if kind == "Deployment"}
    world.ask_for(model={"uri": uri("honest"), "digest": world.models[uri("honest")].digest}).settle()
    assert world.selected == world.trained("honest")
    assert {name for kind, name in world.objects if kind == "Deployment"} == deployments
    world.ask_for(model=uri("good")).settle()
    assert world.selected == world.revision(uri("good"))


def test_newest_product_counts_and_the_one_before_where_it_is_rejected():
    world = begun(a_training_world(mode="Auto"))
    world.bring("honest")
    world.settle()
    world.now += 60
    world.action = "retrain@2027-01-15T08:01:00Z"
    world.settle()
    assert world.facts()["revision"] == world.trained("honest")
    world.bring("worse")
    world.settle()
    assert world.selected == world.trained("honest")
    assert world.retrain["phase"] == "Rejected"
    assert world.retrain["product"]["revision"] == world.trained("honest")
    assert world.condition("UpToDate") == ("True", "ServingDesired")


def test_record_of_what_the_spec_names_is_kept_however_many_products_come():
    world = begun(a_training_world(mode="Auto"))
    for number in range(15):
        named = f"s3://models/trained{number}.onnx"
        world.models[named] = dataclasses.replace(
            world.models[uri("good")], digest=f"sha256:{number:064x}", wrong=range(9)
        )
        world.end_job(json.dumps({"uri": named, "digest": world.models[named].digest}))
        world.settle()
        world.now += 60
        world.action = f"retrain@2027-01-15T09:{number:02}:00Z"
        world.now = max(world.now, 1_800_003_600.0 + 60 * number)
        world.settle()
    assert ("ControllerRevision", world.revision(uri("good"))) in world.objects
    assert len([name for kind, name in world.objects if kind == "ControllerRevision"]) < 15


@pytest.mark.parametrize("lost", ["status", "ledger", "objects"])
def test_product_serves_on_whatever_is_lost(lost):
    world = begun(a_training_world(mode="Auto"))
    world.bring("honest")
    world.settle()
    if lost == "status":
        world.restart()
    elif lost == "ledger":
        world.restart()
        world.is_read = False
    else:
        world.objects = {}
        world.pods = {}
        world.status = {"observedGeneration": -1}
        world.action = ""
    world.settle()
    world.pass_time(60)
    assert world.selected == world.trained("honest")
    assert world.status["desiredRevision"] == world.trained("honest")


def test_without_mode_auto_the_spec_is_what_is_desired():
    world = begun(a_training_world(mode="Auto"))
    world.bring("honest")
    world.settle()
    world.spec["retrain"]["mode"] = "Propose"
    world.settle()
    assert world.selected == world.revision(uri("good"))


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("", "got nothing"),
        ("accuracy 0.93", "JSON: Invalid JSON"),
        ('{"uri": "s3://models/new.onnx"}', "digest: Field required"),
        ('{"uri": "s3://m/n", "digest": "sha256:%s", "metrics": {"auc": NaN}}' % ("a" * 64), "metrics.auc: "),
        ('{"uri": "/models/new.onnx", "digest": "sha256:%s"}' % ("a" * 64), "uri: must begin with"),
        ('{"uri": "s3://models/new.onnx", "digest": "latest"}', "digest: must be sha256:"),
    ],
)
def test_job_that_brings_nothing_that_can_be_read_has_failed_and_says_what_was_expected(message, said):
    world = begun(a_training_world(retries=0))
    world.end_job(message)
    world.settle()
    assert world.retrain["phase"] == "Failed"
    assert said in world.retrain["message"]
    assert "/dev/termination-log" in world.retrain["message"]
    assert reasons(world).count("RetrainFailed") == 1
    assert served(world) == ["good"]


def test_job_that_takes_too_long_says_so_and_what_it_waited_for_meanwhile():
    world = begun(a_training_world(retries=0, deadline="90m"))
    (job,) = world.jobs
    waiting = {
        "name": "train",
        "image": "trainer:1",
        "state": {"waiting": {"reason": "ErrImagePull", "message": "401"}},
    }
    pod = {"metadata": {"name": "p", "labels": job["spec"]["template"]["metadata"]["labels"]}}
    world.trainers[job["metadata"]["name"]] = pod | {"status": {"containerStatuses": [waiting]}}
    world.settle()
    assert "ImagePullBackOff: image trainer:1: 401" in world.retrain["message"]
    world.end_job(status=1, pod=False)
    job["status"]["conditions"][0] |= {"reason": "DeadlineExceeded", "message": "Job was active longer than specified"}
    world.settle()
    assert "it ran longer than spec.retrain.deadline (5400 s)" in world.retrain["message"]


def test_product_that_does_not_go_with_the_spec_has_failed_and_says_why():
    world = begun(a_training_world(mode="Auto", retries=0))
    world.models["pvc://models/good.onnx"] = world.models[uri("good")]
    world.ask_for(model="pvc://models/good.onnx").settle()
    testset = {**world.spec["quality"]["testSet"], "uri": "pvc://models/testset.parquet"}
    world.ask_for(quality={**world.spec["quality"], "testSet": testset})
    world.end_job(json.dumps({"uri": "pvc://others/new.onnx", "digest": "sha256:" + "a" * 64}))
    world.step()
    assert "pvc://others/new.onnx does not go with the spec" in world.retrain["message"]


def test_run_that_fails_is_tried_again_with_pauses_that_double_and_an_end():
    world = begun(a_training_world(retries=2, backoff="60s"))
    starts = [world.now]
    for attempt in (1, 2, 3):
        assert world.facts()["attempt"] == str(attempt)
        world.end_job("CUDA out of memory", status=1)
        world.settle()
        assert "CUDA out of memory" in world.retrain["message"]
        while not world.jobs and world.now - starts[-1] < 1000:
            world.pass_time(5)
        starts.append(world.now)
    pauses = [round(after - before) for before, after in itertools.pairwise(starts)]
    assert 60 <= pauses[0] < 70
    assert 120 <= pauses[1] < 130
    assert world.jobs == []
    assert "not tried again" in world.retrain["message"]


def test_job_that_is_deleted_has_failed_and_is_tried_again():
    world = begun(a_training_world(backoff="60s"))
    (job,) = world.jobs
    del world.objects["Job", job["metadata"]["name"]]
    world.settle()
    assert "Job is gone" in world.retrain["message"]
    world.pass_time(61)
    assert world.facts()["attempt"] == "2"


def test_pod_of_a_complete_job_may_be_seen_late_and_is_missed_in_the_end():
    world = begun(a_training_world(retries=0))
    world.end_job(pod=False)
    world.settle()
    assert world.retrain["phase"] == "Running"
    world.pass_time(62)
    assert "pod is gone" in world.retrain["message"]


def test_no_run_begins_while_the_ledger_does_not_answer():
    world = a_training_world()
    world.settle()
    world.trouble = "connection refused"
    world.action = COMMAND
    world.settle()
    assert world.jobs == []
    assert "waits: No run begins while the ledger does not answer" in world.retrain["message"]
    assert "CommandDone" not in reasons(world)
    world.trouble = ""
    world.settle()
    assert len(world.jobs) == 1


def test_end_that_the_ledger_does_not_hold_starts_nothing_and_tries_nothing():
    world = begun(a_training_world(mode="Auto", when={"newOutcomes": 10}))
    world.trouble = "connection refused"
    world.bring("honest")
    world.settle()
    assert world.retrain["phase"] == "Candidate"
    assert served(world) == ["good"]
    world.trouble = ""
    world.settle()
    assert world.selected == world.trained("honest")


def test_new_outcomes_begin_a_run_each_time_that_there_are_enough():
    world = a_training_world(when={"newOutcomes": 100}, tested=False)
    world.settle()
    world.ask(99)
    assert world.jobs == []
    world.ask(1)
    assert world.facts()["trigger"] == "newOutcomes/0"
    world.bring("honest")
    world.settle()
    world.ask(50)
    world.restart()
    world.ask(49)
    assert world.jobs == []
    world.ask(2)
    assert world.facts()["trigger"] == "newOutcomes/1"


def test_least_time_between_two_starts_is_kept_but_by_command():
    world = a_training_world(when={"newOutcomes": 10}, tested=False, cooldown="1h")
    world.settle()
    world.ask(10)
    world.bring("honest")
    world.settle()
    world.ask(20)
    assert world.jobs == []
    world.pass_time(3600)
    assert len(world.jobs) == 1
    world.bring("honest")
    world.settle()
    world.action = "retrain@2027-01-15T09:10:00Z"
    world.now += 600
    world.settle()
    assert len(world.jobs) == 1


def test_schedule_begins_a_run_at_its_time_and_makes_up_for_the_newest_that_was_missed():
    world = a_training_world(when={"schedule": "0 9 * * *"})  # it is 08:00
    world.settle()
    world.pass_time(10)
    assert world.jobs == []
    assert (reconcile(world.observe(), world.now).wake_after_seconds or 0) <= 3600
    world.now += 3 * 86_400
    world.settle()
    assert world.facts()["trigger"] == "schedule/2027-01-17T09:00:00Z"
    world.bring("honest")
    world.settle()
    world.pass_time(10)
    assert world.jobs == []


def test_times_before_it_was_asked_for_are_not_missed():
    world = a_training_world()
    retrain = world.spec.pop("retrain")
    world.settle()
    world.now += 10 * 86_400
    world.ask_for(retrain=retrain | {"when": {"schedule": "0 3 * * *"}}).settle()
    assert world.jobs == []


def test_verdict_begins_one_run_and_not_another_while_it_stands():
    world = a_training_world(when={"verdicts": ["Decayed"]}, tested=False)
    world.settle()
    world.ask(400)
    world.models[uri("good")].wrong = range(400)
    world.ask(800)
    assert world.facts()["because"] == f"{world.selected} is Decayed"
    world.bring("honest")
    world.settle()
    world.ask(300)
    assert world.jobs == []


def test_verdict_on_what_served_is_none_on_the_product_that_takes_over():
    world = a_training_world(when={"verdicts": ["Decayed"]}, tested=False, mode="Auto")
    world.settle()
    world.ask(400)
    world.models[uri("good")].wrong = range(400)
    world.ask(800)
    world.bring("honest")
    world.settle()
    assert world.selected == world.trained("honest")
    world.pass_time(60)
    assert world.jobs == []
    assert len(world.told("RetrainStarted")) == 1


def test_job_that_ends_while_the_operator_is_away_is_read_by_the_next():
    world = begun(a_training_world())
    world.bring("honest")
    world.restart()
    world.settle()
    assert world.retrain["phase"] == "Proposed"


def test_operator_that_is_killed_before_the_ledger_is_told_begins_no_second_run():
    world = a_training_world()
    world.settle()
    world.action = COMMAND
    plan = reconcile(world.observe(), world.now)
    for write in plan.writes:
        world.write(write)  # and the ledger is told nothing
    world.restart()
    world.settle()
    assert len(world.jobs) == len(world.told("RetrainStarted")) == 1


def test_jobs_of_ended_runs_go_when_a_newer_one_begins():
    world = begun(a_training_world())
    world.bring("honest")
    world.settle()
    assert sum(kind == "Job" for kind, _ in world.objects) == 1, "its log can be read"
    world.now += 60
    world.action = "retrain@2027-01-15T08:01:00Z"
    world.settle()
    assert sum(kind == "Job" for kind, _ in world.objects) == len(world.jobs) == 1


def test_without_retrain_its_job_ends():
    world = begun(a_training_world())
    del world.spec["retrain"]
    world.settle()
    assert not any(kind == "Job" for kind, _ in world.objects)
    assert "retrain" not in world.status
    assert [each.data["key"] == "" for each in world.told("RetrainAsked")] == [False, True]


def test_settled_world_writes_nothing():
    world = begun(
        a_training_world(mode="Auto", when={"schedule": "0 3 * * *", "newOutcomes": 10, "verdicts": ["Decayed"]})
    )
    world.bring("honest")
    world.settle()
    plan = reconcile(world.observe(), world.now + 30)
    assert plan.status is None
    assert plan.told == ()
    assert [each for each in plan.writes if not getattr(each, "quiet", False)] == []


def test_what_was_said_stays_until_the_ledger_was_read():
    world = begun(a_training_world())
    world.bring("honest")
    world.settle()
    said = world.status["retrain"]
    world.is_read = False
    world.settle()
    assert world.status["retrain"] == said


def test_times_of_a_schedule():
    now = 1_800_000_000.0  # 2027-01-15 08:00:00
    assert last_time("0 8 * * *", now) == now
    assert last_time("1 8 * * *", now) == now - 86_400 + 60
    assert next_time("0 8 * * *", now) == now + 86_400
    assert next_time("0 3 30 2 *", now) is None
    assert last_time("0 3 * 2-1 *", now) is None


def test_ledger_view_is_needed_to_count():
    world = a_training_world(when={"newOutcomes": 1}, tested=False)
    world.settle()
    world.ask(1)
    observed = dataclasses.replace(world.observe(), ledger=LedgerView(world.evidence, "away"), jobs={})
    assert reconcile(observed, world.now).writes
    assert not any(getattr(each, "manifest", {}).get("kind") == "Job" for each in reconcile(observed, world.now).writes)
