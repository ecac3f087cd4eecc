"""Which revisions node drains have to spare, and for how long."""

from leadline_operator.reconcile.reconciler import reconcile

from tests.unit.reconcile.world import World, a_world, uri


def budgets(world: World) -> set[str]:
    """Return the models whose revisions have a PodDisruptionBudget."""
    known = {world.revision(each): each.removeprefix("s3://models/").removesuffix(".onnx") for each in world.models}
    return {known[name] for kind, name in world.objects if kind == "PodDisruptionBudget"}


def test_a_drain_takes_one_pod_of_what_serves_at_a_time():
    world = a_world()
    world.settle()
    revision = world.revision(uri("good"))
    budget = world.objects["PodDisruptionBudget", revision]
    selector = {"leadline.dev/modeldeployment": "digits", "leadline.dev/revision": revision}
    assert budget["spec"] == {
        "maxUnavailable": 1,
        "selector": {"matchLabels": selector},
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }
    assert selector.items() <= world.objects["Deployment", revision]["spec"]["template"]["metadata"]["labels"].items()
    assert budget["metadata"]["ownerReferences"][0]["uid"] == world.owner.uid


def test_a_single_pod_has_the_same_budget_and_may_be_evicted():
    one, many = a_world(replicas=1), a_world(replicas=5)
    one.settle()
    many.settle()
    found = [world.objects["PodDisruptionBudget", world.revision(uri("good"))]["spec"] for world in (one, many)]
    assert found[0] == found[1]


def test_a_candidate_has_none_before_it_serves():
    world = a_world()
    world.settle()
    world.ask_for(model=uri("honest"))
    while world.selected == world.revision(uri("good")):
        assert budgets(world) == {"good"}
        world.step()
        world.now += 0.1
    assert budgets(world) == {"good", "honest"}


def test_the_last_good_revision_has_one_for_as_long_as_it_is_kept_warm():
    world = a_world()
    world.spec["rollout"]["lastGood"] = {"replicas": "50%", "for": "30s"}
    world.settle()
    world.ask_for(model=uri("honest")).settle()
    assert budgets(world) == {"good", "honest"}
    world.pass_time(35)
    assert budgets(world) == {"honest"}


def test_what_is_rejected_or_scaled_to_zero_has_none():
    world = a_world(strategy="RollingUpdate")
    world.settle()
    world.ask_for(model=uri("worse")).settle()
    world.pass_time(15)
    assert budgets(world) == {"good"}
    world.ask_for(runtime={"replicas": 0}).settle()
    assert budgets(world) == set()


def test_a_budget_that_was_changed_or_deleted_by_hand_comes_back_and_then_nothing_is_written():
    world = a_world()
    world.settle()
    at = ("PodDisruptionBudget", world.revision(uri("good")))
    before = world.objects[at]["spec"]
    world.objects[at]["spec"] = {**before, "maxUnavailable": None, "minAvailable": 2}
    world.settle()
    assert world.objects[at]["spec"] == before
    del world.objects[at]
    world.settle()
    assert world.objects[at]["spec"] == before
    plan = reconcile(world.observe(), world.now)
    assert [each for each in plan.writes if not getattr(each, "quiet", False)] == []
