"""What supervisor and worker say to each other over their socket pair; `channel` carries it.

Both are always of the same version, so fields need no defaults. No I/O.
"""

from collections.abc import Iterable
from typing import Any, Final

import msgspec
from leadline_wire import exchange, receipts

BUCKETS: Final = exchange.LATENCY_BOUNDS_SECONDS
"""Upper bounds of the requests' durations in seconds; one more bucket holds the rest."""
SHORT_BUCKETS: Final = (0.00002, 0.00005, 0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5)
"""Upper bounds in seconds of runs of the model and of waits for it, which may be microseconds."""
ROW_BUCKETS: Final = tuple(1 << power for power in range(13))
"""Upper bounds of the rows of one run: powers of two, up to the most rows that a run may be allowed."""

# From the supervisor


class Load(msgspec.Struct, frozen=True, tag=True):
    """Load the model at this path; its digest has been checked."""

    path: str
    threads: int
    """Of one run."""
    try_threads: int = 0
    """Find out whether a run gains from so many threads, and how many workers there should be; 0: that is decided."""


class SetRole(msgspec.Struct, frozen=True, tag=True):
    """Answer with the own model, or as standby forward what comes to the public port."""

    serial: int
    """Comes back in `RoleInForce`; only the newest counts."""
    standby: bool
    forward: exchange.Forward | None
    splits: list[exchange.Split]
    """Who answers a share of the requests for predictions; empty on standby."""


class SetEvidence(msgspec.Struct, frozen=True, tag=True):
    """What becomes of answers beside being sent; told only once an operator has said it."""

    outcomes: exchange.OutcomeSettings | None
    """None: no receipts, and reported outcomes are refused."""
    keys: list[receipts.Key]
    """Of all rotations that are believed, oldest first; the last one signs."""
    is_candidate: bool
    """The public port's answers are nobody's predictions."""
    copies: list[exchange.Copy]
    labels: exchange.LabelsRequest | None
    """Answer the labelled rows that wait in the ledger; one worker of a pod is told so."""


class Accept(msgspec.Struct, frozen=True, tag=True):
    """Accept connections of these slots' sockets and of no others: the worker's own, and those of workers that are gone."""

    slots: list[int]


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
    workers: int
    """How many workers there should be; 0: it was not asked."""
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
    binary: int = 0
    grpc: int = 0
    failures: int = 0
    unanswerable: int = 0
    late: int = 0
    full: int = 0
    forwarded: int = 0
    unforwarded: int = 0
    split: int = 0
    unsplit: int = 0
    batches: int = 0
    rows: int = 0
    buckets: list[int] = []
    seconds: float = 0.0
    row_buckets: list[int] = []
    wait_buckets: list[int] = []
    wait_seconds: float = 0.0
    run_buckets: list[int] = []
    run_seconds: float = 0.0
    queue_rows: int = 0
    connections: int = 0
    in_flight: int = 0
    inline: int = 0
    refusals: dict[int, int] = {}
    receipts: int = 0
    outcomes: dict[str, int] = {}
    copies: dict[str, int] = {}
    kept: int = 0
    kept_dropped: int = 0
    ledger_trouble: exchange.Trouble | None = None
    untold: dict[str, int] = {}
    """Lines of the access log and spans that were dropped; empty: there is neither."""
    captured: int = 0
    capture_dropped: int = 0
    predicted: dict[str, int] = {}
    reported: dict[str, int] = {}


_NOW: Final = {"queue_rows": 0, "connections": 0, "in_flight": 0, "inline": 0, "ledger_trouble": None}
"""Fields that tell what is, not how often something was; a worker that is gone has none of it."""

ToWorker = Load | SetRole | SetEvidence | Accept | RunTestSet | SendCounts | Drain
ToSupervisor = Loaded | LoadFailed | RoleInForce | TestSetState | Counts


def total(counts: Iterable[Counts]) -> Counts:
    """Return the sum of several workers' counts; of trouble, the first that there is."""
    sums: dict[str, Any] = {}
    for each in counts:
        for name in Counts.__struct_fields__:
            sums[name] = _sum(sums.get(name), getattr(each, name))
    return Counts(**sums)


def past(counts: Counts) -> Counts:
    """Return what stays of a worker's counts once it is gone."""
    return msgspec.structs.replace(counts, **_NOW)


def _sum(one: Any, other: Any) -> Any:
    if one is None or other is None:
        return other if one is None else one
    if isinstance(one, dict):
        return {key: one.get(key, 0) + other.get(key, 0) for key in one.keys() | other.keys()}
    if isinstance(one, list):
        return [a + b for a, b in zip(one or [0] * len(other), other or [0] * len(one), strict=True)]
    if isinstance(one, exchange.Trouble):
        return one
    return one + other
