"""What is remembered of a revision: what a newer version wrote survives, what cannot be read is left as it is.

A world runs through what follows for the rollout; a real N -> N+1 -> N is tested on a cluster.
"""

import json

import msgspec
import pytest
from leadline_api import names
from leadline_operator.reconcile import records
from leadline_operator.reconcile.plan import Create, Delete, Replace
from leadline_operator.reconcile.reconciler import reconcile

from tests.unit.reconcile.world import World, a_world, reasons, served, uri

NEWER = {
    "wanted_at": 5.0,
    "test": {
        "key": "k",
        "digest": "sha256:1",
        "rows": 3,
        "right": "eNpbAAAAoQCh",
        "answers": "a",
        "slices": {"by": "country"},
    },
    "rejections": [{"gate": "g", "reason": "Degraded", "message": "m", "at": 1.0, "evidence": 214}],
    "pardoned": [{"gate": "", "reason": "Odd", "message": "", "at": 2.0, "by": ["someone"]}],
    "way_back": {"gate": "g", "revision": "r", "since": 1.0, "tries": 2},
    "outcomes": {"cursor": 17},
    "rest": "a newer version's own word",
}
UNREADABLE = {
    "no JSON": "{",
    "no object": "[]",
    "no end of brackets": '{"outcomes":' + "[" * 100_000,
    "another type": '{"wanted_at": "yesterday"}',
    "no bitmap": json.dumps({"test": NEWER["test"] | {"right": "AAAA"}}),
    "too short a bitmap": json.dumps({"test": NEWER["test"] | {"rows": 1000}}),
}


def test_fields_of_a_newer_version_survive_a_rewrite_at_every_level():
    record = records.read(json.dumps(NEWER))
    assert record.test.rows == 3
    rewritten = record.with_(handled_action="retry@2027-01-15T08:00:00Z", serving_since=7.0)
    assert json.loads(records.write(rewritten)) == NEWER | {
        "handled_action": "retry@2027-01-15T08:00:00Z",
        "serving_since": 7.0,
    }
    found = records.Rejection(gate="g2", reason="BelowFloor", message="", at=9.0)
    both = json.loads(records.write(record.rejected(found).with_(test=None)))
    assert [each.get("evidence") for each in both["rejections"]] == [214, None]
    assert "test" not in both
    assert both["outcomes"] == {"cursor": 17}


def test_record_is_read_back_as_it_was_written():
    record = records.read(json.dumps(NEWER))
    assert records.read(records.write(record)) == record
    assert records.read("") == records.Record()
    assert records.write(records.Record()) == "{}"


@pytest.mark.parametrize("text", UNREADABLE.values(), ids=UNREADABLE)
def test_unreadable_record_says_why_and_is_never_written_over(text):
    record = records.read(text)
    assert isinstance(record, records.Unreadable)
    assert record.problem
    assert records.write(record.with_(wanted_at=7.0)) == text


def spoil(world: World, model: str, text: str = "{") -> None:
    stored = world.objects["ControllerRevision", world.revision(uri(model))]
    stored["metadata"]["annotations"][names.RECORD_ANNOTATION] = text


def text_of(world: World, model: str) -> str:
    return world.objects["ControllerRevision", world.revision(uri(model))]["metadata"]["annotations"][
        names.RECORD_ANNOTATION
    ]


def said(world: World) -> str:
    return next(each["message"] for each in world.status["conditions"] if each["type"] == "RecordsReadable")


def test_serving_revision_with_an_unreadable_record_keeps_serving_and_that_is_said_once():
    world = a_world()
    world.settle()
    world.ask_for(model=uri("honest")).settle()
    spoil(world, "honest")
    world.settle()
    world.pass_time(30)
    assert served(world) == ["good", "honest"]
    assert text_of(world, "honest") == "{"
    assert world.condition("Ready") == ("True", "Serving")
    assert world.condition("UpToDate") == ("True", "ServingDesired")
    assert world.condition("RecordsReadable") == ("False", "UnreadableRecord")
    assert world.condition("QualityOK") == ("Unknown", "UnreadableRecord")
    assert reasons(world).count("UnreadableRecord") == 1
    assert world.revision(uri("honest")) in said(world)
    assert "leadline.dev/record" in said(world)


