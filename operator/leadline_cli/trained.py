"""What a trained model of any framework is to us: what it takes, what it says, and how it becomes ONNX.

`frameworks` has one kind for each framework; `conversion` finishes the ONNX, `comparing` holds its answers against those
of the model itself. Must not import a framework.
"""

import abc
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from leadline_cli import errors

Task = Literal["classification", "regression"]

LABEL: Final = "label"
VALUE: Final = "value"


@dataclass(frozen=True, slots=True)
class Answers:
    """What a model says to each row."""

    labels: npt.NDArray[Any] | None
    """Shape (n,); None of a regression."""
    scores: npt.NDArray[np.float64] | None
    """Shape (n, classes), the higher the likelier; None where a classifier has none. Of a regression the values,
    shape (n, 1)."""


class Trained(abc.ABC):
    """A trained model."""

    title: str
    """What it is, for people, in less than a line."""
    task: Task
    classes: tuple[int | str, ...] = ()
    """In the order of the scores; empty of a regression."""
    width: int | None = None
    """Numbers in one row; None: not known, or not flat."""
    features: tuple[str, ...] = ()
    """Names of the columns that it was trained on, in its order; empty: not known."""
    takes_missing: bool = False
    """NaN in a row means to it that the number is missing."""
    scores_name: str = "probabilities"
    """What the scores of a classification are called: probabilities only where they are."""

    hint: str = ""
    """What to do besides, where the converted model answers otherwise."""

    @abc.abstractmethod
    def answers(self, rows: npt.NDArray[Any]) -> Answers:
        """Return what the model itself says to rows as the user has them."""

    @abc.abstractmethod
    def to_onnx(self, input_name: str, rows: npt.NDArray[Any]) -> Any:
        """Return the model as ONNX.

        Args:
            input_name: Name of its input; a converter that cannot take it may leave its own.
            rows: Examples, for their shape.

        Returns:
            A ModelProto whose outputs are label and scores, or only the label, or the value, in this order.

        Raises:
            Refused: It has no conversion.
        """


def classes_of(classes: Any) -> tuple[int | str, ...]:
    """Return a classifier's classes as metadata can name them.

    Raises:
        Refused: They are neither whole numbers nor strings.
    """
    found = list(classes.tolist() if hasattr(classes, "tolist") else classes)
    if all(type(value) is int for value in found) or all(type(value) is str for value in found):
        return tuple(found)
    raise errors.Refused(f"model: expected classes that are whole numbers or strings, got {classes!r}")


def two_sided(scores: Any) -> npt.NDArray[np.float64] | None:
    """Return scores with a column per class; of two classes some models score only the second."""
    if scores is None:
        return None
    array = np.asarray(scores, dtype=np.float64)
    if array.ndim == 1 or array.shape[1] == 1:
        array = np.column_stack([-array.reshape(-1), array.reshape(-1)])
    return array


def one_column(values: Any) -> npt.NDArray[np.float64]:
    """Return the values of a regression, shape (n, 1)."""
    return np.asarray(values, dtype=np.float64).reshape(-1, 1)


def by_largest(classes: tuple[int | str, ...], scores: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
    """Return the class with the largest score of each row."""
    return np.asarray(np.array(classes)[scores.argmax(axis=1)])


def first_line(error: Exception) -> str:
    """Return the first line of a library's error, shortened."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:300]
