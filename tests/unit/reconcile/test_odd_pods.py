"""One pod that alone answers the test set otherwise is restarted, and is nothing against the revision.

How a pod is deleted at an API server is in tests/wiring/operator/test_working.py.
"""

import itertools
from dataclasses import dataclass, field

import msgspec
import numpy as np
import pytest
from leadline_api import names
from leadline_operator.reconcile import records
from leadline_operator.reconcile.plan import Create, Delete, Replace
from leadline_operator.reconcile.reconciler import reconcile

from tests.unit.reconcile.world import World, a_world, reasons, served, uri

HOUR, WEEK = 3_600.0, 7 * 86_400.0
MANY = range(500, 900)


@dataclass
class WithOddPods(World):
    """A world in which some pods answer rows otherwise."""

    flips: dict = field(default_factory=dict)
    """Rows that a pod answers otherwise in replays, by its name."""
    unready: set = field(default_factory=set)
    silent: set = field(default_factory=set)
    """Pods that the operator does not reach."""
    strangers: set = field(default_factory=set)
    """Pods that have the labels alone."""
    keeps_pods: bool = False
    """Deletions of pods get lost."""
    deleted: list = field(default_factory=list)

    def write(self, write):
        if isinstance(write, Delete) and write.kind == "Pod":
            self.deleted.append((self.now, write.name))
            if self.keeps_pods:
                return
        super().write(write)

    def _pod(self, name, revision, told):
        pod = super()._pod(name, revision, told)
        changes = {"ready": pod.ready and name not in self.unready}
        if name in self.silent:
            changes["report"] = None
        if name in self.strangers:
            changes["controller"] = ""
        return type(pod)(**{each: getattr(pod, each) for each in pod.__slots__} | changes)

    def _report(self, name, revision, told, model):
        report = super()._report(name, revision, told, model)
        test, rows = report.test_set, self.flips.get(name)
        if not rows or test is None or ".r" not in test.run:
            return report
        bits = np.unpackbits(np.frombuffer(test.right, dtype=np.uint8))
        bits[list(rows)] ^= 1
        odd = msgspec.structs.replace(test, right=np.packbits(bits).tobytes(), answers=f"x but {rows}")
        return msgspec.structs.replace(report, test_set=odd)

    def replay(self, seconds=11.0):
        """Let the next replay come, be answered and be judged."""
        self.now += seconds
        self.settle()

    def names_deleted(self):
        return [name for _, name in self.deleted]

    def said(self):
        return next(each["message"] for each in self.status["conditions"] if each["type"] == "QualityOK")

    def remembered(self):
        return self.record(self.revision(uri("good")))

    def remember(self, **changes):
        """Change what is remembered of the revision, as another operator would have left it."""
        stored = self.objects["ControllerRevision", self.revision(uri("good"))]["metadata"]["annotations"]
        stored[names.RECORD_ANNOTATION] = records.write(self.remembered().with_(**changes))


def watched(replicas=3, **more):
    plain = a_world(replicas=replicas, **more)
    world = WithOddPods(plain.spec, plain.models)
    world.settle()
    return world


@pytest.mark.parametrize("replicas", [2, 3])
@pytest.mark.parametrize("rows", [range(500, 501), MANY, range(15)], ids=["one row", "many rows", "wrong ones right"])
def test_odd_pod_is_restarted_once_and_the_revision_serves_on(replicas, rows):
    world = watched(replicas)
    odd = sorted(world.pods)[1]
    world.flips[odd] = rows
    for _ in range(5):
        world.replay()
    assert world.names_deleted() == [odd]
    assert len(world.pods) == replicas
    assert (served(world), world.status["rejected"]) == (["good"], [])
    assert reasons(world).count("OddPod") == 1
    (event,) = [each for each in world.events if each.reason == "OddPod"]
    assert f"pod {odd} answers {len(rows)} of 1000 rows" in event.note
    assert (world.condition("QualityOK")[0], "OddPod" in world.said()) == ("True", False)
    assert world.remembered().odd_pod is None


@pytest.mark.parametrize("replicas", [2, 3])
def test_flips_on_all_pods_are_the_revisions(replicas):
    world = watched(replicas)
    world.flips.update(dict.fromkeys(world.pods, MANY))
    world.replay()
    assert world.deleted == []
    assert world.condition("QualityOK")[0] == "False"


def test_two_that_flip_of_three_are_no_odd_one():
    world = watched()
    world.flips.update(dict.fromkeys(sorted(world.pods)[:2], MANY))
    world.replay()
    assert world.deleted == []
    assert world.condition("QualityOK")[0] == "True"


def test_a_single_pod_is_never_restarted():
    world = watched(1)
    world.flips.update(dict.fromkeys(world.pods, range(500, 510)))
    world.replay()
    assert world.deleted == []
    assert "OddPod" not in world.said()


@pytest.mark.parametrize(("varying", "restarts"), [(5, 0), (4, 1)])
def test_as_many_rows_as_varied_at_admission_may_vary(varying, restarts):
    world = watched()
    world.remember(test=msgspec.structs.replace(world.remembered().test, changed=varying))
    world.flips[min(world.pods)] = range(500, 505)
    world.replay()
    assert len(world.deleted) == restarts


