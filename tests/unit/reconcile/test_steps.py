"""Between the steps: children, roles and the selector at every moment, and passes that are cut anywhere."""

import copy

import pytest
from leadline_operator.reconcile.reconciler import reconcile

from tests.unit.reconcile.outcomes_world import an_outcomes_world
from tests.unit.reconcile.world import World, a_world, served, uri


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


def test_pod_template_reaches_the_pods_of_all_revisions_and_makes_no_new_one():
    world = a_world()
    world.settle()
    world.ask_for(model=uri("honest")).settle()
    before = [at for at in world.objects if at[0] == "ControllerRevision"]
    asked = {"labels": {"team": "vision"}, "nodeSelector": {"gpu": "a100"}, "env": [{"name": "A", "value": "1"}]}
    world.ask_for(runtime={"replicas": 2, "podTemplate": asked}).settle()
    assert [at for at in world.objects if at[0] == "ControllerRevision"] == before
    for name in (world.revision(uri("good")), world.revision(uri("honest"))):
        template = world.objects["Deployment", name]["spec"]["template"]
        assert template["metadata"]["labels"]["team"] == "vision"
        assert template["spec"]["nodeSelector"] == {"gpu": "a100"}
        assert template["spec"]["containers"][0]["env"][-1] == {"name": "A", "value": "1"}


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


def test_nothing_is_stalled_and_under_way_at_once_where_a_rejection_is_remembered_by_the_ledger_alone():
    world = an_outcomes_world()
    world.settle()
    world.ask(120, step_every=20)
    world.ask_for(model=uri("worse")).settle()
    world.ask(400, serving="good")
    world.objects.clear()  # somebody deleted the ModelDeployment, and applied it again
    world.pods.clear()
    world.status = {"observedGeneration": -1}
    for _ in range(100):
        world.step()
        world.now += 0.1
        assert (world.condition("Stalled")[0], world.condition("Reconciling")[0]) != ("True", "True")
    assert world.condition("Stalled") == ("True", "RolledBack")
