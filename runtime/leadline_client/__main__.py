"""`python -m leadline_client report FILE --url URL --model NAME`: late answers from a file, each once.

Reporting a file again is safe: what was taken is known. Exit status 1: some were not taken, or not all could be told.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import Final

from leadline_client import errors, files
from leadline_client.outcomes import Fate
from leadline_client.sync import Client

_SHOWN: Final = 20
_REPORT_SECONDS: Final = 60.0
_COLUMNS: Final = ("receipt", "id", "row", "truth", "correct", "score")
_TAKEN: Final = frozenset({Fate.ACCEPTED, Fate.DUPLICATE, Fate.NOT_JUDGED})


def main(arguments: list[str] | None = None) -> int:
    """Run it; return the exit status."""
    told = _parser().parse_args(arguments)
    columns = {name: column for name in _COLUMNS if (column := getattr(told, f"{name}_column"))}
    counts: Counter[Fate] = Counter()
    refused: list[str] = []
    try:
        headers = {"authorization": f"Bearer {told.token_file.read_text().strip()}"} if told.token_file else {}
        with Client(
            told.url,
            model=told.model,
            store=None,
            outbox=False,
            headers=headers,
            report_timeout_seconds=_REPORT_SECONDS,
        ) as client:
            for batch in files.batches(told.file, columns):
                reported = client.report_many(outcome for _, outcome in batch)
                counts.update(each.fate for each in reported)
                refused += [
                    f"row {number}: {each.fate.value}{': ' * bool(each.why)}{each.why}"
                    for (number, _), each in zip(batch, reported, strict=True)
                    if each.fate not in _TAKEN
                ]
                sys.stderr.write(f"  {sum(counts.values()):,} reported\n")
    except (errors.ClientError, OSError) as error:
        sys.stderr.write(f"leadline_client: {error}\n")
        if counts:
            sys.stderr.write("leadline_client: report the file again; what was taken is known\n")
        return 1
    lines = [f"{count:>9,}  {fate.value}" for fate, count in counts.most_common()]
    lines += refused[:_SHOWN]
    if len(refused) > _SHOWN:
        lines.append(f"and {len(refused) - _SHOWN:,} more")
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 1 if refused else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m leadline_client", description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    report = actions.add_parser("report", help="report the outcomes of a file")
    report.add_argument("file", type=Path, metavar="FILE", help=".parquet, .csv, .ndjson or .jsonl")
    report.add_argument("--url", required=True, help="of the model's Service, e.g. http://digits.ml.svc")
    report.add_argument("--model", required=True, metavar="NAME", help="of the ModelDeployment")
    report.add_argument(
        "--token-file", type=Path, metavar="FILE", help="token that says who reports (spec.outcomes.sources)"
    )
    for name in _COLUMNS:
        report.add_argument(
            f"--{name}", dest=f"{name}_column", default="", metavar="COLUMN", help=f"column with it; default: {name}"
        )
    return parser


if __name__ == "__main__":
    sys.exit(main())
