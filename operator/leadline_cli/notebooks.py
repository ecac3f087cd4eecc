"""`leadline.package` for people in Python: a trained model and unseen rows in, a folder that can be deployed out.

The same work as the command's, in `packaging`; here only what the caller says is brought into its form.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from leadline_cli import frameworks, manifests, packaging, testsets, trained


def package(
    model: Any,
    rows: Any,
    truths: Any,
    folder: str | Path = "out",
    *,
    name: str = "model",
    input_name: str = testsets.INPUT,
    truth_name: str = "truth",
    task: trained.Task | None = None,
    classes: Sequence[int | str] | None = None,
    store: str | None = None,
    test_set_uri: str | None = None,
    credentials: str | None = None,
    margin: float | str = "0.02",
    floor: float | str | None = None,
    quiet: bool = False,
) -> packaging.Packaged:
    """Convert a trained model to ONNX, compare every answer with its own, and write what a ModelDeployment needs.

    Args:
        model: A fitted estimator or pipeline of scikit-learn, a model of XGBoost, LightGBM or CatBoost, or a module or
            exported program of PyTorch.
        rows: Numbers that the model has never seen, shape (n, ...): an array, lists, or a table of numbers.
        truths: Their true answers, shape (n,).
        folder: Where model.onnx, testset.parquet and modeldeployment.yaml go; made where it is missing.
        name: Name of the ModelDeployment.
        input_name: Name of the model's input, by which clients send rows.
        truth_name: Name of the test set's column of true answers.
        task: classification or regression; None: what the model says, and of PyTorch's what the truths look like.
        classes: Names of the classes in the order of the scores, where the model has numbers only.
        store: URI of the folder to which you will upload; None: s3://models/NAME.
        test_set_uri: Where the test set will be; None: beside the model.
        credentials: Secret with the store's credentials.
        margin: Accuracy that may be lost to the last good one.
        floor: Lowest accuracy to be admitted; None: none.
        quiet: Do not print what is being done.

    Returns:
        What was measured and written; printed, it is the report.

    Raises:
        Refused: Something cannot be used, or the converted model answers differently; nothing is written.
    """
    options = manifests.Options(
        name=name,
        store=store or f"s3://models/{name}",
        margin=str(margin),
        floor=None if floor is None else str(floor),
        credentials=credentials,
        test_set_uri=test_set_uri,
    )
    examples = testsets.of_arrays(rows, truths, input_name=input_name, truth_name=truth_name)
    known = frameworks.of(
        model,
        task=task,
        likely_task="regression" if examples.truths.dtype.kind == "f" else "classification",
        classes=None if classes is None else trained.classes_of(list(classes)),
    )
    say = (lambda _: None) if quiet else _say
    return packaging.package(known, examples, out=Path(folder), manifest=options, say=say)


def _say(what: str) -> None:
    print(f"  {what}", flush=True)
