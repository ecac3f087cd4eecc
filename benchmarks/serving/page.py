"""docs/benchmarks.md, and the tables on the terminal, made from the files in results that `SOURCES` names.

Pure but for `write`: dicts in, text out.
"""

import json

from . import decisions, durable, places, rollbacks, summary

ORDER = (
    "leadline",
    "echo",
    "grpcaio",
    "mlserver",
    "kserve",
    "mosec",
    "mosec_orjson",
    "litserve",
    "bentoml",
    "pytriton",
)
MODELS = {
    "small": "64 floats -> label and 10 probabilities, logistic regression",
    "trees": "the same in and out, a forest of 100 trees made by skl2onnx",
    "compute": "2,048 int32 -> 214 probabilities, the file type model of the PyPI package magika",
}
PROTOCOLS = {"json": "REST, JSON", "binary": "REST, binary tensors", "grpc": "gRPC"}
SOURCES = (places.RESULTS, places.DECISIONS, places.ROLLBACKS, places.LEDGER, places.ONCE, places.OUTCOMES, places.SIZE)
"""What the page is made from, in the order of its parts."""
HEAD = """\
# Benchmarks

<!-- Made by `make bench-serving` and the others that are named below, from benchmarks/results; do not edit. -->

## The model server

    make bench-serving                       # all of it, on a quiet machine with two cores or more
    make bench-serving ARGS='--quick'        # two short rounds
    make bench-serving ARGS='--only leadline,mosec'

One core serves, another one makes the load, all on one machine over loopback. Rounds are interleaved: in each round every server
is measured once, in another order. Machines drift, so that absolute figures do not carry over; ratios are medians of each round's
own ratio. Before anything is timed, each server's answers are compared with onnxruntime's. Every server gets one core and one
thread for the model, and is set up as its documentation advises: batching where it has it, one worker, no access log
(`benchmarks/peers`). All versions are pinned there, each server in an environment of its own.

`32x16` means 32 rows a request over 16 connections; `onnxruntime, 32 rows` is the model alone in a loop, 32 rows a run, in
runs/s. The compute model's requests have one row, and servers that batch run at most 4 rows at once, as the loop beside them does.

- **Throughput and CPU**: `wrk` for HTTP/1.1 and `h2load` for gRPC, closed loop, from Debian
  (`apt-get install wrk nghttp2-client`). CPU is user and system time of all processes of the server, by the kernel's accounts.
- **Latency at half load** (p50, p99; one row): `benchmarks/serving/steady.py`, an open loop with Poisson arrivals over 16
  connections, at half of what the same server reached with 16 connections, at most 15,000 req/s; counted from when a request was due.
  The echo is asked at Leadline's rate: what it shows is the load generator's own part.
- **Memory**: resident, all processes of the server, after the load, less the model's file. Shared pages count in each process.
"""


def write() -> None:
    """Write the page from the results that are there."""
    places.PAGE.write_text(text(*(json.loads(path.read_text()) for path in SOURCES)))


def text(*found: dict) -> str:
    """Return the page, from what stands in `SOURCES`."""
    results, judged, gone_back, kept, once, outcomes, sizes = found
    parts = [HEAD, "### Goals\n", decisions.table(*goals(results["summary"]))]
    for title, header, rows in tables(results):
        parts += [f"### {title}\n", decisions.table(header, rows)]
    parts += ["### What failed, and notes\n", *_failures(results)]
    parts += ["### Machine and versions\n", *_environment(results)]
    parts += [decisions.text(judged), rollbacks.text(gone_back), durable.text(kept), durable.text_of_once(once)]
    return "\n".join([*parts, durable.text_of_outcomes(outcomes), durable.text_of_sizes(sizes)])


def terminal(results: dict) -> str:
    """Return the same tables for people at a terminal."""
    parts = []
    for title, header, rows in [("Goals", *goals(results["summary"])), *tables(results)]:
        widths = [max(len(row[place]) for row in [header, *rows]) for place in range(len(header))]
        lines = [
            "  ".join(
                cell.ljust(width) if place in {0, 4 * (header[4:] == ["what it is"])} else cell.rjust(width)
                for place, (cell, width) in enumerate(cells)
            )
            for cells in (zip(row, widths, strict=True) for row in [header, *rows])
        ]
        parts += [title, *(f"  {line.rstrip()}" for line in lines), ""]
    return "\n".join([*parts, *_failures(results)])


