"""Answer a test set with an ONNX model, as a pod does: the runtime's own reader, engine and measures.

What is printed is what the operator would be told: the estimate with its interval, rows per class, and the digest of the
answers, by which two models, or two machines, are told to answer alike. Must not judge: that is the operator's.
"""

import asyncio
import math
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from leadline_runtime import cgroup, messages
from leadline_runtime import errors as runtime_errors
from leadline_runtime.engine import batching, counters, session
from leadline_runtime.library import fetching
from leadline_runtime.library.failures import ModelError
from leadline_runtime.testset import columns, orders, runner
from leadline_stats import test_sets
from leadline_wire import exchange

from leadline_cli import errors, testsets

MAX_ROWS: Final = 64
PASSES: Final = 2
"""The second one shows which answers hang on their neighbours, or on chance."""
_CLASSES_SHOWN: Final = 20
_MISTAKES_SHOWN: Final = 3


@dataclass(frozen=True, slots=True)
class Options:
    """What the user chooses."""

    model: str
    """Path or URI."""
    test_set: Path
    truth: str
    output: str = ""
    """Empty: the one that the model's metadata names, or the only one that can be meant."""
    task: str = ""
    """Empty: what the model's metadata says."""


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What a model's answers to a test set came to."""

    options: Options
    digest: str
    size_bytes: int
    report: exchange.TestSetReport

    def lines(self) -> list[str]:
        """Return the report for people."""
        report = self.report
        size = f"{self.size_bytes / 1000:,.0f} kB, {self.digest[:19]}…"
        lines = [
            f"model       {self.options.model} ({size})",
            f"test set    {self.options.test_set}, {report.rows:,} rows, true answers in {self.options.truth!r}",
        ]
        lines += self._errors() if report.task == "regression" else self._accuracy()
        if report.invalid:
            lines.append(f"invalid     {report.invalid:,} rows have no usable answer (NaN, or the model failed)")
        steady = f"the same in {report.passes} passes"
        if report.changed:
            steady = f"{report.changed:,} rows are answered otherwise in a second pass: they are not deterministic"
        return [*lines, f"answers     {report.answers}", f"            {steady}"]

    def _accuracy(self) -> list[str]:
        report = self.report
        right = test_sets.count_right(report.right, report.rows)
        low, high = test_sets.accuracy_interval(right, report.rows)
        lines = [
            f"accuracy    {right / report.rows:.3f} [{low:.3f}, {high:.3f}] (98 % interval)",
            f"            {'class':<20} {'rows':>7} {'right':>6}   taken for",
        ]
        return lines + _classes(report)

    def _errors(self) -> list[str]:
        report = self.report
        usable = max(1, report.rows - report.invalid)
        absolute, square = report.absolute_error / usable, math.sqrt(report.squared_error / usable)
        return [f"error       {absolute:.4g} mean absolute, {square:.4g} root mean square"]


def evaluate(options: Options) -> Evaluated:
    """Answer the test set.

    Raises:
        Refused: Model or test set cannot be had, or do not fit each other.
    """
    testsets.check_is_file(options.test_set)
    with tempfile.TemporaryDirectory(prefix="leadline-evaluate-") as name:
        folder = Path(name)
        try:
            fetched = fetching.fetch(options.model, folder)
            model = session.load(fetched.path, threads=cgroup.cpus(), max_rows=MAX_ROWS)
        except ModelError as error:
            raise errors.Refused(f"{error.message} ({error.reason})") from error
        except runtime_errors.TroubleError as error:
            raise errors.Refused(f"{options.model}: {error.trouble.message} ({error.trouble.reason})") from error
        inputs = [tensor.info() for tensor in model.signature.inputs]
        shown = str(options.test_set)
        order = orders.Order(path=shown, folder=name, uri=shown, truth=options.truth, inputs=inputs)
        read = columns.read(order)
        if read.trouble:
            raise _refused(read.trouble)
        report = asyncio.run(_answered(model, options, name))
    if report.trouble is not None:
        raise _refused(report.trouble.message)
    return Evaluated(options, fetched.digest, fetched.size_bytes, report)


async def _answered(model: session.Model, options: Options, folder: str) -> exchange.TestSetReport:
    loop = asyncio.get_running_loop()
    done: asyncio.Future[exchange.TestSetReport] = loop.create_future()

    def take(report: exchange.TestSetReport) -> None:
        if report.state in {"Done", "Failed"} and not done.done():
            done.set_result(report)

    batcher = batching.Batcher(model, counters.Counters(), max_rows=MAX_ROWS, max_queue_rows=MAX_ROWS, loop=loop)
    runs = runner.Runner(batcher, take)
    runs.start(
        messages.RunTestSet(
            run="",
            folder=folder,
            output=options.output,
            passes=PASSES,
            digest="",
            uri=str(options.test_set),
            truth=options.truth,
            task=options.task or model.task,
            pace_seconds=0.0,
        )
    )
    try:
        return await done
    finally:
        batcher.close()


def _classes(report: exchange.TestSetReport) -> list[str]:
    """Return a line for each true class, the most frequent first."""
    rows: Counter[str] = Counter()
    right: Counter[str] = Counter()
    mistakes: dict[str, list[str]] = {}
    for cell in report.confusion:
        rows[cell.truth] += cell.rows
        if cell.predicted == cell.truth:
            right[cell.truth] += cell.rows
        else:
            taken_for = "no usable answer" if cell.predicted is None else cell.predicted
            mistakes.setdefault(cell.truth, []).append(f"{taken_for} ({cell.rows:,})")
    lines = []
    for truth, count in rows.most_common(_CLASSES_SHOWN):
        wrong = mistakes.get(truth, [])
        more = f", and {len(wrong) - _MISTAKES_SHOWN} more" if len(wrong) > _MISTAKES_SHOWN else ""
        taken = f"   {', '.join(wrong[:_MISTAKES_SHOWN])}{more}" if wrong else ""
        lines.append(f"            {truth[:20]:<20} {count:>7,} {right[truth] / count:>6.3f}{taken}")
    if len(rows) > _CLASSES_SHOWN or report.confusion_rest:
        lines.append(
            f"            and more: {len(rows) - len(lines):,} classes, {report.confusion_rest:,} rows of rare pairs"
        )
    return lines


def _refused(message: str) -> errors.Refused:
    """Return a message of the runtime in the words of the command line."""
    said = message.replace("spec.quality.testSet.truth", "--truth").replace("spec.model.predictions", "--output")
    return errors.Refused(said)
