"""Convert a scikit-learn classifier to ONNX, in the form that the runtime serves.

Input as the test set names it, FP32 [N, k]; outputs `label` and `probabilities`, or `scores` where the numbers are no
probabilities; the metadata says what the task is, which classes there are and which output is the prediction. Next
step: `comparing` proves that the answers stayed the same.

Must not decide whether a difference matters.
"""

import json
import warnings
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnxruntime
import skl2onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.base import is_classifier
from sklearn.pipeline import Pipeline

from leadline_cli import errors

_OPSETS: Final = {"": 18, "ai.onnx.ml": 3}
"""Old enough for every onnxruntime since 1.14, new enough for every converter in use."""
_BATCH_ROWS: Final = 1024


@dataclass(frozen=True, slots=True)
class Answers:
    """What a model says to each row."""

    labels: npt.NDArray[Any]
    """Shape (n,)."""
    scores: npt.NDArray[np.float64] | None
    """Shape (n, classes), the higher the likelier; None where the model has none."""


@dataclass(frozen=True, slots=True)
class Converted:
    """A model as ONNX."""

    onnx: bytes
    input_name: str
    output_names: tuple[str, ...]
    classes: tuple[int | str, ...]


def convert(estimator: Any, *, input_name: str, width: int) -> Converted:
    """Convert a trained classifier.

    Args:
        estimator: A fitted scikit-learn classifier or a pipeline that ends in one.
        input_name: Name of the model's input.
        width: Numbers in one row.

    Raises:
        Refused: It is no fitted classifier, it takes another number of inputs, or it has no conversion.
    """
    kind = type(estimator).__name__
    if not is_classifier(estimator):
        raise errors.Refused(
            f"model: expected a scikit-learn classifier, got {kind}; accuracy is the only metric so far"
        )
    if not hasattr(estimator, "classes_"):
        raise errors.Refused(f"model: this {kind} is not trained; call fit before saving it")
    classes = _classes(estimator)
    wanted = getattr(estimator, "n_features_in_", width)
    if wanted != width:
        raise errors.Refused(f"test set: column {input_name!r} has {width} numbers per row, the model takes {wanted}")
    model = _converted(estimator, kind, [(input_name, FloatTensorType([None, width]))])
    names = _renamed(model, "probabilities" if hasattr(estimator, "predict_proba") else "scores")
    for key, value in (("task", "classification"), ("classes", json.dumps(classes)), ("prediction", names[0])):
        entry = model.metadata_props.add()
        entry.key, entry.value = f"leadline.{key}", value
    # skl2onnx lists the operator sets in the order of a set of strings, sometimes twice: the same model in the same
    # bytes each time is what makes a digest mean something.
    versions = {entry.domain: entry.version for entry in model.opset_import}
    del model.opset_import[:]
    for domain in sorted(versions):
        model.opset_import.add(domain=domain, version=versions[domain])
    return Converted(model.SerializeToString(deterministic=True), input_name, names, classes)


def original_answers(estimator: Any, rows: npt.NDArray[Any]) -> Answers:
    """Return what the classifier itself says."""
    scores = None
    if hasattr(estimator, "predict_proba"):
        scores = estimator.predict_proba(rows)
    elif hasattr(estimator, "decision_function"):
        scores = estimator.decision_function(rows)
    return Answers(np.asarray(estimator.predict(rows)), _two_sided(scores))


def converted_answers(converted: Converted, rows: npt.NDArray[Any]) -> Answers:
    """Return what the converted model says, run as the runtime runs it.

    Raises:
        Refused: onnxruntime cannot load or run it.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    # skl2onnx declares two columns for some binary classifiers that give one, and onnxruntime warns at each run.
    options.log_severity_level = 3
    batches = []
    try:
        session = onnxruntime.InferenceSession(converted.onnx, options, providers=["CPUExecutionProvider"])
        for start in range(0, len(rows), _BATCH_ROWS):
            batch = np.ascontiguousarray(rows[start : start + _BATCH_ROWS], dtype=np.float32)
            batches.append(session.run(list(converted.output_names), {converted.input_name: batch}))
    except Exception as error:  # onnxruntime's errors share no root of their own
        raise errors.Refused(f"the converted model does not run in onnxruntime: {_first_line(error)}") from error
    labels, *scores = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    return Answers(labels.reshape(len(rows)), _two_sided(scores[0]) if scores else None)


def _converted(estimator: Any, kind: str, inputs: list[tuple[str, Any]]) -> Any:
    with warnings.catch_warnings():
        # skl2onnx 1.20 reads attributes that scikit-learn 1.9 deprecates (probA_ of SVC). Until it no longer does,
        # what counts is the comparison of answers.
        warnings.simplefilter("ignore")
        for options in _choices(estimator):
            try:
                return skl2onnx.to_onnx(estimator, initial_types=inputs, options=options, target_opset=_OPSETS)
            except NameError as error:
                unknown = error
            except Exception as error:  # converters raise whatever goes wrong inside
                raise errors.Refused(f"skl2onnx cannot convert {kind}: {_first_line(error)}") from error
    raise errors.Refused(f"skl2onnx cannot convert {kind}: {_first_line(unknown)}")


def _choices(estimator: Any) -> list[dict[Any, dict[str, Any]] | None]:
    """Return options of the conversion, the best first; an option that a converter does not know is a NameError.

    Without zipmap the second output is a tensor, not a list of dictionaries. With raw scores it is the decision values,
    a column per class; without, those of a support vector machine with two classes come with the wrong sign. Distances
    to neighbours by onnxruntime's own operator take a thirtieth of the time that a loop of standard ones takes.
    """
    final = type(estimator[-1] if isinstance(estimator, Pipeline) else estimator)
    no_map, raw, fast = {"zipmap": False}, {"raw_scores": True}, {"optim": "cdist"}
    if hasattr(estimator, "predict_proba"):
        return [{final: no_map | fast}, {final: no_map}, None]
    return [{final: no_map | raw}, {final: raw}, {final: no_map}, None]


def _renamed(model: Any, scores_name: str) -> tuple[str, ...]:
    """Give the outputs the names that users see, wherever they are used, and return them."""
    outputs = list(model.graph.output)[:2]
    names = {output.name: name for output, name in zip(outputs, ("label", scores_name), strict=False)}
    for node in model.graph.node:
        for place, name in enumerate(node.output):
            node.output[place] = names.get(name, name)
        for place, name in enumerate(node.input):
            node.input[place] = names.get(name, name)
    for output in outputs:
        output.name = names[output.name]
    return tuple(output.name for output in outputs)


def _classes(estimator: Any) -> tuple[int | str, ...]:
    classes = estimator.classes_
    kind = getattr(getattr(classes, "dtype", None), "kind", "")
    if kind in "iu":
        return tuple(int(value) for value in classes)
    if kind in "UO" and all(isinstance(value, str) for value in classes):
        return tuple(str(value) for value in classes)
    raise errors.Refused(f"model: expected classes that are whole numbers or strings, got {classes!r}")


def _two_sided(scores: Any) -> npt.NDArray[np.float64] | None:
    """Return scores with a column per class; of two classes some models score only the second."""
    if scores is None:
        return None
    array = np.asarray(scores, dtype=np.float64)
    if array.ndim == 1 or array.shape[1] == 1:
        array = np.column_stack([-array.reshape(-1), array.reshape(-1)])
    return array


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:300]
