"""Service objectives: errors and slow answers of the pods themselves, whatever was predicted."""

import random
from dataclasses import dataclass, field, replace

import msgspec
import pytest
from leadline_operator.reconcile import objectives, service_levels
from leadline_operator.reconcile.plan import Replace
from leadline_operator.reconcile.service_levels import Asked
from leadline_wire.exchange import LATENCY_BOUNDS_SECONDS, ServiceReport

from tests.unit.reconcile.world import World, a_world, reasons, served, uri

CANARY = {"strategy": "Canary", "steps": [{"weight": 10, "until": {"duration": "10m"}}]}
BOTH = {"errorRate": "0.01", "latency": {"under": "100ms", "share": "0.99"}}
PER_SECOND = 20


@dataclass
class Busy(World):
    """A world whose pods get requests: of each model some share fails, and some share takes long."""

    failing: dict = field(default_factory=dict)
    """Share of failures by the model's URI."""
    slow: dict = field(default_factory=dict)
    kept: dict = field(default_factory=dict)
    counters: dict = field(default_factory=dict)
    """Requests, failures, slow ones of each pod, and up to when they were counted."""

    def observe(self):
        seen = super().observe()
        pods = tuple(replace(pod, report=self._counted(pod)) for pod in seen.pods)
        seen = replace(seen, pods=pods)
        self.kept = objectives.seen(seen, self.kept, self.now)
        return replace(seen, service_levels=self.kept)

    def pass_time(self, seconds):
        end = self.now + seconds
        while self.now < end:
            self.settle()
            self.now = min(end, self.now + 4.9)
        self.settle()

    def restart_operator(self):
        self.kept = {}

    def _counted(self, pod):
        if pod.report is None:
            return None
        requests, failures, slow, until = self.counters.get(pod.uid, (0.0, 0.0, 0.0, self.now))
        gets = pod.revision == self.selected or any(
            told is not None and pod.revision in {each.revision for each in told.splits}
            for _, told in self.pods.values()
        )
        new = PER_SECOND * (self.now - until) if gets else 0.0
        model = self.objects["ControllerRevision", pod.revision]["data"]["inputs"]["uri"]
        requests, failures = requests + new, failures + new * self.failing.get(model, 0.0)
        slow += new * self.slow.get(model, 0.0)
        self.counters[pod.uid] = (requests, failures, slow, self.now)
        service = ServiceReport(
            started_ms=1,
            requests=int(requests),
            failures=int(failures),
            bounds=list(LATENCY_BOUNDS_SECONDS),
            latency=latencies(int(requests), int(slow)),
        )
        return msgspec.structs.replace(pod.report, service=service)


def latencies(requests, slow):
    """Return counts by bucket: those that are slow took between 250 and 500 ms, the others a millisecond."""
    counts = [0] * (len(LATENCY_BOUNDS_SECONDS) + 1)
    counts[LATENCY_BOUNDS_SECONDS.index(0.001)] = requests - slow
    counts[LATENCY_BOUNDS_SECONDS.index(0.5)] = slow
    return counts


def busy(asked=BOTH, rollout=None, **more):
    plain = a_world(tested=False)
    world = Busy(
        plain.spec | {"objectives": asked, "rollout": rollout or {"strategy": "BlueGreen"}}, plain.models, **more
    )
    world.settle()
    world.pass_time(30)
    return world


def message(world, kind):
    return next(each["message"] for each in world.status["conditions"] if each["type"] == kind)


def test_what_is_counted_is_said_and_a_revision_that_answers_well_is_kept():
    world = busy(failing={uri("good"): 0.004}, slow={uri("good"): 0.005})
    world.pass_time(600)
    assert served(world) == ["good"]
    assert world.condition("ObjectivesMet") == ("True", "ObjectivesMet")
    assert "requests failed (at most 1 %)" in message(world, "ObjectivesMet")
    assert "took longer than 100ms (at most 1 %)" in message(world, "ObjectivesMet")


