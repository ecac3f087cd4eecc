"""What URIs of models look like, scheme by scheme, in the users' words.

The runtime finds out what is behind one; here it is only whether it can be meant. Next step: `spec`, whose fields carry the
rules into the CRD.
"""

import re
from typing import Final

from leadline_api.rules import Rule


def _form(scheme: str, pattern: str, message: str) -> Rule:
    """Return the rule that a URI of a scheme has a form, by a pattern that RE2 and Python read alike, without quotes."""
    return Rule(
        cel=f"!self.startsWith('{scheme}') || self.matches(r'^{pattern}$')",
        message=message,
        holds=lambda text: not text.startswith(scheme) or re.fullmatch(pattern, text, re.ASCII) is not None,
    )


RULES: Final = (
    _form(
        "pvc://",
        r"pvc://[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[^/].*",
        "must be pvc://CLAIM/path: a PersistentVolumeClaim in the same namespace, and a path on it",
    ),
    _form("s3://", r"s3://[^/]+/.+", "must be s3://bucket/key; a folder's key ends in /"),
    _form("gs://", r"gs://[^/]+/.+", "must be gs://bucket/object; a folder's name ends in /"),
    _form("az://", r"az://[^/]+/.+", "must be az://container/blob; a folder's name ends in /"),
    _form(
        "oci://",
        r"oci://[^/@]+/[a-z0-9]+([._/-]+[a-z0-9]+)*(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?(@sha256:[0-9a-f]{64})?(#.+)?",
        "must be oci://registry/repository:tag or oci://registry/repository@sha256:<64 hexadecimal digits>, "
        "the repository in small letters",
    ),
    _form(
        "hf://",
        r"hf://[A-Za-z0-9._-]+/[A-Za-z0-9._-]+(@[^/@]+)?(/.*|#.+)?",
        "must be hf://organisation/name@revision/path; a folder's path ends in /",
    ),
    _form(
        "models:/",
        r"models:/[^/@#]+(@[^/@#]+|/[0-9]+)(#.+)?",
        "must be models:/NAME@ALIAS or models:/NAME/VERSION",
    ),
)
"""Each holds for URIs of other schemes."""


def claim_of(uri: str) -> str:
    """Return the PersistentVolumeClaim that a URI names; empty: none."""
    return uri.split("/")[2] if uri.startswith("pvc://") else ""
