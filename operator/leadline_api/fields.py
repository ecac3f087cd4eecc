"""What the parts of a spec are made of: their common base, and kinds of values that several of them hold.

Must not know any part of a spec.
"""

import re
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from leadline_api import quantities, uris
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


def _duration(text: str) -> str:
    quantities.seconds(text)
    return text


Duration = Annotated[str, AfterValidator(_duration), Field(max_length=32, json_schema_extra={"format": "duration"})]
AT_LEAST_ONE_SECOND = Rule(
    cel="self >= duration('1s') && self <= duration('87600h')",
    message="must be from 1s to 3650d, such as 90s, 10m or 24h",
    holds=lambda text: quantities.seconds(text) >= 1,
)
NOT_NEGATIVE = Rule(
    cel="self >= duration('0s') && self <= duration('87600h')",
    message="must be from 0s to 3650d, such as 90s, 24h or 7d",
    holds=lambda text: quantities.seconds(text) >= 0,
)
AT_MOST_ONE_DAY = Rule(
    cel="self <= duration('24h')",
    message="must be at most 24h",
    holds=lambda text: quantities.seconds(text) <= 86_400,
)
Digest = Annotated[
    str,
    Field(max_length=71),
    matches(r"sha256:[0-9a-f]{64}", "must be sha256: and the 64 lower-case hexadecimal digits that sha256sum prints"),
]
Uri = Annotated[
    str,
    Field(min_length=1, max_length=1024),
    matches(
        r"((file|pvc|https?|s3|gs|az|oci|hf)://\S+|models:/\S+)",
        "must begin with file://, pvc://, http://, https://, s3://, gs://, az://, oci://, hf:// or models:/ (MLflow) "
        "and hold no blanks",
    ),
    *uris.RULES,
]
"""Where a model is; docs/models.md has each scheme."""
FileUri = Annotated[
    str,
    Field(min_length=1, max_length=1024),
    matches(
        r"(file|pvc|https?|s3|gs|az|hf)://\S+",
        "must begin with file://, pvc://, http://, https://, s3://, gs://, az:// or hf:// and hold no blanks",
    ),
    *uris.RULES,
]
"""Where a single file is."""
