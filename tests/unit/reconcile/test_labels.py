"""Labelled rows: who answers them, when they wait, and a rollback that nothing but labels decided."""

import dataclasses
from dataclasses import dataclass, field

import pytest
from leadline_operator.reconcile.evidence import Evidence, fold
from leadline_wire.exchange import LabelsRequest, Trouble
from leadline_wire.ledger import LABEL_TAG, LABELLED, DecisionEntry, OutcomeEntry, PairEntry

from tests.unit.reconcile.outcomes_world import MODEL, OutcomesWorld, an_outcomes_world
from tests.unit.reconcile.world import ROWS, TEST_SET, uri


@dataclass
class LabelsWorld(OutcomesWorld):
    """An OutcomesWorld whose clients report nothing: somebody labels rows, and the pods answer them as they are told."""

    waiting: list[int] = field(default_factory=list)
    answers_labels: bool = True
    labelled: int = 0

    def observe(self):
        observed = super().observe()
        if observed.ledger is None:
            return observed
        view = dataclasses.replace(observed.ledger, labels_waiting=len(self.waiting))
        return dataclasses.replace(observed, ledger=view)

    def label(self, count):
        self.append(
            DecisionEntry(self._seq(), MODEL, f"labelled/{self.labelled}", LABELLED, "", round(self.now * 1000))
        )
        for _ in range(count):
            self.waiting.append(self.labelled * 7919 % ROWS)
            self.labelled += 1

    def step(self):
        plan = super().step()
        (order,) = self.orders or (None,)
        if order is not None and self.answers_labels:
            self._answer_labels(order)
        return plan

    @property
    def orders(self):
        return [told.labels for _, told in self.pods.values() if told is not None and told.labels is not None]

    def _answer_labels(self, order):
        other = order.other.revision if order.other is not None else ""
        for row in self.waiting:
            came, where = round(self.now * 1000), f"{self.asked:032x}"
            self.asked += 1
            said = "i0" if row in self._model(self.selected).wrong else "i1"
            told = [OutcomeEntry(self._seq(), MODEL, where, 0, self.selected, said, came, truth="i1", tags=LABEL_TAG)]
            if other:
                others = "i0" if row in self._model(other).wrong else "i1"
                told.append(
                    PairEntry(self._seq() + 1, MODEL, where, 0, self.selected, said, other, others, came, truth="i1")
                )
            self.append(*told)
        self.waiting = []


def a_labels_world(**options):
    plain = an_outcomes_world(**options)
    return LabelsWorld(plain.spec, plain.models)


def pods_of(world, name):
    return sum(revision == world.revision(uri(name)) for revision, _ in world.pods.values())


def switched(world, name="worse"):
    """Return the world once another model serves."""
    world.settle()
    world.now += 60
    world.ask_for(model=uri(name)).settle()
    assert world.selected == world.revision(uri(name))
    return world


def test_first_revision_answers_rows_alone_and_one_pod_is_told():
    world = a_labels_world()
    world.settle()
    assert world.orders == []
    world.answers_labels = False
    world.label(3)
    world.settle()
    assert world.orders == [LabelsRequest()]
    assert pods_of(world, "good") == 2
    world.answers_labels = True
    world.settle()
    assert (world.orders, world.evidence.first.own[world.selected].outcomes) == ([], 3)


def test_last_good_revision_that_went_cold_gets_pods_for_as_long_as_rows_wait():
    world = switched(a_labels_world(lastGood={"replicas": "Same", "for": "1h"}))
    world.now += 2 * 3_600
    world.settle()
    assert pods_of(world, "good") == 0
    world.answers_labels = False
    world.label(5)
    world.settle()
    assert pods_of(world, "good") == 2
    (order,) = world.orders
    assert order.other.revision == world.revision(uri("good"))
    assert order.other.host == world.objects["Service", order.other.revision]["spec"]["clusterIP"]
    world.answers_labels = True
    world.settle()
    assert pods_of(world, "good") == 0
    subject = (world.selected, world.revision(uri("good")))
    assert world.evidence.first.pairs[subject].comparison.pairs == 5
    assert world.waiting == []


