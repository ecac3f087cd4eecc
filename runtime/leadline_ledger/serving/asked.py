"""What a call asks for, in its path and query, checked."""

import re
from typing import Final

from aiohttp import web

from leadline_ledger import errors
from leadline_ledger.serving import edge

_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


def model(rim: edge.Edge, request: web.Request) -> str:
    """Return the `namespace/name` of a call's path, for whose namespace its token is good.

    Raises:
        ForbiddenError: It is not.
        BadInputError: One of them is no name.
    """
    rim.require_namespace(request)
    return named(request)


def named(request: web.Request) -> str:
    """Return the `namespace/name` of a call's path, whoever calls.

    Raises:
        BadInputError: One of them is no name.
    """
    namespace, name = request.match_info["namespace"], request.match_info["name"]
    for part in (namespace, name):
        if not _NAME.fullmatch(part):
            raise errors.BadInputError(f"expected a DNS label of at most 63 characters, got {part[:80]!r}")
    return f"{namespace}/{name}"


def number(request: web.Request, name: str, default: int, most: int, *, least: int = 0) -> int:
    """Return a whole number of the query, or what stands for none.

    Raises:
        BadInputError: It is none, or out of bounds.
    """
    text = request.query.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 19 and least <= int(text) <= most):
        raise errors.BadInputError(f"{name}: expected a whole number from {least} to {most}, got {text[:80]!r}")
    return int(text)


def one_of(request: web.Request, name: str, words: tuple[str, ...]) -> str:
    """Return a word of the query, or the first of those there are.

    Raises:
        BadInputError: It is none of them.
    """
    text = request.query.get(name, "") or words[0]
    if text not in words:
        expected = " or ".join(word for word in words if word)
        raise errors.BadInputError(f"{name}: expected {expected}, got {text[:80]!r}")
    return text
