"""A test set that judges too many revisions is said to wear out."""

import msgspec
import pytest
from leadline_api import names
from leadline_operator.reconcile import records
from leadline_operator.reconcile.children import HISTORY_KEPT

from tests.unit.reconcile.world import TEST_SET, Model, a_world, reasons, served, uri


def a_history(count, *, wrong=lambda _: range(15)):
    """A world that asked for so many revisions, one after another; by `wrong` the rows that each answers wrong."""
    models = {f"m{place}": Model(wrong(place), f"sha256:{place:064x}") for place in range(count)}
    world = a_world(**models, replicas=1)
    world.spec["model"] = {"uri": uri("m0")}
    world.settle()
    for name in list(models)[1:]:
        ask_for(world, name)
    return world


def ask_for(world, name, **more):
    world.ask_for(model=uri(name), **more).settle()
    world.now += 11  # the pods of the one before have handed over
    world.settle()


def said(world):
    return next(each["message"] for each in world.status["conditions"] if each["type"] == "QualityOK")


def number(world, name):
    return world.record(world.revision(uri(name))).judged.number


@pytest.mark.parametrize(("count", "is_worn"), [(20, False), (21, True)])
def test_more_than_twenty_revisions_by_the_same_rows_are_said_and_move_nothing(count, is_worn):
    world = a_history(count)
    assert reasons(world).count("TestSetWorn") == is_worn
    assert ("TestSetWorn: 21 revisions" in said(world)) is is_worn
    assert world.condition("QualityOK") == ("True", "QualityWatched")
    assert [world.condition(kind)[0] for kind in ("Ready", "UpToDate", "Stalled")] == ["True", "True", "False"]
    assert len(served(world)) == count


def test_number_outlives_the_records_of_revisions_that_are_deleted():
    world = a_history(21)
    assert sum(kind == "ControllerRevision" for kind, _ in world.objects) <= HISTORY_KEPT + 3
    assert number(world, "m20") == 21


def test_candidates_that_were_rejected_count():
    world = a_history(21, wrong=lambda place: range(15 + 200 * (place > 0)))
    assert served(world) == ["m0"]
    assert reasons(world).count("TestSetWorn") == 1
    assert "TestSetWorn: 21 revisions" in said(world)


def test_going_back_to_one_that_was_judged_is_no_new_judgement():
    world = a_history(20)
    for name in ("m18", "m19", "m18"):
        ask_for(world, name)
    assert (number(world, "m18"), number(world, "m19")) == (19, 20)
    assert "TestSetWorn" not in reasons(world)


def test_one_that_is_judged_again_by_the_same_rows_keeps_its_number():
    world = a_history(3)
    for truth in ("digit2", "digit"):
        world.spec["quality"] = {**world.spec["quality"], "testSet": {**TEST_SET, "truth": truth}}
        ask_for(world, "m1")
        assert number(world, "m1") == 2


def test_revisions_that_an_older_operator_judged_count():
    world = a_history(3)
    for name in ("m0", "m1", "m2"):
        stored = world.objects["ControllerRevision", world.revision(uri(name))]["metadata"]["annotations"]
        stored[names.RECORD_ANNOTATION] = records.write(world.record(world.revision(uri(name))).with_(judged=None))
    for name in ("honest", "good"):
        ask_for(world, name)
    assert (number(world, "honest"), number(world, "good")) == (4, 5)


def test_other_rows_begin_anew():
    world = a_history(3)
    stored = world.objects["ControllerRevision", world.revision(uri("m2"))]["metadata"]["annotations"]
    record = world.record(world.revision(uri("m2")))
    other = msgspec.structs.replace(record.judged, digest="sha256:" + "e" * 64, number=40)
    stored[names.RECORD_ANNOTATION] = records.write(record.with_(judged=other))
    ask_for(world, "good")
    assert number(world, "good") == 4, "three have answers to these rows"
    assert "TestSetWorn" not in said(world)