def test_rows_wait_while_the_other_revision_has_no_pods():
    world = switched(a_labels_world(lastGood={"replicas": "Same", "for": "1h"}))
    world.now += 2 * 3_600
    world.settle()
    world.starts_pods = False
    world.label(5)
    world.settle()
    assert (world.orders, len(world.waiting)) == ([], 5)
    world.starts_pods = True
    world.settle()
    assert world.waiting == []


def test_forty_labels_a_week_and_nothing_else_decide_a_rollback_and_an_honest_successor_stays():
    world = switched(a_labels_world(lastGood={"replicas": "Same", "for": "1h"}))
    weeks = 0
    while world.selected == world.revision(uri("worse")) and weeks < 20:
        world.label(40)
        world.settle()
        world.now += 60
        world.settle()
        world.now += 7 * 86_400
        weeks += 1
    world.settle()
    assert world.selected == world.revision(uri("good")), world.status
    assert 2 <= weeks <= 12
    (finding,) = world.record(world.revision(uri("worse"))).rejections
    assert finding.reason == "Degraded"
    world.ask_for(model=uri("honest")).settle()
    assert world.selected == world.revision(uri("honest"))
    for _ in range(12):
        world.label(40)
        world.settle()
        world.now += 7 * 86_400
    assert world.selected == world.revision(uri("honest"))
    assert world.evidence == fold(Evidence(), world.log), "the log alone says the same"


def test_candidate_that_is_compared_answers_rows_beside_the_serving_revision():
    world = a_labels_world(strategy="BlueGreen", shadow={"percent": 100, "for": "1h"})
    world.settle()
    world.ask_for(model=uri("worse")).settle()
    assert world.selected == world.revision(uri("good"))
    world.answers_labels = False
    world.label(4)
    world.settle()
    (order,) = world.orders
    assert order.other.revision == world.revision(uri("worse"))
    world.answers_labels = True
    world.settle()
    subject = (world.revision(uri("worse")), world.selected)
    assert world.evidence.first.pairs[subject].comparison.pairs == 4


def test_shadow_of_labels_alone_rejects_a_worse_candidate_before_it_serves():
    world = a_labels_world(strategy="BlueGreen", shadow={"percent": 100, "for": "2h"})
    world.settle()
    world.ask_for(model=uri("worse")).settle()
    world.label(400)
    world.settle()
    (finding,) = world.record(world.revision(uri("worse"))).rejections
    assert finding.reason == "Degraded"
    assert world.served == [world.revision(uri("good"))]


@pytest.mark.parametrize("without", ["outcomes", "ledger"])
def test_without_outcomes_or_ledger_nobody_is_told(without):
    world = a_labels_world()
    if without == "outcomes":
        del world.spec["outcomes"], world.spec["quality"]
    else:
        world.is_read = False
    world.settle()
    world.waiting = [1, 2]
    world.settle()
    assert world.orders == []


def test_rows_wait_for_a_pod_that_knows_the_test_set_which_it_has_to_leave_out():
    quality = {"metrics": [{"name": "accuracy", "metric": "accuracy", "margin": "0.02"}], "testSet": dict(TEST_SET)}
    world = a_labels_world(quality=quality)
    world.models[uri("good")].test_trouble = Trouble("TestSetUnreachable", "no answer", "surroundings")
    world.settle()
    assert world.selected
    world.label(3)
    world.settle()
    assert (world.orders, len(world.waiting)) == ([], 3)
    world.models[uri("good")].test_trouble = None
    world.settle()
    assert world.waiting == []


def test_steady_state_is_steady_while_rows_wait():
    world = switched(a_labels_world())
    world.answers_labels = False
    world.label(5)
    last = world.settle()
    assert world.orders
    assert last.status is None
