"""How a new revision takes over: `spec.rollout`.

Must not have a field that does not work yet.
"""

import itertools
import re
from typing import Annotated, Literal

from pydantic import Field

from leadline_api.fields import AT_LEAST_ONE_SECOND, NOT_NEGATIVE, Duration, Part
from leadline_api.rules import Rule


def _is_amount(amount: str | int) -> bool:
    if isinstance(amount, int):
        return 0 <= amount <= 1000
    return re.fullmatch(r"Same|(100|[0-9]{1,2})%|1000|[0-9]{1,3}", amount) is not None


class LastGood(Part):
    """What is kept of the last good revision after a switch."""

    replicas: Annotated[
        str | int,
        Field(json_schema_extra={"x-kubernetes-int-or-string": True, "maxLength": 16}),
        Rule(
            cel="type(self) == int ? self >= 0 && self <= 1000 : "
            "self.matches(r'^(Same|(100|[0-9]{1,2})%|1000|[0-9]{1,3})$')",
            message="must be Same, a percentage from 0% to 100% or a number of pods from 0 to 1000",
            holds=_is_amount,
        ),
    ] = "Same"
    """A number, a percentage such as `50%`, or `Same` (as many as the serving revision)."""
    for_: Annotated[Duration, NOT_NEGATIVE, Field(alias="for")] = "24h"
    """How long it is kept warm after a switch; then it is scaled to 0."""


class Shadow(Part):
    """Copies of requests to a candidate before it gets traffic, so that both are judged on the same inputs."""

    percent: Annotated[int, Field(ge=1, le=100)] = 100
    """Share of the requests that is copied."""
    for_: Annotated[Duration, AT_LEAST_ONE_SECOND, Field(alias="for")] = "30m"
    """How long a candidate is compared before it takes over; evidence against it ends this sooner, and so does a
    minute in which no outcome came."""


class Until(Part):
    """How long a step of a canary lasts."""

    outcomes: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Until so many outcomes of the candidate have come."""
    duration: Annotated[Duration, AT_LEAST_ONE_SECOND] | None = None
    """For so long."""


_OneEnd = Rule(
    cel="has(self.outcomes) != has(self.duration)",
    message="spec.rollout.steps[].until needs either outcomes (of the candidate) or duration",
    holds=lambda until: (until.outcomes is None) != (until.duration is None),
    shows_value=False,
)


class Step(Part):
    """A step of a canary."""

    weight: Annotated[int, Field(ge=1, le=99)]
    """Share of the requests that the candidate answers, in percent."""
    until: Annotated[Until, _OneEnd]
    """How long the step lasts."""


class Rollout(Part):
    """How a new revision takes over."""

    strategy: Literal["BlueGreen", "Canary", "RollingUpdate"] = "BlueGreen"
    """BlueGreen verifies a candidate dark, then switches. Canary does so, too, and lets it answer a growing share of the requests
    before. RollingUpdate switches first and watches while it serves."""
    steps: Annotated[list[Step], Field(max_length=10)] = []
    """Canary: shares that grow, one after the other; after the last one the candidate takes over."""
    shadow: Shadow | None = None
    """BlueGreen, Canary: compare the candidate on copies of requests before it answers any. Left out: not before it."""
    progress_deadline: Annotated[Duration, AT_LEAST_ONE_SECOND] = "10m"
    """Time for fetching, starting and testing; after that the rollout is Stalled (and still retried)."""
    last_good: LastGood = LastGood()
    """What is kept of the last good revision after a switch."""
    on_undecided: Literal["Promote", "Hold"] = "Promote"
    """What becomes of a candidate whose comparison on copies ends without a verdict. Promote: it gets the traffic, and is watched.
    Hold: it waits for more outcomes, or for the command promote."""
    paused: bool = False
    """Whether the traffic stays where it is: a candidate is fetched, started and tested, and waits for the switch. A rollback
    waits for nothing."""


SHADOW_COMES_FIRST = Rule(
    cel="!has(self.shadow) || self.strategy != 'RollingUpdate'",
    message="spec.rollout.shadow needs strategy: BlueGreen or Canary: under RollingUpdate a revision has the traffic at once, and is "
    "compared afterwards (spec.quality.compareFor)",
    holds=lambda rollout: rollout.shadow is None or rollout.strategy != "RollingUpdate",
    shows_value=False,
)
CANARY_HAS_STEPS = Rule(
    cel="(has(self.strategy) && self.strategy == 'Canary') == (has(self.steps) && size(self.steps) > 0)",
    message="spec.rollout.strategy: Canary needs steps, such as {weight: 5, until: {duration: 30m}}, and no other strategy has "
    "them",
    holds=lambda rollout: (rollout.strategy == "Canary") == bool(rollout.steps),
    shows_value=False,
)
STEPS_GROW = Rule(
    cel="!has(self.steps) || self.steps.map(s, s.weight).isSorted() && "
    "self.steps.all(s, self.steps.exists_one(t, t.weight == s.weight))",
    message="spec.rollout.steps[].weight must grow from step to step",
    holds=lambda rollout: all(before.weight < after.weight for before, after in itertools.pairwise(rollout.steps)),
    shows_value=False,
)
