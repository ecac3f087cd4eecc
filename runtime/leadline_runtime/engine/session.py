"""A model in onnxruntime: loading, what it takes and gives, its metadata, warm-up.

The only module that talks to onnxruntime. What comes out is a `Model`; `batching` runs it. Loading happens once, before
the pod is ready, never inside a request.
"""

import json
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime
from leadline_wire import exchange

from leadline_runtime import errors, logs
from leadline_runtime.engine import bf16, onnx_file, providers
from leadline_runtime.oip import datatypes, signature

Array = np.ndarray[Any, np.dtype[Any]]

_ONNXRUNTIME_SEVERITY_ERROR: Final = 3
_WARM_UP_RUNS: Final = 5
_ALIKE: Final = 0.05
"""Of the largest number: what answers to the same row may differ by and be rounded only."""
_ALIKE_LEAST: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Model:
    """A loaded model."""

    run: Callable[[Mapping[str, Array]], list[Array]]
    """Returns the outputs in the model's order; raises whatever onnxruntime raises, which has no common root."""
    signature: signature.Signature
    task: str
    prediction: str
    """Output that the model's metadata names as the prediction; empty: none named."""
    classes: tuple[str | int, ...]
    """Classes in the order of the scores, from the metadata; empty: not named."""
    row_seconds: float
    """Best run with one row in warm-up; 0 where the model could not be run on made-up input."""
    full_seconds: float
    """Best run with as many rows as a batch may have."""
    providers: tuple[str, ...] = ("CPUExecutionProvider",)
    """onnxruntime's execution providers that run it, in the order of preference."""

    def info(self, prediction: str) -> exchange.ModelInfo:
        """Return what the operator is told; `prediction` is the output taken as the prediction, empty if none is."""
        return exchange.ModelInfo(
            inputs=[tensor.info() for tensor in self.signature.inputs],
            outputs=[tensor.info() for tensor in self.signature.outputs],
            task=self.task,
            prediction=prediction,
            classes=len(self.classes),
            providers=list(self.providers),
        )


def load(path: Path, *, threads: int, max_rows: int) -> Model:
    """Load and warm up a model.

    Args:
        path: The ONNX file, digest already checked.
        threads: Threads of one run.
        max_rows: Rows of the largest run in warm-up.

    Raises:
        RejectedError: It is no model that can be served; the message says why.
        BlockedError: An execution provider that is asked for is not there.
    """
    wanted = providers.of(os.environ)
    providers.check_available(wanted, onnxruntime.get_available_providers(), onnxruntime.__version__)
    onnxruntime.disable_telemetry_events()  # what is served here is nobody else's business
    data = onnx_file.without_zipmap(path.read_bytes())
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ONNXRUNTIME_SEVERITY_ERROR
    # Where external data is looked for, and nowhere else: onnxruntime refuses what leads out of it, links included.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(path.parent))
    try:
        asked = [(provider.name, dict(provider.options)) for provider in wanted]
        session = onnxruntime.InferenceSession(data, options, providers=asked)
    except Exception as error:  # onnxruntime's errors have no common root
        raise errors.RejectedError("InvalidModel", _explained(error, data)) from error
    providers.check_started(wanted, session.get_providers())
    inputs = tuple(_tensor(value, "input") for value in session.get_inputs())
    outputs = tuple(_tensor(value, "output") for value in session.get_outputs())
    if not inputs or not outputs:
        raise errors.RejectedError("InvalidModel", "the model has no inputs or no outputs; expected at least one each")
    metadata = session.get_modelmeta().custom_metadata_map
    if bf16.is_needed((*inputs, *outputs)) and any(tensor.datatype.kind is datatypes.Kind.TEXT for tensor in inputs):
        raise errors.RejectedError(
            "InvalidModel",
            "the model takes strings and has BF16 inputs or outputs; onnxruntime's Python interface cannot feed both: "
            "cast BF16 to FP32 at the model's inputs and outputs",
        )
    run = (
        bf16.runner(session, inputs, outputs)
        if bf16.is_needed((*inputs, *outputs))
        else _runner(session, [output.name for output in outputs])
    )
    row_seconds, full_seconds, has_rows = _warm_up(run, inputs, max_rows)
    return Model(
        run=run,
        signature=signature.Signature(inputs, outputs, has_rows),
        task=metadata.get("leadline.task", ""),
        prediction=metadata.get("leadline.prediction", ""),
        classes=_classes(metadata.get("leadline.classes", "")),
        row_seconds=row_seconds,
        full_seconds=full_seconds,
        providers=tuple(session.get_providers()),
    )


def _runner(session: Any, names: list[str]) -> Callable[[Mapping[str, Array]], list[Array]]:
    """Return the session's run without its wrapper, which looks up all names anew: 2.7 of 9.6 microseconds."""
    native: Any = session._sess  # noqa: SLF001  # the wrapper adds a check of names, which `oip` has made
    return lambda arrays: native.run(names, arrays, None)


def _tensor(value: Any, role: str) -> signature.Tensor:
    datatype = datatypes.BY_ONNX.get(value.type)
    if datatype is None:
        raise errors.RejectedError(
            "InvalidModel",
            f'{role} "{value.name}" has type {value.type}, which the protocol does not have; expected a tensor of '
            f"{', '.join(datatypes.BY_NAME)} (convert scikit-learn models with zipmap off)",
        )
    shape = tuple(length if isinstance(length, int) and length >= 0 else -1 for length in value.shape)
    return signature.Tensor(value.name, datatype, shape)


