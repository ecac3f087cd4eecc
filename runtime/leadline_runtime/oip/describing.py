"""What the protocol tells of a model without running it: metadata, Triton's configuration, the repository's index.

All of it is made once, as JSON. Must not know paths or ports.
"""

from typing import Any, Final

import orjson

from leadline_runtime import VERSION, errors
from leadline_runtime.oip import signature

_PLATFORM: Final = "onnxruntime_onnx"
_TRITON_TYPES: Final = {"BYTES": "TYPE_STRING"}
"""All others are called after ours."""
SERVER: Final = orjson.dumps(
    {
        "name": "leadline",
        "version": VERSION,
        "extensions": ["binary_tensor_data", "model_configuration", "model_repository"],
    }
)
"""Server metadata; `model_repository` is its index: what is served is the ModelDeployment's to say."""


def metadata(model: signature.Signature, name: str, revision: str) -> bytes:
    """Return the model's metadata."""
    return orjson.dumps(
        {
            "name": name,
            "versions": [revision],
            "platform": _PLATFORM,
            "inputs": [_tensor(tensor) for tensor in model.inputs],
            "outputs": [_tensor(tensor) for tensor in model.outputs],
        }
    )


def configuration(model: signature.Signature, name: str, revision: str, max_rows: int) -> bytes:
    """Return the model as Triton's clients and tools describe it.

    There, dimensions leave out the rows of a model that has some.
    """
    rows = max_rows if model.has_rows else 0
    return orjson.dumps(
        {
            "name": name,
            "platform": _PLATFORM,
            "backend": "onnxruntime",
            "version_policy": {"specific": {"versions": [revision]}},
            "max_batch_size": rows,
            "input": [_configured(tensor, has_rows=bool(rows)) for tensor in model.inputs],
            "output": [_configured(tensor, has_rows=bool(rows)) for tensor in model.outputs],
        }
    )


def index(name: str, revision: str, waiting_for: str | None, body: bytes) -> bytes:
    """Return the repository's index as a request asks for it.

    Args:
        name: The model's.
        revision: Its only version.
        waiting_for: Why it is not ready; None: it is.
        body: The request's: empty or an object, in which `ready` asks for ready models only.

    Raises:
        BadRequestError: It is neither.
    """
    only_ready: Any = False
    if body.strip():
        try:
            asked = orjson.loads(body)
        except ValueError as error:
            raise errors.BadRequestError(f"body: expected nothing or a JSON object; {error}") from error
        only_ready = asked.get("ready", False) if isinstance(asked, dict) else None
        if not isinstance(only_ready, bool):
            raise errors.BadRequestError('body: expected nothing or an object whose "ready" is true or false')
    if only_ready and waiting_for is not None:
        return b"[]"
    state = "READY" if waiting_for is None else "UNAVAILABLE"
    return orjson.dumps([{"name": name, "version": revision, "state": state, "reason": waiting_for or ""}])


def _tensor(tensor: signature.Tensor) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": tensor.datatype.name, "shape": list(tensor.shape)}


def _configured(tensor: signature.Tensor, *, has_rows: bool) -> dict[str, Any]:
    name = tensor.datatype.name
    dims = list(tensor.row_shape if has_rows else tensor.shape)
    return {"name": tensor.name, "data_type": _TRITON_TYPES.get(name, f"TYPE_{name}"), "dims": dims}
