"""One transaction that writes: the log's next number, the rows of models, and what was counted meanwhile.

All state of it is in the database or goes with it: where it is rolled back, nothing in memory remembers it. What the
calls mean is in `taking`, `appending`, `pairing` and `maturing`; how rows are kept is a database's own (`sqlite.rows`,
`postgres.rows`). What is written is seen by what is read later in the same transaction.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, get_args

import msgspec
from leadline_wire import ledger

from leadline_ledger import store

encode: Final = msgspec.json.Encoder().encode
_KINDS: Final = {kind: str(kind.__struct_config__.tag) for kind in get_args(ledger.Entry)}
"""As entries are counted."""


@dataclass(slots=True)
class Model:
    """The row of one ModelDeployment.

    Rows of answers, copies and predictions are deleted for age or number, and what is told again after that must not
    count twice. So each kind has a floor, the highest id ever deleted, and nothing at or below it is taken in anew.
    """

    name: str
    key: int
    last_seq: int
    copies: int
    predictions: int
    answers_floor: bytes
    copies_floor: bytes
    predictions_floor: bytes
    taken: str
    """How many answers each source had taken in an hour, as `quotas` writes it."""


class Answer(NamedTuple):
    """The answer to one row of a prediction."""

    row: int
    seq: int | None
    """Where it stands in the log; 0: it came too late; None: it matures."""
    expires_ms: int
    body: bytes | None
    """Its entry, as it is in the log or will be; None: it came too late, or its entry was deleted for age."""


class Copy(NamedTuple):
    """What another revision answered to the same input."""

    other: str
    revision: str
    predictions: str
    other_predictions: str


class LabelRow(NamedTuple):
    """A labelled row as it is kept."""

    hash: bytes
    """Of its inputs, 16 bytes."""
    id: bytes
    truth: str
    body: bytes
    """A `ledger.Label` as JSON."""


class Due(NamedTuple):
    """An answer whose maturity has passed."""

    model: str
    id: bytes
    row: int
    body: bytes
    matures_ms: int
    expires_ms: int


class Transaction(ABC):
    """What all calls of one transaction share."""

    def __init__(self, now_ms: int, limits: store.Limits, head: int) -> None:
        """Set up.

        Args:
            now_ms: The time, in milliseconds since the epoch; never behind that of a transaction before it.
            limits: What is kept at most.
            head: Newest `seq` ever given.
        """
        self.now_ms = now_ms
        self.limits = limits
        self.head = head
        self.counts = store.Counts()

    def append(self, model: Model, entry: ledger.Entry, *, expires_ms: int | None) -> None:
        """Append an entry that was made with `seq=self.head + 1`."""
        self.head += 1
        assert entry.seq == self.head, "entries are numbered as they are appended"
        model.last_seq = self.head
        self.write_entry(model, self.head, expires_ms, encode(entry))
        self.counts.entries[_KINDS[type(entry)]] += 1

    @abstractmethod
    def model(self, name: str) -> Model:
        """Return the row of a ModelDeployment, made where there is none; what is changed in it is kept."""

    @abstractmethod
    def write_entry(self, model: Model, seq: int, expires_ms: int | None, body: bytes) -> None:
        """Write an entry of the log; see `append`."""

    @abstractmethod
    def repeats(self, model: Model, entity: str, revision: str, other: str = "", *, expires_ms: int) -> bool:
        """Tell whether an entity had an outcome of a revision, or of a pair, before; it has one now.

        Args:
            model: The ModelDeployment.
            entity: Keyed hash; empty: none is known, so nothing repeats.
            revision: That answered the client.
            other: The other revision of a pair; empty: an outcome of one.
            expires_ms: Until when it is remembered, at least.
        """

    @abstractmethod
    def answer(self, model: Model, key: bytes, row: int) -> tuple[str, int | None] | None:
        """Return the answer that came first, and where it stands in the log as `Answer.seq`; None: none came."""

    @abstractmethod
    def answers(self, model: Model, key: bytes) -> Sequence[Answer]:
        """Return all answers to a prediction, by row."""

    @abstractmethod
    def add_answer(
        self,
        model: Model,
        key: bytes,
        row: int,
        answer: str,
        *,
        seq: int | None,
        expires_ms: int,
        matures_ms: int | None = None,
        body: bytes | None = None,
    ) -> None:
        """Keep the first answer to a row; `seq` and `body` as in `Answer`, the body only while it is not in the log."""

    @abstractmethod
    def place_answer(self, model: Model, key: bytes, row: int, seq: int) -> None:
        """Remember where an answer stands in the log by now."""

    @abstractmethod
    def change_answer(self, model: Model, key: bytes, row: int, body: bytes) -> None:
        """Change the entry that an answer will be once it is mature."""

    @abstractmethod
    def add_correction(self, model: Model, key: bytes, row: int, answer: str, *, most: int) -> None:
        """Keep another answer to a row, once each and no more than so many."""

    @abstractmethod
    def prediction(self, model: Model, client_id: str) -> bytes | None:
        """Return what is kept under a client's id."""

    @abstractmethod
    def add_prediction(self, model: Model, client_id: str, key: bytes, expires_ms: int, body: bytes) -> bool:
        """Keep a prediction under a client's id; tell whether there was none."""

    @abstractmethod
    def copies(self, model: Model, key: bytes) -> Sequence[Copy]:
        """Return the copies of a prediction that wait for outcomes, by the other revision's name."""

    @abstractmethod
    def add_copy(self, model: Model, copied: ledger.Copied, key: bytes, expires_ms: int, *, complete: bool) -> bool:
        """Keep a copy; tell whether it is new. A complete one waits for no outcome."""

    @abstractmethod
    def evict_copies(self, model: Model, count: int) -> None:
        """Delete so many of a ModelDeployment's oldest copies, and raise the floor."""

    @abstractmethod
    def evict_predictions(self, model: Model, count: int) -> None:
        """The same for predictions under the client's id."""

    @abstractmethod
    def due(self, count: int) -> Sequence[Due]:
        """Return some `count` answers whose maturity has passed, in order of (time, id, row); of a prediction all."""

    @abstractmethod
    def judged(self, to_ms: int) -> None:
        """Remember up to when answers have been judged."""

    @abstractmethod
    def decision(self, model: Model, identifier: str) -> int | None:
        """Return where a decision stands in the log; None: it is new."""

    @abstractmethod
    def add_decision(self, model: Model, identifier: str, seq: int) -> None:
        """Remember where a decision stands in the log."""

    @abstractmethod
    def cursor(self, model: Model) -> int | None:
        """Return the cursor of the checkpoint that is kept; None: there is none."""

    @abstractmethod
    def set_checkpoint(self, model: Model, checkpoint: ledger.Checkpoint) -> None:
        """Keep a checkpoint in place of the one before."""

    @abstractmethod
    def label_truths(self, model: Model, hashes: Sequence[bytes]) -> dict[bytes, str]:
        """Return the truths of labelled rows that were ever kept, by the hash of their inputs."""

    @abstractmethod
    def add_labels(self, model: Model, rows: Sequence[LabelRow]) -> None:
        """Keep labelled rows that are new."""

    @abstractmethod
    def waiting_labels(self, model: Model) -> int:
        """Return how many labelled rows wait to be answered."""

    @abstractmethod
    def settle_label(self, model: Model, key: bytes, fate: str) -> bool:
        """Note what became of a labelled row, and forget its inputs; tell whether it waited until now."""

    @abstractmethod
    def tidy(self, count: int) -> int:
        """Delete up to `count` rows of each kind that are past their age; return how many went.

        Never: decisions, answers that still mature, and entries that no checkpoint has behind it.
        """

    @abstractmethod
    def probe(self) -> None:
        """Write something small."""

    @abstractmethod
    def finish(self) -> None:
        """Write what is not written yet; the last thing before the commit."""
