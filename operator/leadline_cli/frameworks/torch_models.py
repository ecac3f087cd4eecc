"""Models of PyTorch by its own exporter (torch.export, then torch.onnx with dynamo): modules, and exported programs.

PyTorch does not say what a model's numbers mean, so the caller does: a classifier gives a column per class, a regression
one number. The label, the class of the largest, is added to the graph. The exporter's notes about the source code (paths
and stack traces) are dropped by `conversion`.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
import torch

from leadline_cli import errors, trained

_BATCH_ROWS: Final = 256
_EXAMPLE_ROWS: Final = 2
"""More than one: the exporter takes a length of 1 for fixed."""
_DYNAMIC: Final = "torch.export.export(model, (example,), dynamic_shapes=({0: torch.export.Dim('rows')},))"


class TorchModel(trained.Trained):
    """One module or exported program."""

    takes_missing = False

    def __init__(self, model: Any, task: trained.Task | None, classes: tuple[int | str, ...] | None) -> None:
        """Take a module or an exported program.

        Raises:
            Refused: Nobody says what it is for, or the program takes something else than rows of one tensor.
        """
        self._is_program = isinstance(model, torch.export.ExportedProgram)
        if not self._is_program and not isinstance(model, torch.nn.Module):
            raise errors.Refused(f"model: expected a torch.nn.Module or an ExportedProgram, got {type(model).__name__}")
        self._model = model
        self._module = model.module() if self._is_program else model
        self._row_shape = _row_shape(model) if self._is_program else None
        if task is None:
            raise errors.Refused("task: PyTorch does not say what a model is for; say classification or regression")
        self.task = task
        self.classes = classes or ()
        self.scores_name = "scores"
        if self._row_shape is not None:
            self.width = int(np.prod(self._row_shape))
        count = sum(parameter.numel() for parameter in self._module.parameters())
        self.title = f"{type(model).__name__}, {count:,} parameters"

    def answers(self, rows: npt.NDArray[Any]) -> trained.Answers:
        """Return what the model itself says."""
        found = self._raw(rows)
        if self.task == "regression":
            if found.size != len(rows):
                raise errors.Refused(f"model: expected one number per row, got shape {list(found.shape)}")
            return trained.Answers(None, trained.one_column(found))
        self._learn_classes(found)
        return trained.Answers(trained.by_largest(self.classes, found), found)

    def to_onnx(self, input_name: str, rows: npt.NDArray[Any]) -> Any:
        """Return the model as ONNX, with the label beside the scores."""
        found = self._raw(rows)
        if self.task == "classification":
            self._learn_classes(found)
        with self._still(), _quiet():
            try:
                if self._is_program:
                    program = torch.onnx.export(self._model, dynamo=True, verbose=False)
                else:
                    program = torch.onnx.export(
                        self._model,
                        (self._tensor(rows[:_EXAMPLE_ROWS]),),
                        dynamic_shapes=({0: torch.export.Dim("rows")},),
                        input_names=[input_name],
                        dynamo=True,
                        verbose=False,
                    )
            except ModuleNotFoundError as error:
                raise errors.Refused(
                    f"PyTorch exports with the module {error.name}: pip install {error.name}"
                ) from error
            except Exception as error:  # the exporter raises whatever goes wrong inside
                raise errors.Refused(f"PyTorch cannot export {self.title}: {trained.first_line(error)}") from error
        model = program.model_proto
        if len(model.graph.output) != 1:
            raise errors.Refused(f"model: expected one output tensor, got {len(model.graph.output)}")
        if self.task == "classification":
            _add_label(model.graph)
        elif found.ndim == 1:
            _add_column(model.graph)
        return self._reshaped(model, rows)

    def _raw(self, rows: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        if self._row_shape is not None:
            rows = rows.reshape(len(rows), *self._row_shape)
        parts = []
        with self._still(), torch.inference_mode():
            for start in range(0, len(rows), _BATCH_ROWS):
                try:
                    part = self._module(self._tensor(rows[start : start + _BATCH_ROWS]))
                except Exception as error:  # as above
                    raise errors.Refused(
                        f"model: does not answer rows of shape {list(rows.shape[1:])}: {trained.first_line(error)}"
                    ) from error
                if not isinstance(part, torch.Tensor):
                    raise errors.Refused(f"model: expected a tensor as its answer, got {type(part).__name__}")
                parts.append(part.detach().cpu().to(torch.float64).numpy())
        return np.concatenate(parts)

    def _tensor(self, rows: npt.NDArray[Any]) -> Any:
        first = next(self._module.parameters(), None)
        tensor = torch.from_numpy(np.array(rows, dtype=np.float32))
        return tensor if first is None else tensor.to(first.device)

    def _learn_classes(self, scores: npt.NDArray[np.float64]) -> None:
        if scores.ndim != 2 or scores.shape[1] < 2:
            raise errors.Refused(
                f"model: expected a column of scores for each class, shape [n, classes], got {list(scores.shape)}; of two "
                "classes give both: torch.cat([-logit, logit], dim=1)"
            )
        self.classes = self.classes or tuple(range(scores.shape[1]))
        if len(self.classes) != scores.shape[1]:
            raise errors.Refused(
                f"classes: the model has {scores.shape[1]}, got {len(self.classes)}: {list(self.classes)}"
            )
        if np.all(scores >= 0) and np.allclose(scores.sum(axis=1), 1.0, atol=1e-3):
            self.scores_name = "probabilities"

    def _reshaped(self, model: Any, rows: npt.NDArray[Any]) -> Any:
        """Let a program take rows as the test set has them: flat, where it takes another shape."""
        if self._row_shape is None or tuple(rows.shape[1:]) == self._row_shape:
            return model
        given = model.graph.input[0].name
        for node in model.graph.node:
            for place, name in enumerate(node.input):
                if name == given:
                    node.input[place] = "leadline_shaped"
        shape = np.array([0, *self._row_shape], dtype=np.int64)  # 0: as it is
        model.graph.initializer.append(onnx.numpy_helper.from_array(shape, "leadline_row_shape"))
        model.graph.node.insert(0, onnx.helper.make_node("Reshape", [given, "leadline_row_shape"], ["leadline_shaped"]))
        return model

    @contextmanager
    def _still(self) -> Iterator[None]:
        """Have the module as it answers, not as it learns."""
        was = self._module.training
        if not self._is_program:
            self._module.eval()
        try:
            yield
        finally:
            if was and not self._is_program:
                self._module.train()


def _row_shape(program: Any) -> tuple[int, ...]:
    names = program.graph_signature.user_inputs
    nodes = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    if len(names) != 1 or names[0] not in nodes:
        raise errors.Refused(f"model: expected a program with one input tensor, got {len(names)} inputs")
    value = nodes[names[0]].meta["val"]
    if value.dtype != torch.float32:
        raise errors.Refused(f"model: expected an input of torch.float32, got {value.dtype}")
    rows, *inner = value.shape
    if isinstance(rows, int):
        raise errors.Refused(f"model: was exported for {rows} rows only; let their number be free: {_DYNAMIC}")
    if not all(isinstance(length, int) for length in inner):
        raise errors.Refused(f"model: expected rows of one fixed shape, got {list(value.shape)}")
    return tuple(inner)


def _add_label(graph: Any) -> None:
    scores = graph.output[0]
    graph.node.append(onnx.helper.make_node("ArgMax", [scores.name], ["leadline_label"], axis=1, keepdims=0))
    label = onnx.helper.make_tensor_value_info("leadline_label", onnx.TensorProto.INT64, [None])
    graph.output.insert(0, label)


def _add_column(graph: Any) -> None:
    """Let a value per row have a column, as every other regression has."""
    given = graph.output[0]
    graph.initializer.append(onnx.numpy_helper.from_array(np.array([1], dtype=np.int64), "leadline_axis"))
    graph.node.append(onnx.helper.make_node("Unsqueeze", [given.name, "leadline_axis"], ["leadline_value"]))
    graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("leadline_value", onnx.TensorProto.FLOAT, [None, 1]))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's notes to itself: that torchvision is missing is nobody's trouble here."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
