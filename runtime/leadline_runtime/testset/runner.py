"""Answering a test set beside the requests, at low priority.

Rows go through the same model as requests, a few at a time, when nothing waits; under load this takes a small share of
the time, never more. The rows of a run are fixed per model, so that the same model gives the same answers wherever and
whenever it is asked. Next step: the report goes to the supervisor, from there to the operator. Must not read Parquet.
"""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from leadline_wire import exchange

from leadline_runtime import errors, logs, messages
from leadline_runtime.engine.batching import Batcher
from leadline_runtime.engine.session import Model
from leadline_runtime.oip import datatypes, signature
from leadline_runtime.testset import orders, scoring

Array = np.ndarray[Any, np.dtype[Any]]

_CHUNK_ROWS: Final = 16
"""Rows of one run."""
_SLOW_SECONDS: Final = 0.002
"""A model that takes longer for one row answers a test set row by row, so that a request waits for one row at most."""
_PAUSE_PER_RUN: Final = 4.0
"""Pause after a run, as a multiple of its time, while requests come: a share of a fifth at most."""


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
        prediction = scoring.find(model, order.output)
        if prediction is None:
            raise errors.BlockedError("InvalidTestSet", _no_prediction(model, order))
        truth, inputs = await asyncio.to_thread(_loaded, Path(order.folder), model)
        right = scoring.truths(truth, order.truth, prediction)
        self._report(exchange.TestSetReport(run=order.run, state="Running", digest=order.digest, rows=len(right)))
        first = await self._pass(inputs, len(right), prediction)
        changed: set[int] = set()
        for _ in range(order.passes - 1):
            again = await self._pass(inputs, len(right), prediction)
            changed |= {row for row, (one, other) in enumerate(zip(first, again, strict=True)) if one != other}
        return exchange.TestSetReport(
            run=order.run,
            state="Done",
            digest=order.digest,
            rows=len(right),
            right=scoring.bitmap(first, right),
            changed=len(changed),
            invalid=sum(answer is None for answer in first),
            answers=scoring.digest(first),
        )

    async def _pass(
        self,
        inputs: Mapping[str, Array],
        rows: int,
        prediction: scoring.Prediction,
    ) -> list[scoring.Answer]:
        batcher = self._batcher
        model = batcher.model
        chunk_rows = _chunk_rows(model.signature, model.row_seconds, batcher.max_rows)
        answers: list[scoring.Answer] = []
        for start in range(0, rows, chunk_rows):
            chunk = {name: array[start : start + chunk_rows] for name, array in inputs.items()}
            count = min(chunk_rows, rows - start)
            if not all(tensor.shape for tensor in model.signature.inputs):
                chunk = {name: array[0] for name, array in chunk.items()}
            accepted = batcher.accepted
            began = batcher.loop.time()
            try:
                outputs = await batcher.run_aside(chunk)
                answers += prediction.answers(outputs, count)
            except Exception as error:  # noqa: BLE001  # a failed run is the model's answer to these rows
                logs.warning("model failed on the test set", first_row=start, error=errors.shorten(str(error), 300))
                answers += [None] * count
            busy = batcher.accepted != accepted
            await asyncio.sleep(_PAUSE_PER_RUN * (batcher.loop.time() - began) if busy else 0)
        return answers


def prediction_name(model: Model) -> str:
    """Return the output taken as the prediction; empty where it cannot be told."""
    prediction = scoring.find(model)
    return prediction.output.name if prediction is not None else ""


def _chunk_rows(model: signature.Signature, row_seconds: float, max_rows: int) -> int:
    if not model.has_rows or row_seconds > _SLOW_SECONDS:
        return 1
    return min(_CHUNK_ROWS, max_rows)


def _loaded(folder: Path, model: Model) -> tuple[Array, dict[str, Array]]:
    """Return truth and inputs as `columns` wrote them."""
    inputs: dict[str, Array] = {}
    for place, tensor in enumerate(model.signature.inputs):
        if tensor.shape and tensor.shape[0] not in {1, -1}:
            raise errors.BlockedError(
                "InvalidTestSet",
                f'input "{tensor.name}" has shape {list(tensor.shape)}; a test set needs a first dimension of 1 or any',
            )
        array = np.load(folder / orders.input_file(place), allow_pickle=False)
        if tensor.datatype.kind is datatypes.Kind.TEXT:
            array = array.astype(object)
        inputs[tensor.name] = array
    return np.load(folder / orders.TRUTH_FILE, allow_pickle=False), inputs


def _no_prediction(model: Model, order: messages.RunTestSet) -> str:
    names = model.signature.output_names()
    if order.output or model.prediction:
        name = order.output or model.prediction
        return (
            f'spec.model.predictions: output "{name}" holds no class; expected one of {names} with a whole number or a '
            "string per row, or scores with the classes in the model's metadata (leadline.classes)"
        )
    return f"cannot tell which of the model's outputs {names} is the prediction; name it in spec.model.predictions"
