"""The ledger's errors, split by what the caller does with them; `serving.edge` gives each its HTTP status.

    LedgerError
    +-- SettingsError       the process ends with one line and status 2
    +-- BadInputError       the call cannot be meant; it is not tried again as it is
    |   +-- TooLargeError   of it there is too much
    |   +-- MismatchError   bytes that have another digest
    +-- NoTokenError        nobody knows who calls
    +-- ForbiddenError      the caller is known, and may not
    +-- NotFoundError       there is none
    +-- StaleError          what the caller holds is older than what is kept, or beyond it
    +-- GoneError           the caller's cursor belongs to no history of this ledger; it begins anew
    +-- UnavailableError    not now; the same call later
    |   +-- BusyError       not now, for there is too much at once
    +-- FullError           the volume or a limit is full

Knows no HTTP library and no database.
"""


class LedgerError(Exception):
    """Root of the tree."""


class SettingsError(LedgerError):
    """The environment does not describe a ledger: the message names variable, value and what was expected."""


class BadInputError(LedgerError):
    """The call cannot be meant: the message says what was expected."""


class TooLargeError(BadInputError):
    """There is more of it than one call may bring."""


class MismatchError(BadInputError):
    """The bytes that came have another digest than was said."""


class NoTokenError(LedgerError):
    """The call carries no token that the API server knows."""


class ForbiddenError(LedgerError):
    """The caller's token is not good for this."""


class NotFoundError(LedgerError):
    """What is asked for is not here, or not for this caller."""


class StaleError(LedgerError):
    """A checkpoint that is older than the one kept, or beyond the log."""


class GoneError(LedgerError):
    """A cursor of another history: the ledger was restored, or is another one."""


class UnavailableError(LedgerError):
    """The ledger cannot do it now; the message says why."""


class BusyError(UnavailableError):
    """Too much is under way."""


class FullError(LedgerError):
    """No room: the message says of what, and against which limit."""
