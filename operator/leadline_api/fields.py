"""What the parts of a spec are made of: their common base, and kinds of values that several of them hold.

Must not know any part of a spec.
"""

import re
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from leadline_api.rules import Rule, matches


class Part(BaseModel):
    """A part of a spec: camelCase outside, frozen, docstrings as descriptions; fields of a newer CRD are let by."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True, use_attribute_docstrings=True
    )


def name_of(kind: str, example: str, *, namespaced: bool = True) -> Rule:
    """Return the rule that a string is the name of an object, in the same namespace where there are such of its kind."""
    where = " in the same namespace" if namespaced else ""
    return matches(
        r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?",
        f"must be the name of a {kind}{where}: a-z, 0-9, - and ., such as {example}",
    )


def is_quantity(amount: str | int) -> bool:
    """Tell whether Kubernetes reads this as a quantity that is not negative."""
    if isinstance(amount, int):
        return amount >= 0
    return re.fullmatch(r"\+?([0-9]+(\.[0-9]*)?|\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?", amount) is not None


INT_OR_STRING: Final[dict[str, Any]] = {"x-kubernetes-int-or-string": True, "maxLength": 32}
Quantities = Annotated[
    dict[
        str,
        Annotated[
            str | int,
            Field(json_schema_extra=INT_OR_STRING),
            Rule(
                cel="type(self) == int ? self >= 0 : isQuantity(self) && !self.startsWith('-')",
                message="must be a quantity such as 500m, 2 or 1Gi",
                holds=is_quantity,
            ),
        ],
    ],
    Field(max_length=16),
]
"""Amounts by the name of a resource, as in a container."""
LabelValue = Annotated[
    str,
    Field(max_length=63),
    matches(
        r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?",
        "must be the value of a label: letters, digits, -, _ and ., with a letter or digit at both ends",
    ),
]
