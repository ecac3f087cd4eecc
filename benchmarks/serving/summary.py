"""What a run says in a few numbers, beside the goals. Pure: the run's lists in, numbers out.

Shares are medians over the rounds of each round's own share, for machines drift.
"""

import statistics
from collections.abc import Callable

GOALS = {
    "mlserver_ratio_16": 20,
    "mlserver_ratio_64": 30,
    "kserve_ratio_16": 35,
    "mosec_ratio_64": 3,
    "echo_fraction_16": 0.50,
    "echo_fraction_64": 0.60,
    "binary_fraction_16": 0.60,
    "binary_fraction_64": 0.75,
    "grpc_ratio": 6,
    "compute_fraction": 0.95,
    "receipts_cost": 0.07,
    "copies_cost_16": 0.15,
    "copies_cost_64": 0.10,
    "rss_mb": 120,
}
COSTS = ("receipts_cost", "copies_cost_16", "copies_cost_64", "rss_mb")
"""Of which less is better."""
MEANINGS = {
    "mlserver_ratio_16": "times MLServer's requests/s, JSON, 16 connections",
    "mlserver_ratio_64": "the same, 64 connections",
    "kserve_ratio_16": "times KServe's, JSON, 16 connections",
    "mosec_ratio_64": "times mosec's, JSON, 64 connections",
    "echo_fraction_16": "share of the bare echo, JSON, 16 connections",
    "echo_fraction_64": "the same, 64 connections",
    "binary_fraction_16": "share of the bare echo, binary tensors, 16 connections",
    "binary_fraction_64": "the same, 64 connections",
    "grpc_ratio": "times the calls/s of grpc.aio, 16 connections",
    "compute_fraction": "share of onnxruntime alone, 4 rows a run, binary",
    "receipts_cost": "requests/s lost to receipts, the worse of 16 and 64",
    "copies_cost_16": "lost to copying all, beside receipts, 16 connections",
    "copies_cost_64": "the same, 64 connections",
    "rss_mb": "MB resident beyond the model, all processes",
}
OURS = "leadline"
IDLE_SHARE_MAX = 0.02
"""Of the core; a server that takes more while nobody asks is paused while others are measured."""


def is_met(name: str, value: float) -> bool:
    """Tell whether a figure reaches its goal."""
    return value <= GOALS[name] if name in COSTS else value >= GOALS[name]


def summarise(found: dict, outcomes: dict[str, float] | None) -> dict[str, float | None]:
    """Return the figures that have goals, then some more; None where a figure was not measured.

    Args:
        found: The lists of `measuring.Found`.
        outcomes: Summary of bench-receipts, measured in the same run.
    """
    summary: dict[str, float | None] = dict.fromkeys(GOALS)
    for connections in (16, 64):
        for peer in ("mlserver", "kserve", "mosec"):
            if f"{peer}_ratio_{connections}" in GOALS:
                ratio = _ratio(found, "json", connections, OURS, peer)
                summary[f"{peer}_ratio_{connections}"] = ratio
        summary[f"echo_fraction_{connections}"] = _ratio(found, "json", connections, OURS, "echo")
        summary[f"binary_fraction_{connections}"] = _ratio(found, "binary", connections, OURS, "echo")
    summary["mosec_orjson_ratio_64"] = _ratio(found, "json", 64, OURS, "mosec_orjson")
    summary["grpc_ratio"] = _ratio(found, "grpc", 16, OURS, "grpcaio")
    summary["compute_fraction"] = compute_fraction(found)
    if outcomes:
        summary["receipts_cost"] = -min(outcomes[f"receipts_over_off_requests_change_{n}"] for n in (16, 64))
        for connections in (16, 64):
            change = outcomes[f"copies_over_receipts_requests_change_{connections}"]
            summary[f"copies_cost_{connections}"] = -change
    for each in found["memory"]:
        if (each["model"], each["server"]) == ("small", OURS):
            summary["rss_mb"] = each["rss_mb"] - each["model_mb"]
    for connections in (16, 64):
        for server, prefix in ((OURS, ""), ("echo", "echo_")):
            key = {"model": "small", "protocol": "json", "rows": 1, "connections": connections, "server": server}
            summary[f"{prefix}requests_per_second_{connections}"] = median(found, key, "requests_per_second")
            summary[f"{prefix}cpu_microseconds_{connections}"] = median(found, key, "cpu_microseconds")
        raw = rounds_of(found["raw"], {"model": "small", "rows": 1}, "runs_per_second")
        ours = rounds_of(found["measurements"], {**key, "server": OURS}, "requests_per_second")
        summary[f"onnxruntime_fraction_{connections}"] = _share(ours, raw)
    summary["onnxruntime_runs_per_second"] = statistics.median(raw.values()) if raw else None
    return {name: None if value is None else float(f"{value:.4g}") for name, value in summary.items()}


def compute_fraction(found: dict) -> float | None:
    """Return rows per second over those of the raw loop, which takes as many rows a run as the server then does."""
    key = {"model": "compute", "protocol": "binary", "rows": 1, "connections": 16, "server": OURS}
    ours = rounds_of(found["measurements"], key, "requests_per_second")
    rows = max((each["rows"] for each in found["raw"] if each["model"] == "compute"), default=0)
    raw = rounds_of(found["raw"], {"model": "compute", "rows": rows}, "runs_per_second")
    return _share(ours, {number: rows * value for number, value in raw.items()})


def rounds_of(lines: list[dict], key: dict, figure: str) -> dict[int, float]:
    """Return a figure by round, of the lines that have this key."""
    wanted = [each for each in lines if all(each[name] == value for name, value in key.items())]
    return {each["round"]: each[figure] for each in wanted}


def median(found: dict, key: dict, figure: str) -> float | None:
    values = rounds_of(found["measurements"], key, figure).values()
    return statistics.median(values) if values else None


def _ratio(found: dict, protocol: str, connections: int, one: str, other: str) -> float | None:
    key = {"model": "small", "protocol": protocol, "rows": 1, "connections": connections}
    of: Callable[[str], dict[int, float]] = lambda server: rounds_of(  # noqa: E731
        found["measurements"], {**key, "server": server}, "requests_per_second"
    )
    return _share(of(one), of(other))


def _share(ours: dict[int, float], theirs: dict[int, float]) -> float | None:
    shares = [ours[number] / theirs[number] for number in ours if number in theirs]
    return statistics.median(shares) if shares else None