def test_what_the_service_says_decides_who_serves_when_the_record_cannot_be_read():
    world = a_world()
    world.settle()
    world.ask_for(model=uri("honest"))
    while world.selected != world.revision(uri("honest")):
        world.step()
    # A switch that was cut: the one that lost the traffic still says that it has it.
    good = world.record(world.revision(uri("good")))
    spoil(world, "good", records.write(good.with_(served_until=None)))
    spoil(world, "honest")
    world.settle()
    assert served(world) == ["good", "honest"]
    assert world.record(world.revision(uri("good"))).served_until is not None


def test_revision_with_an_unreadable_record_is_not_tried_anew():
    world = a_world()
    world.settle()
    world.ask_for(model=uri("worse")).settle()
    spoil(world, "worse")
    world.settle()
    assert served(world) == ["good"]
    assert world.condition("Stalled") == ("True", "UnreadableRecord")
    assert ("Deployment", world.revision(uri("worse"))) not in world.objects
    for verb in ("retry", "rollback"):
        world.action = f"{verb}@2027-01-15T08:00:0{world.generation}Z"
        world.generation += 1
        world.settle()
    assert served(world) == ["good"]
    assert text_of(world, "worse") == "{"
    assert reasons(world).count("CommandIgnored") == 2


def test_revision_with_an_unreadable_record_keeps_what_it_has_when_another_is_promoted():
    world = a_world(third=a_world().models[uri("honest")])
    world.settle()
    world.ask_for(model=uri("honest")).settle()
    spoil(world, "honest")
    world.ask_for(model=uri("third")).settle()
    world.pass_time(20)
    assert served(world) == ["good", "honest", "third"]
    assert world.objects["Deployment", world.revision(uri("honest"))]["spec"]["replicas"] == 2
    # Clients with old connections to it are passed on, as to any revision that lost the traffic.
    roles = {each.revision: each.role for each in reconcile(world.observe(), world.now).soundings}
    assert roles[world.revision(uri("honest"))] == "standby"
    assert world.status["lastGoodRevision"] == world.revision(uri("good"))


def test_revision_with_an_unreadable_record_is_no_spare_history():
    world = a_world()
    world.settle()
    for number in range(14):
        world.models[uri(f"m{number}")] = world.models[uri("good")]
        world.ask_for(model=uri(f"m{number}")).settle()
        if number == 0:
            spoil(world, "m0")
    assert text_of(world, "m0") == "{"
    assert ("ControllerRevision", world.revision(uri("m1"))) not in world.objects


def test_record_that_can_be_read_again_counts_again():
    world = a_world()
    world.settle()
    world.ask_for(model=uri("worse")).settle()
    text = text_of(world, "worse")
    spoil(world, "worse")
    world.settle()
    spoil(world, "worse", text)
    world.settle()
    assert world.condition("RecordsReadable") == ("True", "RecordsRead")
    assert world.condition("Stalled") == ("True", "TestDegraded")


def test_unreadable_record_causes_no_writes():
    world = a_world()
    world.settle()
    spoil(world, "good")
    world.settle()
    plan = reconcile(world.observe(), world.now)
    loud = [each for each in plan.writes if isinstance(each, (Replace, Delete)) or not each.quiet]
    assert loud == []
    assert all(isinstance(each, Create) for each in plan.writes)


def test_bitmap_is_stored_compressed():
    bits = bytes(range(256)) * 2
    test = records.TestResult(key="k", digest="d", rows=4096, right=records.compressed(bits), answers="a")
    again = msgspec.json.decode(msgspec.json.encode(test), type=records.TestResult)
    assert again.bitmap == bits
