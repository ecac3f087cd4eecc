"""A model in this process: the server's engine behind one object.

    from leadline_runtime import Model

    with Model("model.onnx") as model:
        answers = model.predict(rows)          # a dict of arrays by output

Rows are run as the server runs them, at most `max_rows` at a time, so that the answers are the server's to the last bit.
Must not keep anything of what it is given.
"""

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np

from leadline_runtime import cgroup, errors, settings
from leadline_runtime.engine import session
from leadline_runtime.fetch import stores
from leadline_runtime.library import arrays, failures, fetching
from leadline_runtime.oip import signature

Array = np.ndarray[Any, np.dtype[Any]]

MAX_ROWS: Final = 64
"""Rows of one run; the server's own default."""
_CLASSES_SHOWN: Final = 6


class Model:
    """A loaded model. Any number of threads may call `predict` at the same time."""

    def __init__(
        self,
        place: str | os.PathLike[str],
        *,
        digest: str = "",
        threads: int | None = None,
        max_rows: int = MAX_ROWS,
    ) -> None:
        """Load a model and run it once, as the server does before it takes requests.

        Args:
            place: Path of an ONNX file or of a folder with one, or a URI of one of the runtime's stores.
            digest: `sha256:<hex>` that the file must have; empty: any.
            threads: Threads of one run; None: as many as this process has CPUs, by its cgroup's quota.
            max_rows: Most rows in one run; more are run piece by piece.

        Raises:
            ModelError: It cannot be had or loaded; the message says why.
            ValueError: An argument is out of its range.
        """
        if digest and not settings.is_digest(digest):
            raise ValueError(f"digest: expected sha256: and 64 hexadecimal digits, got {digest!r}")
        for name, number in (("threads", threads), ("max_rows", max_rows)):
            if number is not None and number < 1:
                raise ValueError(f"{name}: expected a whole number from 1, got {number}")
        text = os.fspath(place)
        self._shown = stores.shown(text) if stores.scheme_of(text) else text
        self._max_rows = max_rows
        try:
            with tempfile.TemporaryDirectory(prefix="leadline-") as folder:
                fetched = fetching.fetch(place, Path(folder), digest=digest)
                loaded = session.load(fetched.path, threads=threads or cgroup.cpus(), max_rows=max_rows)
        except errors.TroubleError as error:
            raise failures.of_trouble(error) from error
        self._model: session.Model | None = loaded
        self.digest: str = fetched.digest
        """`sha256:<hex>` of the file or folder."""
        self.signature: signature.Signature = loaded.signature
        """Names, datatypes and shapes of inputs and outputs; -1 is any length."""
        self.task: str = loaded.task
        """classification or regression, by the model's metadata; empty: it does not say."""
        self.prediction: str = loaded.prediction
        """Output that the metadata names as the prediction; empty: none."""
        self.classes: tuple[str | int, ...] = loaded.classes
        """Classes in the order of the scores, by the metadata; empty: not named."""

    def predict(self, inputs: Any, *, outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """Answer rows.

        Args:
            inputs: Arrays or lists by the inputs' names; of a model with one input also that one alone.
            outputs: Names of the outputs that are wanted; None: all.

        Returns:
            An array for each output, by its name.

        Raises:
            InputError: The inputs are not what the model takes, in the words of the server's 400.
            RunError: The model itself failed, or it is closed.
        """
        model = self._model
        if model is None:
            raise failures.RunError(f"{self._shown}: the model is closed")
        places = arrays.outputs_of(outputs, self.signature)
        checked = arrays.inputs_of(inputs, self.signature)
        try:
            found = self._run(model, checked)
        except Exception as error:  # onnxruntime's errors have no common root
            raise failures.RunError(f"the model failed: {errors.shorten(str(error), 300)}") from error
        return {self.signature.outputs[place].name: found[place] for place in places}

    def close(self) -> None:
        """Let the model's memory go; calls that are on their way still end well."""
        self._model = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        """Return what the model is, takes and gives, for people."""
        lines = [f"{self._shown} ({self.digest[:19]}…)"]
        for title, tensors in (("takes", self.signature.inputs), ("gives", self.signature.outputs)):
            for tensor in tensors:
                lines.append(f"  {title:<6} {tensor.name:<16} {tensor.datatype.name:<6} {list(tensor.shape)}")
                title = ""  # noqa: PLW2901 - said once
        if self.task:
            more = f", and {len(self.classes) - _CLASSES_SHOWN} more" if len(self.classes) > _CLASSES_SHOWN else ""
            classes = ", ".join(map(str, self.classes[:_CLASSES_SHOWN]))
            known = f" of {classes}{more}" if classes else ""
            lines.append(f"  {'task':<6} {self.task}{known}; the prediction is {self.prediction or 'not named'}")
        return "\n".join(lines)

    def _run(self, model: session.Model, whole: Mapping[str, Array]) -> list[Array]:
        if not self.signature.has_rows:
            return model.run(whole)
        rows = arrays.rows_of(whole)
        if rows <= self._max_rows:
            return model.run(whole)
        starts = range(0, rows, self._max_rows)
        parts = [model.run({name: array[at : at + self._max_rows] for name, array in whole.items()}) for at in starts]
        return [np.concatenate(column) for column in zip(*parts, strict=True)]
