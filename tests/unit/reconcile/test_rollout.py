"""Rollouts from the first look to the end, decided step by step in a world that follows Plans.

Not covered: what a real API server, kubelet and runtime add; `tests/cluster` has that.
"""

import copy

import pytest
from leadline_api.reasons import Reason
from leadline_operator.reconcile.reconciler import reconcile
from leadline_wire.exchange import Trouble

from tests.unit.reconcile.world import Model, World, a_world, uri


def served(world: World) -> list[str]:
    known = {world.revision(each): each.removeprefix("s3://models/").removesuffix(".onnx") for each in world.models}
    return [known[each] for each in world.served]


def reasons(world: World) -> list[str]:
    return [str(event.reason) for event in world.events]


@pytest.mark.parametrize("strategy", ["BlueGreen", "RollingUpdate"])
def test_first_revision_serves_when_its_pods_are_ready(strategy):
    world = a_world(strategy=strategy)
    world.settle()
    assert served(world) == ["good"]
    assert world.condition("Ready") == ("True", "Serving")
    assert world.condition("UpToDate") == ("True", "ServingDesired")
    assert world.condition("Stalled")[0] == world.condition("Reconciling")[0] == "False"
    assert world.condition("QualityOK") == ("True", "QualityWatched")
    assert world.status["summary"]["quality"] == "accuracy 0.985"
    assert world.status["observedGeneration"] == 1


def test_first_revision_never_serves_when_it_is_below_the_floor():
    world = a_world(floor="0.99")
    world.settle()
    assert served(world) == []
    assert world.condition("Ready") == ("False", "NoRevisionServes")
    assert world.condition("Stalled") == ("True", "BelowFloor")
    assert ("Deployment", world.revision(uri("good"))) not in world.objects


def test_nothing_is_tested_when_no_test_set_is_asked_for():
    world = a_world(tested=False)
    world.settle()
    world.ask_for(model=uri("worse")).settle()
    assert served(world) == ["good", "worse"]
    assert world.condition("QualityOK") == ("Unknown", "NotMeasured")


def test_worse_candidate_is_rejected_before_it_gets_traffic_under_blue_green():
    world = a_world()
    world.settle()
    world.ask_for(model=uri("worse")).settle()
    assert served(world) == ["good"]
    assert world.condition("Stalled") == ("True", "TestDegraded")
    assert world.condition("UpToDate") == ("False", "ServingOther")
    assert world.condition("Ready")[0] == world.condition("QualityOK")[0] == "True"
    (rejected,) = world.status["rejected"]
    assert (rejected["revision"], rejected["reason"]) == (world.revision(uri("worse")), "TestDegraded")
    assert "retry" in next(each["message"] for each in world.status["conditions"] if each["type"] == "Stalled")


def test_worse_revision_is_rolled_back_after_it_served_under_rolling_update():
    world = a_world(strategy="RollingUpdate")
    world.settle()
    world.ask_for(model=uri("worse")).settle()
    assert served(world) == ["good", "worse", "good"]
    assert world.condition("Stalled") == ("True", "RolledBack")
    assert world.condition("UpToDate")[0] == "False"
    assert reasons(world).count("RolledBack") == 1
    world.pass_time(30)
    assert served(world) == ["good", "worse", "good"]
    assert ("Deployment", world.revision(uri("worse"))) not in world.objects


@pytest.mark.parametrize("strategy", ["BlueGreen", "RollingUpdate"])
def test_honest_successor_stays_after_a_rejection(strategy):
    world = a_world(strategy=strategy)
    world.settle()
    world.ask_for(model=uri("worse")).settle()
    world.ask_for(model=uri("honest")).settle()
    world.pass_time(60)
    assert served(world)[-1] == "honest"
    assert world.status["lastGoodRevision"] == world.revision(uri("good"))
    assert world.condition("UpToDate")[0] == "True"


def test_going_back_to_a_revision_that_served_is_immediate():
    world = a_world()
    world.settle()
    world.ask_for(model=uri("honest")).settle()
    world.models[uri("good")].test_trouble = Trouble("TestSetUnreachable", "no route", "surroundings")
    world.ask_for(model=uri("good")).settle()
    assert served(world) == ["good", "honest", "good"]


