"""What others roll back by: rules on windows of recent outcomes, and tests that are asked again and again.

Here to be compared with, in benchmarks and in replays of a user's own stream; nothing decides by them. The rules are
those of Argo Rollouts (an analysis run fails when more measurements failed than its failureLimit allows, counted over
its whole run) and Flagger (a canary fails when as many checks failed as its threshold says), with the accuracy of a
sliding window as what is measured. None corrects for how often it looks.

Must not be used for a verdict.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import special

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
Rule = Callable[[npt.ArrayLike, float], IntArray]
"""From losses, shape (lives, n), each 0 or 1, and the reference accuracy to the number of the outcome at which each life
is rolled back, 0 for never."""

EVERY: Final = 100
"""Outcomes between two looks."""


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
    wrong = np.cumsum(_two(losses), axis=1)
    ends = np.arange(EVERY, wrong.shape[1] + 1, EVERY)
    ends = ends[ends >= outcomes]
    if not ends.size:
        return np.zeros(len(wrong), dtype=np.int64)
    before = np.where(ends > outcomes, wrong[:, np.maximum(ends - outcomes - 1, 0)], 0)
    # Integers against one rounded limit: a window that is exactly on it has not failed.
    failed = wrong[:, ends - 1] - before > (1 - reference + margin) * outcomes + 1e-9
    return _first(np.cumsum(failed, axis=1) >= failures, ends)


def repeated_z(losses: npt.ArrayLike, reference: float, *, level: float) -> IntArray:
    """Return when a one-sided z-test of all outcomes so far, asked each 100, first falls to the level.

    Args:
        losses: Shape (lives, n), each 0 or 1.
        reference: Accuracy that is compared with, in (0, 1).
        level: Of each look, as if it were the only one.

    Returns:
        Shape (lives,): number of the deciding outcome, where the first is 1; 0 for never.
    """
    wrong = np.cumsum(_two(losses), axis=1)
    ends = np.arange(EVERY, wrong.shape[1] + 1, EVERY)
    if not ends.size:
        return np.zeros(len(wrong), dtype=np.int64)
    expected = (1 - reference) * ends
    z = (wrong[:, ends - 1] - expected) / np.sqrt(expected * reference)
    return _first(z >= -special.ndtri(level), ends)


def argo(losses: npt.ArrayLike, reference: float) -> IntArray:
    """Return when Argo Rollouts' rule with failureLimit 3 would roll back: windows of 500, margin 2 points."""
    return window(losses, reference, outcomes=500, margin=0.02, failures=4)


def flagger(losses: npt.ArrayLike, reference: float) -> IntArray:
    """Return when Flagger's rule with threshold 5 would roll back: windows of 500, margin 2 points."""
    return window(losses, reference, outcomes=500, margin=0.02, failures=5)


def one_strike(losses: npt.ArrayLike, reference: float) -> IntArray:
    """Return when the first window of 500 is 2 points below the reference."""
    return window(losses, reference, outcomes=500, margin=0.02, failures=1)


def argo_short(losses: npt.ArrayLike, reference: float) -> IntArray:
    """Return when Argo Rollouts' rule with failureLimit 3 would roll back: windows of 100, margin 2 points."""
    return window(losses, reference, outcomes=100, margin=0.02, failures=4)


def z_test(losses: npt.ArrayLike, reference: float) -> IntArray:
    """Return when a z-test at 1 %, asked each 100 outcomes, first fires."""
    return repeated_z(losses, reference, level=0.01)


RULES: Final[dict[str, Rule]] = {
    "window 100, margin 2 points, Argo failureLimit 3": argo_short,
    "window 500, margin 2 points, one strike": one_strike,
    "window 500, margin 2 points, Argo failureLimit 3": argo,
    "window 500, margin 2 points, Flagger threshold 5": flagger,
    "z-test at 1 %, each 100 outcomes": z_test,
}
"""The rules that are shown beside ours, by what people call them."""


def _two(losses: npt.ArrayLike) -> IntArray:
    streams = np.asarray(losses)
    if streams.ndim != 2:
        raise ValueError(f"losses: expected shape [-1, -1], got {list(streams.shape)}")
    if not ((streams == 0) | (streams == 1)).all():
        raise ValueError("losses: expected 0 or 1 only")
    return streams.astype(np.int64)


def _first(fires: BoolArray, ends: IntArray) -> IntArray:
    return np.where(fires.any(axis=1), ends[fires.argmax(axis=1)], 0)
