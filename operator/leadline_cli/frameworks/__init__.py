"""One kind of `Trained` for each framework; which one a model needs is told by where its class comes from.

A framework is imported only when a model of it is there. Next step: `conversion`.
"""

from typing import Any

from leadline_cli import errors
from leadline_cli.trained import Task, Trained

_KNOWN = ("xgboost", "lightgbm", "catboost", "torch", "sklearn")
"""In this order: the first two's classes are scikit-learn's as well."""


def of(
    model: Any,
    *,
    task: Task | None = None,
    likely_task: Task | None = None,
    classes: tuple[int | str, ...] | None = None,
) -> Trained:
    """Return a trained model as one of its framework.

    Args:
        model: The model.
        task: What it is for, where the model does not say; PyTorch's does not. Of others it has to be right.
        likely_task: The same, where neither the model nor `task` says.
        classes: Names of its classes in the order of its scores, where the model does not know them.

    Raises:
        Refused: It is of no framework that we know, is not trained, or cannot be converted.
    """
    if isinstance(model, Trained):
        return model
    known = _of(model, task or likely_task, classes)
    if task not in {None, known.task}:
        raise errors.Refused(f"task: {known.title} is for {known.task}, not for {task}")
    return known


def _of(model: Any, task: Task | None, classes: tuple[int | str, ...] | None) -> Trained:
    roots = [kind.__module__.partition(".")[0] for kind in type(model).__mro__]
    framework = next((name for name in _KNOWN if name in roots), "")
    match framework:
        case "xgboost":
            from leadline_cli.frameworks import xgboost_models  # noqa: PLC0415 - only where it is needed

            return xgboost_models.XgboostModel(model, classes)
        case "lightgbm":
            from leadline_cli.frameworks import lightgbm_models  # noqa: PLC0415 - as above

            return lightgbm_models.LightgbmModel(model, classes)
        case "catboost":
            from leadline_cli.frameworks import catboost_models  # noqa: PLC0415 - as above

            return catboost_models.CatboostModel(model)
        case "torch":
            from leadline_cli.frameworks import torch_models  # noqa: PLC0415 - as above

            return torch_models.TorchModel(model, task, classes)
        case "sklearn":
            from leadline_cli.frameworks import sklearn_models  # noqa: PLC0415 - as above

            return sklearn_models.SklearnModel(model)
    kind = f"{type(model).__module__}.{type(model).__qualname__}"
    raise errors.Refused(
        f"model: expected a trained model of scikit-learn, XGBoost, LightGBM, CatBoost or PyTorch, got {kind}"
    )