def goals(figures: dict) -> tuple[list[str], list[list[str]]]:
    """Return the table of goals."""
    rows = []
    for name, goal in summary.GOALS.items():
        value = figures.get(name)
        sign = "<=" if name in summary.COSTS else ">="
        met = "not measured" if value is None else "yes" if summary.is_met(name, value) else "no"
        rows.append([name, "-" if value is None else f"{value:.3g}", f"{sign} {goal:g}", met, summary.MEANINGS[name]])
    return ["figure", "found", "goal", "met", "what it is"], rows


def tables(results: dict) -> list[tuple[str, list[str], list[list[str]]]]:
    """Return title, header and rows of each table of measurements."""
    made = []
    for model, what in MODELS.items():
        for protocol, title in PROTOCOLS.items():
            rows = _rows(results, model, protocol)
            if rows:
                made.append((f"{model}: {title} ({what})", *rows))
    memory = results.get("memory", [])
    if memory:
        header = ["server", *(f"{model}, MB" for model in MODELS)]
        rows = []
        for server in ORDER:
            found = {each["model"]: each["rss_mb"] - each["model_mb"] for each in memory if each["server"] == server}
            if found:
                rows.append([_name(results, server), *(_number(found.get(model)) for model in MODELS)])
        made.append(("Memory beyond the model's file", header, rows))
    return made


def _rows(results: dict, model: str, protocol: str) -> tuple[list[str], list[list[str]]] | None:
    wanted = {"model": model, "protocol": protocol}
    lines = [each for each in results.get("measurements", []) if all(each[name] == wanted[name] for name in wanted)]
    loads = sorted({(each["rows"], each["connections"]) for each in lines})
    if not loads:
        return None
    slow = {(each["server"], each["rows"]): each for each in results["latencies"] if wanted.items() <= each.items()}
    header = ["server"]
    for rows, connections in loads:
        header += [f"{rows}x{connections} req/s", "CPU us"]
    header += ["p50 ms", "p99 ms"] if slow else []
    table = []
    for server in ORDER:
        cells = []
        for rows, connections in loads:
            key = {**wanted, "rows": rows, "connections": connections, "server": server}
            figures = ("requests_per_second", "cpu_microseconds")
            cells += [_number(summary.median(results, key, figure)) for figure in figures]
        if slow:
            latency = slow.get((server, 1), {})
            cells += [_number(latency.get("p50_ms")), _number(latency.get("p99_ms"))]
        if any(cell != "-" for cell in cells):
            table.append([_name(results, server), *cells])
    raw = [each for each in results.get("raw", []) if each["model"] == model]
    for rows in sorted({each["rows"] for each in raw}):
        runs = summary.statistics.median(each["runs_per_second"] for each in raw if each["rows"] == rows)
        name = f"onnxruntime, {rows} row{'s' * (rows > 1)}"
        table.append([name, _number(runs), *["-"] * (len(header) - 2)])
    return header, table


def _name(results: dict, server: str) -> str:
    known = results.get("servers", {}).get(server, {})
    return f"{known.get('title', server)} {known.get('version', '')}".strip()


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _failures(results: dict) -> list[str]:
    lines = [
        f"- {_name(results, each['server'])}{', ' * bool(each['model'])}{each['model']}: {each['what']}: {each['reason']}"
        for each in results.get("failures", [])
    ]
    notes = [
        f"- {known['title']}: {known['note']}" for known in results.get("servers", {}).values() if known.get("note")
    ]
    restless: dict[str, float] = {}
    for each in results.get("idle", []):
        for server, share in each["cpu_shares"].items():
            restless[server] = max(share, restless.get(server, 0.0))
    notes += [
        f"- {_name(results, server)} takes up to {share:.0%} of the core while nobody asks, and is paused while others are measured"
        for server, share in restless.items()
        if share > summary.IDLE_SHARE_MAX
    ]
    return [*(lines or ["- every server that was asked answered"]), *notes, ""]


def _environment(results: dict) -> list[str]:
    return [*(f"- {name}: {value}" for name, value in results["environment"].items()), ""]
