"""What can go wrong at the API server, split by what the caller does about it.

ApiError
+-- Unreachable       no answer in time: try again
+-- Answered          an answer that is no success
    +-- NotFound          404: it is gone; look again
    +-- Conflict          409: somebody was faster; look again
    +-- AlreadyExists     409 on create: ours or a stranger's?
    +-- Forbidden         403: RBAC, quota, or a namespace that ends
    +-- Invalid           400, 422: our bug or a field that this cluster does not know
    +-- Busy              429, 5xx: try again later
"""

from typing import Any


class ApiError(Exception):
    """Base of all errors of this package."""


class Unreachable(ApiError):  # noqa: N818 - what happened
    """The API server did not answer in time."""


class Answered(ApiError):  # noqa: N818 - what happened
    """The API server answered, and refused.

    Args:
        status: The Status object of the answer.
        code: The HTTP status.
        request: Method and path, for messages.
    """

    def __init__(self, request: str, code: int, status: dict[str, Any]) -> None:
        self.code = code
        self.status = status
        self.reason: str = status.get("reason") or ""
        self.message: str = status.get("message") or ""
        super().__init__(f"{request} answered {code} {self.reason}: {self.message}")

    @property
    def causes(self) -> tuple[str, ...]:
        """The machine-readable causes, e.g. `NamespaceTerminating`."""
        details = self.status.get("details") or {}
        return tuple(cause.get("reason", "") for cause in details.get("causes") or ())


class NotFound(Answered):
    """404."""


class Conflict(Answered):
    """409 because of a resourceVersion or uid."""


class AlreadyExists(Answered):
    """409 because the name is taken."""


class Forbidden(Answered):
    """403."""


class Invalid(Answered):
    """400 or 422."""


class Busy(Answered):
    """429 or 5xx."""


def from_answer(request: str, code: int, status: dict[str, Any]) -> Answered:
    """Return the error for an answer with a code of 400 or more."""
    if code == 409:
        kind = AlreadyExists if status.get("reason") == "AlreadyExists" else Conflict
        return kind(request, code, status)
    kinds: dict[int, type[Answered]] = {404: NotFound, 403: Forbidden, 400: Invalid, 422: Invalid, 429: Busy}
    return kinds.get(code, Busy if code >= 500 else Answered)(request, code, status)
