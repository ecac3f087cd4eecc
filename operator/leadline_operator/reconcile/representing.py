"""Whether answers come for some predicted classes far more often than for others: then they are no random sample.

Where only complaints are told, or only what is doubtful is checked, right answers are missing, and a good model looks like
a bad one. Nothing in outcomes tells; but pods know what they predicted, too. This is a warning to people and never evidence.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from leadline_wire import predictions
from leadline_wire.exchange import OutcomesReport

LEAST: Final = 100
"""Predictions of a class, and of all others, in the sample, and outcomes in all: below it nothing is said."""
_DEVIATIONS: Final = 5.0
_FACTOR: Final = 2.0


def bias(reports: Iterable[OutcomesReport]) -> str:
    """Return what is odd about the outcomes that come; empty: nothing is.

    Said is how many times as often answers come where a class was predicted as where it was not, once that is by five standard
    errors at least twice (or half) as often, in powers of two, so that the words change seldom. With answers that come
    at random it is said with a probability below one in a million, however the classes are distributed.

    Args:
        reports: Of the pods that serve; each counts since its start.
    """
    predicted, reported = Counter[str](), Counter[str]()
    for report in reports:
        predicted.update(report.predicted)
        reported.update(report.reported)
    shifts = {word: _shift(word, predicted, reported) for word in sorted(predicted.keys() | reported.keys())}
    # Of two classes each mirrors the other: said is where answers come more often.
    found = max(shifts, key=lambda word: (round(abs(shifts[word]), 9), shifts[word]), default="")
    if not found or abs(shifts[found]) < math.log(_FACTOR):
        return ""
    times = 2 ** math.floor(abs(shifts[found]) / math.log(2.0))
    often = "often" if shifts[found] > 0 else "rarely"
    return f"Answers come more than {times} times as {often} where {_class(found)} was predicted as elsewhere"


def _shift(word: str, predicted: Mapping[str, int], reported: Mapping[str, int]) -> float:
    """Return the logarithm of how much more often answers come where a class was predicted, as far as it is sure; else 0."""
    of_class, told = predicted.get(word, 0), reported.get(word, 0)
    others, told_others = sum(predicted.values()) - of_class, sum(reported.values()) - told
    if min(of_class, others, told + told_others) < LEAST:
        return 0.0
    counts = [each + 0.5 for each in (told, of_class, told_others, others)]
    ratio = math.log(counts[0] / counts[1]) - math.log(counts[2] / counts[3])
    doubt = _DEVIATIONS * math.sqrt(sum(1.0 / each for each in counts))
    return math.copysign(max(0.0, abs(ratio) - doubt), ratio)


def _class(word: str) -> str:
    try:
        answer = predictions.read(word)
    except predictions.BadWordError:
        return word
    return repr(answer) if isinstance(answer, str) else str(answer)
