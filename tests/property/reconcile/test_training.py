"""Random lives of a ModelDeployment that is trained anew: users, Jobs that end well or badly, and an operator cut off anywhere.

Whatever happened before: one run at a time, each begun and ended once, no more tries than asked for; what was found bad once is
never desired again for a run's sake; each look ends where nothing is left to do; and the spec has the last word.
"""

import collections
import itertools
import json
from datetime import UTC, datetime

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from leadline_operator.reconcile.reconciler import reconcile

from tests.unit.reconcile.training_world import a_training_world
from tests.unit.reconcile.world import Model, uri

BROUGHT = ("honest", "worse", "better", "good")
BEST = Model(range(3), "sha256:" + "e" * 64)
RETRIES = 1


class Life(RuleBasedStateMachine):
    """One ModelDeployment's life."""

    @initialize(mode=st.sampled_from(["Auto", "Propose"]), scheduled=st.booleans())
    def begin(self, mode, scheduled):
        when = {"schedule": "*/1 * * * *"} if scheduled else {}
        self.world = a_training_world(mode=mode, when=when, retries=RETRIES, backoff="10s")
        self.world.models[uri("better")] = Model(range(8), "sha256:" + "f" * 64)
        self.world.models[uri("best")] = BEST
        self.world.settle()

    @rule(name=st.sampled_from(["good", "honest", "other"]))
    def ask_for(self, name):
        self.world.models.setdefault(uri("other"), Model(range(18, 30), "sha256:" + "9" * 64))
        self.world.ask_for(model=uri(name))

    @rule(mode=st.sampled_from(["Auto", "Propose", None]))
    def change_the_mode(self, mode):
        kept = {"jobTemplate": {"image": "trainer:1"}, "cooldown": "0s", "retries": RETRIES, "backoff": "10s"}
        if mode is None:
            self.world.spec.pop("retrain", None)
        else:
            self.world.ask_for(retrain={**kept, "mode": mode})

    @rule(verb=st.sampled_from(["retrain", "rollback", "retry"]))
    def command(self, verb):
        self.world.now += 1
        self.world.action = f"{verb}@{datetime.fromtimestamp(self.world.now, UTC).isoformat()}"

    @rule(name=st.sampled_from(BROUGHT))
    def train(self, name):
        """The usual life: a run that brings a model, and time for it."""
        self.command("retrain")
        self.look(3)
        self.job_brings(name)
        self.look(4)

    @rule()
    def train_in_vain(self):
        """A run that fails as often as it is tried."""
        self.command("retrain")
        for _ in range(RETRIES + 2):
            self.look(3)
            self.job_fails("out of memory", status=1, pod=True)
            self.look(3)
            self.world.now += 100

    @rule(name=st.sampled_from(BROUGHT))
    def job_brings(self, name):
        if self.world.jobs:
            self.world.bring(name)

    @rule(message=st.sampled_from(["", "{", '{"uri": 1}', "x" * 4096]), status=st.integers(0, 1), pod=st.booleans())
    def job_fails(self, message, status, pod):
        if self.world.jobs:
            self.world.end_job(message, status=status, pod=pod)

    @rule()
    def job_is_deleted(self):
        for job in self.world.jobs:
            del self.world.objects["Job", job["metadata"]["name"]]

    @rule(is_away=st.booleans())
    def ledger_comes_and_goes(self, is_away):
        self.world.trouble = "connection refused" if is_away else ""

    @rule()
    def status_is_lost(self):
        self.world.restart()

    @rule(writes=st.integers(0, 6))
    def pass_is_cut(self, writes):
        """The operator dies after so many of a pass's writes, and has told the ledger nothing."""
        for write in itertools.islice(reconcile(self.world.observe(), self.world.now).writes, writes):
            self.world.write(write)
        self.world._run_pods()
        self.world.restart()

    @rule(looks=st.integers(1, 4))
    def look(self, looks):
        for _ in range(looks):
            self.world.step()
            self.world.now += 0.1

    @rule(seconds=st.sampled_from([5, 20, 70]))
    def time_passes(self, seconds):
        self.world.pass_time(seconds)

    @invariant()
    def one_run_at_a_time(self):
        assert len(self.world.jobs) <= 1

    @invariant()
    def each_run_begins_and_ends_once_and_is_tried_as_often_as_asked_for(self):
        started = [each.data["id"] for each in self.world.told("RetrainStarted")]
        ended = [each.data["id"] for each in self.world.log if getattr(each, "id", "").startswith("retrain/ended/")]
        assert len(started) == len(set(started))
        assert len(ended) == len(set(ended))
        assert set(ended) <= set(started)
        tries = collections.Counter(each.data["trigger"] for each in self.world.told("RetrainStarted"))
        assert max(tries.values(), default=0) <= RETRIES + 1

    @invariant()
    def what_was_found_bad_is_not_desired_for_the_sake_of_a_run(self):
        product = (self.world.status.get("retrain") or {}).get("product")
        if product is not None and ("ControllerRevision", product["revision"]) in self.world.objects:
            record = self.world.record(product["revision"])
            assert not record.rejections or record.rejections[-1].at >= self.world.now - 1

    @invariant()
    def spec_is_the_users(self):
        assert self.world.spec["model"]["uri"] in {uri(name) for name in ("good", "honest", "other", "best")}
        json.dumps(self.world.spec)

    def teardown(self):
        """In the end whatever the spec asks for serves, if it is good."""
        if not hasattr(self, "world"):
            return
        self.world.trouble, self.world.action = "", ""
        self.world.settle()
        self.world.ask_for(model=uri("best"))
        self.world.settle()
        self.world.pass_time(30)
        assert self.world.selected == self.world.revision(uri("best"))


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=30, stateful_step_count=20, deadline=None)
