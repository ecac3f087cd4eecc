"""When the model last ran, and for how many rows: so that a span can tell waiting from computing.

Runs are one after the other, in the event loop or in the one compute thread, and answers are printed right after their
run. Only where tracing is on is the model's run wrapped.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from leadline_runtime.engine.session import Model

Array = np.ndarray[Any, np.dtype[Any]]


class Run(NamedTuple):
    """One run of the model; seconds of `time.perf_counter`."""

    began: float
    ended: float
    rows: int


class Timings:
    """The newest run."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.last: Run | None = None
        self._now = now

    def watched(self, model: Model) -> Model:
        """Return the model with its runs noted."""
        run = model.run

        def noted(arrays: Mapping[str, Array]) -> list[Array]:
            began = self._now()
            outputs = run(arrays)
            first = next(iter(arrays.values()))
            self.last = Run(began, self._now(), first.shape[0] if first.ndim else 1)
            return outputs

        return dataclasses.replace(model, run=noted)
