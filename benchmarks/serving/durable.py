"""The parts of docs/benchmarks.md on the ledger, made from results/{ledger,exactly_once,outcomes,ledger_size}.json. Pure: a dict in, text out."""

from .decisions import table

HEAD = """\
## Durable outcomes

    make bench-ledger                        # some minutes

The ledger's process on one core, its callers on another; PostgreSQL's own server runs on the callers' core, and takes from them. An
outcome counts once it is acknowledged, and then it is on the disk. Bare SQLite inserts bodies of the same size with the same
pragmas, as many in a transaction as the ledger could at most put into one, without HTTP, JSON and indexes.
"""
ONCE = """\
## Exactly once

    make bench-exactly-once                  # some minutes

Twenty clients report 200,000 outcomes, and copies of half of the predictions, in random order, a tenth of the calls again and some
cut off, while ledgers are killed 50 times; on PostgreSQL there are two, and each tenth kill is the server's. A follower that reads
the log, folds it and keeps checkpoints as the operator does is killed as often. In the third run predictions and reports go through
two model servers, which are killed as the ledger is. `differing` counts characters in which the follower's evidence differs from that
of the whole log.
"""
OUTCOMES = """\
## From an outcome to a verdict

    make bench-outcomes                      # the two before, and this

The operator's own follower reads a real ledger: how many entries a second it folds into evidence, and how long after its
acknowledgement an outcome that decides has decided (20 lives of a worse model, on SQLite). What follows then, until all traffic is
back, is under "Rollbacks".
"""
SIZES = """\
## Ten million outcomes

    make bench-ledger-size                   # ten minutes

One ledger on SQLite, four ModelDeployments, outcomes about a million customers each, so that each new customer is a page of an
index that grows. Pages of 1,000 entries are read by cursor at the beginning, in the middle and at the end of the log.
"""
SIZE_ROWS = {
    "intake_per_second": ("intake, outcomes/s, 512 a call", "{:,}"),
    "read_first_ms": ("page at the beginning, ms", "{:.1f}"),
    "read_middle_ms": ("page in the middle, ms", "{:.1f}"),
    "read_last_ms": ("page at the end, ms", "{:.1f}"),
    "read_model_ms": ("page of one ModelDeployment, ms", "{:.1f}"),
    "resume_ms": ("what an operator begins with, ms", "{:.1f}"),
    "restart_seconds": ("ready after SIGKILL, s", "{:.2f}"),
    "restarted_rss_mb": ("memory then, MB", "{}"),
    "rss_mb": ("memory after intake, MB", "{}"),
    "database_mb": ("database, MB", "{:,}"),
}
LOADS = {1: "1 a call, 64 callers", 100: "100 a call, 8 callers", 512: "512 a call, 4 callers"}
GOALS = {"outcomes_per_second_1": 5_000, "outcomes_per_second_100": 50_000, "postgres_per_second_1": 5_000}
ROWS = {
    "outcomes_per_second": ("SQLite, outcomes/s", "{:,.0f}"),
    "cpu_microseconds": ("SQLite, CPU us/outcome", "{:.0f}"),
    "p99_ms": ("SQLite, p99 of the acknowledgement, ms", "{:.0f}"),
    "postgres_per_second": ("PostgreSQL, outcomes/s", "{:,.0f}"),
    "postgres_cpu_microseconds": ("PostgreSQL, CPU us/outcome, the ledger's", "{:.0f}"),
    "postgres_p99_ms": ("PostgreSQL, p99 of the acknowledgement, ms", "{:.0f}"),
    "bare_sqlite_per_second": ("bare SQLite, rows/s", "{:,.0f}"),
}


def text(results: dict) -> str:
    """Return the section."""
    summary = results["summary"]
    rows = [
        [title, *(_cell(summary, f"{name}_{size}", form) for size in LOADS)] for name, (title, form) in ROWS.items()
    ]
    return "\n".join([HEAD, table(["one core", *LOADS.values()], rows)])


def text_of_once(results: dict) -> str:
    """Return the section on what was killed meanwhile."""
    names = ("outcomes", "kills", "follower_starts", "lost", "double", "gaps", "differing", "seconds")
    rows = [[kind, *(f"{found[name]:,}" for name in names)] for kind, found in results.items()]
    return "\n".join([ONCE, table(["store", *names], rows)])


def text_of_outcomes(results: dict) -> str:
    """Return the section on how soon outcomes are judged."""
    summary = results["summary"]
    rows = [
        ["entries folded a second, one core", f"{summary['fold_per_s']:,}", ""],
        ["verdict after the acknowledgement, median, ms", f"{1e3 * summary['verdict_seconds']:.1f}", "1,000"],
        ["the longest, ms", f"{1e3 * summary['verdict_seconds_worst']:.1f}", ""],
    ]
    return "\n".join([OUTCOMES, table(["", "found", "goal"], rows)])


def text_of_sizes(results: dict) -> str:
    """Return the section on a ledger that grows."""
    sizes = results["sizes"]
    rows = [[title, *(form.format(each[name]) for each in sizes)] for name, (title, form) in SIZE_ROWS.items()]
    return "\n".join([SIZES, table(["outcomes", *(f"{each['outcomes']:,}" for each in sizes)], rows)])


def _cell(summary: dict, name: str, form: str) -> str:
    if name not in summary:
        return "-"
    goal = GOALS.get(name)
    return form.format(summary[name]) + (f" (goal: {goal:,})" if goal else "")
