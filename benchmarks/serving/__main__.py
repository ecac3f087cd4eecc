"""The model server beside others, in one run on the same cores: `make bench-serving`.

One core serves, another makes the load (wrk, h2load); nothing else should run. Who takes part is in `contenders`, what is
served in `models`, what is measured in `measuring.cells`. What does not install, start or answer right is named with the
reason, and the rest goes on. Writes benchmarks/results/serving.json and docs/benchmarks.md; with --quick, --only,
--models or --no-peers it writes elsewhere, for such figures are for looking at.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import receipts

from . import contenders, machine, measuring, models, page, places, summary


def main() -> None:
    options = _options()
    if options.page:
        page.write()
        return
    if lacking := machine.missing():
        sys.exit("\n".join(f"bench-serving: {line}" for line in lacking))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _ended)
    plan = _plan(options)
    with tempfile.TemporaryDirectory(prefix="leadline-bench-") as name:
        run = measuring.Run(plan, Path(name), machine.cores())
        found = asdict(run.all())
        costs = None
        if "leadline" in plan.names and "small" in plan.models and not options.no_outcomes:
            rounds = receipts.rounds_in(Path(name) / "outcomes", 2 if options.quick else 7, plan.seconds)
            costs = receipts.summarise(rounds)
    results = {
        "summary": summary.summarise(found, costs),
        "environment": machine.environment(),
        "servers": _servers(),
        "outcomes": costs,
        **found,
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(results, indent=1) + "\n")
    print(page.terminal(results))
    print(f"written to {os.path.relpath(options.output)}")
    if options.output == places.RESULTS:
        page.write()
        print(f"written to {os.path.relpath(places.PAGE)}")


def _ended(number: int, _frame: object) -> None:
    """End by a signal in the usual way, so that all that was started is ended as well."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    sys.exit(f"bench-serving: ended by {signal.Signals(number).name}; nothing is written")


def _servers() -> dict[str, dict[str, str]]:
    return {
        each.name: {"title": each.title, "version": contenders.version(each), "note": each.note}
        for each in contenders.ALL
    }


def _plan(options: argparse.Namespace) -> measuring.Plan:
    names = options.only or [each.name for each in contenders.ALL if not (options.no_peers and each.peer)]
    rounds = {"rounds": 2, "more_rounds": 2, "seconds": 1} if options.quick else {}
    for name in ("rounds", "more_rounds", "seconds"):
        if getattr(options, name) is not None:
            rounds[name] = getattr(options, name)
    return measuring.Plan(names=tuple(names), models=tuple(options.models or models.NAMES), **rounds)


def _options() -> argparse.Namespace:
    def list_of(known) -> object:
        def read(given: str) -> list[str]:
            wanted = given.split(",")
            unknown = [name for name in wanted if name not in known]
            if unknown:
                raise argparse.ArgumentTypeError(f"expected some of {','.join(known)}, got {','.join(unknown)}")
            return wanted

        return read

    parser = argparse.ArgumentParser(
        prog="bench-serving", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", type=list_of(contenders.BY_NAME), metavar="NAME,...", help="these servers alone")
    parser.add_argument("--models", type=list_of(models.NAMES), metavar="NAME,...", help="these models alone")
    parser.add_argument("--no-peers", action="store_true", help="only what needs no environment of its own")
    parser.add_argument("--no-outcomes", action="store_true", help="leave out what receipts and copies cost")
    parser.add_argument("--quick", action="store_true", help="two rounds of one second")
    parser.add_argument("--rounds", type=int, help="of what the summary needs")
    parser.add_argument("--more-rounds", type=int, help="of all else")
    parser.add_argument("--seconds", type=int, help="of each measurement, whole as wrk wants them")
    parser.add_argument("--output", type=Path, help="default: benchmarks/results/serving.json, for a whole run")
    parser.add_argument("--page", action="store_true", help="only write docs/benchmarks.md from the results")
    options = parser.parse_args()
    whole = not (options.only or options.models or options.no_peers or options.no_outcomes or options.quick)
    if options.output is None:
        options.output = places.RESULTS if whole else places.cache() / "bench" / "serving.json"
    options.output = options.output.resolve()
    return options


if __name__ == "__main__":
    main()
