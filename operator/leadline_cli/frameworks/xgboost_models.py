"""Models of XGBoost by onnxmltools: its scikit-learn classes, and boosters as they are saved to .json and .ubj.

Whatever comes, the booster is what answers and what is converted: without the names of its columns, which the converter
cannot read, and without the rounds after the best one, where the scikit-learn class leaves them out as well. What the
converter would silently get wrong is refused by name.
"""

import json
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnxmltools
import xgboost
from onnxmltools.convert.common.data_types import FloatTensorType

from leadline_cli import errors, trained

_BINARY: Final = "binary:logistic"
_MANY: Final = ("multi:softprob", "multi:softmax")
_VALUES: Final = (
    "reg:squarederror",
    "reg:absoluteerror",
    "reg:pseudohubererror",
    "reg:quantileerror",
    "reg:squaredlogerror",
    "reg:gamma",
    "reg:tweedie",
    "count:poisson",
)
"""Objectives whose conversion gives the model's own answers; that of reg:logistic does not."""


class XgboostModel(trained.Trained):
    """One booster."""

    takes_missing = True

    def __init__(self, model: Any, classes: tuple[int | str, ...] | None = None) -> None:
        """Take a Booster, or a class of XGBoost's scikit-learn interface.

        Raises:
            Refused: It is not trained, or is of a kind whose conversion would answer otherwise.
        """
        kind = type(model).__name__
        booster, best = model, None
        if not isinstance(model, xgboost.Booster):
            booster, best = _of_wrapper(model)
        elif model.attr("scikit_learn") is not None:
            best = model.attr("best_iteration")
        if best is not None:
            booster = booster[: int(best) + 1]
        learner = json.loads(booster.save_config())["learner"]
        objective = learner["objective"]["name"]
        _refuse_kinds(booster, learner, objective)
        self._booster = booster.copy()
        self.features = tuple(self._booster.feature_names or ())
        self._booster.feature_names = None
        self._booster.feature_types = None
        if objective in _MANY:
            # Its answers are whole numbers otherwise, and the trees are the same.
            self._booster.set_param({"objective": _MANY[0]})
        self.width = int(booster.num_features())
        self.title = f"{kind}, {objective}, {booster.num_boosted_rounds():,} rounds"
        if objective in _VALUES:
            self.task = "regression"
            return
        self.task = "classification"
        count = max(2, int(learner["learner_model_param"]["num_class"]))
        self.classes = classes if classes is not None else tuple(range(count))
        if len(self.classes) != count:
            raise errors.Refused(f"classes: the model has {count}, got {len(self.classes)}: {list(self.classes)}")

    def answers(self, rows: npt.NDArray[Any]) -> trained.Answers:
        """Return what the booster says."""
        said = self._booster.predict(xgboost.DMatrix(rows, missing=np.nan))
        if self.task == "regression":
            return trained.Answers(None, trained.one_column(said))
        scores = np.asarray(said, dtype=np.float64)
        if scores.ndim == 1:
            scores = np.column_stack([1.0 - scores, scores])
        return trained.Answers(trained.by_largest(self.classes, scores), scores)

    def to_onnx(self, input_name: str, rows: npt.NDArray[Any]) -> Any:
        """Return the booster as ONNX."""
        try:
            return onnxmltools.convert_xgboost(
                self._booster, initial_types=[(input_name, FloatTensorType([None, *rows.shape[1:]]))]
            )
        except Exception as error:  # converters raise whatever goes wrong inside
            raise errors.Refused(f"onnxmltools cannot convert {self.title}: {trained.first_line(error)}") from error


def step_converters() -> list[tuple[type, Any]]:
    """Return what converts steps of a pipeline, by their class."""
    from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost  # noqa: PLC0415 - for steps only

    def convert(scope: Any, operator: Any, container: Any) -> None:
        XgboostModel(operator.raw_operator)  # refuses what cannot be converted
        convert_xgboost(scope, operator, container)

    return [(kind, convert) for kind in (xgboost.XGBClassifier, xgboost.XGBRegressor)]


def _of_wrapper(model: Any) -> tuple[Any, int | None]:
    kind = type(model).__name__
    try:
        booster = model.get_booster()
    except Exception as error:  # NotFittedError where scikit-learn is there, another where it is not
        raise errors.Refused(f"model: this {kind} is not trained; call fit before packaging it") from error
    missing = model.get_params().get("missing", np.nan)
    if missing is not None and not np.isnan(missing):
        raise errors.Refused(
            f"model: this {kind} takes {missing:g} for a missing number, which ONNX cannot: train with missing=numpy.nan "
            "(the default) and NaN in its place"
        )
    try:
        return booster, model.best_iteration
    except AttributeError:
        return booster, None


def _refuse_kinds(booster: Any, learner: dict[str, Any], objective: str) -> None:
    kind = learner["gradient_booster"]["name"]
    if kind != "gbtree":
        raise errors.Refused(f"model: booster {kind} has no conversion; train with booster='gbtree'")
    if objective != _BINARY and objective not in _MANY + _VALUES:
        known = ", ".join([_BINARY, *_MANY, *_VALUES])
        raise errors.Refused(f"model: objective {objective} has no conversion that gives its answers; expected {known}")
    if any(name == "c" for name in booster.feature_types or ()):
        raise errors.Refused(
            "model: it splits by categories (enable_categorical), which has no conversion; encode them as numbers before "
            "training, e.g. with sklearn.preprocessing.OrdinalEncoder"
        )
    if int(learner["learner_model_param"].get("num_target", "1")) > 1:
        raise errors.Refused("model: expected one number per row, got several; train one model for each")
    if int(learner["gradient_booster"].get("gbtree_model_param", {}).get("num_parallel_tree", "1")) > 1:
        raise errors.Refused(
            "model: a random forest of XGBoost (num_parallel_tree above 1) has no conversion that gives its answers; "
            "train with num_parallel_tree=1, or scikit-learn's RandomForestClassifier"
        )