def test_rejected_revision_stays_rejected_when_it_is_asked_for_again():
    world = a_world()
    world.settle()
    world.ask_for(model=uri("worse")).settle()
    world.ask_for(model=uri("good")).settle()
    world.ask_for(model=uri("worse")).settle()
    assert served(world) == ["good"]
    assert reasons(world).count("TestDegraded") == 1


def test_rejected_revision_gets_another_chance_when_the_gate_changes():
    world = a_world()
    world.settle()
    world.ask_for(model=uri("worse")).settle()
    quality = copy.deepcopy(world.spec["quality"])
    quality["metrics"][0]["margin"] = "0.2"
    world.ask_for(quality=quality).settle()
    assert served(world) == ["good", "worse"]


def test_serving_revision_whose_own_answers_get_worse_is_rolled_back():
    world = a_world()
    world.settle()
    world.ask_for(model=uri("honest")).settle()
    world.models[uri("honest")].wrong = range(20, 90)
    world.pass_time(15)
    assert served(world) == ["good", "honest", "good"]
    assert world.condition("Stalled") == ("True", "RolledBack")


def test_serving_revision_is_kept_when_one_replay_differs_within_the_margin():
    world = a_world()
    world.settle()
    world.ask_for(model=uri("honest")).settle()
    world.models[uri("honest")].wrong = range(20, 59)
    world.pass_time(60)
    assert served(world) == ["good", "honest"]


def test_decayed_revision_keeps_serving_when_there_is_nowhere_to_go_back_to():
    world = a_world()
    world.settle()
    world.models[uri("good")].wrong = range(300)
    world.pass_time(30)
    assert served(world) == ["good"]
    assert world.condition("QualityOK") == ("False", "Degraded")
    assert world.condition("Stalled")[0] == "False"
    assert reasons(world).count("NoRollbackTarget") == 1


def test_degraded_revision_keeps_serving_when_the_spec_says_alert():
    world = a_world(strategy="RollingUpdate")
    world.spec["quality"]["onDegraded"] = "Alert"
    world.settle()
    world.ask_for(model=uri("worse")).settle()
    world.pass_time(30)
    assert served(world) == ["good", "worse"]
    assert world.condition("QualityOK") == ("False", "TestDegraded")
    assert world.condition("UpToDate")[0] == "True"
    assert reasons(world).count("Alert") == 1


def test_two_bad_revisions_never_take_turns():
    bad = Model(range(200, 330), "sha256:" + "e" * 64)
    world = a_world(strategy="RollingUpdate", floor=None, bad=bad)
    world.settle()
    world.ask_for(model=uri("worse")).settle()
    world.ask_for(model=uri("bad")).settle()
    world.pass_time(120)
    assert served(world) == ["good", "worse", "good", "bad", "good"]


def test_rollback_waits_for_capacity_when_the_last_good_one_was_scaled_down():
    world = a_world(strategy="RollingUpdate")
    world.spec["rollout"]["lastGood"] = {"replicas": 0, "for": "1h"}
    world.settle()
    world.ask_for(model=uri("honest")).settle()
    assert world.objects["Deployment", world.revision(uri("good"))]["spec"]["replicas"] == 0
    world.models[uri("honest")].wrong = range(200)
    world.now += 11
    world.starts_pods = False
    for _ in range(5):
        world.step()
    assert served(world)[-1] == "honest"
    assert world.objects["Deployment", world.revision(uri("good"))]["spec"]["replicas"] == 2
    world.starts_pods = True
    world.settle()
    assert served(world)[-1] == "good"


def test_last_good_revision_is_scaled_down_when_its_time_is_over():
    world = a_world()
    world.spec["rollout"]["lastGood"] = {"replicas": "50%", "for": "60s"}
    world.settle()
    world.ask_for(model=uri("honest")).settle()
    deployment = ("Deployment", world.revision(uri("good")))
    assert world.objects[deployment]["spec"]["replicas"] == 1
    world.pass_time(62)
    assert world.objects[deployment]["spec"]["replicas"] == 0


