"""A test set that judges too many revisions."""

import pytest

from tests.unit.reconcile.world import Model, a_world, reasons, uri


def letter(number):
    return "sha256:" + f"{number:064x}"


def steps(lost, count, first=15):
    """Models of which each answers so many rows more wrong than the one before, and a good one that comes first."""
    return {f"m{place}": Model(range(first + place * lost), letter(place)) for place in range(count)}


def go_through(models, *, watched=11):
    world = a_world(**models, floor=None)
    world.spec["model"] = {"uri": uri("m0")}
    world.settle()
    for name in list(models)[1:]:
        world.ask_for(model=uri(name)).settle()
        world.pass_time(watched)
    return world


def said(world):
    return next(each["message"] for each in world.status["conditions"] if each["type"] == "QualityOK")


@pytest.mark.parametrize(("count", "is_worn"), [(20, False), (21, True)])
def test_a_test_set_that_judged_more_than_twenty_revisions_is_said_to_be_worn(count, is_worn):
    world = go_through(steps(0, count), watched=0)
    assert reasons(world).count("TestSetWorn") == is_worn
    assert ("TestSetWorn: 21 revisions" in said(world)) is is_worn
    assert world.condition("QualityOK")[0] == "True"


def test_going_back_to_one_that_was_judged_is_no_new_judgement():
    world = go_through(steps(0, 20), watched=0)
    for name in ("m18", "m19", "m18"):
        world.ask_for(model=uri(name)).settle()
        world.pass_time(11)
    assert "TestSetWorn" not in reasons(world)
