"""Answering a test set beside the requests, at low priority.

Rows go through the same model as requests, a few at a time, when nothing waits; under load this takes a small share of
the time, never more. The rows of a run are fixed per model, so that the same model gives the same answers wherever and
whenever it is asked; further passes cut the rows elsewhere, so that an answer that hangs on its neighbours shows. Next
step: the report goes to the supervisor, from there to the operator. Must not read Parquet.
"""

import asyncio
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from leadline_wire import exchange

from leadline_runtime import errors, logs, messages
from leadline_runtime.engine.batching import Batcher
from leadline_runtime.engine.session import Model
from leadline_runtime.oip import by_row, datatypes
from leadline_runtime.testset import measuring, orders, scoring

Array = np.ndarray[Any, np.dtype[Any]]

_CHUNK_ROWS_MAX: Final = 16
"""Rows of one run, at most."""
_CHUNK_SECONDS: Final = 0.0005
"""So many rows are run at once as take about this long: a request that comes meanwhile waits for them. At least one."""
_OVERHEAD_SECONDS: Final = 0.0001
"""What we do ourselves for a run, about."""
_PACE_SECONDS: Final = 10.0
"""How long a run may take under load where nobody says."""
_PAUSE_LEAST: Final = 4.0
"""Pause after a run, as a multiple of its time, while requests come: a share of a fifth at most..."""
_PAUSE_MOST: Final = 99.0
"""...and of a hundredth where there is time for that: fewer than one request in a hundred meets such a run."""

_Found = scoring.Prediction | scoring.Score | scoring.Value


