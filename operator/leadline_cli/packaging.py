"""Package a trained classifier: convert, compare, measure, write.

Writes three files only after every check has passed, so that what lies in the folder can be deployed. Both
`leadline package` and the examples call it.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from leadline_stats import test_sets

from leadline_cli import comparing, conversion, errors, manifests, testsets


@dataclass(frozen=True, slots=True)
class Packaged:
    """What was written and measured."""

    estimator: str
    out: Path
    model_bytes: int
    model_digest: str
    test_set_digest: str
    right: int
    rows: int
    outputs: tuple[str, ...]
    comparison: comparing.Comparison
    right_bitmap: bytes
    """Rows that the converted model has right, as numpy.packbits."""

    def lines(self) -> list[str]:
        """Return the report for people."""
        low, high = test_sets.accuracy_interval(self.right, self.rows)
        same = self.rows - len(self.comparison.different) - len(self.comparison.ties)
        ties = f" ({len(self.comparison.ties)} where the original is undecided)" if self.comparison.ties else ""
        accuracy = f"{self.right / self.rows:.3f} [{low:.3f}, {high:.3f}] on {self.rows:,} unseen rows (98 % interval)"
        scores = (
            f"{self.outputs[1]} within {self.comparison.largest_difference:.1g}" if self.outputs[1:] else "no scores"
        )
        size = f"{self.model_bytes / 1000:,.0f} kB, {self.model_digest[:19]}…"
        return [
            f"model       {self.estimator}",
            f"accuracy    {accuracy}",
            f"conversion  {same:,} of {self.rows:,} answers equal the original's{ties}, {scores}",
            f"written     {self.out}/model.onnx ({size}), testset.parquet, modeldeployment.yaml",
        ]


def package(estimator: Any, examples: testsets.Examples, *, out: Path, manifest: manifests.Options) -> Packaged:
    """Convert a classifier, prove that its answers stayed the same, and write what a ModelDeployment needs.

    Args:
        estimator: A fitted scikit-learn classifier.
        examples: Rows that it has never seen.
        out: Folder of the files; made where it is missing.
        manifest: What the ModelDeployment says.

    Raises:
        Refused: Something cannot be used, or the converted model answers differently; nothing is written.
    """
    manifest.check()
    converted = conversion.convert(estimator, input_name=examples.input_name, width=examples.rows.shape[1])
    _check_truths(examples, converted.classes)
    answers = conversion.converted_answers(converted, examples.rows)
    comparison = comparing.compare(conversion.original_answers(estimator, examples.rows), answers)
    trouble = comparison.trouble()
    if trouble:
        raise errors.Refused(trouble)
    right = answers.labels == examples.truths

    out.mkdir(parents=True, exist_ok=True)
    (out / "model.onnx").write_bytes(converted.onnx)
    testsets.write(out / "testset.parquet", examples)
    model_digest, test_set_digest = _digest(out / "model.onnx"), _digest(out / "testset.parquet")
    document = manifests.manifest(
        manifest, model_digest=model_digest, test_set_digest=test_set_digest, truth=examples.truth_name
    )
    (out / "modeldeployment.yaml").write_text(manifests.text(document), encoding="utf-8")
    return Packaged(
        estimator=" ".join(str(estimator).split()),
        out=out,
        model_bytes=len(converted.onnx),
        model_digest=model_digest,
        test_set_digest=test_set_digest,
        right=int(right.sum()),
        rows=len(right),
        outputs=converted.output_names,
        comparison=comparison,
        right_bitmap=np.packbits(right).tobytes(),
    )


def _check_truths(examples: testsets.Examples, classes: tuple[int | str, ...]) -> None:
    known = set(classes)
    if not known & set(examples.truths.tolist()):
        raise errors.Refused(
            f"test set: column {examples.truth_name!r} holds none of the model's classes: expected some of "
            f"{list(classes)[:5]}, got {examples.truths.tolist()[:5]}"
        )


def _digest(path: Path) -> str:
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
