"""Which output of a model is its prediction, and the answers that are read from it.

A class comes from a label or from the highest of named scores, a yes or no from one score, a value from one number. True
answers are brought to the same kind before they are compared, and where that cannot be done the test set is at fault and
the message says how. Next step: `measuring`. Must not run a model.
"""

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from leadline_runtime import errors
from leadline_runtime.engine.session import Model
from leadline_runtime.oip import datatypes, signature

Array = np.ndarray[Any, np.dtype[Any]]
Answer = int | str | float | None
"""A predicted class or value; None: no usable answer."""

REGRESSION: Final = "regression"
THRESHOLD: Final = 0.5
"""A score from here on is a yes."""
_WORDS: Final = {"true": 1, "false": 0}

_LABEL_KINDS: Final = {datatypes.Kind.INTEGER, datatypes.Kind.TEXT, datatypes.Kind.BOOLEAN}


class Prediction:
    """Which output holds the prediction, and how a class is read from it."""

    def __init__(self, place: int, output: signature.Tensor, classes: tuple[str | int, ...]) -> None:
        self.place = place
        self.output = output
        self._classes = classes if output.datatype.kind is datatypes.Kind.FLOAT else ()
        of_text = any(isinstance(name, str) for name in self._classes)
        self.is_text = output.datatype.kind is datatypes.Kind.TEXT or of_text

    def answers(self, outputs: Sequence[Array], rows: int) -> list[Answer]:
        """Return the class of each row; None where a number of any output is not finite: a request would get 500."""
        usable = _usable(outputs, rows)
        chosen = outputs[self.place].reshape(rows, -1)
        found: list[Answer]
        if self._classes:
            found = [self._classes[place] for place in chosen.argmax(axis=1).tolist()]
        elif self.is_text:
            found = [str(value) for value in chosen[:, 0].tolist()]
        else:
            found = [int(value) for value in chosen[:, 0].tolist()]
        return [answer if good else None for answer, good in zip(found, usable.tolist(), strict=True)]


class Score:
    """A score between 0 and 1 that says yes or no, and nothing that says which it is."""

    def __init__(self, place: int, output: signature.Tensor) -> None:
        self.place = place
        self.output = output
        self.is_text = False

    def answers(self, outputs: Sequence[Array], rows: int) -> list[Answer]:
        """Return 1 or 0 of each row.

        Raises:
            BlockedError: A score is not between 0 and 1: `InvalidTestSet`.
        """
        usable = _usable(outputs, rows)
        scores = outputs[self.place].reshape(rows, -1)[:, 0]
        odd = scores[usable & ((scores < 0) | (scores > 1))]
        if odd.size:
            raise errors.BlockedError(
                "InvalidTestSet",
                f'output "{self.output.name}" holds {float(odd[0]):g}; expected scores from 0 to 1 (true from '
                f"{THRESHOLD:g} on), or name an output with the class in spec.model.predictions",
            )
        found = (scores >= THRESHOLD).astype(int).tolist()
        return [answer if good else None for answer, good in zip(found, usable.tolist(), strict=True)]


class Value:
    """One number per row."""

    def __init__(self, place: int, output: signature.Tensor) -> None:
        self.place = place
        self.output = output

    def answers(self, outputs: Sequence[Array], rows: int) -> list[Answer]:
        """Return the number of each row."""
        usable = _usable(outputs, rows)
        found: list[float] = outputs[self.place].reshape(rows, -1)[:, 0].tolist()
        return [answer if good else None for answer, good in zip(found, usable.tolist(), strict=True)]


def _usable(outputs: Sequence[Array], rows: int) -> Array:
    usable = np.ones(rows, dtype=bool)
    for array in outputs:
        if array.dtype.kind == "f":
            usable &= np.isfinite(array).reshape(rows, -1).all(axis=1)
    return usable


def find(model: Model, wanted: str = "") -> Prediction | None:
    """Return the prediction of a model; None where it cannot be told.

    Args:
        model: The model.
        wanted: Output that was asked for; empty: the one its metadata names, else the only one that looks like a class.
    """
    outputs = model.signature.outputs
    name = wanted or model.prediction
    for place, output in enumerate(outputs):
        if output.name == name:
            return Prediction(place, output, model.classes) if _holds_classes(output, model) else None
    if name:
        return None
    labels = [place for place, output in enumerate(outputs) if _is_label(output)]
    if not labels:
        labels = [place for place, output in enumerate(outputs) if _holds_classes(output, model)]
    return Prediction(labels[0], outputs[labels[0]], model.classes) if len(labels) == 1 else None


def find_score(model: Model, wanted: str = "") -> Score | None:
    """Return the only score of a model that gives no class; None where it has none or is no classifier."""
    place = value_place(model, wanted) if model.task != REGRESSION else -1
    return Score(place, model.signature.outputs[place]) if place >= 0 else None


