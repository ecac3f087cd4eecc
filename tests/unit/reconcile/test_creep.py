"""Margins that add up over revisions."""

from tests.unit.reconcile.outcomes_world import an_outcomes_world
from tests.unit.reconcile.world import Model, a_world, reasons, served, uri


def letter(number):
    return "sha256:" + f"{number:064x}"


def steps(lost, count, first=15):
    """Models of which each answers so many rows more wrong than the one before, and a good one that comes first."""
    return {f"m{place}": Model(range(first + place * lost), letter(place)) for place in range(count)}


def go_through(models):
    world = a_world(**models, floor=None)
    world.spec["model"] = {"uri": uri("m0")}
    world.settle()
    for name in list(models)[1:]:
        world.ask_for(model=uri(name)).settle()
        world.pass_time(11)
    return world


def said(world):
    return next(each["message"] for each in world.status["conditions"] if each["type"] == "QualityOK")


def test_steps_within_the_margin_are_said_once_they_are_more_than_two_margins_and_move_nothing():
    world = go_through(steps(18, 3))
    assert world.condition("QualityOK") == ("True", "QualityWatched")
    world = go_through(steps(18, 6))
    assert served(world) == [f"m{place}" for place in range(6)]
    assert world.condition("QualityOK") == ("False", "QualityCreep")
    assert "0.985 of" in said(world)
    assert (world.condition("Stalled")[0], world.condition("UpToDate")[0]) == ("False", "True")
    assert reasons(world).count("QualityCreep") == 1


def test_it_is_over_with_one_that_is_as_good_as_the_best():
    models = steps(18, 6) | {"better": Model(range(16), letter(99))}
    world = go_through(models)
    assert served(world)[-1] == "better"
    assert world.condition("QualityOK")[0] == "True"


def test_lost_status_and_a_new_operator_say_it_again_without_a_second_change():
    world = go_through(steps(18, 6))
    world.status = {"observedGeneration": -1}
    world.settle()
    assert world.condition("QualityOK") == ("False", "QualityCreep")


def test_by_outcomes_it_is_said_as_well():
    world = an_outcomes_world(quality={"compareFor": "0s"})
    world.models |= {uri(name): model for name, model in steps(18, 9).items()}
    for name in steps(18, 9):
        world.ask_for(model=uri(name)).settle()
        world.ask(600, step_every=50)
    assert served(world)[-1] == "m8"
    assert world.condition("QualityOK") == ("False", "QualityCreep")
    assert "if the world has not moved" in said(world)
