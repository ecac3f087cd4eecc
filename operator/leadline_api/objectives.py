"""How a service must answer, whatever it answers: `spec.objectives`.

Must not have a field that does not work yet.
"""

from typing import Annotated, Final, Literal

from pydantic import Field

from leadline_api.fields import Part
from leadline_api.rules import Rule, decimal

Under = Literal["1ms", "5ms", "10ms", "25ms", "50ms", "100ms", "250ms", "500ms", "1s", "5s"]
"""Times by which pods tell fast answers from slow ones."""


class Latency(Part):
    """How many requests must be answered how fast."""

    under: Under
    """Time from a request's arrival at a pod to its answer."""
    share: Annotated[
        str,
        Field(max_length=11),
        decimal(
            low=0.5,
            high=0.9999,
            message='must be a number from 0.5 to 0.9999 in quotes, such as "0.99": the share of requests that must be '
            "answered within that time",
        ),
    ]
    """Share of requests that must be answered within that time."""


class Objectives(Part):
    """How the pods must answer, whatever they answer."""

    error_rate: (
        Annotated[
            str,
            Field(max_length=11),
            decimal(
                low=0.0001,
                high=0.5,
                message='must be a number from 0.0001 to 0.5 in quotes, such as "0.01": the share of requests that may fail',
            ),
        ]
        | None
    ) = None
    """Share of requests that may be answered 5xx because of the model."""
    latency: Latency | None = None
    """How many requests must be answered how fast."""
    on_missed: Literal["Rollback", "Alert"] = "Rollback"
    """What happens when the serving revision misses one while the last good one is kept in comparison
    (spec.quality.compareFor after the switch). Later, and with Alert, it is only said."""

    @property
    def words(self) -> list[str]:
        """What is judged, as the user wrote it."""
        latency = [self.latency.under, self.latency.share] if self.latency is not None else []
        return [self.error_rate or "", *latency]


ONE_IS_SET: Final = Rule(
    cel="has(self.errorRate) || has(self.latency)",
    message="spec.objectives needs errorRate, latency or both",
    holds=lambda objectives: objectives.error_rate is not None or objectives.latency is not None,
    shows_value=False,
)
