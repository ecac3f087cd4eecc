"""The command line: names the subcommands, reads their options, prints what they say.

Exit status: 0 done, 1 refused (one line on standard error says why) or, of `replay`, something differs, 2 wrong usage,
130 interrupted by Ctrl-C.
Standard output is the result. Each subcommand's module is imported only when it is asked for, since some bring hundreds
of megabytes.

Must not do any work of its own.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from leadline_cli import errors, export_command, labels_command

_INTERRUPTED: Final = 130
"""What shells say of a command that Ctrl-C ended."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand and return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        lines, status = options.run(options)
        return status if _told(lines) else 1
    except errors.Refused as error:
        print(f"leadline {options.command}: {error}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        print(
            f"leadline {options.command}: needs the module {error.name}: pip install 'leadline[{options.extra}]'",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        print(f"leadline {options.command}: interrupted", file=sys.stderr)
        return _INTERRUPTED


def _told(lines: Sequence[str]) -> bool:
    """Print the result; return False if whoever read it has gone.

    Raises:
        Refused: It cannot be written.
    """
    try:
        if lines:
            print("\n".join(lines), flush=True)
    except OSError as error:
        # What is still in the buffer would be tried again as Python ends, with a traceback.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return False
        raise errors.Refused(f"standard output: {error.strerror}") from error
    return True


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="leadline", description="Deploy models that are watched while they serve.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _package_options(
        commands.add_parser(
            "package",
            help="convert a trained model, compare its answers, write what a ModelDeployment needs",
            description="Convert a model of scikit-learn, XGBoost, LightGBM, CatBoost or PyTorch to ONNX, compare the "
            "converted model's answers with the original's on every row of a test set, and write model.onnx, "
            "testset.parquet and modeldeployment.yaml. In Python: leadline.package.",
        )
    )
    _evaluate_options(
        commands.add_parser(
            "evaluate",
            help="answer a test set with an ONNX model, as a pod does, and measure",
            description="Answer a test set with an ONNX model by the runtime's own reader and engine, and print the "
            "estimate with its interval, rows per class, and the digest of the answers.",
        )
    )
    _serve_options(
        commands.add_parser(
            "serve",
            help="serve an ONNX model on this machine, with no cluster",
            description="Serve one ONNX model on this machine by the runtime that serves it in a cluster, and print how "
            "to ask it. A file that changes is not loaded again.",
        )
    )
    _tune_options(
        commands.add_parser(
            "tune",
            help="measure an ONNX model on this machine and propose settings for its pods",
            description="Measure how long runs of an ONNX model take and how many requests the runtime answers with it, by "
            "rows, threads and workers, and propose settings for spec.runtime. Takes about a minute; nothing else should "
            "run meanwhile.",
        )
    )
    _replay_options(
        commands.add_parser(
            "replay",
            help="recompute every decision from the ledger's log, or what would have been decided on a table of past "
            "predictions, beside what others' rules would do",
            description="Recompute the evidence of one ModelDeployment from the ledger's log alone, hold it against the "
            "decisions in the same log, and show when window rules of others would have rolled back. Exit status 1 where "
            "something differs. Or, of a CSV or Parquet file of past predictions with their true answers: tell what would "
            "have been decided, and when.",
        )
    )
    export_command.options(commands, run=lambda options: export_command.run(options, _say))
    labels_command.options(commands, run=lambda options: labels_command.run(options, _say))
    return parser


def _package_options(package: argparse.ArgumentParser) -> None:
    package.set_defaults(run=_package, extra="convert")
    package.add_argument(
        "model",
        type=Path,
        metavar="MODEL",
        help="saved as data: .skops, XGBoost's .json or .ubj, LightGBM's .txt, CatBoost's .cbm, PyTorch's .pt2",
    )
    package.add_argument(
        "--test-set",
        type=Path,
        required=True,
        metavar="FILE",
        help="Parquet, CSV or npz file of rows that the model has never seen",
    )
    package.add_argument("--truth", required=True, metavar="COLUMN", help="column with the true answers")
    package.add_argument(
        "--input",
        metavar="COLUMN",
        help="column of number lists that is the model's input; default: the only one, or all other columns",
    )
    package.add_argument(
        "--task",
        choices=("classification", "regression"),
        help="what the model is for; needed for .pt2, whose numbers do not say",
    )
    package.add_argument(
        "--classes",
        metavar="A,B,...",
        help="names of the classes in the order of the scores, where the model has numbers only; default: 0,1,...",
    )
    package.add_argument("-o", "--out", type=Path, required=True, metavar="FOLDER", help="where the files go")
    package.add_argument("--name", default="model", help="name of the ModelDeployment; default: model")
    package.add_argument("--store", metavar="URI", help="where you will upload the files; default: s3://models/NAME")
    package.add_argument("--test-set-uri", metavar="URI", help="where the test set will be; default: beside the model")
    package.add_argument("--credentials", metavar="SECRET", help="Secret with the store's credentials")
    package.add_argument(
        "--margin", default="0.02", help="accuracy that may be lost to the last good one; default: 0.02"
    )
    package.add_argument("--floor", help="lowest accuracy to be admitted; default: none")
    package.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="TYPE",
        help="type in the file that skops does not know to be harmless, or torch.export for a .pt2; may be repeated",
    )


