"""Predictions of a model as the words that receipts, copies and the ledger hold.

Which output is the prediction is told by `testset.scoring`, so that test sets and outcomes mean the same by it; the one
number of a regression is a value. Words of classes come from a small table. Must not know requests.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from leadline_wire import predictions

from leadline_runtime.engine.session import Model
from leadline_runtime.oip import datatypes
from leadline_runtime.testset import scoring

Array = np.ndarray[Any, np.dtype[Any]]

_TABLE_MAX: Final = 4_096
"""Words kept; a model whose label is any text could have any number."""


class _Table(dict[Any, bytes]):
    """Words by class."""

    def __missing__(self, answer: int | str) -> bytes:
        try:
            word = predictions.of_class(answer).encode()
        except predictions.BadWordError:
            word = b""  # too long a name; such a prediction gets no receipt
        if len(self) >= _TABLE_MAX:
            self.clear()
        self[answer] = word
        return word


class Words:
    """Reads the words of one model's predictions from its outputs."""

    def __init__(self, model: Model, wanted: str = "", *, scores: str = "", positive: str = "") -> None:
        """Find what is read.

        Args:
            model: The model.
            wanted: Output that holds the prediction; empty: the one that its metadata names, or the only one that can be meant.
            scores: Output that holds scores of classes; empty: the only one that can be meant.
            positive: Class whose score goes with each prediction; empty: none does.
        """
        self.is_value = model.task == scoring.REGRESSION
        self.classes: frozenset[int | str] = frozenset()
        """All that can be predicted; empty: not known."""
        self.is_text = False
        self._has_rows = model.signature.has_rows
        self._place = -1
        self._is_plain = False
        """Rows of whole numbers: the usual label."""
        self._scores: list[bytes] = []
        self._table = _Table()
        self._score_place, self._score_column = -1, 0
        self.lacks_scores = False
        """The score of a class is asked for, and the model has none that can be told."""
        if self.is_value:
            self._place = scoring.value_place(model, wanted)
            return
        prediction = scoring.find(model, wanted)
        if prediction is None:
            return
        self._place = prediction.place
        self.is_text = prediction.is_text
        self.classes = frozenset(model.classes)
        if prediction.output.datatype.kind is datatypes.Kind.FLOAT:
            self._scores = [self._table[name] for name in model.classes]
        if positive:
            found = scoring.find_scores(model, scores, positive)
            self.lacks_scores = found is None
            if found is not None:
                self._score_place, self._score_column = found
        self._is_plain = self._has_rows and not self.is_text and not self._scores

    @property
    def is_known(self) -> bool:
        """Tell whether the model has a prediction."""
        return self._place >= 0

    def of_rows(self, outputs: Sequence[Array], rows: int) -> list[bytes]:
        """Return the word of each row, all numbers being finite; empty where there is none.

        Args:
            outputs: The first dimension of each is `rows`; of a model without rows any shape, and one row.
            rows: Rows of the answer.
        """
        words = self._of_answers(outputs, rows)
        if self._score_place < 0:
            return words
        column = np.asarray(outputs[self._score_place]).reshape(rows, -1)[:, self._score_column]
        digits = column.astype(">f8").tobytes().hex().encode()
        return [word and b"p" + digits[16 * row : 16 * row + 16] + word for row, word in enumerate(words)]

    def _of_answers(self, outputs: Sequence[Array], rows: int) -> list[bytes]:
        chosen = outputs[self._place]
        if self._is_plain and chosen.ndim == 1:
            table = self._table
            return [table[number] for number in chosen.tolist()]
        if not self._has_rows:
            chosen = np.asarray(chosen).reshape(1, -1)
            if chosen.shape[1] != max(1, len(self._scores)):
                return [b""] * rows
        if self._scores:
            scores = self._scores
            return [scores[place] for place in chosen.reshape(rows, -1).argmax(axis=1).tolist()]
        numbers: list[Any] = chosen.tolist() if chosen.ndim == 1 else chosen.reshape(rows, -1)[:, 0].tolist()
        if self.is_value:
            return [predictions.of_value(number).encode() for number in numbers]
        table = self._table
        if self.is_text:
            return [table[str(text)] for text in numbers]
        return [table[number] for number in numbers]