def test_blocked_candidate_is_stalled_after_its_deadline_and_goes_on_when_the_trouble_ends():
    world = a_world()
    world.settle()
    world.spec["rollout"]["progressDeadline"] = "60s"
    world.models[uri("honest")].trouble = Trouble("ModelStoreUnreachable", "s3: connection refused", "surroundings")
    world.ask_for(model=uri("honest")).settle()
    assert world.condition("Reconciling") == ("True", "Fetching")
    world.now += 61
    world.settle()
    assert world.condition("Stalled") == ("True", "ModelStoreUnreachable")
    assert world.condition("Reconciling")[0] == "False"
    assert world.status["rejected"] == []
    world.models[uri("honest")].trouble = None
    world.settle()
    assert served(world) == ["good", "honest"]


def test_candidate_with_other_bytes_than_its_digest_is_rejected():
    world = a_world()
    world.settle()
    world.ask_for(model={"uri": uri("honest"), "digest": "sha256:" + "0" * 64}).settle()
    assert world.condition("Stalled") == ("True", "DigestMismatch")
    assert served(world) == ["good"]


def test_serving_revision_is_not_rejected_when_new_pods_meet_other_bytes():
    world = a_world()
    world.settle()
    world.models[uri("good")].trouble = Trouble("DigestMismatch", "other bytes", "model")
    world.settle()
    assert world.status["rejected"] == []
    assert "DigestMismatch" in next(each["message"] for each in world.status["conditions"] if each["type"] == "Ready")


def test_bad_serving_revision_does_not_block_a_good_candidate():
    world = a_world(floor="0.80")
    world.spec["model"] = {"uri": uri("worse")}
    world.settle()
    world.models[uri("worse")].wrong = range(300)
    world.pass_time(15)
    world.ask_for(model=uri("good")).settle()
    assert served(world) == ["worse", "good"]


def test_candidate_is_compared_by_the_floor_alone_when_the_serving_one_has_no_pods():
    world = a_world()
    world.spec["model"] = {"uri": uri("worse")}
    world.settle()
    world.models[uri("worse")].trouble = Trouble("ModelStoreUnreachable", "gone", "surroundings")
    world.ask_for(model=uri("good")).settle()
    assert served(world) == ["worse", "good"]


@pytest.mark.parametrize("lost", ["status", "operator", "both"])
@pytest.mark.parametrize("cut", range(0, 24, 3))
@pytest.mark.parametrize("strategy", ["BlueGreen", "RollingUpdate"])
def test_end_state_is_the_same_when_status_or_operator_are_lost_at_any_step(strategy, cut, lost):
    def run(world: World) -> World:
        world.settle()
        world.ask_for(model=uri("worse"))
        for _ in range(cut):
            world.step()
            world.now += 0.1
        if lost in ("status", "both"):
            world.status = {"observedGeneration": -1}
        if lost in ("operator", "both"):
            world.pods = {name: (revision, None) for name, (revision, _) in world.pods.items()}
        world.settle()
        world.pass_time(12)
        return world

    world = run(a_world(strategy=strategy))
    assert served(world)[-1] == "good"
    assert world.status["servingRevision"] == world.revision(uri("good"))
    assert world.condition("Stalled")[1] == ("TestDegraded" if strategy == "BlueGreen" else "RolledBack")


def test_pass_that_is_cut_after_any_write_ends_in_the_same_state():
    def finish(cut: int) -> World:
        world = a_world(strategy="RollingUpdate")
        world.settle()
        world.ask_for(model=uri("worse"))
        left = cut
        for _ in range(40):
            plan = reconcile(world.observe(), world.now)
            loud = [each for each in plan.writes if not getattr(each, "quiet", False)]
            for write in loud:
                world.write(write)
                left -= 1
                if left == 0:
                    break
            if left == 0 and loud:
                break
            world.step()
        world.settle()
        world.pass_time(12)
        return world

    for cut in range(1, 12):
        world = finish(cut)
        assert world.selected == world.revision(uri("good")), cut
        assert world.condition("Stalled") == ("True", "RolledBack"), cut


