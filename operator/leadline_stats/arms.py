"""Compare two revisions that answer different requests at the same time: a canary where nothing is copied.

A candidate's outcome is matched with fresh ones of the serving revision, in the order in which they come, and each match is a pair
as in `pairs`: what happens to the world happens to both. Which requests went where must be decided by chance, and only
predictions made while both were live may be given. It takes two to three times as many outcomes as the same inputs
would, for chance differs between the arms.

The candidate has the smaller share, and its outcomes are the scarce ones: each is held against the mean of several of the
serving revision's. Of what waits for the other arm only a few are kept, the oldest give way: matched late it would hold one
hour's world against another's. Neither depends on what an outcome says.

Must not be given one revision's outcomes of another time, and must not know who gets which request.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from leadline_stats import budgets, checks, pairs

PER_MAX: Final = 16
"""Serving outcomes for one of the candidate's. More would wait longer, and lower the variance of a match by 6 % at most."""
WAITING_MAX: Final = 8
"""Matches that may wait for the other arm. Twice as many would lose 3 % of the outcomes instead of 6, where both arms have the
same share; but a world that turns over at once makes as many matches of two worlds, and a dozen of those decide."""
_SPARE: Final = 0.9
"""Part of the serving outcomes that are asked for: what comes by chance must not keep the candidate's waiting."""
_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Arms:
    """All that is known of two arms; made by `begin`, carried on by `fold`."""

    comparison: pairs.Comparison
    """Of the matches: the candidate's loss is `new`, the mean of the serving ones' is `old`."""
    per: int
    """Serving outcomes in a match, from 1 to `PER_MAX`."""
    candidate: tuple[float, ...] = ()
    """Losses that wait for serving ones, oldest first."""
    serving: tuple[float, ...] = ()
    """Means of so many serving losses that wait for one of the candidate's, oldest first."""
    part: tuple[float, ...] = ()
    """Serving losses of a mean that is not complete."""


def per_of(share: float) -> int:
    """Return how many serving outcomes to hold against one of a candidate that gets a share of the requests.

    Raises:
        ValueError: The share is not between 0 and 1.
    """
    part = checks.level("share", share)
    return min(PER_MAX, max(1, math.floor(_SPARE * (1 - part) / part)))


def begin(*, margin: float, alpha: float, per: int, promotion: float = budgets.PROMOTION) -> Arms:
    """Return two arms that have seen nothing.

    Args:
        margin: Tolerated loss of the mean score, in [0, 0.9998].
        alpha: Of ever finding a candidate worse that is within the margin, in (0, 1).
        per: Serving outcomes in a match; see `per_of`.
        promotion: Level of the opposite finding, in (0, 1).

    Raises:
        ValueError: A number is out of range.
    """
    return Arms(pairs.begin(margin=margin, alpha=alpha, promotion=promotion), per=_per(per))


def with_per(arms: Arms, per: int) -> Arms:
    """Return the arms with another number of serving outcomes in each match from here on, as the candidate's share grows.

    What was found so far stays, for the number is chosen by what came before. A mean that is not complete is given up.

    Raises:
        ValueError: The number is not from 1 to `PER_MAX`.
    """
    return arms if per == arms.per else dataclasses.replace(arms, per=_per(per), part=())


def fold(arms: Arms, losses: npt.ArrayLike, of_candidate: npt.ArrayLike) -> tuple[Arms, tuple[int, ...]]:
    """Return the arms after more outcomes; in parts or at once, the same bits.

    Args:
        arms: What came before.
        losses: Shape (n,), each in [0, 1], of both arms in their order of arrival.
        of_candidate: Shape (n,), true for those of the candidate.

    Returns:
        The arms; and for each match that was completed, which of the losses completed it.

    Raises:
        ValueError: The lengths differ, or a loss is NaN or outside [0, 1].
    """
    arrived, sides = checks.shares_of_one("losses", losses), np.asarray(of_candidate, dtype=bool)
    if sides.shape != arrived.shape:
        raise ValueError(f"of_candidate: expected {arrived.size} like losses, got shape {list(sides.shape)}")
    candidate, serving, part = list(arms.candidate), list(arms.serving), list(arms.part)
    new: list[float] = []
    old: list[float] = []
    completed: list[int] = []
    for place, (loss, is_new) in enumerate(zip(arrived.tolist(), sides.tolist(), strict=True)):
        if is_new:
            candidate.append(loss)
        else:
            part.append(loss)
            if len(part) < arms.per:
                continue
            serving.append(math.fsum(part) / arms.per)
            part = []
        if candidate and serving:
            new.append(candidate.pop(0))
            old.append(serving.pop(0))
            completed.append(place)
        else:
            del candidate[:-WAITING_MAX], serving[:-WAITING_MAX]
    matched = dataclasses.replace(
        arms,
        comparison=pairs.fold(arms.comparison, new, old),
        candidate=tuple(candidate),
        serving=tuple(serving),
        part=tuple(part),
    )
    return matched, tuple(completed)


def to_plain(arms: Arms) -> dict[str, object]:
    """Return what `from_plain` makes the same arms of, bit for bit: values that JSON holds."""
    return {
        "version": _VERSION,
        "per": arms.per,
        "comparison": pairs.to_plain(arms.comparison),
        "candidate": _hexes(arms.candidate),
        "serving": _hexes(arms.serving),
        "part": _hexes(arms.part),
    }


def from_plain(record: Mapping[str, object]) -> Arms:
    """Return the arms that `to_plain` wrote.

    Raises:
        ValueError: The version is unknown, or a field is missing or impossible. Then fold the outcomes again.
    """
    checks.version(record, _VERSION)
    arms = Arms(
        comparison=pairs.from_plain(checks.record(record, "comparison")),
        per=_per(checks.count("per", record.get("per"))),
        candidate=checks.hexes(record, "candidate", WAITING_MAX),
        serving=checks.hexes(record, "serving", WAITING_MAX),
        part=checks.hexes(record, "part", PER_MAX),
    )
    for name in ("candidate", "serving", "part"):
        checks.shares_of_one(name, getattr(arms, name))
    if (arms.candidate and arms.serving) or len(arms.part) >= arms.per:
        raise ValueError(f"serving: {len(arms.serving)} and {len(arms.part)} do not wait beside {len(arms.candidate)}")
    return arms


def _per(value: int) -> int:
    return int(checks.within("per", checks.count("per", value), 1, PER_MAX))


def _hexes(values: Sequence[float]) -> list[str]:
    return [value.hex() for value in values]