def test_it_waits_until_all_other_pods_are_ready():
    world = watched()
    odd, other, _ = sorted(world.pods)
    world.flips[odd] = MANY
    world.unready.add(other)
    world.replay()
    assert world.deleted == []
    assert "it is restarted once all pods are ready" in world.said()
    world.unready.clear()
    world.settle()
    assert world.names_deleted() == [odd]


def test_it_waits_for_a_pod_that_is_missing():
    world = watched()
    world.starts_pods = False
    odd, gone, _ = sorted(world.pods)
    del world.pods[gone]
    world.flips[odd] = MANY
    world.replay()
    assert world.deleted == []
    world.starts_pods = True
    world.settle()
    assert world.names_deleted() == [odd]


def test_nothing_is_restarted_while_a_pod_cannot_be_asked():
    world = watched()
    odd, other, _ = sorted(world.pods)
    world.flips[odd] = MANY
    world.silent.add(other)
    world.replay()
    assert world.deleted == []
    assert world.remembered().odd_pod is None, "the one that cannot be asked may answer as it does"


def test_pod_with_nothing_but_our_labels_is_never_deleted():
    world = watched()
    odd = min(world.pods)
    world.strangers.add(odd)
    world.flips[odd] = MANY
    world.replay()
    assert world.deleted == []
    assert "its Deployment did not make it" in world.said()


def test_one_an_hour_and_the_wait_is_said():
    world = watched()
    first = min(world.pods)
    world.flips[first] = MANY
    world.replay()
    second = min(world.pods)
    world.flips[second] = range(300, 310)
    world.replay()
    assert world.names_deleted() == [first]
    assert f"OddPod: pod {second} answers 10 of 1000 rows" in world.said()
    assert world.condition("QualityOK") == ("True", "QualityWatched")
    assert world.condition("Ready")[0] == "True"
    world.replay(HOUR)
    assert world.names_deleted() == [first, second]


def test_replacement_that_answers_as_the_one_before_it_is_left_alone_and_said():
    world = watched()
    first = min(world.pods)
    world.flips[first] = MANY
    world.replay()
    second = min(world.pods)
    world.flips[second] = MANY
    for _ in range(5):
        world.replay(HOUR)
    assert world.names_deleted() == [first]
    assert f"pod {second} answers 400 of 1000 rows" in world.said()
    assert f"{first}, which was, answered the same: look at what their nodes have in common" in world.said()
    assert reasons(world).count("OddPod") == 2, "the restart, and that there is no other"


def test_broken_node_restarts_three_pods_in_a_week_and_not_without_end():
    world = watched()
    for place in range(160):
        world.flips = {min(world.pods): range(500, 501 + place)}
        world.replay(2 * HOUR)
    times = [at for at, _ in world.deleted]
    assert len(times) == 6, "in 13 days"
    assert all(later - earlier >= HOUR for earlier, later in itertools.pairwise(times))
    assert times[3] - times[0] >= WEEK
    assert "it is not restarted, for 3 were within a week" in world.said()
    assert world.condition("QualityOK") == ("True", "QualityWatched")


def test_it_is_said_in_the_same_words_while_it_lasts_and_no_more_when_it_is_over():
    world = watched()
    world.flips[min(world.pods)] = MANY
    world.replay()
    odd = min(world.pods)
    world.flips[odd] = MANY
    world.replay()
    before, version = world.said(), world.objects["ControllerRevision", world.revision(uri("good"))]["metadata"]
    for _ in range(5):
        world.now += 11
        for _ in range(3):  # asked for, answered, judged
            plan = world.step()
            assert plan.status is None
            assert not [each for each in plan.writes if not (isinstance(each, Create) and each.quiet)]
    assert world.said() == before
    assert world.objects["ControllerRevision", world.revision(uri("good"))]["metadata"] == version
    world.flips.clear()
    world.replay()
    assert "OddPod" not in world.said()
    assert world.remembered().odd_pod is None


def test_restarted_operator_goes_on_where_the_deletion_was_lost_and_restarts_nothing_twice():
    world = watched()
    odd = min(world.pods)
    world.flips[odd] = MANY
    world.keeps_pods = True
    world.step()
    assert world.names_deleted() == [odd]
    world.keeps_pods, world.status = False, {"observedGeneration": -1}
    world.settle()
    assert set(world.names_deleted()) == {odd}
    assert odd not in world.pods
    assert reasons(world).count("OddPod") == 1
    assert [each.name for each in world.remembered().restarted_pods] == [odd]


def test_record_is_written_before_the_pod_goes():
    world = watched()
    odd = min(world.pods)
    world.flips[odd] = MANY
    writes = reconcile(world.observe(), world.now).writes
    record, gone = [each for each in writes if not (isinstance(each, Create) and each.quiet)]
    assert isinstance(record, Replace)
    assert record.manifest["kind"] == "ControllerRevision"
    assert gone == Delete("Pod", odd, f"uid-{odd}")
