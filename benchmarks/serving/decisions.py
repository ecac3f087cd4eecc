"""The part of docs/benchmarks.md on decisions, made from results/decisions.json. Pure: a dict in, text out."""

GOALS = {
    "false_rollback": (
        "<=",
        0.016,
        "worst share of lives rolled back where nothing is wrong, of all rows of what ships",
    ),
    "peer_false_rollback_min": (">=", 0.12, "the least of the rules of Argo Rollouts and Flagger on the same streams"),
    "median_10pt_95": ("<=", 185, "outcomes until a 10-point drop is found, accuracy .95, margin 2 points, 250:1"),
    "median_10pt_90": ("<=", 270, "the same, .90"),
    "median_10pt_80": ("<=", 440, "the same, .80"),
    "late_10": ("<=", 420, "the same at .95 after 10,000 good outcomes, 100:1"),
    "pairs_10": ("<=", 321, "pairs on the same inputs until it is found, 250:1; goal: 292 and a tenth for noise"),
}
HEAD = """\
## Decisions

    make bench-decisions                     # a few minutes; --seeds N for the real scans

False rollbacks and delays of the engine that ships, over 2,000 simulated lives of 10,000 outcomes each, beside the rules of others
as their documentation has them, re-implemented in `leadline_stats.window_rules` and run on the same streams. Every experiment with
its bound is in `benchmarks/results/decisions.json`, under `experiments`.
"""


def headline(experiments: dict, rules: dict) -> dict[str, float]:
    """Return the figures that goals are set for."""
    ours = [each["seen"] for name, each in experiments.items() if name.startswith("product") and name.endswith("false")]
    peers = [
        found["false_rollbacks"]
        for name, by_accuracy in rules.items()
        if "Argo" in name or "Flagger" in name
        for found in by_accuracy.values()
    ]
    medians = {
        f"median_10pt_{round(100 * accuracy)}": experiments[
            f"product {accuracy}, 250:1, margin 2: median of 10 points"
        ]["seen"]
        for accuracy in (0.95, 0.9, 0.8)
    }
    return {
        "false_rollback": max(ours),
        "peer_false_rollback_min": min(peers),
        **medians,
        "late_10": experiments["LATE-10 0.95 after 10000: median"]["seen"],
        "pairs_10": experiments["product, pairs, 250:1, margin 2: median of 10 points"]["seen"],
    }


def text(results: dict) -> str:
    """Return the section."""
    parts = [HEAD, table(["figure", "found", "goal", "met", "what it is"], list(_goals(results["summary"])))]
    header = ["rule", *(f"false at {accuracy}" for accuracy in (".95", ".90", ".80")), "outcomes to a 10-point drop"]
    rows = [
        [
            name,
            *(f"{by_accuracy[accuracy]['false_rollbacks']:.2%}" for accuracy in ("0.95", "0.9", "0.8")),
            " / ".join(_count(by_accuracy[accuracy]["median_of_10_points"]) for accuracy in ("0.95", "0.9", "0.8")),
        ]
        for name, by_accuracy in results["rules"].items()
    ]
    parts += [
        "Nothing is wrong for 10,000 outcomes, and a drop of 10 points from the first one on:\n",
        table(header, rows),
    ]
    measures = [name.removesuffix(": median") for name in results["experiments"] if name.endswith(": median")]
    rows = [
        [name, f"{results['experiments'][f'{name}, at the limit: false']['seen']:.2%}", _count(_median(results, name))]
        for name in measures
        if f"{name}, at the limit: false" in results["experiments"]
    ]
    parts += [
        "Other measures, at 100:1; delays in rows that count:\n",
        table(["measure", "false at the limit", "median"], rows),
    ]
    return "\n".join(parts)


def _median(results: dict, name: str) -> float | str:
    return results["experiments"][f"{name}: median"]["seen"]


def _goals(figures: dict):
    for name, (sign, goal, meaning) in GOALS.items():
        value = figures[name]
        met = value <= goal if sign == "<=" else value >= goal
        yield [name, f"{value:g}", f"{sign} {goal:g}", "yes" if met else "no", meaning]


def _count(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def table(header: list[str], rows: list[list[str]]) -> str:
    """Return a table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