def test_retry_gives_a_rejected_revision_another_try_once():
    world = a_world()
    world.settle()
    world.ask_for(model=uri("worse")).settle()
    world.models[uri("worse")].wrong = range(10, 20)
    world.action = "retry@2027-01-16T00:00:00Z"
    world.settle()
    assert world.record(world.revision(uri("worse"))).retries == 1
    assert reasons(world).count("CommandDone") == 1
    # The answers of the first try are the revision's answers: the same rows are never new data.
    assert world.condition("Stalled") == ("True", "TestDegraded")
    world.status["handledAction"] = ""
    world.settle()
    assert reasons(world).count("CommandDone") == 1


def test_rollback_command_sends_the_traffic_back():
    world = a_world()
    world.settle()
    world.ask_for(model=uri("honest")).settle()
    world.action = "rollback@2027-01-16T00:00:00Z"
    world.settle()
    assert served(world) == ["good", "honest", "good"]
    assert world.condition("Stalled") == ("True", "RolledBack")
    world.action = "retry@2027-01-16T00:00:01Z"
    world.settle()
    assert served(world)[-1] == "honest"


@pytest.mark.parametrize(
    ("action", "said"),
    [
        ("retry@2027-01-16T00:00:00Z", "Retry: nothing was found"),
        ("rollback@2027-01-16T00:00:00Z", "no last good revision"),
        ("restart@2027-01-16T00:00:00Z", "expected retry@<time> or rollback@<time>"),
        ("rollback@yesterday", "expected retry@<time> or rollback@<time>"),
    ],
)
def test_command_that_does_not_apply_is_an_event_and_nothing_else(action, said):
    world = a_world()
    world.settle()
    before = copy.deepcopy(world.objects)
    world.action = action
    world.settle()
    assert world.objects == before
    assert [event.reason for event in world.events if said in event.note] == [Reason.COMMAND_IGNORED]


def test_command_older_than_the_object_is_ignored():
    world = a_world()
    world.settle()
    events = list(world.events)
    world.action = "rollback@2020-01-01T00:00:00Z"
    world.settle()
    assert world.events == events


def test_settled_world_has_an_empty_plan():
    world = a_world()
    plan = world.settle()
    assert [each for each in plan.writes if not getattr(each, "quiet", False)] == []
    assert plan.status is None
    assert plan.events == plan.status_events == ()
    assert all(each.every_seconds == 10.0 for each in plan.soundings)


@pytest.mark.parametrize(
    "harm",
    [
        lambda objects, name: objects["Deployment", name]["spec"]["template"]["spec"]["containers"].append(
            {"name": "extra"}
        ),
        lambda objects, name: objects["Deployment", name]["spec"]["template"]["spec"]["containers"][0]["env"].append(
            {"name": "X"}
        ),
        lambda objects, name: objects["Deployment", name]["spec"].update(replicas=9),
        lambda objects, name: objects["Service", "digits"]["spec"].update(selector={"app": "mine"}),
        lambda objects, name: objects["Service", name]["spec"]["ports"].append({"port": 99}),
        lambda objects, name: objects["Service", "digits"]["metadata"]["labels"].clear(),
        lambda objects, name: objects.pop(("Service", name)),
        lambda objects, name: objects.pop(("Deployment", name)),
    ],
    ids=["sidecar", "variable", "replicas", "selector", "port", "labels", "service gone", "deployment gone"],
)
def test_child_that_was_changed_by_hand_is_put_back(harm):
    world = a_world()
    world.settle()
    before = copy.deepcopy({key: each.get("spec") for key, each in world.objects.items()})
    harm(world.objects, world.revision(uri("good")))
    world.settle()
    after = {key: each.get("spec") for key, each in world.objects.items()}
    for key, spec in before.items():
        for field, value in (spec or {}).items():
            if field != "clusterIP":
                assert after[key][field] == value, (key, field)


def test_foreign_labels_and_annotations_stay_when_a_child_is_put_back():
    world = a_world()
    world.settle()
    service = world.objects["Service", "digits"]
    service["metadata"]["annotations"] = {"theirs": "1"}
    service["metadata"]["labels"]["theirs"] = "1"
    service["spec"]["sessionAffinity"] = "ClientIP"
    world.settle()
    after = world.objects["Service", "digits"]
    assert after["spec"]["sessionAffinity"] == "None"
    assert after["metadata"]["annotations"] == {"theirs": "1"}
    assert after["metadata"]["labels"]["theirs"] == "1"


