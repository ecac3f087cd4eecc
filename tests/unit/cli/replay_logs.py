"""Logs as an operator made them, each made once: worlds of the decision tests, lived through to their end."""

import dataclasses
import functools
from collections.abc import Sequence

from leadline_wire.ledger import DecisionEntry, Entry

from tests.unit.reconcile.outcomes_world import OutcomesWorld, an_outcomes_world
from tests.unit.reconcile.world import uri

EVERY_SECOND = range(0, 1000, 2)


@functools.cache
def condemned() -> tuple[Entry, ...]:
    """A good revision, a worse one that pairs condemn, an honest one that stays."""
    world = an_outcomes_world()
    world.settle()
    world.ask(120, step_every=20)
    world.ask_for(model=uri("worse")).settle()
    world.ask(400, serving="good")
    world.ask_for(model=uri("honest")).settle()
    world.ask(1200, step_every=50)
    return tuple(world.log)


@functools.cache
def provisional() -> tuple[Entry, ...]:
    """Nothing can be compared, and the limit alone sends the traffic back."""
    world = _alone()
    world.ask_for(model=uri("worse")).settle()
    world.ask(600, serving="good")
    world.ask(100, step_every=50)
    return tuple(world.log)


@functools.cache
def withdrawn() -> tuple[Entry, ...]:
    """The same, where the world had moved, and the last good one falls below, too."""
    world = _alone()
    world.ask_for(model=uri("honest")).settle()
    _move(world)
    world.ask(1000, step_every=50)
    return tuple(world.log)


@functools.cache
def moved() -> tuple[Entry, ...]:
    """The world moves after the comparison is over: verified on fresh requests, and nothing follows."""
    world = an_outcomes_world(quality={"compareFor": "0s"})
    world.settle()
    world.ask(520, step_every=20)
    world.ask_for(model=uri("honest")).settle()
    world.ask(520, step_every=20)
    _move(world)
    world.ask(300, step_every=10)
    return tuple(world.log)


@functools.cache
def alerted() -> tuple[Entry, ...]:
    """A worse revision that keeps serving, for the spec asks for an alert only."""
    world = an_outcomes_world(quality={"onDegraded": "Alert"})
    world.settle()
    world.ask_for(model=uri("worse")).settle()
    world.ask(400, each_seconds=0.5, step_every=20)
    return tuple(world.log)


@functools.cache
def shadowed() -> tuple[Entry, ...]:
    """A candidate that is rejected on copies, before it gets traffic."""
    world = an_outcomes_world(strategy="BlueGreen", shadow={"percent": 100, "for": "10m"})
    world.settle()
    world.ask_for(model=uri("worse")).settle()
    world.ask(400)
    return tuple(world.log)


@functools.cache
def commanded() -> tuple[Entry, ...]:
    """A revision that is left by command, then tried again by command, and condemned."""
    world = an_outcomes_world()
    world.settle()
    world.ask_for(model=uri("worse")).settle()
    world.action = "rollback@2027-01-15T08:00:01Z"
    world.settle()
    world.action = "retry@2027-01-15T08:00:02Z"
    world.settle()
    world.ask(500, serving="good")
    return tuple(world.log)


def without(log: Sequence[Entry], kind: str) -> list[Entry]:
    """Return a log that lacks all decisions of a kind."""
    kept = [each for each in log if not (isinstance(each, DecisionEntry) and each.kind == kind)]
    assert len(kept) < len(log)
    return kept


def _alone() -> OutcomesWorld:
    world = an_outcomes_world(lastGood={"replicas": 0})
    world.settle()
    world.ask(520, step_every=20)
    return world


def _move(world: OutcomesWorld) -> None:
    for name in ("good", "honest"):
        world.models[uri(name)] = dataclasses.replace(world.models[uri(name)], wrong=EVERY_SECOND)
