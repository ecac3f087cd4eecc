"""What can go wrong in a command.

    CommandError
    └── Refused     the user's input cannot be used; the message says which, why, and what to do: exit status 1

Everything else is a bug of ours and ends in a traceback.
"""


class CommandError(Exception):
    """Root of the tree."""


class Refused(CommandError, ValueError):  # noqa: N818 - it is what happened to the input
    """The user's input cannot be used."""
