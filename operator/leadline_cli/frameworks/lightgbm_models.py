"""Models of LightGBM by onnxmltools: its scikit-learn classes, and boosters as they are saved to .txt.

LightGBM compares with thresholds in 64 bits, the converted model in 32. Where the rows are 32-bit numbers each threshold
is first rounded down to the next of them: `x <= t` is then the same for every row there can be. Where they are 64-bit
numbers (decimals, mostly) it is rounded to the nearest, as the row is: a threshold is often a decimal that rows have as
well. That, and objectives that differ in training only, are changed in the model's text, which is its own documented file
format. What the converter would silently get wrong is refused by name.
"""

import copy
import re
from typing import Any, Final

import lightgbm
import numpy as np
import numpy.typing as npt
import onnxmltools
from onnxmltools.convert.common.data_types import FloatTensorType

from leadline_cli import errors, trained

_IDENTITY: Final = ("regression", "regression_l1", "huber", "fair", "quantile", "mape")
"""Objectives whose answer is the sum of the leaves."""
_EXPONENTIAL: Final = ("poisson", "gamma", "tweedie")
_MISSING_IS_ZERO: Final = 1
"""In bits 2 and 3 of a split's decision type; 2 is NaN."""


class LightgbmModel(trained.Trained):
    """One booster."""

    takes_missing = True

    def __init__(self, model: Any, classes: tuple[int | str, ...] | None = None) -> None:
        """Take a Booster, or a class of LightGBM's scikit-learn interface.

        Raises:
            Refused: It is not trained, or is of a kind whose conversion would answer otherwise.
        """
        kind = type(model).__name__
        booster = model
        if not isinstance(model, lightgbm.Booster):
            try:
                booster = model.booster_
            except Exception as error:  # LightGBM's own NotFittedError, or scikit-learn's
                raise errors.Refused(f"model: this {kind} is not trained; call fit before packaging it") from error
            if hasattr(model, "classes_"):
                classes = trained.classes_of(model.classes_)
        text = booster.model_to_string()
        objective, *details = (_value(text, "objective") or "custom").split()
        _refuse_kinds(text, objective, details)
        self._booster = lightgbm.Booster(model_str=text)
        self._text = text
        self._objective = objective
        self.width = int(booster.num_feature())
        names = tuple(booster.feature_name())
        self.features = () if names == tuple(f"Column_{place}" for place in range(self.width)) else names
        self.title = f"{kind}, {objective}, {self._booster.num_trees():,} trees"
        if objective in _IDENTITY + _EXPONENTIAL:
            self.task = "regression"
            return
        self.task = "classification"
        count = max(2, int(_value(text, "num_class") or 1))
        self.classes = classes if classes is not None else tuple(range(count))
        if len(self.classes) != count:
            raise errors.Refused(f"classes: the model has {count}, got {len(self.classes)}: {list(self.classes)}")

    def answers(self, rows: npt.NDArray[Any]) -> trained.Answers:
        """Return what the booster says."""
        said = self._booster.predict(rows)
        if self.task == "regression":
            return trained.Answers(None, trained.one_column(said))
        scores = np.asarray(said, dtype=np.float64)
        if scores.ndim == 1:
            scores = np.column_stack([1.0 - scores, scores])
        return trained.Answers(trained.by_largest(self.classes, scores), scores)

    def to_onnx(self, input_name: str, rows: npt.NDArray[Any]) -> Any:
        """Return the booster as ONNX."""
        try:
            return onnxmltools.convert_lightgbm(
                self.convertible(is_32_bit=rows.dtype == np.float32),
                initial_types=[(input_name, FloatTensorType([None, *rows.shape[1:]]))],
                zipmap=False,
            )
        except Exception as error:  # converters raise whatever goes wrong inside
            raise errors.Refused(f"onnxmltools cannot convert {self.title}: {trained.first_line(error)}") from error

    def convertible(self, *, is_32_bit: bool) -> Any:
        """Return the booster as the converter must have it; see above."""
        text = _rounded_down(self._text) if is_32_bit else self._text
        if self._objective in _IDENTITY:
            text = re.sub(r"(?m)^objective=.*$", "objective=regression", text, count=1)
            text = re.sub(r"(?m)^\[objective: .*\]$", "[objective: regression]", text, count=1)
        return lightgbm.Booster(model_str=text)


def step_converters(*, is_32_bit: bool) -> list[tuple[type, Any]]:
    """Return what converts steps of a pipeline, by their class."""
    from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm  # noqa: PLC0415 - for steps only

    def convert(scope: Any, operator: Any, container: Any) -> None:
        given = operator.raw_operator
        step = copy.copy(given)
        step._Booster = LightgbmModel(given).convertible(is_32_bit=is_32_bit)  # noqa: SLF001 - what booster_ gives
        operator.raw_operator = step
        try:
            convert_lightgbm(scope, operator, container)
        finally:
            operator.raw_operator = given

    return [(kind, convert) for kind in (lightgbm.LGBMClassifier, lightgbm.LGBMRegressor)]


def _value(text: str, key: str) -> str:
    found = re.search(rf"(?m)^{key}=(.*)$", text)
    return found[1].strip() if found else ""


def _rounded_down(text: str) -> str:
    """Return the model's text with thresholds that 32 bits hold exactly."""

    def rounded(line: re.Match[str]) -> str:
        exact = np.array(line[1].split(), dtype=np.float64)
        with np.errstate(over="ignore"):
            near = exact.astype(np.float32)
        low = np.where(near.astype(np.float64) > exact, np.nextafter(near, np.float32(-np.inf)), near)
        return "threshold=" + " ".join(repr(float(number)) for number in low)

    # The lengths of the trees' texts are no longer right; without them they are read one after the other.
    return re.sub(r"(?m)^threshold=(.+)$", rounded, re.sub(r"(?m)^tree_sizes=.*\n", "", text, count=1))


def _refuse_kinds(text: str, objective: str, details: list[str]) -> None:
    why = ""
    if objective == "binary" and "sigmoid:1" not in details:
        why = "a sigmoid other than 1; leave that parameter out"
    elif "sqrt" in details:
        why = "reg_sqrt; train on the square root of the truth instead"
    elif objective not in {"binary", "multiclass", *_IDENTITY, *_EXPONENTIAL}:
        known = ", ".join(["binary", "multiclass", *_IDENTITY, *_EXPONENTIAL])
        why = f"objective {objective}; expected {known}"
    elif re.search(r"(?m)^average_output$", text):
        why = "boosting rf, a random forest; train with boosting gbdt, or scikit-learn's RandomForestClassifier"
    elif re.search(r"(?m)^is_linear=1$", text):
        why = "linear_tree; train without it"
    elif re.search(r"(?m)^pandas_categorical:\[.+\]$", text):
        why = "categories of a pandas table; encode them as numbers, e.g. with sklearn.preprocessing.OrdinalEncoder"
    elif any(int(kind) >> 2 & 3 == _MISSING_IS_ZERO for kind in _decisions(text)):
        why = "zero_as_missing; train without it, and with NaN where a number is missing"
    if why:
        raise errors.Refused(f"model: no conversion gives the answers of LightGBM with {why}")


def _decisions(text: str) -> set[str]:
    return {kind for line in re.findall(r"(?m)^decision_type=(.*)$", text) for kind in line.split()}
