"""Classes as a table has them, in texts: `1`, `1.0` and ` "1" ` are one and the same.

Must not judge predictions: it says which texts mean one class, and refuses columns that hold none.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from leadline_wire import predictions

from leadline_cli import errors

IntArray = npt.NDArray[np.int64]

CLASSES_MAX: Final = 10_000
_WHOLE: Final = re.compile(r"(-?\d{1,15})\.0*")
_NUMBER: Final = re.compile(r"-?\d+\.\d*([eE][-+]?\d+)?|-?\d+[eE][-+]?\d+")
_BOOLEANS: Final = {"true": "1", "false": "0"}
_VALUES_LEAST: Final = 20
"""So many different numbers with a fraction are values, not classes."""


@dataclass(frozen=True, slots=True)
class Classes:
    """The classes of a history."""

    names: tuple[str, ...]
    words: tuple[str, ...]
    """As the ledger has them; see `leadline_wire.predictions`."""
    notes: tuple[str, ...] = ()

    def place(self, name: str) -> int | None:
        """Return the place of a class, however it is written; None: there is no such class."""
        wanted = canonical(name)
        for each in (wanted, _BOOLEANS.get(wanted, wanted)):
            if each in self.names:
                return self.names.index(each)
        return None


def canonical(text: str) -> str:
    """Return a class as it is compared: no space or quotes around it, whole numbers without a fraction."""
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        text = text[1:-1].strip()
    whole = _WHOLE.fullmatch(text)
    if whole:
        return str(int(whole[1]))
    lower = text.lower()
    return lower if lower in _BOOLEANS else text


def classes_of(
    path: Path, columns: tuple[str, str], texts: Sequence[str], predicted: IntArray, true: IntArray
) -> tuple[Classes, IntArray, IntArray]:
    """Return the classes, and each row's prediction and true answer as places among them.

    Args:
        path: For messages.
        columns: Names of the columns of predictions and true answers.
        texts: What stands in cells of either.
        predicted: Shape (n,), places in `texts`.
        true: Shape (n,), places in `texts`.

    Raises:
        Refused: They are no classes, only one, or the columns have none in common.
    """
    known = [canonical(text) for text in texts]
    in_p, in_t = np.unique(predicted), np.unique(true)
    names_p, names_t = {known[place] for place in in_p}, {known[place] for place in in_t}
    booleans = (names_p <= set(_BOOLEANS)) != (names_t <= set(_BOOLEANS))
    if booleans and (names_p <= {"0", "1"} or names_t <= {"0", "1"}):
        known = [_BOOLEANS.get(name, name) for name in known]
        names_p, names_t = {known[place] for place in in_p}, {known[place] for place in in_t}
    _check(path, columns, names_p, names_t)
    names = list(dict.fromkeys(known))
    number = {name: place for place, name in enumerate(names)}
    places = np.array([number[name] for name in known], dtype=np.int64)
    notes = _notes(columns, [texts[place] for place in in_p], [texts[place] for place in in_t], known, texts)
    words = [_word(path, name) for name in names]
    return Classes(tuple(names), tuple(words), notes), places[predicted], places[true]


def _check(path: Path, columns: tuple[str, str], names_p: set[str], names_t: set[str]) -> None:
    prediction, truth = columns
    fractions = sorted(name for name in names_t if _NUMBER.fullmatch(name))
    if len(fractions) >= _VALUES_LEAST:
        raise errors.Refused(
            f"{path}: column {truth!r} holds numbers with a fraction, such as {fractions[0]}; expected classes. Values of a "
            "regression are replayed with --metric mae, rmse or r2"
        )
    if len(names_t) > CLASSES_MAX:
        raise errors.Refused(
            f"{path}: column {truth!r} has {len(names_t):,} different answers, expected at most {CLASSES_MAX:,} classes"
        )
    if len(names_t) == 1:
        (only,) = names_t
        raise errors.Refused(
            f"{path}: column {truth!r} is {only!r} in every row: with one class nothing is told of a model; expected two or "
            "more"
        )
    if not names_p & names_t:
        raise errors.Refused(
            f"{path}: no prediction is ever a true answer: column {prediction!r} has {_some(names_p)}, column {truth!r} has "
            f"{_some(names_t)}; expected the same classes"
        )


def _notes(
    columns: tuple[str, str], texts_p: Sequence[str], texts_t: Sequence[str], known: Sequence[str], texts: Sequence[str]
) -> tuple[str, ...]:
    """Tell of a class that the two columns write in two ways."""
    meaning = dict(zip(texts, known, strict=True))
    written = {meaning[text]: text for text in texts_t}
    exact = set(texts_t)
    for text in texts_p:
        other = written.get(meaning[text])
        if other is not None and text not in exact:
            said = f"column {columns[0]!r} has {text!r} where column {columns[1]!r} has {other!r}"
            return (f"{said}: read as the same class",)
    return ()


def _word(path: Path, name: str) -> str:
    whole = re.fullmatch(r"0|-?[1-9]\d{0,17}", name)
    try:
        return predictions.of_class(int(name) if whole else name)
    except predictions.BadWordError as error:
        raise errors.Refused(f"{path}: {error}: {name[:40]!r}...") from error


def _some(names: set[str]) -> str:
    shown = sorted(names)[:4]
    return ", ".join(repr(name[:30]) for name in shown) + (", ..." if len(names) > len(shown) else "")
