"""Classifiers and regressors of scikit-learn, pipelines included, by skl2onnx.

Steps of a pipeline may be XGBoost's or LightGBM's scikit-learn classes: onnxmltools has converters for them, which are
registered with skl2onnx when there is such a step.
"""

import warnings
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import skl2onnx
from skl2onnx.common import shape_calculator
from skl2onnx.common.data_types import FloatTensorType
from sklearn.base import is_classifier, is_regressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags

from leadline_cli import errors, trained

_OPSETS: Final = {"": 18, "ai.onnx.ml": 3}
"""Old enough for every onnxruntime since 1.14, new enough for every converter in use."""


class SklearnModel(trained.Trained):
    """One estimator."""

    def __init__(self, estimator: Any) -> None:
        """Take an estimator.

        Raises:
            Refused: It is not trained, or neither classifies nor predicts one number.
        """
        kind = type(estimator).__name__
        self._estimator = estimator
        self._kind = kind
        self.title = " ".join(str(estimator).split())
        if is_classifier(estimator):
            if not hasattr(estimator, "classes_"):
                raise errors.Refused(f"model: this {kind} is not trained; call fit before saving it")
            self.task = "classification"
            self.classes = trained.classes_of(estimator.classes_)
            self.scores_name = "probabilities" if hasattr(estimator, "predict_proba") else "scores"
        elif is_regressor(estimator):
            self.task = "regression"
        else:
            raise errors.Refused(f"model: expected a classifier or a regressor, got {kind}")
        self.width = getattr(estimator, "n_features_in_", None)
        if self.task == "regression" and self.width is None:
            raise errors.Refused(f"model: this {kind} is not trained; call fit before saving it")
        self.features = tuple(str(name) for name in getattr(estimator, "feature_names_in_", ()))
        self.takes_missing = bool(get_tags(estimator).input_tags.allow_nan)
        if isinstance(estimator, Pipeline) and _is_tree(estimator[-1]):
            self.hint = "a tree sees the last bit of what the steps before it give: leave scalers out, trees need none"

    def answers(self, rows: npt.NDArray[Any]) -> trained.Answers:
        """Return what the estimator itself says."""
        estimator = self._estimator
        with warnings.catch_warnings():
            # It was trained on a table with named columns and gets the same numbers without their names.
            warnings.filterwarnings("ignore", message=".*valid feature names.*")
            said = np.asarray(estimator.predict(rows))
            if self.task == "regression":
                if said.size != len(rows):
                    raise errors.Refused(f"model: expected one number per row, got {said.size // len(rows)}")
                return trained.Answers(None, trained.one_column(said))
            scores = None
            if hasattr(estimator, "predict_proba"):
                scores = estimator.predict_proba(rows)
            elif hasattr(estimator, "decision_function"):
                scores = estimator.decision_function(rows)
        return trained.Answers(said, trained.two_sided(scores))

    def to_onnx(self, input_name: str, rows: npt.NDArray[Any]) -> Any:
        """Return the estimator as ONNX."""
        estimator, kind = self._estimator, self._kind
        _register_steps(estimator, is_32_bit=rows.dtype == np.float32)
        inputs = [(input_name, FloatTensorType([None, *rows.shape[1:]]))]
        with warnings.catch_warnings():
            # skl2onnx 1.20 reads attributes that scikit-learn 1.9 deprecates (probA_ of SVC). Until it no longer does,
            # what counts is the comparison of answers.
            warnings.simplefilter("ignore")
            for options in _choices(estimator, is_classification=self.task == "classification"):
                try:
                    return skl2onnx.to_onnx(estimator, initial_types=inputs, options=options, target_opset=_OPSETS)
                except NameError as error:
                    unknown = error
                except errors.Refused:
                    raise
                except Exception as error:  # converters raise whatever goes wrong inside
                    raise errors.Refused(f"skl2onnx cannot convert {kind}: {trained.first_line(error)}") from error
        raise errors.Refused(f"skl2onnx cannot convert {kind}: {trained.first_line(unknown)}")


def _choices(estimator: Any, *, is_classification: bool) -> list[dict[Any, dict[str, Any]] | None]:
    """Return options of the conversion, the best first; an option that a converter does not know is a NameError.

    Without zipmap the second output is a tensor, not a list of dictionaries. With raw scores it is the decision values,
    a column per class; without, those of a support vector machine with two classes come with the wrong sign. Distances
    to neighbours by onnxruntime's own operator take a thirtieth of the time that a loop of standard ones takes. A scaler
    divides, as scikit-learn does, instead of multiplying by the inverse: a tree behind it may see the last bit.
    """
    final = type(estimator[-1] if isinstance(estimator, Pipeline) else estimator)
    scaled = (
        {StandardScaler: {"div": "div"}} if any(isinstance(step, StandardScaler) for step in _parts(estimator)) else {}
    )
    no_map, raw, fast = {"zipmap": False}, {"raw_scores": True}, {"optim": "cdist"}
    if not is_classification:
        return [scaled | {final: fast}, scaled or None]
    if hasattr(estimator, "predict_proba"):
        return [scaled | {final: no_map | fast}, scaled | {final: no_map}, scaled or None]
    return [scaled | {final: no_map | raw}, scaled | {final: raw}, scaled | {final: no_map}, scaled or None]


def _is_tree(estimator: Any) -> bool:
    return _is_of(estimator, "xgboost") or _is_of(estimator, "lightgbm") or "tree" in type(estimator).__name__.lower()


def _parts(estimator: Any) -> list[Any]:
    """Return an estimator and all that are in it, at whatever depth."""
    inner = estimator.get_params(deep=True).values() if hasattr(estimator, "get_params") else ()
    return [estimator, *inner]


def _is_of(part: Any, framework: str) -> bool:
    return type(part).__module__.partition(".")[0] == framework


def _register_steps(estimator: Any, *, is_32_bit: bool) -> None:
    """Let skl2onnx convert the steps that are of other frameworks."""
    parts = _parts(estimator)
    if any(_is_of(part, "catboost") for part in parts):
        raise errors.Refused(
            "model: CatBoost has no conversion as a step of a pipeline; do the other steps before training, and package "
            "the CatBoost model itself"
        )
    if any(_is_of(part, "xgboost") for part in parts):
        from leadline_cli.frameworks import xgboost_models  # noqa: PLC0415 - only where a step is of it

        for kind, converter in xgboost_models.step_converters():
            _register(kind, converter, {})
    if any(_is_of(part, "lightgbm") for part in parts):
        from leadline_cli.frameworks import lightgbm_models  # noqa: PLC0415 - as above

        for kind, converter in lightgbm_models.step_converters(is_32_bit=is_32_bit):
            _register(kind, converter, {"split": None})


def _register(kind: type, converter: Any, options: dict[str, Any]) -> None:
    if "Classifier" in kind.__name__:
        shapes = shape_calculator.calculate_linear_classifier_output_shapes
        options = options | {"nocl": [True, False], "zipmap": [True, False, "columns"]}
    else:
        shapes = shape_calculator.calculate_linear_regressor_output_shapes
    skl2onnx.update_registered_converter(kind, f"Leadline{kind.__name__}", shapes, converter, options=options)
