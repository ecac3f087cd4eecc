"""One pod that alone answers the test set otherwise is restarted, and is nothing against the revision."""

import itertools
from dataclasses import dataclass, field

import msgspec
import numpy as np
import pytest
from leadline_api import names
from leadline_operator.reconcile import records
from leadline_operator.reconcile.plan import Delete

from tests.unit.reconcile.world import World, a_world, reasons, served, uri

DAY = 86_400.0


@dataclass
class WithOddPods(World):
    """A world in which some pods answer rows otherwise."""

    flips: dict = field(default_factory=dict)
    """Rows that a pod answers wrong in replays, by its name."""
    unready: set = field(default_factory=set)
    deleted: list = field(default_factory=list)

    def write(self, write):
        if isinstance(write, Delete) and write.kind == "Pod":
            assert write.uid == f"uid-{write.name}"
            self.deleted.append((self.now, write.name))
            del self.pods[write.name]
            return
        super().write(write)

    def _report(self, name, revision, told, model):
        report = super()._report(name, revision, told, model)
        test, rows = report.test_set, self.flips.get(name)
        if not rows or test is None or ".r" not in test.run:
            return report
        bits = np.unpackbits(np.frombuffer(test.right, dtype=np.uint8))
        bits[list(rows)] ^= 1
        return msgspec.structs.replace(
            report, test_set=msgspec.structs.replace(test, right=np.packbits(bits).tobytes())
        )


def watched(replicas=3, **more):
    plain = a_world(replicas=replicas)
    world = WithOddPods(plain.spec, plain.models, **more)
    world.settle()
    return world


@pytest.mark.parametrize("replicas", [2, 3])
def test_odd_pod_is_restarted_once_and_the_revision_serves_on(replicas):
    world = watched(replicas)
    odd = sorted(world.pods)[1]
    world.flips[odd] = range(500, 900)
    world.pass_time(60)
    assert [name for _, name in world.deleted] == [odd]
    assert len(world.pods) == replicas
    assert (served(world), world.status["rejected"]) == (["good"], [])
    assert reasons(world).count("OddPod") == 1
    assert world.condition("QualityOK")[0] != "False"


def test_flips_on_all_pods_are_the_revisions():
    world = watched()
    world.flips.update(dict.fromkeys(world.pods, range(500, 900)))
    world.pass_time(30)
    assert world.deleted == []
    assert world.condition("QualityOK")[0] == "False"


def test_two_that_flip_of_three_are_no_odd_one():
    world = watched()
    world.flips.update(dict.fromkeys(sorted(world.pods)[:2], range(500, 900)))
    world.pass_time(30)
    assert world.deleted == []


def test_a_single_pod_is_never_restarted():
    world = watched(1)
    world.flips.update(dict.fromkeys(world.pods, range(500, 510)))
    world.pass_time(30)
    assert world.deleted == []


def test_broken_node_does_not_restart_pods_without_end():
    world = watched()
    for _ in range(40):
        world.flips.update({min(world.pods): range(500, 900)})
        world.now += 1_500
        world.pass_time(15)
    times = [at for at, _ in world.deleted]
    assert 6 >= len(times) >= 3, "sixteen hours"
    assert all(later - earlier >= 3_600 for earlier, later in itertools.pairwise(times))
    assert all(times[place + 3] - times[place] >= DAY for place in range(len(times) - 3))
    said = next(each["message"] for each in world.status["conditions"] if each["type"] == "QualityOK")
    assert "OddPod" in said
    assert "3 were restarted within a day" in said


def test_rows_that_varied_at_admission_may_vary():
    world = watched()
    revision = world.revision(uri("good"))
    record = world.record(revision)
    varying = record.with_(test=msgspec.structs.replace(record.test, changed=5))
    stored = world.objects["ControllerRevision", revision]["metadata"]["annotations"]
    stored[names.RECORD_ANNOTATION] = records.write(varying)
    world.flips[min(world.pods)] = range(500, 505)
    world.pass_time(30)
    assert world.deleted == []
