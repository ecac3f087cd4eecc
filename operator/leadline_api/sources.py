"""Who reports outcomes, and how much one of them may decide: `spec.outcomes.sources`.

Must not have a field that does not work yet.
"""

from typing import Annotated, Final

from pydantic import Field

from leadline_api.fields import Part
from leadline_api.rules import Rule, decimal


class Sources(Part):
    """Who reports outcomes. A source proves itself by a service account's token for the audience leadline-outcomes."""

    required: bool = False
    """Whether a report without a token is refused; with one that the API server does not know it is refused in any case."""
    quorum: Annotated[int, Field(ge=1, le=2)] = 1
    """2: no single source decides. What outcomes say must be said without those of any one source as well. 1: one may."""
    max_share: (
        Annotated[
            str,
            Field(max_length=11),
            decimal(
                above=0.0,
                high=1.0,
                message='must be a number above 0 and at most 1 in quotes, such as "0.5": the share of the outcomes that count '
                "which may be of one source",
            ),
        ]
        | None
    ) = None
    """Largest share of the outcomes that count which may be of one source; what it brings beyond is kept and not judged. Left
    out: any."""
    per_hour: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    """New outcomes that are taken of one source in an hour; more are answered 429 and may be told again in the next. Left
    out: any number."""


QUORUM_NEEDS_NAMES: Final = Rule(
    cel="(self.quorum < 2 && !has(self.maxShare)) || self.required",
    message="spec.outcomes.sources with quorum: 2 or maxShare needs required: true, for nobody can tell apart those who do not say who they are",
    holds=lambda sources: (sources.quorum < 2 and sources.max_share is None) or sources.required,
    shows_value=False,
)
