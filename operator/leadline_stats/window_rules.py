"""What others roll back by: rules on windows of recent outcomes, and tests that are asked again and again.

Here to be compared with, in benchmarks and in replays of a user's own stream; nothing decides by them. The rules are
those of Argo Rollouts (an analysis run fails when more measurements failed than its failureLimit allows, counted over
its whole run) and Flagger (a canary fails when as many checks failed as its threshold says), with the accuracy of a
sliding window as what is measured. None corrects for how often it looks.

Must not be used for a verdict.
"""

from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt
from scipy import special

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


class Rule(Protocol):
    """A rule for right and wrong answers."""

    def __call__(self, losses: npt.ArrayLike, reference: float, margin: float = ..., /) -> IntArray:
        """Return the number of the outcome at which each life is rolled back, shape (lives,); 0 for never.

        Args:
            losses: Shape (lives, n), each 0 or 1.
            reference: Accuracy that is compared with, in (0, 1).
            margin: By which a window's accuracy may be below it; tests know none.
        """


EVERY: Final = 100
"""Outcomes between two looks."""
MARGIN: Final = 0.02
"""By which a window's accuracy may be below the reference."""
_LEVEL: Final = 0.01
_WINDOWS: Final = (
    (100, 4, "Argo failureLimit 3"),
    (500, 1, "one strike"),
    (500, 4, "Argo failureLimit 3"),
    (500, 5, "Flagger threshold 5"),
)
"""Outcomes in a window, failed looks that end a life, and whose rule it is."""


def window(losses: npt.ArrayLike, reference: float, *, outcomes: int, margin: float, failures: int) -> IntArray:
    """Return when a life has failed so many looks, each at the last outcomes, whether in a row or not.

    Args:
        losses: Shape (lives, n), each 0 or 1.
        reference: Accuracy that is compared with, in (0, 1).
        outcomes: Length of the window; a look before it is full does not count.
        margin: A look fails where the window's accuracy is below reference - margin.
        failures: Failed looks that end it: Argo's failureLimit + 1, Flagger's threshold, 1 for a plain alarm.

    Returns:
        Shape (lives,): number of the deciding outcome, where the first is 1; 0 for never.
    """
    # Integers against one rounded limit: a window that is exactly on it has not failed.
    return _windows(_two(losses), (1 - reference + margin) * outcomes + 1e-9, outcomes, failures)


def repeated_z(losses: npt.ArrayLike, reference: float, *, level: float) -> IntArray:
    """Return when a one-sided z-test of all outcomes so far, asked each 100, first falls to the level.

    Args:
        losses: Shape (lives, n), each 0 or 1.
        reference: Accuracy that is compared with, in (0, 1).
        level: Of each look, as if it were the only one.

    Returns:
        Shape (lives,): number of the deciding outcome, where the first is 1; 0 for never.
    """
    return _z_tests(_two(losses), 1 - reference, ((1 - reference) * reference) ** 0.5, level)


@dataclass(frozen=True, slots=True)
class Reference:
    """What the errors of a life are held against; made of the errors of another, or of its own first ones."""

    mean: float
    """Mean size of an error: absolute, or squared."""
    spread: float
    """Standard deviation of one."""
    limit: float
    """Mean size in a window above which a look fails."""


def on_errors(sizes: npt.ArrayLike, reference: Reference) -> tuple[int, ...]:
    """Return when each of `RULES` would roll back a life whose errors are numbers, in their order.

    Args:
        sizes: Shape (n,), of each error: absolute, or squared.
        reference: What they are held against.

    Returns:
        Numbers of the deciding outcomes, where the first is 1; 0 for never.
    """
    life = np.asarray(sizes, dtype=np.float64)[np.newaxis]
    found = [_windows(life, reference.limit * outcomes, outcomes, failures) for outcomes, failures, _ in _WINDOWS]
    found.append(_z_tests(life, reference.mean, reference.spread, _LEVEL))
    return tuple(int(numbers[0]) for numbers in found)


def names(margin: str) -> tuple[str, ...]:
    """Return what people call the rules, in the order of `RULES`, where a window may be worse by a margin."""
    windows = (f"window {outcomes}, margin {margin}, {called}" for outcomes, _, called in _WINDOWS)
    return (*windows, f"z-test at {100 * _LEVEL:g} %, each {EVERY} outcomes")


def _window_rule(outcomes: int, failures: int) -> Rule:
    def rule(losses: npt.ArrayLike, reference: float, margin: float = MARGIN, /) -> IntArray:
        return window(losses, reference, outcomes=outcomes, margin=margin, failures=failures)

    return rule


def z_test(losses: npt.ArrayLike, reference: float, _margin: float = MARGIN, /) -> IntArray:
    """Return when a z-test at 1 %, asked each 100 outcomes, first fires."""
    return repeated_z(losses, reference, level=_LEVEL)


argo_short, one_strike, argo, flagger = (_window_rule(outcomes, failures) for outcomes, failures, _ in _WINDOWS)
RULES: Final[dict[str, Rule]] = dict(
    zip(names("2 points"), (argo_short, one_strike, argo, flagger, z_test), strict=True)
)
"""The rules that are shown beside ours, by what people call them."""


def _windows(sizes: npt.NDArray[Any], limit: float, outcomes: int, failures: int) -> IntArray:
    """Return when so many looks have found more than `limit` in the window; sizes have shape (lives, n)."""
    total = np.cumsum(sizes, axis=1)
    ends = np.arange(EVERY, total.shape[1] + 1, EVERY)
    ends = ends[ends >= outcomes]
    if not ends.size:
        return np.zeros(len(total), dtype=np.int64)
    before = np.where(ends > outcomes, total[:, np.maximum(ends - outcomes - 1, 0)], 0)
    return _first(np.cumsum(total[:, ends - 1] - before > limit, axis=1) >= failures, ends)


def _z_tests(sizes: npt.NDArray[Any], mean: float, spread: float, level: float) -> IntArray:
    total = np.cumsum(sizes, axis=1)
    ends = np.arange(EVERY, total.shape[1] + 1, EVERY)
    if not ends.size:
        return np.zeros(len(total), dtype=np.int64)
    z = (total[:, ends - 1] - mean * ends) / (spread * np.sqrt(ends))
    return _first(z >= -special.ndtri(level), ends)


def _two(losses: npt.ArrayLike) -> IntArray:
    streams = np.asarray(losses)
    if streams.ndim != 2:
        raise ValueError(f"losses: expected shape [-1, -1], got {list(streams.shape)}")
    if not ((streams == 0) | (streams == 1)).all():
        raise ValueError("losses: expected 0 or 1 only")
    return streams.astype(np.int64)


def _first(fires: BoolArray, ends: IntArray) -> IntArray:
    return np.where(fires.any(axis=1), ends[fires.argmax(axis=1)], 0)