def find_scores(model: Model, wanted: str, positive: str) -> tuple[int, int] | None:
    """Return the output that holds scores of classes, and the column of one class in it; None where it cannot be told.

    Args:
        model: The model.
        wanted: Output that was asked for; empty: the only one of floating-point numbers that can hold them.
        positive: The class, as the model names or numbers it.
    """
    found = [
        (place, output)
        for place, output in enumerate(model.signature.outputs)
        if output.datatype.kind is datatypes.Kind.FLOAT
        and len(output.shape) in {1, 2}
        and (output.name == wanted if wanted else True)
    ]
    if len(found) != 1:
        return None
    place, output = found[0]
    width = output.shape[1] if len(output.shape) == 2 else 1
    if width == 1:
        return place, 0
    names = [str(name) for name in model.classes]
    if not names and positive.isascii() and positive.isdigit():
        column = int(positive)  # classes that nobody named are numbered
    elif positive in names:
        column = names.index(positive)
    else:
        return None
    return (place, column) if width == -1 or column < width else None


def find_value(model: Model, wanted: str = "") -> Value | None:
    """Return the number that a regression predicts; None where it cannot be told."""
    place = value_place(model, wanted)
    return Value(place, model.signature.outputs[place]) if place >= 0 else None


def value_place(model: Model, wanted: str) -> int:
    """Return the output of one floating-point number per row that was asked for or is the only one; -1: none is."""
    name = wanted or model.prediction
    found = [
        place
        for place, output in enumerate(model.signature.outputs)
        if output.datatype.kind is datatypes.Kind.FLOAT
        and (math.prod(output.row_shape) in {1, -1})
        and (not name or output.name == name)
    ]
    return found[0] if len(found) == 1 else -1


def truths(column: Array, name: str, prediction: Prediction | Score) -> list[int | str]:
    """Return the true answers as predictions are.

    Args:
        column: Shape (rows,): whole numbers, text, booleans or numbers.
        name: The column's name, for messages.
        prediction: What they are compared with.

    Raises:
        BlockedError: They cannot be compared: `InvalidTestSet`.
    """
    values: list[Any] = column.tolist()
    if prediction.is_text:
        if column.dtype.kind == "b":
            raise _incomparable(name, 0, values[0], prediction)
        for row, value in enumerate(values):
            if isinstance(value, float) and not value.is_integer():
                raise _incomparable(name, row, value, prediction)
        return [str(int(value)) if isinstance(value, float) else str(value) for value in values]
    whole = [_whole(value) for value in values]
    for row, (value, number) in enumerate(zip(values, whole, strict=True)):
        if number is None or (isinstance(prediction, Score) and number not in {0, 1}):
            raise _incomparable(name, row, value, prediction)
    return [number for number in whole if number is not None]


def numbers(column: Array, name: str) -> list[float]:
    """Return the true answers of a regression.

    Raises:
        BlockedError: One is no finite number: `InvalidTestSet`.
    """
    found = []
    for row, value in enumerate(column.tolist()):
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise errors.BlockedError(
                "InvalidTestSet", f'column "{name}", row {row + 1} holds {_brief(value)}; expected a finite number'
            )
        found.append(number)
    return found


def _is_label(output: signature.Tensor) -> bool:
    return output.datatype.kind in _LABEL_KINDS and all(length in {1, -1} for length in output.row_shape)


def _holds_classes(output: signature.Tensor, model: Model) -> bool:
    scores = bool(model.classes) and len(output.shape) == 2 and output.shape[1] in {-1, len(model.classes)}
    return _is_label(output) or (output.datatype.kind is datatypes.Kind.FLOAT and scores)


def _incomparable(name: str, row: int, value: object, prediction: Prediction | Score) -> errors.BlockedError:
    expected = "text" if prediction.is_text else "whole numbers"
    why = f'as output "{prediction.output.name}" has'
    if isinstance(prediction, Score):
        expected, why = "0 or 1", f'for output "{prediction.output.name}" is one score'
    return errors.BlockedError(
        "InvalidTestSet", f'column "{name}", row {row + 1} holds {_brief(value)}; expected {expected}, {why}'
    )


def _brief(value: object) -> str:
    return errors.shorten(repr(value), 80)


def _whole(value: Any) -> int | None:
    """Return a value as a whole number; None where it is none. Text may say `1.0`, as data frames write it, or `true`."""
    if isinstance(value, str):
        text = value.strip()
        try:
            return int(text)
        except ValueError:
            pass
        if text.lower() in _WORDS:
            return _WORDS[text.lower()]
        try:
            value = float(text)
        except ValueError:
            return None
    return int(value) if math.isfinite(value) and float(value).is_integer() else None
