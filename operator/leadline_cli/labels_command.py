"""`leadline labels add` and `leadline labels status`: their options, and what they mean together.

Must not do any work of its own: next step `labelling`.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

Run = Callable[[argparse.Namespace], tuple[list[str], int]]


def options(commands: "argparse._SubParsersAction[argparse.ArgumentParser]", run: Run) -> None:
    """Add the commands to those of `leadline`; `run` carries them out."""
    labels = commands.add_parser(
        "labels",
        help="bring labelled rows, which judge the serving revision and the last good one",
        description="Rows of inputs with their true answers. Each is answered once by the serving revision and by the one "
        "that it is compared with, and judges both.",
    )
    actions = labels.add_subparsers(dest="action", required=True, metavar="ACTION")
    add = actions.add_parser(
        "add",
        help="bring the rows of a file",
        description="Bring the rows of a Parquet, CSV or JSON lines file. A row that was brought before is known again, in "
        "whatever file it stands: bringing it once more is safe, and changes nothing.",
    )
    add.set_defaults(command="labels add", run=run, extra="export")
    add.add_argument("name", metavar="NAME", help="of the ModelDeployment")
    add.add_argument("file", type=Path, metavar="FILE", help=".parquet, .csv, or JSON lines (.ndjson, .jsonl)")
    add.add_argument("--truth", required=True, metavar="COLUMN", help="column with the true answers")
    add.add_argument(
        "--wait",
        type=_seconds,
        default=0.0,
        metavar="SECONDS",
        help="wait so long for the rows to be answered, and say what came of them; exit status 1 where some still wait",
    )
    status = actions.add_parser("status", help="say how far labelled rows are, and what came of them")
    status.set_defaults(command="labels status", run=run, extra="export", wait=0.0)
    status.add_argument("name", metavar="NAME", help="of the ModelDeployment")
    for each in (add, status):
        each.add_argument("-n", "--namespace", required=True, help="where it is")
        each.add_argument(
            "--service-account",
            default="leadline-labeller",
            metavar="NAME",
            help="in that namespace; kubectl makes a token for it, and RBAC has to allow it to bring labelled rows; default: "
            "leadline-labeller",
        )
        each.add_argument(
            "--system-namespace",
            default="leadline-system",
            metavar="NAMESPACE",
            help="where Leadline is installed; default: leadline-system",
        )


def run(options: argparse.Namespace, say: Callable[[str], None]) -> tuple[list[str], int]:
    """Carry a command out; return what to print, and the exit status."""
    from leadline_cli import fetching, labelling  # noqa: PLC0415 - these commands alone

    chosen = labelling.Options(
        namespace=options.namespace,
        name=options.name,
        wait_seconds=options.wait,
        account=fetching.Account(options.namespace, options.service_account),
        install=fetching.Install(options.system_namespace),
    )
    if options.action == "status":
        return labelling.status(chosen)
    return labelling.add(chosen, options.file, options.truth, say)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 86_400:
        raise argparse.ArgumentTypeError(f"expected seconds from 0 to 86400, got {text!r}")
    return seconds