def test_nothing_is_said_where_nobody_asks_and_where_nothing_was_counted():
    world = a_world(tested=False)
    world.settle()
    assert world.condition("ObjectivesMet") == ("Unknown", "NoObjectives")
    plain = a_world(tested=False)
    idle = Busy(plain.spec | {"objectives": BOTH}, plain.models)
    idle.settle()
    assert idle.condition("ObjectivesMet") == ("Unknown", "NotMeasured")


@pytest.mark.parametrize("how", ["failing", "slow"])
def test_canary_that_fails_or_is_slow_is_rejected_and_never_gets_all_the_traffic(how):
    world = busy(rollout=CANARY, **{how: {uri("honest"): 0.2}})
    world.ask_for(model=uri("honest")).settle()
    world.pass_time(120)
    assert served(world) == ["good"]
    assert world.condition("Stalled") == ("True", "ObjectivesMissed")
    assert world.status["traffic"] == [{"revision": world.revision(uri("good")), "percent": 100}]
    assert world.record(world.revision(uri("honest"))).rejections[0].measured["by"] == "objectives"
    assert reasons(world).count("ObjectivesMissed") == 1


def test_canary_is_not_to_blame_for_what_the_serving_revision_does_as_well():
    everywhere = {uri("good"): 0.3, uri("honest"): 0.3}
    world = busy(rollout=CANARY, failing=everywhere)
    world.pass_time(60)
    world.ask_for(model=uri("honest")).settle()
    world.pass_time(700)
    assert served(world) == ["good", "honest"]


@pytest.mark.parametrize("how", ["failing", "slow"])
def test_serving_revision_that_fails_soon_after_the_switch_is_left_for_the_last_good_one(how):
    world = busy(**{how: {uri("honest"): 0.2}})
    world.ask_for(model=uri("honest")).settle()
    assert served(world)[-1] == "honest"
    world.pass_time(120)
    assert served(world) == ["good", "honest", "good"]
    assert world.condition("Stalled") == ("True", "RolledBack")
    assert world.condition("ObjectivesMet")[0] != "False"
    world.pass_time(300)
    assert served(world) == ["good", "honest", "good"]


def test_rejection_is_withdrawn_where_the_last_good_one_answers_no_better_and_the_two_do_not_take_turns():
    world = busy()
    world.ask_for(model=uri("honest")).settle()
    world.failing.update({uri("good"): 0.5, uri("honest"): 0.5})
    world.pass_time(900)
    assert served(world) == ["good", "honest", "good", "honest"]
    assert reasons(world).count("Withdrawn") == 1
    assert world.condition("ObjectivesMet") == ("False", "ObjectivesMissed")
    assert (world.condition("UpToDate")[0], world.condition("Ready")[0]) == ("True", "True")


@pytest.mark.parametrize("onMissed", ["Rollback", "Alert"])
def test_what_leads_nowhere_is_said_once(onMissed):  # noqa: N803 - as in the spec
    world = busy(BOTH | {"onMissed": onMissed})
    world.ask_for(model=uri("honest")).settle()
    if onMissed == "Rollback":
        world.spec["quality"] = {"compareFor": "1m"}
        world.pass_time(70)
    world.failing[uri("honest")] = 0.3
    world.pass_time(300)
    assert served(world) == ["good", "honest"]
    assert world.condition("ObjectivesMet") == ("False", "ObjectivesMissed")
    assert world.condition("Stalled")[0] == "False"
    assert reasons(world).count("ObjectivesMissed") == 1
    assert "evidence" in world.status["summary"]["message"]


def test_one_that_serves_on_is_looked_at_anew_after_an_hour():
    world = busy(BOTH | {"onMissed": "Alert"}, failing={uri("good"): 0.3})
    world.pass_time(120)
    assert world.condition("ObjectivesMet")[0] == "False"
    world.failing.clear()
    world.now += objectives.AGAIN_SECONDS
    world.restart_operator()
    world.pass_time(60)
    assert world.condition("ObjectivesMet")[0] == "True"


