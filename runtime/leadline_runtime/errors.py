"""The runtime's errors, split by what the caller does with them.

    LeadlineRuntimeError
    +-- SettingsError     the process ends with one line and status 2
    +-- TroubleError      goes into the pod's report as a `Trouble`
        +-- Rejected      a finding about the bytes: fetched again only at long intervals
        +-- Blocked       trouble around them: tried again for ever, with backoff
    `BadRequestError` is the client's: an HTTP status and a message; nothing is logged for it.

Knows no HTTP library, no engine and no process.
"""

from leadline_wire import exchange

_MESSAGE_CHARACTERS = 1_024
"""Bound of `Trouble.message` on the wire."""


class LeadlineRuntimeError(Exception):
    """Root of the tree."""


class SettingsError(LeadlineRuntimeError):
    """The environment does not describe a runtime: the message names variable, value and what was expected."""


class TroubleError(LeadlineRuntimeError):
    """Something the operator must hear of."""

    blame: exchange.Blame = "surroundings"

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.trouble = exchange.Trouble(reason=reason, message=shorten(message), blame=self.blame)


class BlockedError(TroubleError):
    """Trouble around the model: a store, a network, a limit."""


class RejectedError(TroubleError):
    """A finding about the model's bytes."""

    blame: exchange.Blame = "model"


class BadRequestError(LeadlineRuntimeError):
    """A request that cannot be answered as it is: the message says what was expected."""

    def __init__(self, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


def shorten(text: str, characters: int = _MESSAGE_CHARACTERS) -> str:
    """Return text on one line and within a bound, so that a library's long message stays readable in a condition."""
    line = " ".join(text.split())
    return line if len(line) <= characters else line[: characters - 1] + "…"
