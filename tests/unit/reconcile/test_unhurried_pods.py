"""Pods that take their time: a switch is complete when the demoted ones forward, a replay ends before the next begins."""

import dataclasses

import msgspec
import pytest
from leadline_operator.reconcile.observed import Observed
from leadline_operator.reconcile.plan import Plan
from leadline_operator.reconcile.reconciler import reconcile
from leadline_wire import exchange

from tests.unit.reconcile.world import Model, World, a_world, uri

INTERVAL = 10.0


def after_a_switch(strategy: str = "BlueGreen") -> World:
    world = a_world(strategy=strategy)
    world.settle()
    world.ask_for(model=uri("honest")).settle()
    return world


def told(world: World, model: str, **changes: object) -> Observed:
    """Return what is observed when all pods of a revision say something else."""
    observed = world.observe()
    revision = world.revision(uri(model))
    pods = tuple(
        dataclasses.replace(pod, report=msgspec.structs.replace(pod.report, **changes))
        if pod.revision == revision and pod.report is not None
        else pod
        for pod in observed.pods
    )
    return dataclasses.replace(observed, pods=pods)


def condition(plan: Plan, world: World, kind: str) -> tuple[str, str]:
    found = next(each for each in (plan.status or world.status)["conditions"] if each["type"] == kind)
    return found["status"], found["reason"]


@pytest.mark.parametrize("strategy", ["BlueGreen", "RollingUpdate"])
def test_switch_is_under_way_until_the_demoted_pods_forward(strategy):
    world = after_a_switch(strategy)
    assert world.condition("Reconciling") == ("False", "Done")
    plan = reconcile(told(world, "good", forwarding=False), world.now)
    assert condition(plan, world, "Reconciling") == ("True", "Switching")
    assert condition(plan, world, "Ready") == ("True", "Serving")
    assert plan.status["phase"] == "Switching"
    assert plan.wake_after_seconds <= 10.0


def test_switch_does_not_wait_for_ever_for_demoted_pods():
    world = after_a_switch()
    plan = reconcile(told(world, "good", forwarding=False), world.now + 11)
    assert condition(plan, world, "Reconciling") == ("False", "Done")


def test_rejected_revision_keeps_its_pods_until_they_forward():
    world = a_world(strategy="RollingUpdate")
    world.settle()
    world.ask_for(model=uri("worse"))
    name = world.revision(uri("worse"))
    while len(world.served) < 3:
        world.step()
        world.now += 0.1
    plan = reconcile(told(world, "worse", forwarding=False), world.now)
    assert name in world.served
    assert name not in [getattr(each, "name", "") for each in plan.writes]
    assert condition(plan, world, "Reconciling") == ("True", "Switching")


def replay(world: World, number: int, state: str = "Done", model: Model | None = None) -> exchange.TestSetReport:
    run = next(pod.report.test_set.run for pod in world.observe().pods if pod.report and pod.report.test_set)
    done = exchange.TestSetReport(run=f"{run.partition('.')[0]}.r{number}", state=state)
    if model is None:
        return done
    return msgspec.structs.replace(done, digest="sha256:" + "d" * 64, rows=1000, right=model.right(), answers="x")


def runs(plan: Plan, world: World) -> set[str]:
    serving = world.revision(uri("honest"))
    return {each.test_set.run.partition(".")[2] for each in plan.soundings if each.revision == serving}


@pytest.mark.parametrize("state", ["Fetching", "Running"])
def test_replay_that_takes_longer_than_the_interval_is_let_end(state):
    world = after_a_switch()
    slow = told(world, "honest", test_set=replay(world, 1, state))
    assert runs(reconcile(slow, world.now + 2.5 * INTERVAL), world) == {"r1"}


def test_replay_that_never_ends_is_given_up():
    world = after_a_switch()
    stuck = told(world, "honest", test_set=replay(world, 1, "Running"))
    assert runs(reconcile(stuck, world.now + 12.5 * INTERVAL), world) == {"r12"}


def test_replay_that_ended_late_is_judged_and_the_one_that_is_due_is_asked_for():
    world = after_a_switch()
    late = told(world, "honest", test_set=replay(world, 1, model=Model(range(20, 40))))
    plan = reconcile(late, world.now + 2.5 * INTERVAL)
    assert runs(plan, world) == {"r2"}
    assert condition(plan, world, "QualityOK")[0] == "True"
    worse = told(world, "honest", test_set=replay(world, 1, model=Model(range(20, 90))))
    plan = reconcile(worse, world.now + 2.5 * INTERVAL)
    assert condition(plan, world, "QualityOK") == ("False", "Degraded")