def test_operator_that_restarts_counts_no_request_twice_and_none_less():
    world, other = busy(failing={uri("good"): 0.004}), busy(failing={uri("good"): 0.004})
    for _ in range(30):
        world.pass_time(20)
        world.restart_operator()
        other.pass_time(20)
    (level,), (whole,) = world.observe().service_levels.values(), other.observe().service_levels.values()
    assert (level.requests, level.failures) == pytest.approx((whole.requests, whole.failures), abs=2 * 11 * PER_SECOND)
    assert world.condition("ObjectivesMet") == ("True", "ObjectivesMet")


def test_steady_traffic_writes_ever_more_seldom():
    world = busy()
    written = []
    write = world.write
    world.write = lambda each: (isinstance(each, Replace) and written.append(world.now), write(each))
    world.pass_time(1_800)
    assert len(written) < 25
    assert 100 < world.now - written[-1] < 400


def test_pods_that_get_requests_are_asked_for_their_counters_in_every_slot():
    world = busy()
    told = {each.revision: each.every_seconds for each in world.step().soundings}
    assert told == {world.selected: service_levels.SLOT_SECONDS}


ASKED = Asked("key", error_rate=0.01, under_seconds=0.1, slow_share=0.01)


def counted(requests, failures=0, started=1, slow=0):
    return ServiceReport(
        started_ms=started,
        requests=requests,
        failures=failures,
        bounds=list(LATENCY_BOUNDS_SECONDS),
        latency=latencies(requests, slow),
    )


def test_counters_that_begin_anew_are_new_from_their_start_and_a_pod_seen_first_is_only_noted():
    level = service_levels.begin(ASKED, {"a": counted(1_000, 500), "b": counted(10)}, 0.0)
    level = service_levels.fold(
        level, ASKED, {"a": counted(7, 1, started=2), "b": counted(30), "c": counted(9_000, 9_000)}, 10.0
    )
    assert (level.requests, level.failures, level.slots) == (27, 1, 1)
    level = service_levels.fold(level, ASKED, {"a": None, "c": counted(9_010, 9_000)}, 20.0)
    assert (level.requests, level.failures) == (37, 1)
    level = service_levels.fold(level, ASKED, {"a": counted(9, 2, started=2), "c": counted(9_010, 9_000)}, 30.0)
    assert (level.requests, level.failures, level.slots) == (39, 2, 3)


def test_slot_without_requests_says_nothing_and_one_is_not_cut_short():
    level = service_levels.begin(ASKED, {"a": counted(5)}, 0.0)
    assert service_levels.fold(level, ASKED, {"a": counted(9)}, 9.9) is level
    assert service_levels.fold(level, ASKED, {"a": counted(5)}, 10.0).slots == 0


def test_what_was_counted_is_read_back_as_it_was():
    level = service_levels.begin(ASKED, {"a": counted(5)}, 0.0, begun=2)
    level = service_levels.fold(level, ASKED, {"a": counted(9, 3, slow=1)}, 10.0)
    assert service_levels.from_plain(msgspec.json.decode(msgspec.json.encode(service_levels.to_plain(level)))) == level
    for broken in ({}, {"version": 1}, service_levels.to_plain(level) | {"pods": {"a": [1]}}):
        with pytest.raises(ValueError, match=r"version|form"):
            service_levels.from_plain(broken)


def test_bursts_within_the_objective_condemn_at_most_one_life_in_a_hundred():
    """Half of all failures come in bursts: 1 in 100 slots fails by half, the rest by one in 200."""
    chance, missed = random.Random(3), 0
    for _ in range(40):
        level, requests, failures = service_levels.begin(ASKED, {"a": counted(0)}, 0.0), 0, 0
        for slot in range(1, 241):
            requests += 200
            failures += 100 if chance.random() < 0.01 else 1
            level = service_levels.fold(level, ASKED, {"a": counted(requests, failures)}, 10.0 * slot)
        missed += bool(level.missed)
    assert missed <= 1
