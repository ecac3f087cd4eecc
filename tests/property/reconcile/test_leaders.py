"""The same histories with two leaders, API errors and events that come late: who acts on an old picture changes nothing for good.

A stale leader's writes meet uid and resourceVersion, its calls the epoch that pods have seen. Events that are lost, doubled or
reordered are pictures that are old or come again, for whoever looks decides by the picture alone.
"""

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule
from leadline_operator.reconcile.reconciler import reconcile

from tests.property.reconcile.test_histories import History

KEPT = 6
"""Pictures that somebody may still act on."""


class LeaderHistory(History):
    """One ModelDeployment's life under more than one pair of hands."""

    def __init__(self):
        super().__init__()
        self.pictures = []
        """What was seen at some time, and when."""

    @rule(looks=st.integers(1, 4))
    def look(self, looks):
        for _ in range(looks):
            self.pictures = [*self.pictures, (self.world.observe(), self.world.now)][-KEPT:]
            self.world.step()
            self.world.now += 0.3

    @precondition(lambda self: self.pictures)
    @rule(data=st.data(), reached=st.integers(0, 8), is_clock_old=st.booleans())
    def stale_leader_acts(self, data, reached, is_clock_old):
        """It was stopped in the middle of a pass, or did not notice that it lost the Lease."""
        picture, at = data.draw(st.sampled_from(self.pictures))
        before, had = self.world.selected, self._selected_version()
        plan = reconcile(picture, at if is_clock_old else self.world.now)
        self.world.write_late(plan.writes[:reached])
        if data.draw(st.booleans()) and plan.status is not None:
            self.world.status = plan.status
        self.world._run_pods()
        seen = picture.services.get("digits", {}).get("metadata", {}).get("resourceVersion")
        assert self.world.selected == before or seen == had, "a switch on an old picture of the Service"

    @precondition(lambda self: self.pictures)
    @rule(data=st.data())
    def pods_are_seen_late(self, data):
        """The events of pods were lost, doubled or reordered; those of what we write are in the cache at once."""
        picture, _ = data.draw(st.sampled_from(self.pictures))
        now = self.world.observe()
        known = {revision.name for revision in now.revisions}
        pods = tuple(pod for pod in picture.pods if pod.revision in known)
        plan = reconcile(replace(now, pods=pods), self.world.now)
        self.world.write_late(plan.writes)
        self.world._run_pods()

    @rule(is_written=st.booleans(), writes=st.integers(0, 8))
    def api_answers_with_errors(self, is_written, writes):
        """A timeout: the write was done or not, and nobody knows; what comes after it is not tried."""
        plan = reconcile(self.world.observe(), self.world.now)
        self.world.write_late(plan.writes[: writes + is_written])
        self.world._run_pods()

    @rule()
    def status_is_written_late(self):
        """A status that was refused, or one of a pass long ago, comes last."""
        if self.pictures:
            picture, at = self.pictures[0]
            self.world.status = reconcile(picture, at).status or self.world.status

    @invariant()
    def nothing_that_serves_is_deleted(self):
        selected = self.world.selected
        assert not selected or ("Deployment", selected) in self.world.objects

    def _selected_version(self):
        return self.world.objects.get(("Service", "digits"), {}).get("metadata", {}).get("resourceVersion")


TestLeaderHistory = LeaderHistory.TestCase
TestLeaderHistory.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
