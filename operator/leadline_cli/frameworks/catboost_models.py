"""Models of CatBoost, which writes ONNX itself: its scikit-learn classes, and models as they are saved to .cbm.

What CatBoost leaves out of its ONNX is put back: the exponential of a Poisson or Tweedie regression, and the logistic
function of one-versus-all. What it writes beside the model (parameters, learning curves) is dropped. What it cannot write
is refused before it tries, with what to do.
"""

import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx

from leadline_cli import errors, trained

_EXPONENTIAL: Final = ("Poisson", "Tweedie")
_SEVERAL: Final = (
    "MultiRMSE",
    "MultiRMSEWithMissingValues",
    "RMSEWithUncertainty",
    "MultiLogloss",
    "MultiCrossEntropy",
)
_ONE_VERSUS_ALL: Final = "MultiClassOneVsAll"
_ENCODE: Final = "encode them as numbers before training, e.g. with sklearn.preprocessing.TargetEncoder"


class CatboostModel(trained.Trained):
    """One model."""

    takes_missing = True

    def __init__(self, model: Any) -> None:
        """Take a CatBoost model.

        Raises:
            Refused: It is not trained, or has no conversion.
        """
        kind = type(model).__name__
        if not model.is_fitted():
            raise errors.Refused(f"model: this {kind} is not trained; call fit before packaging it")
        parameters = model.get_all_params()
        self._loss = str(parameters.get("loss_function", "")).partition(":")[0]
        _refuse_kinds(model, parameters, self._loss)
        self._model = model
        names = tuple(model.feature_names_)
        self.width = len(names)
        self.features = () if names == tuple(str(place) for place in range(len(names))) else names
        self.title = f"{kind}, {self._loss}, {model.tree_count_:,} trees"
        if len(model.classes_):
            self.task = "classification"
            self.classes = trained.classes_of(model.classes_)
        else:
            self.task = "regression"

    def answers(self, rows: npt.NDArray[Any]) -> trained.Answers:
        """Return what the model itself says."""
        if self.task == "regression":
            form = "Exponent" if self._loss in _EXPONENTIAL else "RawFormulaVal"
            return trained.Answers(None, trained.one_column(self._model.predict(rows, prediction_type=form)))
        labels = np.asarray(self._model.predict(rows, prediction_type="Class")).reshape(len(rows))
        scores = np.asarray(self._model.predict(rows, prediction_type="Probability"), dtype=np.float64)
        return trained.Answers(labels, scores)

    def to_onnx(self, input_name: str, rows: npt.NDArray[Any]) -> Any:
        """Return the model as ONNX; its input keeps the name that CatBoost gives it."""
        del input_name, rows
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            try:
                self._model.save_model(str(path), format="onnx")
            except Exception as error:  # CatBoostError says what in C++'s words
                raise errors.Refused(
                    f"CatBoost cannot write {self.title} as ONNX: {trained.first_line(error)}"
                ) from error
            model = onnx.load(path)
        del model.metadata_props[:]
        nodes = model.graph.node
        for place in reversed(range(len(nodes))):
            if nodes[place].op_type == "ZipMap":
                # Its input is the tensor that is wanted.
                (given,), (wanted,) = nodes[place].input, nodes[place].output
                del nodes[place]
                _rename(model.graph, given, wanted)
                output = next(each for each in model.graph.output if each.name == wanted)
                output.CopyFrom(
                    onnx.helper.make_tensor_value_info(wanted, onnx.TensorProto.FLOAT, [None, len(self.classes)])
                )
        if self._loss == _ONE_VERSUS_ALL:
            _set_transform(model.graph, "LOGISTIC")
        if self._loss in _EXPONENTIAL:
            (output,) = model.graph.output
            _rename(model.graph, output.name, "raw")
            nodes.append(onnx.helper.make_node("Exp", ["raw"], [output.name]))
            model.opset_import.add(domain="", version=18)
        return model


def _rename(graph: Any, given: str, wanted: str) -> None:
    for node in graph.node:
        for place, name in enumerate(node.output):
            if name == given:
                node.output[place] = wanted


def _set_transform(graph: Any, transform: str) -> None:
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.name == "post_transform":
                attribute.s = transform.encode()


def _refuse_kinds(model: Any, parameters: dict[str, Any], loss: str) -> None:
    names = model.feature_names_
    for places, what in (
        (model.get_cat_feature_indices(), "categories"),
        (model.get_text_feature_indices(), "texts"),
        (model.get_embedding_feature_indices(), "embeddings"),
    ):
        if len(places):
            columns = ", ".join(str(names[place]) for place in list(places)[:5])
            raise errors.Refused(
                f"model: CatBoost's ONNX takes numbers only, and this model takes {what} in: {columns}; {_ENCODE}"
            )
    policy = parameters.get("grow_policy", "SymmetricTree")
    if policy != "SymmetricTree":
        raise errors.Refused(
            f"model: CatBoost writes symmetric trees only as ONNX, and this model has grow_policy {policy}; train with "
            "grow_policy='SymmetricTree' (the default)"
        )
    if loss in _SEVERAL:
        raise errors.Refused(
            f"model: loss {loss} gives several numbers per row, expected one; train one model for each"
        )
