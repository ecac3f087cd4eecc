"""`leadline outcomes export`: its options, and what they mean together.

Must not do any work of its own: next step `exporting`.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Final

_FORMATS: Final = {".parquet": "parquet", ".csv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson"}
"""By what a file's name ends in."""


Run = Callable[[argparse.Namespace], tuple[list[str], int]]


def options(commands: "argparse._SubParsersAction[argparse.ArgumentParser]", run: Run) -> None:
    """Add the command to those of `leadline`; `run` carries it out."""
    outcomes = commands.add_parser(
        "outcomes",
        help="export outcomes from the ledger, to train with",
        description="Outcomes that the ledger of a cluster holds: predictions with their true answers.",
    )
    export = outcomes.add_subparsers(dest="action", required=True, metavar="ACTION").add_parser(
        "export",
        help="write them to a file, or what came since the last time to one more file in a folder",
        description="Write the outcomes of one ModelDeployment, a row each, to a Parquet, CSV or JSON lines file. With "
        "--state what came since the last call goes to one more file in the folder --output: each outcome once, wherever "
        "a call is interrupted.",
    )
    export.set_defaults(command="outcomes export", run=run, extra="export", wrong_usage=export.error)
    export.add_argument("name", metavar="NAME", help="of the ModelDeployment")
    export.add_argument("-n", "--namespace", required=True, help="where it is")
    export.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE|FOLDER", help="what to write; with --state the folder"
    )
    begin = export.add_mutually_exclusive_group()
    begin.add_argument(
        "--after",
        type=_cursor,
        default=(0, ""),
        metavar="CURSOR",
        help="only what came after it, as the last call said; default: all that the ledger holds",
    )
    begin.add_argument("--state", type=Path, metavar="FILE", help="remember there what was exported; made if missing")
    export.add_argument("--split", choices=("train", "test"), default="", help="only this side; default: both")
    export.add_argument(
        "--test-percent",
        type=_percent,
        default=20,
        metavar="PERCENT",
        help="share of entities on the side of test; a larger one holds the smaller; default: 20",
    )
    export.add_argument(
        "--inputs",
        nargs="?",
        const="true",
        default="",
        choices=("true", "only"),
        metavar="only",
        help="with the inputs that were captured (spec.outcomes.capture), a column input.NAME each; only: leave out outcomes "
        "that have none",
    )
    export.add_argument(
        "--format",
        choices=("parquet", "csv", "ndjson"),
        help="default: what the file's name ends in, else parquet",
    )
    export.add_argument(
        "--system-namespace",
        default="leadline-system",
        metavar="NAMESPACE",
        help="where Leadline is installed; default: leadline-system",
    )
    export.add_argument(
        "--service-account",
        default="leadline",
        metavar="NAME",
        help="the operator's service account, which the ledger trusts; default: leadline",
    )


def run(options: argparse.Namespace, say: Callable[[str], None]) -> tuple[list[str], int]:
    """Carry the command out; return what to print, and the exit status."""
    from leadline_cli import exporting, fetching  # noqa: PLC0415 - this command alone

    if options.state is not None and options.output.is_file():
        options.wrong_usage(f"--output: with --state a folder, and {options.output} is a file")
    suffix = "" if options.state is not None else options.output.suffix.lower()
    chosen = exporting.Options(
        namespace=options.namespace,
        name=options.name,
        output=options.output,
        state=options.state,
        after=exporting.Cursor(*options.after),
        split=options.split,
        test_percent=options.test_percent,
        inputs=options.inputs,
        format_=options.format or _FORMATS.get(suffix, "parquet"),
        install=fetching.Install(options.system_namespace, options.service_account),
    )
    return exporting.export(chosen, say), 0


def _cursor(text: str) -> tuple[int, str]:
    seq, _, timeline = text.partition("@")
    if not (seq.isascii() and seq.isdigit() and len(seq) <= 18):
        raise argparse.ArgumentTypeError(f"expected a cursor as the last call said it, got {text!r}")
    return int(seq), timeline


def _percent(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and int(text) <= 100):
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 to 100, got {text!r}")
    return int(text)
