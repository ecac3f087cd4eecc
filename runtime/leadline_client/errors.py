"""The client's errors, split by what the caller does with them.

    ClientError
    +-- InputError (ValueError)   what was passed cannot be meant: the message names it
    +-- UnknownKey (LookupError)  nothing was remembered under this key
    +-- Refused                   the server will say the same to the same request: `status`, and what it `said`
    +-- Unavailable               not now; the same call later
    |   +-- ModelNotReady         the server is there, and cannot answer yet: the message says what it waits for
    +-- StoreError                the store cannot be used
        +-- StoreFull             it holds as much as it may

Knows no HTTP library and no database.
"""


class ClientError(Exception):
    """Root of the tree."""


class InputError(ClientError, ValueError):
    """What was passed cannot be meant: the message names the field, what was expected and what came."""


class UnknownKey(ClientError, LookupError):  # noqa: N818 - what was found
    """Nothing was remembered under this key, or it was too long ago."""


class Refused(ClientError):  # noqa: N818 - what happened
    """The server refused the request, and would again.

    Attributes:
        status: Of HTTP.
        said: What the server said.
    """

    def __init__(self, status: int, said: str) -> None:
        super().__init__(f"{status}: {said}")
        self.status = status
        self.said = said


class Unavailable(ClientError):  # noqa: N818 - what happened
    """There was no usable answer in time; the message says why, and the same call may be made later."""


class ModelNotReady(Unavailable):
    """The server answered 503; the message has what it said."""


class StoreError(ClientError):
    """The store cannot be read or written; the message says why."""


class StoreFull(StoreError):  # noqa: N818 - what happened
    """The store holds as many outcomes as it may."""
