"""What a store has to keep: receipts under keys, and outcomes that are not delivered yet.

`sqlite.SqliteStore` is the one that comes along. Your own database is another class with these methods: several threads may call
them at once, each is durable when it returns, and what goes wrong is a `StoreError`. Times are seconds since the epoch.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Waiting(NamedTuple):
    """An outcome on its way."""

    number: int
    """The store's; it grows."""
    prediction: str
    """Equal for rows of one prediction."""
    text: str
    """To be given back as it was."""
    put_at: float


class Store(Protocol):
    """Keeps receipts and outcomes, by model."""

    def remember(self, model: str, key: str, receipt: str, *, prediction_id: str, now: float) -> None:
        """Keep a receipt under a key, an empty one of a prediction that has none; a later one takes its place."""

    def recall(self, model: str, keys: Sequence[str]) -> dict[str, str]:
        """Return the receipts that are kept under these keys, by key; those under which nothing is are left out."""

    def keys_of(self, model: str, prediction_ids: Sequence[str]) -> dict[str, str]:
        """Return the keys under which these predictions are kept, by prediction id."""

    def put(self, model: str, outcomes: Sequence[tuple[str, str]], *, now: float, until: float) -> list[int]:
        """Keep outcomes, each with its prediction; nobody else takes them until then. Return their numbers.

        Raises:
            StoreFull: There are as many as may wait; none of these is kept.
        """

    def take(self, model: str, *, limit: int, now: float, until: float) -> list[Waiting]:
        """Return outcomes that wait, oldest first, for the caller alone until then; rows of one prediction together."""

    def hold(self, numbers: Sequence[int], *, until: float) -> None:
        """Let others take these from then on."""

    def done(self, numbers: Sequence[int]) -> None:
        """Forget these."""

    def waiting(self, model: str) -> int:
        """Return how many outcomes wait."""

    def close(self) -> None:
        """Let go of what is open; a later call opens it again."""