def _evaluate_options(evaluate: argparse.ArgumentParser) -> None:
    evaluate.set_defaults(run=_evaluate, extra="runtime,convert")
    evaluate.add_argument("model", metavar="MODEL", help="path of an ONNX file or folder, or a URI")
    evaluate.add_argument("test_set", type=Path, metavar="TESTSET", help="Parquet, CSV or npz file")
    evaluate.add_argument("--truth", required=True, metavar="COLUMN", help="column with the true answers")
    evaluate.add_argument(
        "--output", default="", metavar="NAME", help="output that is the prediction; default: what the model says"
    )
    evaluate.add_argument(
        "--task",
        choices=("classification", "regression"),
        default="",
        help="what the model is for; default: what its metadata says",
    )


def _serve_options(serve: argparse.ArgumentParser) -> None:
    serve.set_defaults(run=_serve, extra="runtime")
    serve.add_argument(
        "model",
        metavar="MODEL",
        help="path of an ONNX file or folder, or a URI: http(s), s3, gs, az, oci, hf, models:/",
    )
    serve.add_argument("--port", type=_port, default=8080, help="default: 8080")
    serve.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="address to listen on; default: 127.0.0.1, this machine only",
    )
    serve.add_argument("--name", help="name in /v2/models/NAME; default: the file's")
    serve.add_argument("--digest", default="", metavar="SHA256", help="sha256:... that the file must have")
    serve.add_argument("--verbose", action="store_true", help="show all that the runtime logs")


def _port(text: str) -> int:
    if not (text.isdigit() and 1 <= int(text) <= 65_535):
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 to 65535, got {text!r}")
    return int(text)


def _tune_options(tune: argparse.ArgumentParser) -> None:
    tune.set_defaults(run=_tune, extra="runtime")
    tune.add_argument("model", type=Path, metavar="MODEL.onnx", help="an ONNX file")
    tune.add_argument("--seconds", type=_seconds, default=50.0, help="about how long to measure; default: 50")
    tune.add_argument(
        "--cpus", type=_cpus, default=0, metavar="N", help="CPUs that a pod is to have; default: those of this machine"
    )


