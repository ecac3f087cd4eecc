"""What a test set's answers come to: right and wrong, errors, per class, and what differs between passes.

Everything is bounded, for it travels in each report. The digest is of the answers alone, so that the same answers can be
told from new ones. Must not run a model.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np
import orjson
from leadline_wire import exchange

from leadline_runtime.testset.scoring import Answer

SAME_RELATIVE: Final = 1e-4
"""Values that differ by no more than this are the same answer: sums in another order differ by less than that."""
SAME_ABSOLUTE: Final = 1e-6
_DIGITS: Final = 5
"""Significant ones that the digest of values goes by."""


def of_classes(answers: Sequence[Answer], right: Sequence[int | str]) -> exchange.TestSetReport:
    """Return what the answers of the first pass come to."""
    cells, rest = confusion(answers, right)
    return exchange.TestSetReport(
        run="",
        state="Done",
        rows=len(right),
        right=bitmap([answer == truth for answer, truth in zip(answers, right, strict=True)]),
        invalid=sum(answer is None for answer in answers),
        answers=digest(answers),
        task="classification",
        confusion=cells,
        confusion_rest=rest,
    )


def of_values(answers: Sequence[Answer], right: Sequence[float]) -> exchange.TestSetReport:
    """Return the same for a regression; rows without a usable answer are in no sum."""
    errors = [float(answer) - truth for answer, truth in zip(answers, right, strict=True) if answer is not None]
    return exchange.TestSetReport(
        run="",
        state="Done",
        rows=len(right),
        invalid=sum(answer is None for answer in answers),
        answers=digest([None if answer is None else f"{answer:.{_DIGITS}g}" for answer in answers]),
        task="regression",
        absolute_error=_bounded(math.fsum(map(abs, errors))),
        squared_error=_bounded(math.fsum(error * error for error in errors)),
    )


def is_same(one: Answer, other: Answer) -> bool:
    """Tell whether two passes gave the same answer to a row; values may differ by their rounding."""
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=SAME_RELATIVE, abs_tol=SAME_ABSOLUTE)
    return one == other


def confusion(answers: Sequence[Answer], right: Sequence[int | str]) -> tuple[list[exchange.ClassCount], int]:
    """Return the most frequent pairs of true and predicted class, and the rows of all others."""
    pairs = Counter(zip(map(_name, right), map(_name, answers), strict=True))
    ordered = sorted(pairs.items(), key=lambda pair: (-pair[1], pair[0][0] or "", pair[0][1] or ""))
    shown = ordered[: exchange.CELLS_MAX]
    cells = [exchange.ClassCount(truth or "", predicted, rows) for (truth, predicted), rows in shown]
    return cells, sum(rows for _, rows in ordered[exchange.CELLS_MAX :])


def digest(answers: Sequence[Answer]) -> str:
    """Return `sha256:<hex>` of the answers: equal digests mean equal answers."""
    return "sha256:" + hashlib.sha256(orjson.dumps(list(answers))).hexdigest()


def bitmap(rows: Sequence[bool]) -> bytes:
    """Return a truth per row as bits, row 0 in the highest bit of byte 0."""
    return np.packbits(np.array(rows, dtype=bool)).tobytes()


def _name(answer: Answer) -> str | None:
    return None if answer is None else str(answer)[: exchange.CLASS_CHARACTERS_MAX]


def _bounded(value: float) -> float:
    """Return a sum as JSON can carry it."""
    return min(value, float(np.finfo(np.float64).max))
