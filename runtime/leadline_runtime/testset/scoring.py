"""Right or wrong, row by row: predictions against true answers.

Both are brought to the same kind (whole numbers or text) before they are compared, and where that cannot be done the
test set is at fault and the message says how. Must not run a model.
"""

import hashlib
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import orjson

from leadline_runtime import errors
from leadline_runtime.engine.session import Model
from leadline_runtime.oip import datatypes, signature

Array = np.ndarray[Any, np.dtype[Any]]
Answer = int | str | None
"""A predicted class; None: no usable answer."""

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
        usable = np.ones(rows, dtype=bool)
        for array in outputs:
            if array.dtype.kind == "f":
                usable &= np.isfinite(array).reshape(rows, -1).all(axis=1)
        chosen = outputs[self.place].reshape(rows, -1)
        found: list[Answer]
        if self._classes:
            found = [self._classes[place] for place in chosen.argmax(axis=1).tolist()]
        elif self.is_text:
            found = [str(value) for value in chosen[:, 0].tolist()]
        else:
            found = [int(value) for value in chosen[:, 0].tolist()]
        return [answer if good else None for answer, good in zip(found, usable.tolist(), strict=True)]


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


def truths(column: Array, name: str, prediction: Prediction) -> list[int | str]:
    """Return the true answers as predictions are.

    Args:
        column: Shape (rows,): whole numbers, text, booleans or numbers.
        name: The column's name, for messages.
        prediction: What they are compared with.

    Raises:
        BlockedError: They cannot be compared: `InvalidTestSet`.
    """
    values: list[Any] = column.tolist()
    kind = column.dtype.kind
    if kind == "f":
        odd = next((value for value in values if not float(value).is_integer()), None)
        if odd is not None:
            raise _incomparable(name, odd, prediction)
        values = [int(value) for value in values]
    elif kind == "b" and prediction.is_text:
        raise _incomparable(name, values[0], prediction)
    if prediction.is_text:
        return [str(value) for value in values]
    try:
        return [int(value) for value in values]
    except ValueError as error:
        odd = next(value for value in values if not _is_whole(value))
        raise _incomparable(name, odd, prediction) from error


def digest(answers: Sequence[Answer]) -> str:
    """Return `sha256:<hex>` of the answers: equal digests mean equal answers."""
    return "sha256:" + hashlib.sha256(orjson.dumps(list(answers))).hexdigest()


def bitmap(answers: Sequence[Answer], right: Sequence[int | str]) -> bytes:
    """Return right and wrong as bits, row 0 in the highest bit of byte 0."""
    equal = [answer == truth for answer, truth in zip(answers, right, strict=True)]
    return np.packbits(np.array(equal, dtype=bool)).tobytes()


def _is_label(output: signature.Tensor) -> bool:
    return output.datatype.kind in _LABEL_KINDS and all(length in {1, -1} for length in output.row_shape)


def _holds_classes(output: signature.Tensor, model: Model) -> bool:
    scores = bool(model.classes) and len(output.shape) == 2 and output.shape[1] in {-1, len(model.classes)}
    return _is_label(output) or (output.datatype.kind is datatypes.Kind.FLOAT and scores)


def _incomparable(name: str, value: object, prediction: Prediction) -> errors.BlockedError:
    expected = "text" if prediction.is_text else "whole numbers"
    return errors.BlockedError(
        "InvalidTestSet",
        f'column "{name}" holds {value!r}; expected {expected}, as output "{prediction.output.name}" has',
    )


def _is_whole(value: str) -> bool:
    try:
        int(value)
    except ValueError:
        return False
    return True