def _classes(text: str) -> tuple[str | int, ...]:
    if not text:
        return ()
    try:
        classes = json.loads(text)
    except ValueError:
        classes = None
    if not isinstance(classes, list) or not all(type(name) in {str, int} for name in classes):
        raise errors.RejectedError(
            "InvalidModel",
            f"metadata leadline.classes: expected a JSON list of strings or whole numbers, got {text[:80]!r}",
        )
    return tuple(classes)


def _explained(error: Exception, data: bytes) -> str:
    text = str(error).rpartition(" : ")[2] if str(error).startswith("[ONNXRuntimeError]") else str(error)
    if "protobuf parsing failed" in text or "No graph was found" in text:
        return (
            f"not an ONNX model: {len(data)} bytes that begin with {data[:24]!r}; expected a file that onnx.save writes"
        )
    if "External data path" in text:
        return f"the model's external data cannot be had: {text}; expected files in the folder of the model"
    if "is not a registered function/op" in text or "No Op registered for" in text:
        return f"the model has an operator that onnxruntime {onnxruntime.__version__} does not know: {text}"
    return f"onnxruntime {onnxruntime.__version__} cannot load the model: {text}"


def _warm_up(
    run: Callable[[Mapping[str, Array]], list[Array]],
    inputs: tuple[signature.Tensor, ...],
    max_rows: int,
) -> tuple[float, float, bool]:
    """Run on zeros; return seconds for one row, seconds for a full batch, and whether the model has rows.

    A model may rightly refuse zeros, so a run that fails here is no finding; such a model is run request by request.
    """
    free = all(tensor.shape and tensor.shape[0] == -1 for tensor in inputs)
    try:
        row_seconds, one = _timed(run, _zeros(inputs, 1))
        if not free:
            return row_seconds, row_seconds, False
        # One row and two show that outputs have rows.
        _, two = _timed(run, _zeros(inputs, 2))
        has_rows = all(
            np.ndim(single) > 0 and np.shape(double) == (2, *np.shape(single)[1:]) and len(single) == 1
            for single, double in zip(one, two, strict=True)
        )
        if not has_rows or _mixes_rows(run, inputs):
            return row_seconds, row_seconds, False
        full_seconds, _ = _timed(run, _zeros(inputs, max_rows))
    except Exception as error:  # noqa: BLE001  # onnxruntime's errors have no common root
        logs.warning("warm-up run failed, requests are not batched", error=errors.shorten(str(error), 300))
        return 0.0, math.inf, False
    return row_seconds, full_seconds, True


def _mixes_rows(run: Callable[[Mapping[str, Array]], list[Array]], inputs: tuple[signature.Tensor, ...]) -> bool:
    """Tell whether a row is answered otherwise beside another one than alone: clients must not share runs then.

    Small differences are none: sums in another order, or numbers that are rounded by the range of a whole run.
    """
    both = {name: array.copy() for name, array in _zeros(inputs, 2).items()}
    for tensor in inputs:
        array = both[tensor.name]
        if tensor.datatype.kind is datatypes.Kind.FLOAT:
            for row, start in enumerate((0.5, 2.0)):
                array[row] = (start + np.arange(array[row].size) % 7 / (7 + row)).reshape(array[row].shape)
        elif tensor.datatype.kind is not datatypes.Kind.TEXT:
            array[1] = 1
    try:
        together = run(both)
        for row in (0, 1):
            own = {name: array[row : row + 1] for name, array in both.items()}
            alone = run(own)
            if not _are_alike(alone, run(own)):
                return False  # it hangs on chance; nothing can be seen
            if not _are_alike(alone, [array[row : row + 1] for array in together]):
                logs.info("rows hang on each other, requests are not batched")
                return True
    except Exception:  # noqa: BLE001  # onnxruntime's errors have no common root; the model may rightly refuse made-up input
        return False
    return False


def _are_alike(some: list[Array], others: list[Array]) -> bool:
    for one, other in zip(some, others, strict=True):
        if one.shape != other.shape:
            return False
        if one.dtype.kind == "f":
            scale = np.abs(one[np.isfinite(one)]).max(initial=0.0)
            if not np.allclose(one, other, rtol=0, atol=_ALIKE * float(scale) + _ALIKE_LEAST, equal_nan=True):
                return False
        elif not any(array.dtype.kind == "f" for array in some) and not np.array_equal(one, other):
            return False  # a label beside scores may flip where these are nearly equal
    return True


def _zeros(inputs: tuple[signature.Tensor, ...], rows: int) -> dict[str, Array]:
    zeros = {}
    for tensor in inputs:
        shape = [1 if length == -1 else length for length in tensor.shape]
        if tensor.shape and tensor.shape[0] == -1:
            shape[0] = rows
        fill = "" if tensor.datatype.kind is datatypes.Kind.TEXT else 0
        zeros[tensor.name] = np.full(shape, fill, dtype=tensor.datatype.numpy)
    return zeros


def _timed(run: Callable[[Mapping[str, Array]], list[Array]], arrays: dict[str, Array]) -> tuple[float, list[Array]]:
    best, results = math.inf, []
    for _ in range(_WARM_UP_RUNS):
        start = time.perf_counter()
        results = run(arrays)
        best = min(best, time.perf_counter() - start)
        if best > 1.0:
            break
    return best, results
