"""What a store of the ledger does, whatever it is made of; SQLite now (`leadline_ledger.sqlite`).

Each call answers when what it did is durable, or raises and nothing of it is kept (`UnavailableError`, `FullError`), or
does not know (a timeout); the caller tells it again in both cases, which changes nothing where it was kept.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from leadline_wire import ledger


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of what a store keeps."""

    copies_max: int = 1_000_000
    """Per ModelDeployment; beyond it the oldest go."""
    predictions_max: int = 10_000_000
    """Per ModelDeployment; beyond it the oldest go."""
    database_max_bytes: int = 0
    """0: as large as the volume."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stretch of the log, its entries as JSON already."""

    head: int
    timeline: str
    entries: tuple[bytes, ...]
    labels: dict[str, int] | None = None
    """Labelled rows that wait, by ModelDeployment; None: it is of one only."""


@dataclass(frozen=True, slots=True)
class LabelledRow:
    """A row of inputs with its true answer, as somebody brings it."""

    hash: bytes
    """Of the inputs, 16 bytes, whatever the order of columns."""
    inputs: dict[str, Any]
    truth: ledger.Plain


@dataclass(slots=True)
class Counts:
    """What a store has done since it was opened; for metrics."""

    fates: Counter[str] = field(default_factory=Counter)
    entries: Counter[str] = field(default_factory=Counter)
    """Appended to the log, by kind."""
    dropped: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Kind (copy, prediction) and why (age, number): went without ever having met an outcome, or may have."""
    commits: int = 0
    commit_seconds: float = 0.0

    def add(self, other: "Counts") -> None:
        """Take in what another one counted."""
        self.fates.update(other.fates)
        self.entries.update(other.entries)
        self.dropped.update(other.dropped)
        self.commits += other.commits
        self.commit_seconds += other.commit_seconds


class Store(Protocol):
    """Keeps what the wire brings; models are `namespace/name`."""

    @property
    def trouble(self) -> str:
        """Why it cannot keep anything now, in one line; empty: it can."""

    @property
    def head(self) -> int:
        """Newest `seq` that is durable, as far as this process knows."""

    @property
    def due_ms(self) -> int | None:
        """When the next answer matures, in milliseconds since the epoch; None: none waits."""

    @property
    def waiting(self) -> int:
        """Calls that wait to become durable."""

    @property
    def counts(self) -> Counts:
        """What was done so far."""

    async def open(self) -> None:
        """Begin; where nothing can be kept, `trouble` says why, and `probe` tries again."""

    async def take(self, model: str, intake: ledger.Intake) -> list[ledger.Fate]:
        """Keep what a runtime brings; return what became of its outcomes."""

    async def label(self, model: str, rows: Sequence[LabelledRow], *, user: str) -> ledger.LabelsAnswer:
        """Keep labelled rows, each once, whoever brings them."""

    async def labels_waiting(self, model: str, *, limit: int) -> list[bytes]:
        """Return the oldest labelled rows that wait to be answered, each a `ledger.Label` as JSON."""

    async def labels(self, model: str) -> ledger.LabelsState:
        """Return how far labelled rows are."""

    async def decide(self, model: str, decision: ledger.Decision) -> ledger.Decided:
        """Append a decision, once per id."""

    async def keep(self, model: str, checkpoint: ledger.Checkpoint) -> None:
        """Keep a checkpoint in place of the one before.

        Raises:
            StaleError: Its cursor is older than that of the one kept, or beyond the log.
        """

    async def resume(self) -> ledger.Resume:
        """Return what an operator begins with."""

    async def read(self, after: int, *, limit: int, model: str = "", timeline: str = "") -> Stretch:
        """Return the entries after a cursor, of all ModelDeployments or of one.

        Raises:
            GoneError: The cursor is beyond the log, or of another history.
        """

    async def wanted(self, model: str, *, limit: int, since_ms: int) -> ledger.Wanted:
        """Return answers that would tell two revisions apart, of predictions since then in milliseconds since the epoch."""

    async def news(self, after: int, seconds: float) -> None:
        """Return when there is an entry after a cursor, or so many seconds have passed, or the store closes."""

    async def judge(self) -> int:
        """Append the answers whose maturity has passed; return how many they were."""

    async def tidy(self) -> int:
        """Delete some of what is past its age; return how many rows went, 0 when none is left."""

    async def probe(self) -> None:
        """Try whether anything can be kept, so that `trouble` says what is so now."""

    def dismiss(self) -> None:
        """Let all who wait for news go; nobody waits from now on."""

    async def close(self) -> None:
        """Finish what waits, then close."""
