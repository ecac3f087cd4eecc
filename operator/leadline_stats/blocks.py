"""Keep the recent past of a stream in blocks of 100 outcomes: how good is it now, and since when is it bad.

Evidence says that something is wrong, and decides; it does not say when it began. For that the sums of the last blocks
are enough, and their number is bounded. Blocks end at fixed counts, like the restarts of `betting`.

Must not decide anything: what is picked out of the past because it looks bad has no known error rate.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from leadline_stats import betting, checks

SIZE: Final = betting.BLOCK
"""Outcomes of one block."""
KEPT: Final = 60
"""Blocks that are kept: 6,000 outcomes."""
_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Blocks:
    """The recent past of one stream of losses; `EMPTY` to begin with, `fold` to add."""

    outcomes: int
    """Number of all losses, those that are forgotten included."""
    sums: tuple[float, ...]
    """Sums of the last full blocks, oldest first, at most 60."""
    open: float
    """Sum of the losses since the last full block."""


EMPTY: Final = Blocks(outcomes=0, sums=(), open=0.0)
"""No loss yet."""


def fold(blocks: Blocks, losses: npt.ArrayLike) -> Blocks:
    """Return the blocks after more outcomes; in parts or at once, the same bits.

    Args:
        blocks: What came before.
        losses: Shape (n,), each in [0, 1], in order of arrival.

    Raises:
        ValueError: A loss is NaN or outside [0, 1]; the message gives its index.
    """
    arrived = checks.shares_of_one("losses", losses)
    filled = blocks.outcomes % SIZE
    outcomes = blocks.outcomes + arrived.size
    # The open block first, then whole ones: each is added up from 0, one by one, so no cut shows in the rounding.
    head = arrived[: SIZE - filled]
    opened = float(np.add.accumulate(np.concatenate(([blocks.open], head)))[-1])
    if filled + head.size < SIZE:
        return Blocks(outcomes=outcomes, sums=blocks.sums, open=opened)
    rest = arrived[head.size :]
    whole = rest[: rest.size // SIZE * SIZE].reshape(-1, SIZE)
    tail = np.concatenate(([0.0], rest[whole.size :]))
    sums = (*blocks.sums, opened, *np.add.accumulate(whole, axis=1)[:, -1].tolist())
    return Blocks(outcomes=outcomes, sums=sums[-KEPT:], open=float(np.add.accumulate(tail)[-1]))


def recent(blocks: Blocks, full: int) -> float | None:
    """Return the mean loss of the last full blocks, and of what came since; None before the first outcome.

    Args:
        blocks: Of one stream.
        full: Number of full blocks, 0 or more; fewer are taken where there are fewer.
    """
    last = blocks.sums[-full:] if checks.count("full", full) else ()
    number = len(last) * SIZE + blocks.outcomes % SIZE
    return (sum(last) + blocks.open) / number if number else None


def since(blocks: Blocks, limit: float) -> int:
    """Return after how many outcomes the losses began to be above the limit, most likely; to be shown only.

    That is where the sum of (loss - level) from there to now is largest (Page, 1954). The level is first the limit, then
    midway between it and the mean loss since, where good and bad are told apart best.

    Args:
        blocks: Of one stream.
        limit: Tolerated mean loss, in [0, 1].

    Returns:
        A multiple of 100, within the last 60 blocks; the number of all outcomes where nothing recent is above the limit.
    """
    tolerated = checks.within("limit", limit, 0.0, 1.0)
    sums = np.array([*blocks.sums, blocks.open])
    counts = np.array([SIZE] * len(blocks.sums) + [blocks.outcomes % SIZE])
    level, first = tolerated, 0
    for _ in range(2):
        excess = np.cumsum((sums - level * counts)[::-1])[::-1]
        first = int(excess.argmax())
        if excess[first] <= 0:
            return blocks.outcomes
        level = (tolerated + sums[first:].sum() / counts[first:].sum()) / 2
    return (blocks.outcomes // SIZE - len(blocks.sums) + first) * SIZE


def to_plain(blocks: Blocks) -> dict[str, object]:
    """Return what `from_plain` makes the same blocks of, bit for bit: values that JSON holds."""
    return {
        "version": _VERSION,
        "outcomes": blocks.outcomes,
        "sums": [each.hex() for each in blocks.sums],
        "open": blocks.open.hex(),
    }


def from_plain(record: Mapping[str, object]) -> Blocks:
    """Return the blocks that `to_plain` wrote.

    Raises:
        ValueError: The version is unknown, or a field is missing or impossible. Then fold the losses again.
    """
    checks.version(record, _VERSION)
    outcomes = checks.count("outcomes", record.get("outcomes"))
    full = min(KEPT, outcomes // SIZE)
    return Blocks(
        outcomes=outcomes, sums=checks.hexes(record, "sums", most=full, least=full), open=checks.hexed(record, "open")
    )
