"""Package a trained model: convert, compare, measure, write.

Writes three files only after every check has passed, so that what lies in the folder can be deployed. `leadline package`,
`leadline.package` in a notebook and the examples call it.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from leadline_stats import test_sets

from leadline_cli import comparing, conversion, errors, frameworks, manifests, testsets, trained

_TITLE_CHARACTERS: Final = 88


@dataclass(frozen=True, slots=True)
class Errors:
    """How far the values of a regression are from the truth, in its unit."""

    mean_absolute: float
    root_mean_square: float
    spread: float
    """Standard deviation of the true values: what a model that knows nothing has as its root mean square."""


@dataclass(frozen=True, slots=True)
class Packaged:
    """What was written and measured."""

    estimator: str
    task: trained.Task
    out: Path
    model_bytes: int
    model_digest: str
    test_set_digest: str
    right: int
    """Rows that the converted model has right; 0 of a regression."""
    rows: int
    outputs: tuple[str, ...]
    comparison: comparing.Comparison
    right_bitmap: bytes
    """Rows that the converted model has right, as numpy.packbits; empty of a regression."""
    errors: Errors | None = None
    """Of a regression; None of a classification."""

    def __repr__(self) -> str:
        """Return the report, for that is what somebody in a notebook wants to see."""
        return "\n".join(self.lines())

    @property
    def accuracy(self) -> float | None:
        """Return the share of right answers; None of a regression."""
        return self.right / self.rows if self.errors is None else None

    def lines(self) -> list[str]:
        """Return the report for people."""
        comparison = self.comparison
        ties = f" ({len(comparison.ties)} where the original is undecided)" if comparison.ties else ""
        size = f"{self.model_bytes / 1000:,.0f} kB, {self.model_digest[:19]}…"
        scores = f"{self.outputs[-1]} within {comparison.largest_difference:.1g}"
        if self.errors is None and not self.outputs[1:]:
            scores = "no scores"
        return [
            f"model       {_shortened(self.estimator)}",
            self._measured(),
            f"conversion  {comparison.equal:,} of {self.rows:,} answers equal the original's{ties}, {scores}",
            f"written     {self.out}/model.onnx ({size}),",
            "            testset.parquet, modeldeployment.yaml",
            f"next        leadline serve {self.out}/model.onnx",
            "            tries it here; then upload model and test set to where modeldeployment.yaml says,",
            "            and kubectl apply -f that",
        ]

    def _measured(self) -> str:
        if self.errors is not None:
            found = (
                f"{self.errors.mean_absolute:.4g} mean absolute, {self.errors.root_mean_square:.4g} root mean square"
            )
            return f"error       {found}, on {self.rows:,} unseen rows (truth varies by {self.errors.spread:.4g})"
        low, high = test_sets.accuracy_interval(self.right, self.rows)
        accuracy = f"{self.right / self.rows:.3f} [{low:.3f}, {high:.3f}]"
        return f"accuracy    {accuracy} on {self.rows:,} unseen rows (98 % interval)"


def package(
    model: Any,
    examples: testsets.Examples,
    *,
    out: Path,
    manifest: manifests.Options,
    say: Callable[[str], None] = lambda _: None,
) -> Packaged:
    """Convert a model, prove that its answers stayed the same, and write what a ModelDeployment needs.

    Args:
        model: A trained model of any framework that `frameworks` knows.
        examples: Rows that it has never seen.
        out: Folder of the files; made where it is missing.
        manifest: What the ModelDeployment says.
        say: Called with what is being done.

    Raises:
        Refused: Something cannot be used, or the converted model answers differently; nothing is written.
    """
    manifest.check()
    known = frameworks.of(model)
    manifest.check(known.task)
    missing = np.isnan(examples.rows).reshape(len(examples.rows), -1).any(axis=1)
    if missing.any() and not known.takes_missing:
        raise errors.Refused(
            f"test set: {int(missing.sum())} rows of {examples.input_name!r} have missing numbers (NaN), which this model "
            "does not take; fill them, e.g. with sklearn.impute.SimpleImputer"
        )
    say(f"converting {_shortened(known.title)}")
    converted = conversion.convert(known, input_name=examples.input_name, rows=examples.rows)
    _check_truths(examples, known)
    say(f"comparing {len(examples.rows):,} answers with the original's")
    answers = conversion.converted_answers(converted, examples.rows)
    comparison = comparing.compare(known.answers(examples.rows), answers, missing=missing)
    trouble = comparison.trouble()
    if trouble:
        raise errors.Refused("; ".join(filter(None, [trouble, known.hint])))

    try:
        model_digest, test_set_digest = _write(out, converted.onnx, examples, known.task, manifest)
    except OSError as error:
        raise errors.Refused(f"{out}: cannot be written ({error.strerror or error})") from error
    right = answers.labels == examples.truths if answers.labels is not None else None
    return Packaged(
        estimator=known.title,
        task=known.task,
        out=out,
        model_bytes=len(converted.onnx),
        model_digest=model_digest,
        test_set_digest=test_set_digest,
        right=int(right.sum()) if right is not None else 0,
        rows=len(examples.rows),
        outputs=converted.output_names,
        comparison=comparison,
        right_bitmap=np.packbits(right).tobytes() if right is not None else b"",
        errors=_errors(answers, examples.truths) if right is None else None,
    )


def _write(
    out: Path, onnx: bytes, examples: testsets.Examples, task: trained.Task, manifest: manifests.Options
) -> tuple[str, str]:
    """Write the three files; return the digests of model and test set."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "model.onnx").write_bytes(onnx)
    testsets.write(out / "testset.parquet", examples)
    model_digest, test_set_digest = _digest(out / "model.onnx"), _digest(out / "testset.parquet")
    document = manifests.manifest(
        manifest,
        model_digest=model_digest,
        test_set_digest=test_set_digest,
        truth=examples.truth_name,
        task=task,
    )
    (out / "modeldeployment.yaml").write_text(manifests.text(document), encoding="utf-8")
    return model_digest, test_set_digest


def _errors(answers: trained.Answers, truths: npt.NDArray[Any]) -> Errors:
    assert answers.scores is not None
    off = answers.scores[:, 0] - truths.astype(np.float64)
    return Errors(float(np.abs(off).mean()), float(np.sqrt((off**2).mean())), float(np.std(truths.astype(np.float64))))


def _check_truths(examples: testsets.Examples, model: trained.Trained) -> None:
    kind = examples.truths.dtype.kind
    where = f"test set: column {examples.truth_name!r}"
    if model.task == "regression":
        if kind not in "iuf" or not np.isfinite(examples.truths.astype(np.float64)).all():
            raise errors.Refused(f"{where}: expected numbers, for the model predicts one; got {_some(examples.truths)}")
        return
    if kind == "f":
        raise errors.Refused(f"{where}: expected whole numbers or strings, got {_some(examples.truths)}")
    if not set(model.classes) & set(examples.truths.tolist()):
        raise errors.Refused(
            f"{where} holds none of the model's classes: expected some of {list(model.classes)[:5]}, got "
            f"{_some(examples.truths)}"
        )


def _some(values: npt.NDArray[Any]) -> list[Any]:
    return list(values[:5].tolist())


def _shortened(title: str) -> str:
    return title if len(title) <= _TITLE_CHARACTERS else title[: _TITLE_CHARACTERS - 1] + "…"


def _digest(path: Path) -> str:
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
