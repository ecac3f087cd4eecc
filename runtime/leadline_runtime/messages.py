"""What supervisor and worker say to each other over their socket pair; `channel` carries it.

Both are always of the same version, so fields need no defaults. No I/O.
"""

from typing import Final

import msgspec
from leadline_wire import exchange, receipts

BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Upper bounds of the requests' durations in seconds; one more bucket holds the rest."""

# From the supervisor


class Load(msgspec.Struct, frozen=True, tag=True):
    """Load the model at this path; its digest has been checked."""

    path: str


class SetRole(msgspec.Struct, frozen=True, tag=True):
    """Answer with the own model, or as standby forward what comes to the public port."""

    serial: int
    """Comes back in `RoleInForce`; only the newest counts."""
    standby: bool
    forward: exchange.Forward | None


class SetEvidence(msgspec.Struct, frozen=True, tag=True):
    """What becomes of answers beside being sent; told only once an operator has said it."""

    outcomes: exchange.OutcomeSettings | None
    """None: no receipts, and reported outcomes are refused."""
    keys: list[receipts.Key]
    """Of all rotations that are believed, oldest first; the last one signs."""
    is_candidate: bool
    """The public port's answers are nobody's predictions."""
    copies: list[exchange.Copy]


class Listen(msgspec.Struct, frozen=True, tag=True):
    """Accept connections from now on."""


class RunTestSet(msgspec.Struct, frozen=True, tag=True):
    """Answer a test set whose columns lie in a folder as .npy files; ends an earlier run that is not done."""

    run: str
    folder: str
    output: str
    passes: int
    digest: str
    uri: str
    """For messages; without credentials."""
    truth: str
    task: str
    pace_seconds: float
    """Both as `exchange.TestSetRequest` has them."""


class SendCounts(msgspec.Struct, frozen=True, tag=True):
    """Send `Counts` now."""


class Drain(msgspec.Struct, frozen=True, tag=True):
    """Answer what is on its way, close connections, end."""


# From the worker


class Loaded(msgspec.Struct, frozen=True, tag=True):
    """The model is loaded and warm."""

    model: exchange.ModelInfo
    inline: bool
    """Runs happen in the event loop; false: in the compute thread."""
    threads: int
    row_seconds: float
    full_seconds: float


class LoadFailed(msgspec.Struct, frozen=True, tag=True):
    """The model cannot be served."""

    trouble: exchange.Trouble


class RoleInForce(msgspec.Struct, frozen=True, tag=True):
    """From here on no answer contradicts the role of this serial."""

    serial: int


class TestSetState(msgspec.Struct, frozen=True, tag=True):
    """How far a test set is."""

    report: exchange.TestSetReport


class Counts(msgspec.Struct, frozen=True, tag=True):
    """The worker's counters since its start; see `engine.counters`."""

    requests: int = 0
    failures: int = 0
    forwarded: int = 0
    unforwarded: int = 0
    batches: int = 0
    rows: int = 0
    buckets: list[int] = []
    seconds: float = 0.0
    queue_rows: int = 0
    connections: int = 0
    refusals: dict[int, int] = {}
    receipts: int = 0
    outcomes: dict[str, int] = {}
    copies: dict[str, int] = {}
    kept: int = 0
    kept_dropped: int = 0
    ledger_trouble: exchange.Trouble | None = None
    untold: dict[str, int] = {}
    """Lines of the access log and spans that were dropped; empty: there is neither."""


ToWorker = Load | SetRole | SetEvidence | Listen | RunTestSet | SendCounts | Drain
ToSupervisor = Loaded | LoadFailed | RoleInForce | TestSetState | Counts
