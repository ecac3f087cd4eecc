"""What a transaction knows of rows: fetched for many calls at once, and what was written since, as one picture.

Each kind is kept whole by its key: what was fetched or made under it is all there is. What is not here yet is fetched
when it is asked for, but a statement for each row is what costs most, so intakes say ahead what they will look for.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec
from leadline_wire import ledger

from leadline_ledger.bookkeeping.transaction import Copy

Key = tuple[int, bytes]
"""Short key of a ModelDeployment, and id of a prediction."""


class Row(msgspec.Struct):
    """An answer as it is, or will be once the transaction is done."""

    answer: str
    seq: int | None
    expires_ms: int
    body: bytes | None
    """Of its entry, wherever that is kept."""
    matures_ms: int | None = None
    is_new: bool = False


@dataclass(slots=True)
class Wanted:
    """What intakes will look for, of predictions whose ids are known."""

    answers: list[Key] = field(default_factory=list)
    copies: list[Key] = field(default_factory=list)
    entities: list[tuple[int, str]] = field(default_factory=list)

    def add(self, model: int, identifier: str, entity: str) -> None:
        """Add a prediction that an answer is for."""
        key = (model, bytes.fromhex(identifier))
        self.answers.append(key)
        self.copies.append(key)
        if entity:
            self.entities.append((model, entity))


@dataclass(slots=True)
class Known:
    """Rows by their keys; a key that is here has no others."""

    answers: dict[Key, dict[int, Row]] = field(default_factory=dict)
    copies: dict[Key, dict[str, tuple[Copy, bool]]] = field(default_factory=dict)
    """By the other revision, with whether it is complete."""
    predictions: dict[tuple[int, str], bytes | None] = field(default_factory=dict)
    entities: dict[tuple[int, str], dict[tuple[str, str], int]] = field(default_factory=dict)
    """When each pair of revisions' outcome may be forgotten."""

    def missing(self, wanted: Wanted) -> Wanted:
        """Return what is wanted and not here, each once."""
        return Wanted(
            [key for key in dict.fromkeys(wanted.answers) if key not in self.answers],
            [key for key in dict.fromkeys(wanted.copies) if key not in self.copies],
            [key for key in dict.fromkeys(wanted.entities) if key not in self.entities],
        )

    def expect(self, wanted: Wanted) -> None:
        """Say that what is wanted is here from now on: what is found under it, or nothing."""
        self.answers.update((key, {}) for key in wanted.answers)
        self.copies.update((key, {}) for key in wanted.copies)
        self.entities.update((key, {}) for key in wanted.entities)

    def forget(self) -> None:
        """Know nothing: rows were deleted."""
        for kind in (self.answers, self.copies, self.predictions, self.entities):
            kind.clear()


def by_id(asked: Iterable[tuple[int, ledger.Intake]]) -> Wanted:
    """Return what intakes look for by the ids that they bring; each with the short key of its ModelDeployment."""
    wanted = Wanted()
    for model, intake in asked:
        for outcome in intake.outcomes:
            if outcome.id:
                wanted.add(model, outcome.id, outcome.entity)
        for copied in intake.copies:
            wanted.add(model, copied.id, "")
    return wanted


def client_ids(asked: Iterable[tuple[int, ledger.Intake]]) -> list[tuple[int, str]]:
    """Return the clients' own ids that intakes name."""
    return [
        (model, client_id)
        for model, intake in asked
        for client_id in (
            *(each.client_id for each in intake.outcomes if not each.id),
            *(each.client_id for each in intake.predictions),
        )
    ]
