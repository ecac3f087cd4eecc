"""Rules that a spec must keep, said once for both who check them: the API server (CEL) and these models.

The API server evaluates them at `kubectl apply`, after types, lengths and formats; its own message for a pattern is the
bare regular expression, so rules with words stand in its place. `crd.py` copies them into the CRD.

Must not hold a rule that only one of the two checks.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

VALIDATIONS = "x-kubernetes-validations"
"""Key of CEL rules in a structural schema."""


@dataclass(frozen=True, slots=True)
class Rule:
    """An annotation on a field's type: what its value must be, and what to tell the user when it is not."""

    cel: str
    """Expression over `self` for the API server."""
    message: str
    """What is expected and what to do, after the path of the field, which the API server puts before it."""
    holds: Callable[[Any], bool]
    """The same in Python, over the parsed value."""
    shows_value: bool = True
    """Whether our own message ends in the value found; false for objects. The API server shows it by itself."""

    def as_validation(self) -> dict[str, str]:
        """Return the rule as an entry of `x-kubernetes-validations`."""
        return {"rule": self.cel, "message": self.message}

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.checked, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        found = handler(schema)
        return {**found, VALIDATIONS: [*found.get(VALIDATIONS, []), self.as_validation()]}

    def checked(self, value: Any) -> Any:
        """Return a value that keeps the rule.

        Raises:
            PydanticCustomError: It does not.
        """
        if self.holds(value):
            return value
        got = f"; got {value}" if self.shows_value else ""
        raise PydanticCustomError("rule", "{message}", {"message": self.message + got})


def matches(pattern: str, message: str) -> Rule:
    """Return the rule that the whole string matches a pattern that RE2 and Python read alike, without quotes."""
    return Rule(
        cel=f"self.matches(r'^{pattern}$')",
        message=message,
        holds=lambda text: re.fullmatch(pattern, text, re.ASCII) is not None,
    )


def decimal(*, above: float | None = None, low: float = 0.0, high: float, message: str) -> Rule:
    """Return the rule that a string is a decimal with at most nine places, from `low` (or above `above`) to `high`."""
    number = r"[01](\.[0-9]{1,9})?"
    least = f"double(self) > {above}" if above is not None else f"double(self) >= {low}"

    def holds(text: str) -> bool:
        if re.fullmatch(number, text, re.ASCII) is None:
            return False
        return (float(text) > above if above is not None else float(text) >= low) and float(text) <= high

    return Rule(
        cel=f"self.matches(r'^{number}$') && {least} && double(self) <= {high}",
        message=message,
        holds=holds,
    )
