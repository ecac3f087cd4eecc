"""What to paste to ask a served model: made from what the model itself says it takes.

Every sample is of zeros (strings are empty), one row, with the model's real names and shapes. Next step: `serving` prints
them. Must not ask anybody.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

_PLAIN_MAX: Final = 12
"""Elements that are written out; more are made by printf."""
_LENGTH: Final = 1
"""Where any length will do."""
_NUMPY: Final = {
    "BOOL": "bool",
    "FP16": "np.float16",
    "FP32": "np.float32",
    "FP64": "np.float64",
    "BYTES": "object",
}
"""Of the other datatypes the name in lower case is numpy's."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """One input or output, as the server's metadata has it."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    @property
    def sample_shape(self) -> list[int]:
        """Return the shape of a sample."""
        return [_LENGTH if length < 0 else length for length in self.shape]


def tensors(described: Sequence[dict[str, Any]]) -> list[Tensor]:
    """Return tensors as metadata describes them."""
    return [Tensor(each["name"], each["datatype"], tuple(each["shape"])) for each in described]


def table(title: str, found: Sequence[Tensor]) -> list[str]:
    """Return a line for each tensor."""
    return [
        f"  {title if not place else '':<6} {each.name:<20} {each.datatype:<6} {list(each.shape)}"
        for place, each in enumerate(found)
    ]


def curl(url: str, inputs: Sequence[Tensor]) -> list[str]:
    """Return a command of a shell; large samples are made by printf, which has no limit on their length."""
    parts = [f"  {_json(each)}{',' if place < len(inputs) else ''}" for place, each in enumerate(inputs, 1)]
    return [f"curl -s {url} -d @- <<EOF", '{"inputs": [', *parts, "]}", "EOF"]


def python(address: str, model: str, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> list[str]:
    """Return a program for tritonclient."""
    lines = ["import numpy as np, tritonclient.http as http", f'client = http.InferenceServerClient("{address}")']
    names = []
    for place, each in enumerate(inputs):
        name = f"input{place}" if len(inputs) > 1 else "rows"
        names.append(name)
        kind = _NUMPY.get(each.datatype, f"np.{each.datatype.lower()}")
        value = "np.full" if each.datatype == "BYTES" else "np.zeros"
        filled = f'{each.sample_shape}, "", object' if each.datatype == "BYTES" else f"{each.sample_shape}, {kind}"
        lines.append(
            f"{name} = http.InferInput({json.dumps(each.name)}, {each.sample_shape}, {json.dumps(each.datatype)})"
        )
        lines.append(f"{name}.set_data_from_numpy({value}({filled}))")
    lines.append(f'answer = client.infer("{model}", [{", ".join(names)}])')
    lines.append(f"print(answer.as_numpy({json.dumps(outputs[0].name)}))")
    return lines


def _json(tensor: Tensor) -> str:
    head = json.dumps({"name": tensor.name, "shape": tensor.sample_shape, "datatype": tensor.datatype})[:-1]
    for special in "\\$`":
        head = head.replace(special, f"\\{special}")  # the shell would read them
    return f'{head}, "data": [{_data(tensor)}]}}'


def _data(tensor: Tensor) -> str:
    count = math.prod(tensor.sample_shape)
    zero = {"BYTES": '""', "BOOL": "false"}.get(tensor.datatype, "0")
    if count <= _PLAIN_MAX:
        return ", ".join([zero] * count)
    return f"$(printf '{zero},%.0s' {{1..{count - 1}}}){zero}"
