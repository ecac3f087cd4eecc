"""Random histories of one ModelDeployment: what users do, what breaks, and an operator that is cut off anywhere.

Whatever happened before: the Service never selects a revision without pods, the shares of the traffic add up to all of it or to nothing, each look ends in a
state in which there is nothing left to do, and a new good revision gets the traffic in the end.
"""

import contextlib
import itertools
from datetime import UTC, datetime

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from leadline_operator.reconcile.reconciler import reconcile

from tests.unit.reconcile.world import Model, a_world, served, uri

NAMES = ("good", "honest", "worse", "other")
STEPS = [{"weight": 10, "until": {"duration": "5s"}}, {"weight": 60, "until": {"duration": "20s"}}]
BEST = Model(range(5), "sha256:" + "e" * 64)


class History(RuleBasedStateMachine):
    """One ModelDeployment's life."""

    @initialize(
        strategy=st.sampled_from(["BlueGreen", "RollingUpdate", "Canary"]),
        floor=st.sampled_from(["0.80", None]),
        warm=st.sampled_from(["Same", 0]),
    )
    def begin(self, strategy, floor, warm):
        others = {"other": Model(range(18, 36), "sha256:" + "d" * 64), "best": BEST}
        self.world = a_world(strategy=strategy, floor=floor, **others)
        self.world.spec["rollout"]["lastGood"] = {"replicas": warm, "for": "1h"}
        if strategy == "Canary":
            self.world.spec["rollout"]["steps"] = STEPS
        self.wrong = {name: self.world.models[uri(name)].wrong for name in NAMES}

    @rule(name=st.sampled_from(NAMES))
    def ask_for(self, name):
        self.world.ask_for(model=uri(name))

    @rule(name=st.sampled_from(NAMES))
    def roll_out(self, name):
        """The usual life: a new one, and time enough for it."""
        self.ask_for(name)
        self.world.settle()
        self.time_passes(20)

    @rule()
    def serving_one_goes_bad(self):
        for name in NAMES:
            if self.world.selected == self.world.revision(uri(name)):
                self.answers_change(name, is_bad=True)
        self.time_passes(15)

    @rule(paused=st.booleans())
    def pause(self, paused):
        self.world.ask_for(rollout={**self.world.spec["rollout"], "paused": paused})

    @rule(margin=st.sampled_from(["0.02", "0.03"]))
    def change_the_gate(self, margin):
        metric = {**self.world.spec["quality"]["metrics"][0], "margin": margin}
        self.world.ask_for(quality={**self.world.spec["quality"], "metrics": [metric]})

    @rule(replicas=st.integers(1, 3))
    def scale(self, replicas):
        self.world.ask_for(runtime={"replicas": replicas})

    @rule(least=st.integers(1, 3), more=st.integers(0, 4))
    def autoscale(self, least, more):
        autoscaling = {"minReplicas": least, "maxReplicas": least + more}
        self.world.ask_for(runtime={"autoscaling": autoscaling, "resources": {"requests": {"cpu": "500m"}}})

    @rule(number=st.integers(1, 7))
    def load_changes(self, number):
        """The autoscaler does what it is for, where there is one."""
        autoscaler = self.world.objects.get(("HorizontalPodAutoscaler", "digits"))
        if autoscaler is None:
            return
        asked = autoscaler["spec"]
        scaled = self.world.objects.get(("Deployment", asked["scaleTargetRef"]["name"]))
        if scaled is not None and scaled["spec"]["replicas"]:
            scaled["spec"]["replicas"] = min(max(number, asked["minReplicas"]), asked["maxReplicas"])

    @rule(verb=st.sampled_from(["promote", "retry", "rollback"]), is_old=st.booleans())
    def command(self, verb, is_old):
        self.world.now += 1
        at = self.world.now - (500 if is_old else 0)
        self.world.action = f"{verb}@{datetime.fromtimestamp(at, UTC).isoformat()}"

    @rule(name=st.sampled_from(NAMES), is_bad=st.booleans())
    def answers_change(self, name, is_bad):
        """Not what a frozen model does, but what a broken machine under it may."""
        self.world.models[uri(name)].wrong = range(300) if is_bad else self.wrong[name]

    @rule(are_full=st.booleans())
    def nodes_fill_up(self, are_full):
        """No pod starts any more; those that run go on."""
        self.world.starts_pods = not are_full

    @rule()
    def status_is_lost(self):
        self.world.status = {"observedGeneration": -1}

    @rule()
    def operator_is_killed(self):
        self.world.pods = {name: (revision, None) for name, (revision, _) in self.world.pods.items()}

    @rule(writes=st.integers(0, 4))
    def pass_is_cut(self, writes):
        """The operator dies after so many of a pass's writes, or the API server refuses the others."""
        for write in itertools.islice(reconcile(self.world.observe(), self.world.now).writes, writes):
            self.world.write(write)
        self.world._run_pods()
        self.operator_is_killed()

    @rule(looks=st.integers(1, 4))
    def look(self, looks):
        for _ in range(looks):
            self.world.step()
            self.world.now += 0.3

    @rule(seconds=st.sampled_from([2, 15, 700]))
    def time_passes(self, seconds):
        self.world.now += seconds
        self.world.settle()

    @invariant()
    def the_service_selects_a_revision_with_pods(self):
        selected = self.world.selected
        assert not selected or any(revision == selected for revision, _ in self.world.pods.values())

    @invariant()
    def the_traffic_is_whole_and_shared_by_two_at_most(self):
        traffic = self.world.status.get("traffic") or []
        assert sum(each["percent"] for each in traffic) == (100 if traffic else 0)
        assert len(traffic) <= 2

    @invariant()
    def nothing_is_stalled_and_under_way_at_once(self):
        """Machines differ in which of the two they look at first."""
        said = {each["type"]: each["status"] for each in self.world.status.get("conditions") or ()}
        assert (said.get("Stalled"), said.get("Reconciling")) != ("True", "True"), self.world.status["conditions"]

    def teardown(self):
        if not hasattr(self, "world"):
            return
        with contextlib.suppress(KeyError):
            self.world.spec["rollout"].pop("paused")
        self.world.starts_pods = True
        self.world.settle()  # a command that nobody has seen yet is not about the next revision
        self.world.ask_for(model=uri("best"))
        self.world.settle()
        self.world.pass_time(60)
        assert served(self.world)[-1] == "best", self.world.status
        assert self.world.condition("UpToDate")[0] == "True"
        aimed = [
            each["spec"]["scaleTargetRef"] for (kind, _), each in self.world.objects.items() if "Autoscaler" in kind
        ]
        wanted = [self.world.selected] if "autoscaling" in self.world.spec["runtime"] else []
        assert [each["name"] for each in aimed] == wanted
        assert self.world.condition("Stalled") == ("False", "NotStalled")


TestHistory = History.TestCase
TestHistory.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