class Runner:
    """Runs one test set at a time; a new one ends the former."""

    def __init__(self, batcher: Batcher, report: Callable[[exchange.TestSetReport], None]) -> None:
        self._batcher = batcher
        self._report = report
        self._task: asyncio.Task[None] | None = None

    def start(self, order: messages.RunTestSet) -> None:
        """Begin a run."""
        if self._task is not None:
            self._task.cancel()
        self._task = asyncio.get_running_loop().create_task(self._run(order))

    async def _run(self, order: messages.RunTestSet) -> None:
        try:
            self._report(await self._answered(order))
        except errors.TroubleError as error:
            self._report(
                exchange.TestSetReport(run=order.run, state="Failed", digest=order.digest, trouble=error.trouble)
            )
        except Exception as error:  # noqa: BLE001  # a defect here must not end the worker, which serves
            logs.error("test set run failed", exc_info=True, test_set=order.uri)
            trouble = exchange.Trouble("InvalidTestSet", f"{order.uri}: {errors.shorten(repr(error))}", "surroundings")
            self._report(exchange.TestSetReport(run=order.run, state="Failed", digest=order.digest, trouble=trouble))

    async def _answered(self, order: messages.RunTestSet) -> exchange.TestSetReport:
        model = self._batcher.model
        prediction = _prediction(model, order)
        truth, inputs = await asyncio.to_thread(_loaded, Path(order.folder), model)
        if isinstance(prediction, scoring.Value):
            values = scoring.numbers(truth, order.truth)
        else:
            classes = scoring.truths(truth, order.truth, prediction)
        rows = len(truth)
        self._report(exchange.TestSetReport(run=order.run, state="Running", digest=order.digest, rows=rows))
        pace = (order.pace_seconds or _PACE_SECONDS) / order.passes
        first = await self._pass(inputs, rows, prediction, number=0, pace_seconds=pace)
        _refuse_missing(first, inputs, order)
        unsteady = [False] * rows
        for number in range(1, order.passes):
            again = await self._pass(inputs, rows, prediction, number=number, pace_seconds=pace)
            for row, (one, other) in enumerate(zip(first, again, strict=True)):
                unsteady[row] |= not measuring.is_same(one, other)
        if isinstance(prediction, scoring.Value):
            measured = measuring.of_values(first, values)
        else:
            measured = measuring.of_classes(first, classes)
        changed = sum(unsteady)
        if changed:
            logs.warning("answers differ between passes over the test set", rows=rows, differing=changed)
        return msgspec.structs.replace(
            measured,
            run=order.run,
            digest=order.digest,
            passes=order.passes,
            changed=changed,
            unsteady=measuring.bitmap(unsteady) if changed else b"",
        )

    async def _pass(
        self, inputs: Mapping[str, Array], rows: int, prediction: _Found, *, number: int, pace_seconds: float
    ) -> list[scoring.Answer]:
        batcher = self._batcher
        model = batcher.model
        chunk_rows = _chunk_rows(model, batcher.max_rows)
        # By what the warm-up measured, not by what runs take now: that has waiting for an idle moment in it.
        run_seconds = _run_seconds(model, chunk_rows, batcher.max_rows) + _OVERHEAD_SECONDS
        pause_seconds = run_seconds * _pause(rows / chunk_rows * run_seconds, pace_seconds)
        answers: list[scoring.Answer] = []
        accepted = batcher.accepted
        for start, end in _cuts(rows, chunk_rows, shift=number * chunk_rows // 2 % chunk_rows):
            answers += await self._chunk(inputs, start, end, prediction)
            busy, accepted = batcher.accepted != accepted, batcher.accepted
            await asyncio.sleep(pause_seconds if busy else 0)
        return answers

    async def _chunk(
        self, inputs: Mapping[str, Array], start: int, end: int, prediction: _Found
    ) -> Sequence[scoring.Answer]:
        """Return the answers to some rows; where a run fails, they are asked one by one, so that one spoils no other."""
        signature_ = self._batcher.model.signature
        arrays = {}
        for tensor in signature_.inputs:
            part = inputs[tensor.name][start:end]
            if tensor.datatype.kind is datatypes.Kind.TEXT:
                part = part.astype(object)
            arrays[tensor.name] = np.ascontiguousarray(part)
        if not all(tensor.shape for tensor in signature_.inputs):
            arrays = {name: array[0] for name, array in arrays.items()}
        try:
            outputs = await self._batcher.run_aside(arrays)
            if signature_.has_rows:
                by_row.check(outputs, end - start)
        except Exception as error:  # noqa: BLE001  # a failed run is the model's answer to these rows
            if end - start == 1:
                logs.warning("model failed on the test set", row=start + 1, error=errors.shorten(str(error), 300))
                return [None]
            one_by_one = [await self._chunk(inputs, row, row + 1, prediction) for row in range(start, end)]
            return [answer for answers in one_by_one for answer in answers]
        return prediction.answers(outputs, end - start)


def prediction_name(model: Model) -> str:
    """Return the output taken as the prediction; empty where it cannot be told."""
    prediction = scoring.find(model)
    return prediction.output.name if prediction is not None else ""


def _cuts(rows: int, chunk_rows: int, *, shift: int) -> Iterator[tuple[int, int]]:
    """Yield first and last row + 1 of each run; `shift` rows are in the first one, 0: as many as in the others."""
    start = 0
    end = shift or chunk_rows
    while start < rows:
        yield start, min(end, rows)
        start, end = end, end + chunk_rows


def _chunk_rows(model: Model, max_rows: int) -> int:
    """Return how many rows are run at once: a power of two, so that pods of equal speed choose the same."""
    rows = 1
    if model.signature.has_rows:
        while 2 * rows <= min(_CHUNK_ROWS_MAX, max_rows) and _run_seconds(model, 2 * rows, max_rows) <= _CHUNK_SECONDS:
            rows *= 2
    return rows


def _run_seconds(model: Model, rows: int, max_rows: int) -> float:
    """Return about how long a run of so many rows takes, from what the warm-up measured."""
    if rows == 1 or not math.isfinite(model.full_seconds):
        return model.row_seconds * rows
    return model.row_seconds + (model.full_seconds - model.row_seconds) * (rows - 1) / max(1, max_rows - 1)


def _pause(work_seconds: float, pace_seconds: float) -> float:
    """Return the pause after a run as a multiple of its time, so that the work is done in about the time that it has."""
    return min(_PAUSE_MOST, max(_PAUSE_LEAST, pace_seconds / max(work_seconds, 1e-6) - 1))


def _loaded(folder: Path, model: Model) -> tuple[Array, dict[str, Array]]:
    """Return truth and inputs as `columns` wrote them; inputs stay in their files, so that they fill no memory."""
    inputs: dict[str, Array] = {}
    for place, tensor in enumerate(model.signature.inputs):
        if tensor.shape and tensor.shape[0] not in {1, -1}:
            raise errors.BlockedError(
                "InvalidTestSet",
                f'input "{tensor.name}" has shape {list(tensor.shape)}; a test set needs a first dimension of 1 or any',
            )
        inputs[tensor.name] = np.load(folder / orders.input_file(place), mmap_mode="r", allow_pickle=False)
    return np.load(folder / orders.TRUTH_FILE, allow_pickle=False), inputs


def _prediction(model: Model, order: messages.RunTestSet) -> _Found:
    found: _Found | None
    if order.task == scoring.REGRESSION:
        found = scoring.find_value(model, order.output)
    else:
        found = scoring.find(model, order.output) or scoring.find_score(model, order.output)
    if found is None:
        raise errors.BlockedError("InvalidTestSet", _no_prediction(model, order))
    return found


def _no_prediction(model: Model, order: messages.RunTestSet) -> str:
    names = model.signature.output_names()
    if order.task == scoring.REGRESSION:
        what = "one floating-point number per row"
    else:
        what = (
            "a whole number or a string per row, one score per row, or scores with the classes in the model's metadata "
            "(leadline.classes)"
        )
    if order.output or model.prediction:
        name = order.output or model.prediction
        holds = "no value" if order.task == scoring.REGRESSION else "no class"
        return f'spec.model.predictions: output "{name}" holds {holds}; expected one of {names} with {what}'
    return f"cannot tell which of the model's outputs {names} is the prediction; name it in spec.model.predictions"


def _refuse_missing(answers: Sequence[scoring.Answer], inputs: Mapping[str, Array], order: messages.RunTestSet) -> None:
    """Refuse a test set with missing values that the model has no answer to: that is no fault of the model's."""
    for row, answer in enumerate(answers):
        if answer is not None:
            continue
        for name, array in inputs.items():
            if array.dtype.kind == "f" and np.isnan(array[row]).any():
                raise errors.BlockedError(
                    "InvalidTestSet",
                    f'{order.uri}: row {row + 1} has missing values (NaN) for input "{name}", and the model has no finite '
                    "answer to them; expected numbers, or a model that takes missing values",
                )
