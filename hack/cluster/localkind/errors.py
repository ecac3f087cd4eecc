"""What can go wrong, split by what the caller does about it.

    LocalClusterError
    ├── NeedsUser    the machine or the command line must change; the message says how
    └── Broken       something that should have worked did not; the message names the log

`../kind` and its siblings print the message as one line and exit 1; nothing else catches these.
"""


class LocalClusterError(Exception):
    """Anything that ends a command with one line."""


class NeedsUser(LocalClusterError):  # noqa: N818 - named for what the caller does, not for being an error
    """The command cannot work as called or on this machine."""


class Broken(LocalClusterError):  # noqa: N818 - as above
    """A part that should have worked did not."""