def _cpus(text: str) -> int:
    if not (text.isdigit() and int(text)):
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, got {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 1.0 <= value <= 3_600.0:
        raise argparse.ArgumentTypeError(f"expected seconds from 1 to 3600, got {text!r}")
    return value


def _replay_options(replay: argparse.ArgumentParser) -> None:
    replay.set_defaults(run=_replay, extra="operator", wrong_usage=replay.error)
    replay.add_argument(
        "source",
        metavar="FILE|NAME",
        help="file with the log, as --save writes it or the ledger answers it; or CSV (also .gz) or Parquet file of past "
        "predictions; with -n the name of a ModelDeployment",
    )
    replay.add_argument("-n", "--namespace", help="fetch the log of this namespace's ModelDeployment NAME by kubectl")
    replay.add_argument("--save", type=Path, metavar="FILE", help="with -n: also write the log there, an entry a line")
    replay.add_argument(
        "--evidence",
        action="store_true",
        help="also print all evidence to the last bit, to compare two replays by diff",
    )
    replay.add_argument(
        "--on-degraded",
        choices=("Rollback", "Alert"),
        default="Rollback",
        help="spec.quality.onDegraded, which neither a log nor a table holds; default: Rollback",
    )
    replay.add_argument(
        "--on-decay",
        choices=("VerifyThenRollback", "Alert"),
        default="VerifyThenRollback",
        help="spec.quality.onDecay, which neither a log nor a table holds; default: VerifyThenRollback",
    )
    replay.add_argument(
        "--system-namespace",
        default="leadline-system",
        metavar="NAMESPACE",
        help="where Leadline is installed; default: leadline-system",
    )
    replay.add_argument(
        "--service-account",
        default="leadline",
        metavar="NAME",
        help="the operator's service account, which the ledger trusts; default: leadline",
    )
    _history_options(replay.add_argument_group("of a table of past predictions, one a row"))


def _history_options(table: "argparse._ArgumentGroup") -> None:
    table.add_argument(
        "--metric",
        choices=("accuracy", "precision", "recall", "f1", "mae", "rmse", "r2"),
        default="accuracy",
        help="of classes the first four, of numbers the others; default: accuracy",
    )
    table.add_argument(
        "--positive", default="", metavar="CLASS", help="with --metric precision, recall or f1: the class to be found"
    )
    table.add_argument(
        "--margin",
        type=float,
        help="what may be lost, default: 0.02; with --metric mae or rmse the share by which it may grow, default: 0.1",
    )
    table.add_argument(
        "--probability", type=float, default=0.01, help="of ever rolling back a good revision; default: 0.01"
    )
    table.add_argument(
        "--maturity", default="0s", metavar="DURATION", help="from a prediction to its true answer; default: 0s"
    )
    for name, what in (
        ("time", "when it was predicted"),
        ("revision", "which model predicted"),
        ("prediction", "the class, or number, that was predicted"),
        ("truth", "the true one"),
    ):
        table.add_argument(f"--{name}", default=name, metavar="COLUMN", help=f"{what}; default: {name}")
    table.add_argument(
        "--id",
        metavar="COLUMN",
        help="the request: rows of two revisions with one id are compared; default: id, if there",
    )
    table.add_argument(
        "--entity", metavar="COLUMN", help="whom it is about: only the first row of each and revision counts"
    )


def _package(options: argparse.Namespace) -> tuple[list[str], int]:
    from leadline_cli import estimators, frameworks, manifests, packaging, testsets  # noqa: PLC0415 - heavy

    manifest = manifests.Options(
        name=options.name,
        store=options.store or f"s3://models/{options.name}",
        margin=options.margin,
        floor=options.floor,
        credentials=options.credentials,
        test_set_uri=options.test_set_uri,
    )
    manifest.check()
    _say(f"reading {options.model}")
    classes = tuple(options.classes.split(",")) if options.classes else None
    model = frameworks.of(estimators.load(options.model, trusted=options.trust), task=options.task, classes=classes)
    _say(f"reading {options.test_set}")
    examples = testsets.read(options.test_set, truth=options.truth, input_name=options.input, features=model.features)
    return packaging.package(model, examples, out=options.out, manifest=manifest, say=_say).lines(), 0


def _evaluate(options: argparse.Namespace) -> tuple[list[str], int]:
    from leadline_cli import evaluating  # noqa: PLC0415 - the runtime

    _say(f"answering {options.test_set} with {options.model}")
    chosen = evaluating.Options(
        model=options.model,
        test_set=options.test_set,
        truth=options.truth,
        output=options.output,
        task=options.task,
    )
    return evaluating.evaluate(chosen).lines(), 0


def _serve(options: argparse.Namespace) -> tuple[list[str], int]:
    from leadline_cli import serving  # noqa: PLC0415 - the runtime

    chosen = serving.Options(
        model=options.model,
        port=options.port,
        host=options.host,
        name=options.name,
        digest=options.digest,
        verbose=options.verbose,
    )
    return [], serving.serve(chosen, _say)


def _say(what: str) -> None:
    """Tell on standard error what is being done."""
    print(f"  {what}", file=sys.stderr, flush=True)


def _tune(options: argparse.Namespace) -> tuple[list[str], int]:
    from leadline_cli import tuning  # noqa: PLC0415 - onnxruntime

    def say(what: str) -> None:
        print(f"  {what}", file=sys.stderr, flush=True)

    return tuning.tune(options.model, seconds=options.seconds, cpus=options.cpus, say=say), 0


def _replay(options: argparse.Namespace) -> tuple[list[str], int]:
    from leadline_cli import agreeing, fetching, logs, replays  # noqa: PLC0415 - numpy and scipy

    if options.namespace is None and (columns := _history_columns(options)) is not None:
        return _replay_history(options, columns)
    if options.namespace is None:
        if options.save is not None:
            options.wrong_usage("--save: needs -n NAMESPACE; a log that is a file is saved already")
        entries = logs.read(Path(options.source))
    else:
        install = fetching.Install(options.system_namespace, options.service_account)
        entries = fetching.fetch(options.namespace, options.source, install)
        if options.save is not None:
            logs.write(options.save, entries)
    alerts = agreeing.Alerts(on_degraded=options.on_degraded == "Alert", on_decay=options.on_decay == "Alert")
    replayed = replays.replay([entries], alerts)
    return replayed.lines(exact=options.evidence), 0 if replayed.agrees else 1


def _history_columns(options: argparse.Namespace) -> Any:
    """Return the columns of a table of past predictions; None where the file is a log."""
    from leadline_cli import history_files  # noqa: PLC0415 - replay alone

    columns = history_files.Columns(
        time=options.time,
        revision=options.revision,
        prediction=options.prediction,
        truth=options.truth,
        id=options.id,
        entity=options.entity,
    )
    return columns if history_files.is_history(Path(options.source), columns) else None


def _replay_history(options: argparse.Namespace, columns: Any) -> tuple[list[str], int]:
    from leadline_cli import history_replay, history_text  # noqa: PLC0415 - numpy and scipy

    if options.save is not None or options.evidence:
        options.wrong_usage("--save, --evidence: are for the log of a ModelDeployment, not for a table of predictions")
    if options.source.lower().endswith(".parquet"):
        options.extra = "operator,convert"
    chosen = history_replay.Options(
        metric=options.metric,
        positive=options.positive,
        margin=options.margin,
        probability=options.probability,
        maturity_ms=history_replay.milliseconds(options.maturity),
        on_degraded=options.on_degraded,
        on_decay=options.on_decay,
    )
    return history_text.lines(history_replay.replay(Path(options.source), columns, chosen)), 0


if __name__ == "__main__":
    sys.exit(main())
