"""Runs a model that takes or gives BF16, a datatype that numpy does not have.

On our side such a tensor is FP32, which holds each of its numbers; here, and only here, it becomes 16 bits for onnxruntime
and is read back from onnxruntime's own memory. What is no BF16 is rounded to the nearest. Other models never come here.
"""

import ctypes
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import onnxruntime

from leadline_runtime.oip import datatypes, raw, signature

Array = np.ndarray[Any, np.dtype[Any]]

_ONNX_BF16: Final = 16
"""TensorProto.BFLOAT16."""


def is_needed(tensors: Sequence[signature.Tensor]) -> bool:
    """Tell whether any of a model's inputs and outputs is BF16."""
    return any(tensor.datatype is datatypes.BF16 for tensor in tensors)


def runner(
    session: Any, inputs: Sequence[signature.Tensor], outputs: Sequence[signature.Tensor]
) -> Callable[[Mapping[str, Array]], list[Array]]:
    """Return what runs the session."""
    halves = {tensor.name for tensor in inputs if tensor.datatype is datatypes.BF16}
    names = [tensor.name for tensor in outputs]

    def run(arrays: Mapping[str, Array]) -> list[Array]:
        values = {name: _value(array, is_half=name in halves) for name, array in arrays.items()}
        return [_array(value) for value in session.run_with_ort_values(names, values)]

    return run


def _value(array: Array, *, is_half: bool) -> Any:
    if is_half:
        return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(raw.bf16_bits(array), _ONNX_BF16)
    return onnxruntime.OrtValue.ortvalue_from_numpy(np.asarray(array, order="C"))


def _array(value: Any) -> Array:
    if value.data_type() != "tensor(bfloat16)":
        array: Array = value.numpy()
        return array
    size = value.tensor_size_in_bytes()
    halves: Array = np.frombuffer(ctypes.string_at(value.data_ptr(), size) if size else b"", "<u2")
    return raw.bf16_array(halves).reshape(value.shape())
