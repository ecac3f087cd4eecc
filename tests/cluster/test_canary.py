"""A canary on a real cluster: clients of the one Service meet the share that was asked for, and nobody is failed."""

from typing import Any

from tests.cluster import limits
from tests.cluster.feeding import feed
from tests.cluster.support import Place, condition, is_up_to_date
from tests.cluster.test_outcomes import OUTCOMES, serving

ONE_STEP: dict[str, Any] = {
    "strategy": "Canary",
    "steps": [{"weight": 25, "until": {"duration": "1h"}}],
    "shadow": {"percent": 100, "for": "1s"},  # every request that is not passed on is copied: enough to decide here
}
BY_OUTCOMES: dict[str, Any] = {"strategy": "Canary", "steps": [{"weight": 40, "until": {"outcomes": 60}}]}


def split_with(place: Place, model: str, rollout: dict[str, Any], percent: int) -> str:
    """Apply a candidate and wait until the serving pods have confirmed its share; return its revision."""
    place.apply(place.model_deployment(model=model, **(OUTCOMES | {"rollout": rollout})))
    status = place.until(
        lambda each: [share["percent"] for share in each["traffic"]] == [100 - percent, percent], within=limits.ROLLOUT
    )
    assert condition(status, "Reconciling")[1] == "Canary"
    return str(status["traffic"][1]["revision"])


def test_worse_candidate_answers_its_share_until_outcomes_condemn_it(place, digits):
    good = serving(place, "good", rollout=ONE_STEP)
    worse = split_with(place, "worse", ONE_STEP, 25)
    fed = feed(place, digits, range(400), reports=False)
    assert fed.failed == []
    assert 60 < fed.seen.count(worse) < 145, "400 draws of 25 %: 100, give or take 9"
    for first in range(400, 2_400, 400):  # copies are best effort, so as many as it takes
        assert feed(place, digits, range(first, first + 400)).failed == []
        if place.status("digits")["rejected"]:
            break
    status = place.until(lambda each: each["rejected"], within=limits.VERDICT)
    assert [(each["revision"], each["reason"]) for each in status["rejected"]] == [(worse, "Degraded")]
    place.until(
        lambda each: each["traffic"] == [{"revision": good, "percent": 100}] and each["servingRevision"] == good,
        within=limits.MESSAGE,
    )
    after = feed(place, digits, range(100), reports=False)
    assert (after.failed, set(after.seen)) == ([], {good})


def test_honest_successor_goes_through_its_steps_by_outcomes_and_serves(place, digits):
    good = serving(place, "good", rollout=BY_OUTCOMES)
    successor = split_with(place, "successor", BY_OUTCOMES, 40)
    fed = feed(place, digits, range(300))
    assert fed.failed == []
    assert set(fed.seen) == {good, successor}
    status = place.until(is_up_to_date, within=limits.ROLLOUT)
    assert status["servingRevision"] == successor
    assert status["traffic"] == [{"revision": successor, "percent": 100}]
    after = feed(place, digits, range(50), reports=False)
    assert (after.failed, set(after.seen)) == ([], {successor})
