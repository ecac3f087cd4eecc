"""A Finding: a condition before it is stamped with time and generation."""

from dataclasses import dataclass
from typing import Literal

from leadline_api.reasons import Reason

Truth = Literal["True", "False", "Unknown"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What a condition says."""

    status: Truth
    reason: Reason
    message: str = ""
