"""What a model takes and gives: names, datatypes and shapes of its inputs and outputs.

Made once at load from the session; codecs and routes are built from it. Must not run the model.
"""

from dataclasses import dataclass

from leadline_wire import exchange

from leadline_runtime.oip import datatypes


@dataclass(frozen=True, slots=True)
class Tensor:
    """One input or output."""

    name: str
    datatype: datatypes.Datatype
    shape: tuple[int, ...]
    """-1 where any length will do; empty: a scalar."""

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Shape without the first dimension."""
        return self.shape[1:]

    def info(self) -> exchange.TensorInfo:
        """Return the tensor as the wire has it."""
        return exchange.TensorInfo(name=self.name, datatype=self.datatype.name, shape=list(self.shape))


@dataclass(frozen=True, slots=True)
class Signature:
    """A model's inputs and outputs, in the model's order."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    has_rows: bool
    """All inputs and outputs have the same free first dimension, shown by a run: requests may share one."""

    def input_names(self) -> str:
        """Return the inputs' names as messages show them."""
        return ", ".join(f'"{tensor.name}"' for tensor in self.inputs)

    def output_names(self) -> str:
        """Return the outputs' names as messages show them."""
        return ", ".join(f'"{tensor.name}"' for tensor in self.outputs)
