"""Weigh the evidence that a mean loss is above what is tolerated, outcome by outcome, for life.

A bettor who can only profit while losses are above the limit starts with 1 and bets on every outcome. Half of the money
is on "bad from the start"; the rest goes out in parts, one each 100 outcomes, so that a decay is found that begins late.
Reaching 1 / alpha is the finding. `pairs` and `references` say which losses and limits, `verdicts` what a finding means.

Whatever was fetched at a time, the evidence is the same to the last bit, and so is the outcome that decides: the money
is kept as it was at the last restart, the losses since are kept too, and what lies between is computed again, by
operations whose rounding does not depend on where the arrays begin and end.

Must not know of revisions, pods or time. A `Monitor` is a value: `fold` returns a new one.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from leadline_stats import checks

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

BETS: Final = tuple(round(0.01 * 95 ** (step / 11), 6) for step in range(12))
"""Shares of the money that go on each outcome, from .01 to .95, evenly in logs. No one size suits small and large drops.
Rounded, so that they are the same on every processor."""
BLOCK: Final = 100
"""Outcomes between two restarts. Fixed counts, never where a fetch ended."""
LEAST_LIMIT: Final = 1e-4
"""Smallest tolerated mean loss. Below it a single loss decides nearly alone; at 0 the factor would divide by zero."""
FROM_THE_START: Final = 0.5
"""Share of the money on "bad from the start"."""
_SIZES: Final = np.array(BETS)
_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Monitor:
    """All that is known of one stream of losses; made by `begin`, carried on by `fold`."""

    limit: float
    """Tolerated mean loss, in [1e-4, 1]."""
    alpha: float
    """Probability, at most, that a stream within the limit is ever found to be above it, in (0, 1)."""
    wealth: tuple[float, ...]
    """Money in each bet at the last restart."""
    reserve: float
    """Money that no restart has put on a bet yet."""
    restarts: int
    block: tuple[float, ...]
    """Losses since the last restart, fewer than 100; once decided, those up to the deciding one."""
    outcomes: int
    """Counted for ever, after a decision too."""
    total: float
    """Sum of all losses, after a decision too."""
    crossed_at: int | None
    """Number of the deciding outcome, where the first is 1; None: undecided. From there on the evidence stands still."""

    @property
    def evidence(self) -> float:
        """An e-value, >= 0, no unit: now, or at the deciding outcome.

        While the mean given the past stays within the limit at every step, each factor has a conditional mean of at
        most 1 and the masses that start sum to 1, so this is a nonnegative supermartingale from 1, which ever reaches
        1 / alpha with probability at most alpha (Ville's inequality; bets after Waudby-Smith and Ramdas, 2024).
        """
        wealth = np.array(self.wealth)
        if self.block:
            wealth = _grown(wealth, np.array(self.block), self.limit)[:, -1]
        return float(_evidence(wealth, self.reserve))

    @property
    def needed(self) -> float:
        """The evidence that decides: 1 / alpha."""
        return 1 / self.alpha

    @property
    def crossed(self) -> bool:
        """Whether the stream was found to be above its limit."""
        return self.crossed_at is not None

    @property
    def mean(self) -> float | None:
        """Mean of all losses; None before the first."""
        return self.total / self.outcomes if self.outcomes else None


def begin(*, limit: float, alpha: float) -> Monitor:
    """Return a monitor that has seen nothing.

    Limit and alpha hold for its life: another limit, margin or level after outcomes were seen needs a new monitor, at a
    level of its own (`budgets.retest_alpha`).

    Raises:
        ValueError: The limit is not in [1e-4, 1], or alpha is not in (0, 1).
    """
    return Monitor(
        limit=checks.within("limit", limit, LEAST_LIMIT, 1.0),
        alpha=checks.level("alpha", alpha),
        wealth=(FROM_THE_START / len(BETS),) * len(BETS),
        reserve=1 - FROM_THE_START,
        restarts=0,
        block=(),
        outcomes=0,
        total=0.0,
        crossed_at=None,
    )


def mirrored(*, limit: float, alpha: float) -> Monitor:
    """Return a monitor for the opposite finding, "the mean loss is below the limit"; fold gains (1 - loss) into it.

    Raises:
        ValueError: 1 - limit is not in [1e-4, 1], or alpha is not in (0, 1).
    """
    return begin(limit=1 - checks.within("limit", limit, 0.0, 1 - LEAST_LIMIT), alpha=alpha)


def fold(monitor: Monitor, losses: npt.ArrayLike) -> Monitor:
    """Return the monitor after more outcomes; a million take well under a second.

    Folding a stream in parts gives what folding it at once gives, in every bit. Each outcome is looked at: a backlog
    decides at the outcome at which it would have decided one by one.

    Args:
        monitor: What came before.
        losses: Shape (n,), each in [0, 1], in order of arrival. A loss with another bound B is divided by it, like its
            limit: only their ratio counts.

    Raises:
        ValueError: A loss is NaN or outside [0, 1]; the message gives its index.
    """
    arrived = checks.shares_of_one("losses", losses)
    if not arrived.size:
        return monitor
    counted = dataclasses.replace(
        monitor,
        outcomes=monitor.outcomes + arrived.size,
        # accumulate adds one by one; a plain sum would add in pairs, and so depend on the cut
        total=float(np.add.accumulate(np.concatenate(([monitor.total], arrived)))[-1]),
    )
    if monitor.crossed:
        return counted
    pending = np.concatenate((monitor.block, arrived))
    wealth, reserve, restarts = np.array(monitor.wealth), monitor.reserve, monitor.restarts
    before = monitor.outcomes - len(monitor.block)
    first = 0
    crossed_at = None
    while first < pending.size:
        block = pending[first : first + BLOCK]
        paths = _grown(wealth, block, monitor.limit)
        decided = _evidence(paths, reserve) >= monitor.needed
        if decided.any():
            until = first + int(decided.argmax()) + 1
            crossed_at = before + until
            pending = pending[:until]
            break
        if block.size < BLOCK:
            break
        reserve, mass = restart(reserve, restarts + 1)
        wealth = paths[:, -1] + mass
        restarts += 1
        first += BLOCK
    return dataclasses.replace(
        counted,
        wealth=tuple(wealth.tolist()),
        reserve=reserve,
        restarts=restarts,
        block=tuple(pending[first:].tolist()),
        crossed_at=crossed_at,
    )


def crossings(losses: npt.ArrayLike, *, limit: float, alpha: float) -> IntArray:
    """Return for each of many lives the number of the deciding outcome, 0 where there is none; for simulations.

    The same arithmetic as `fold`, for many streams of one length at a time.

    Args:
        losses: Shape (lives, n), each in [0, 1].
        limit: As in `begin`.
        alpha: As in `begin`.

    Returns:
        Shape (lives,).

    Raises:
        ValueError: As `begin` and `fold`, and for another number of dimensions.
    """
    streams = np.asarray(losses)
    if streams.ndim != 2:
        raise ValueError(f"losses: expected shape [-1, -1], got {list(streams.shape)}")
    fresh = begin(limit=limit, alpha=alpha)
    found = np.zeros(len(streams), dtype=np.int64)
    # About a megabyte at a time, which stays in the processor's cache.
    for start in range(0, len(streams), 100):
        lives = np.arange(start, min(start + 100, len(streams)))
        wealth = np.repeat(np.array(fresh.wealth)[:, np.newaxis], lives.size, axis=1)
        reserve = fresh.reserve
        for number, first in enumerate(range(0, streams.shape[1], BLOCK), start=1):
            block = np.asarray(streams[lives, first : first + BLOCK], dtype=np.float64)
            checks.shares_of_one("losses", block.ravel())
            paths = _grown(wealth, block, fresh.limit)
            decided = _evidence(paths, reserve) >= fresh.needed
            over = decided.any(axis=1)
            found[lives[over]] = first + decided[over].argmax(axis=1) + 1
            lives = lives[~over]
            if not lives.size:
                break
            reserve, mass = restart(reserve, number)
            wealth = paths[:, ~over, -1] + mass
    return found


def reserve_after(restarts: int) -> float:
    """Return the share of the money that is on no bet after so many restarts.

    It falls so slowly that the restarts never end, and so fast that a decay after 100,000 outcomes still finds enough.
    """
    return round(FROM_THE_START / (1 + math.log(1 + restarts)), 15)  # libraries differ in a log's last digit


def restart(reserve: float, number: int) -> tuple[float, float]:
    """Return the reserve after the number-th restart, and what each bet gets of it."""
    left = reserve_after(number)
    return left, (reserve - left) / len(BETS)


def to_plain(monitor: Monitor) -> dict[str, object]:
    """Return what `from_plain` makes the same monitor of, bit for bit: values that JSON holds, under 4 kB."""
    return {
        "version": _VERSION,
        "limit": monitor.limit.hex(),
        "alpha": monitor.alpha.hex(),
        "wealth": [money.hex() for money in monitor.wealth],
        "reserve": monitor.reserve.hex(),
        "restarts": monitor.restarts,
        "block": [loss.hex() for loss in monitor.block],
        "outcomes": monitor.outcomes,
        "total": monitor.total.hex(),
        "crossedAt": monitor.crossed_at,
    }


def from_plain(record: Mapping[str, object]) -> Monitor:
    """Return the monitor that `to_plain` wrote.

    Raises:
        ValueError: The version is unknown, or a field is missing or impossible. Then fold the stream again.
    """
    checks.version(record, _VERSION)
    crossed_at = record.get("crossedAt")
    monitor = Monitor(
        limit=checks.within("limit", checks.hexed(record, "limit"), LEAST_LIMIT, 1.0),
        alpha=checks.level("alpha", checks.hexed(record, "alpha")),
        wealth=checks.hexes(record, "wealth", len(BETS), len(BETS)),
        reserve=checks.within("reserve", checks.hexed(record, "reserve"), 0.0, 1.0),
        restarts=checks.count("restarts", record.get("restarts")),
        block=checks.hexes(record, "block", BLOCK),
        outcomes=checks.count("outcomes", record.get("outcomes")),
        total=checks.hexed(record, "total"),
        crossed_at=None if crossed_at is None else checks.count("crossedAt", crossed_at),
    )
    checks.shares_of_one("block", monitor.block)
    seen = monitor.restarts * BLOCK + len(monitor.block)
    if min(monitor.wealth) < 0 or seen != (monitor.outcomes if crossed_at is None else crossed_at):
        raise ValueError(f"outcomes: {monitor.outcomes} do not fit {monitor.restarts} restarts and the losses since")
    return monitor


def _grown(wealth: FloatArray, losses: FloatArray, limit: float) -> FloatArray:
    """Return the money in each bet after each outcome of one block.

    A factor is at least .05, so that 100 of them never vanish; they may overflow long after a decision, to infinity.

    Args:
        wealth: Shape (bets, ...) before the block.
        losses: Shape (..., n), n at most 100.
        limit: Tolerated mean loss.

    Returns:
        Shape (bets, ..., n).
    """
    sizes = _SIZES.reshape(-1, *(1,) * losses.ndim)
    with np.errstate(over="ignore"):
        factors: FloatArray = sizes * (losses / limit) + (1 - sizes)
        np.multiply.accumulate(factors, axis=-1, out=factors)
        factors *= wealth[..., np.newaxis]
    return factors


def _evidence(wealth: FloatArray, reserve: float) -> FloatArray:
    """Return all the money: shape (bets, ...) to shape (...).

    Added bet by bet, for numpy's own sum rounds by the shape of the array, and so by the cut of the stream.
    """
    return functools.reduce(np.add, wealth, np.asarray(reserve, dtype=np.float64))