def test_name_conflict_is_said_at_once():
    world = a_world()
    world.conflicts = ("Service digits exists and is not ours",)
    for _ in range(3):
        world.step()
    assert world.condition("Stalled") == ("True", "NameConflict")


def test_old_pods_answer_until_the_selector_has_moved_and_forward_afterwards():
    world = a_world()
    world.settle()
    world.ask_for(model=uri("honest"))
    good, honest = world.revision(uri("good")), world.revision(uri("honest"))
    for _ in range(30):
        selected = world.selected
        plan = world.step()
        for sounding in plan.soundings:
            if sounding.revision == selected:
                assert sounding.role == "serving"
    roles = {(each.revision, each.role, each.forward.revision if each.forward else "") for each in plan.soundings}
    assert roles == {(good, "standby", honest), (honest, "serving", "")}


def test_selector_never_moves_to_pods_that_still_forward():
    world = a_world(strategy="RollingUpdate")
    world.settle()
    world.ask_for(model=uri("worse"))
    for _ in range(60):
        before = world.selected
        roles = {pod.name: pod.report.role for pod in world.observe().pods if pod.report is not None}
        world.step()
        if world.selected != before:
            mine = [role for name, role in roles.items() if name.startswith(world.selected)]
            assert mine, "no pod of the target had answered"
            assert "standby" not in mine
        world.now += 0.1
    assert served(world) == ["good", "worse", "good"]


def test_revision_that_was_rolled_back_is_tested_again_before_it_gets_traffic_under_another_gate():
    world = a_world()
    world.settle()
    world.ask_for(model=uri("honest")).settle()
    world.models[uri("honest")].wrong = range(20, 90)
    world.pass_time(15)
    quality = copy.deepcopy(world.spec["quality"])
    quality["metrics"][0]["margin"] = "0.021"
    world.ask_for(quality=quality).settle()
    assert served(world) == ["good", "honest", "good"]
    assert world.condition("Stalled") == ("True", "TestDegraded")


def test_candidate_that_may_be_as_good_as_the_margin_allows_is_admitted():
    doubtful = Model(range(5, 50), "sha256:" + "f" * 64)
    world = a_world(doubtful=doubtful)
    world.settle()
    world.ask_for(model=uri("doubtful")).settle()
    assert served(world) == ["good", "doubtful"]
    assert 0.002 < world.record(world.revision(uri("doubtful"))).p_value < 0.5


def test_older_command_that_is_applied_again_is_ignored():
    world = a_world()
    world.settle()
    world.ask_for(model=uri("honest")).settle()
    world.action = "rollback@2027-01-16T00:00:00Z"
    world.settle()
    world.action = "retry@2027-01-16T00:00:01Z"
    world.settle()
    events = list(world.events)
    world.action = "rollback@2027-01-16T00:00:00Z"
    world.settle()
    world.action = "rollback@2027-01-16T00:00:00.5Z"
    world.settle()
    assert served(world) == ["good", "honest", "good", "honest"]
    assert world.events == events


def test_clock_of_a_candidate_starts_anew_when_it_is_asked_for_again():
    world = a_world()
    world.spec["rollout"]["progressDeadline"] = "60s"
    world.settle()
    world.models[uri("honest")].trouble = Trouble("ModelStoreUnreachable", "refused", "surroundings")
    world.ask_for(model=uri("honest")).settle()
    world.now += 61
    world.ask_for(model=uri("good")).settle()
    world.now += 1
    world.ask_for(model=uri("honest")).settle()
    assert world.condition("Stalled")[0] == "False"
    assert world.condition("Reconciling") == ("True", "Fetching")


def test_rollback_is_not_said_to_be_over_before_the_demoted_pods_forward():
    world = a_world(strategy="RollingUpdate")
    world.settle()
    world.ask_for(model=uri("worse"))
    worse = world.revision(uri("worse"))
    for _ in range(60):
        forwarding = [pod.report is not None and pod.report.forwarding for pod in world.observe().ready_pods(worse)]
        world.step()
        if world.condition("Stalled") == ("True", "RolledBack"):
            assert forwarding == [] or all(forwarding)
            break
        world.now += 0.1
    assert world.condition("Stalled") == ("True", "RolledBack")
