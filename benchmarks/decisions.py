"""False rollbacks and delays of the decision engine, simulated and on real scans: `make bench-decisions`.

Thousands of lives of a revision are simulated and folded through the code that ships. A life is a stream of outcomes;
what is counted is in which share of lives a revision is rolled back where nothing is wrong, and after how many outcomes
(median) where something is. Every experiment has a bound; `experiments` in benchmarks/results/decisions.json holds bound,
figure and whether it is kept, and the status is 1 where one is not; `summary` has the figures that goals are set for, which
docs/benchmarks.md shows. Beside it:

  rules    the window rules of others on the same streams
  digits   real scans and real models, 200 seeds

Names and bounds of the first experiments are at 100:1; those called `product` run at what ships: 250:1 with a known
limit and in pairs, 500:1 with an estimated reference. Rates of nothing being wrong are allowed their binomial noise.
"""

import argparse
import functools
import json
import os
import platform
import re
import sys
import time
from importlib import metadata
from pathlib import Path

import decisions_measures
import digits_pairs
import numpy as np
from leadline_stats import betting, budgets, limits, references, test_sets, window_rules
from serving import decisions as decisions_page
from serving import page

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "decisions.json"
ACCURACIES = (0.95, 0.9, 0.8)
LIVES = 2_000
LENGTH = 10_000
CHURN = 0.02
PRODUCT = budgets.shares(0.01)
KNOWN = PRODUCT.fixed_limit  # 250:1
ESTIMATED = PRODUCT.fixed_limit - PRODUCT.reference  # 500:1
NEVER = np.inf
MEASURES = {
    "recall .90 to .75": 171,
    "precision .90 to .75": 171,
    "F1 .80 to .65": 180,
    "AUC .90 to .80": 175,
    "MAE x 1.5": 125,
    "RMSE x 2": 30,
    "R2 .80 to .60": 257,
    "paired MAE x 1.5": None,
    "paired RMSE x 2": None,
}
"""Bounds of the medians."""
MOST, LEAST, SHOWN = "at most", "at least", "shown"


class Report:
    """Experiments as they end: printed, and kept for the file."""

    def __init__(self) -> None:
        self.summary: dict[str, dict] = {}
        self.began = time.monotonic()

    def add(self, name: str, seen: float, bound: float | None, kind: str = MOST) -> None:
        seen = float(f"{seen:.6g}")
        passed = {MOST: lambda: seen <= bound, LEAST: lambda: seen >= bound, SHOWN: lambda: True}[kind]()
        self.summary[name] = {
            "seen": seen if seen < NEVER else "never",
            "bound": bound,
            "kind": kind,
            "passed": bool(passed),
        }
        limit = "" if bound is None else f"  {kind} {bound:g}"
        verdict = "" if kind == SHOWN else "ok" if passed else "NOT KEPT"
        print(f"{time.monotonic() - self.began:5.0f} s  {name:<66} {seen:>9.5g}{limit:<18} {verdict}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=200, help="of the digits; default: 200")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    report = Report()
    nothing_wrong(report)
    drops(report)
    product(report)
    measures(report)
    same_bits(report)
    rules = others(report)
    digits = digits_pairs.measure(options.seeds, PRODUCT)
    for name, figures in digits.items():
        successor, worse = figures["successor"], figures["worse"]
        report.add(f"digits, {name}: honest successors rolled back", successor["rolled_back"], 0.01)
        report.add(f"digits, {name}: worse models caught", worse["rolled_back"], 1.0, LEAST)
        report.add(f"digits, {name}: pairs until caught, median", worse["median_pairs"] or NEVER, None, SHOWN)
        report.add(f"digits, {name}: pairs until caught, worst", worse["worst_pairs"] or NEVER, None, SHOWN)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    written = {
        "summary": decisions_page.headline(report.summary, rules),
        "experiments": report.summary,
        "rules": rules,
        "digits": digits,
        "environment": environment(),
    }
    options.output.write_text(json.dumps(written, indent=2, allow_nan=False) + "\n")
    if options.output == RESULTS:
        page.write()
    kept = all(each["passed"] for each in report.summary.values())
    print(
        f"\n{'every bound is kept' if kept else 'NOT every bound is kept'}; written to {os.path.relpath(options.output)}"
    )
    return 0 if kept else 1


def nothing_wrong(report: Report) -> None:
    for accuracy in ACCURACIES:
        losses = bits(f"AA {accuracy}", LIVES, LENGTH, 1 - accuracy)
        report.add(f"AA-10k {accuracy}, margin 0: false", false(losses, 1 - accuracy, 0.01), 0.016)
        report.add(f"AA-margin2 {accuracy}: false", false(losses, 1 - accuracy + 0.02, 0.01), 0.004)
    found = [
        false(bits(f"AA-100k {part}", 100, 100_000, 0.05), 0.05, 0.01) for part in range(10)
    ]  # in parts, for memory
    report.add("AA-100k 0.95, at the limit: false", float(np.mean(found)), 0.02)
    report.add("same inputs, margin 0: false", false(paired("AA pairs", LIVES, LENGTH, 0.0), 0.5, 0.01), 0.016)
    report.add("two arms 0.9, margin 0: false", false(arms("AA arms", LIVES, LENGTH, 0.9, 0.0), 0.5, 0.01), 0.016)


def drops(report: Report) -> None:
    for accuracy, bound in zip(ACCURACIES, (175, 260, 400), strict=True):
        report.add(f"AB-10 {accuracy}, margin 2: median", delay(accuracy, 0.1, 0.02, 0.01, 4_000), bound)
    report.add("AB-5 0.95, margin 2: median", delay(0.95, 0.05, 0.02, 0.01, 8_000), 1_000)
    crossed = betting.crossings(paired("PAIR-10", LIVES, 3_000, 0.1), limit=0.51, alpha=0.01)
    report.add("PAIR-10, churn 2 %, margin 2: median pairs", median(crossed), 290)
    crossed = betting.crossings(arms("ARMS-10", LIVES, 5_000, 0.9, 0.1), limit=0.51, alpha=0.01)
    report.add("ARMS-10 0.9, margin 2: median per arm", median(crossed), 530)
    for after, lives, bound in ((10_000, LIVES, 420), (100_000, 300, 530)):
        delays = []
        for part in range(0, lives, 100):
            good = bits(f"LATE {after} {part}", 100, after, 0.05)
            bad = bits(f"LATE {after} {part} bad", 100, 3_000, 0.15)
            crossed = betting.crossings(np.concatenate([good, bad], axis=1), limit=0.07, alpha=0.01)
            delays.append(np.where(crossed > 0, crossed - after, NEVER)[(crossed == 0) | (crossed > after)])
        report.add(f"LATE-10 0.95 after {after}: median", float(np.median(np.concatenate(delays))), bound)


def product(report: Report) -> None:
    """What ships, at its own budget."""
    for accuracy, known, half in zip(ACCURACIES, (185, 270, 440), (198, 285, 466), strict=True):
        name = f"product {accuracy}"
        losses = bits(name, LIVES, LENGTH, 1 - accuracy)
        report.add(f"{name}, 250:1, margin 0: false", false(losses, 1 - accuracy, KNOWN), noisy(KNOWN))
        report.add(f"{name}, 250:1, margin 2: median of 10 points", delay(accuracy, 0.1, 0.02, KNOWN, 4_000), known)
        # Half the level costs the logarithm of two; a tenth of slack for the noise of the run.
        report.add(
            f"{name}, 500:1, margin 2: median of 10 points", delay(accuracy, 0.1, 0.02, ESTIMATED, 4_000), 1.1 * half
        )
    report.add(
        "product, pairs, 250:1, margin 0: false",
        false(paired("product AA", LIVES, LENGTH, 0.0), 0.5, KNOWN),
        noisy(KNOWN),
    )
    crossed = betting.crossings(paired("product pairs", LIVES, 4_000, 0.1), limit=0.51, alpha=PRODUCT.comparison)
    report.add("product, pairs, 250:1, margin 2: median of 10 points", median(crossed), 1.1 * 292)
    for outcomes in (500, 1_000, 5_000):
        estimated(report, outcomes)
    report.add("product, all tests together, margin 0: false", together(), noisy(0.01))


def measures(report: Report) -> None:
    """The measures beside accuracy, at 100:1; delays in rows that count."""
    for name, (found, delay_) in decisions_measures.experiments(0.01).items():
        report.add(f"{name}, at the limit: false", found, noisy(0.01, decisions_measures.LIVES))
        bound = MEASURES.get(name)
        report.add(f"{name}: median", delay_, bound, MOST if bound else SHOWN)


def estimated(report: Report, outcomes: int) -> None:
    """A reference made of so many outcomes, and what comes after held against it."""
    for accuracy in ACCURACIES:
        name = f"product {accuracy}, reference of {outcomes}"
        first = bits(name, LIVES, outcomes, 1 - accuracy)
        good = bits(f"{name} good", LIVES, LENGTH, 1 - accuracy)
        report.add(f"{name}, margin 0: false", against(first, good, 0.0, within=True), noisy(PRODUCT.fixed_limit))
        bad = bits(f"{name} bad", LIVES, 4_000, 1 - accuracy + 0.1)
        bound = 1.1 * 352 if (accuracy, outcomes) == (0.95, 500) else None
        report.add(f"{name}, margin 2: median of 10 points", against(first, bad, 0.02), bound, MOST if bound else SHOWN)
        if accuracy == 0.95:
            slack = bits(f"{name} slack", LIVES, LENGTH, 1 - accuracy + 0.02)
            seen = against(first, slack, 0.02, within=True)
            report.add(f"{name}: rolled back when exactly the margin worse", seen, None, SHOWN)


def against(first: np.ndarray, later: np.ndarray, margin: float, *, within: bool = False) -> float:
    """Return the share of lives that are found, or the median delay."""
    right = first.shape[1] - first.sum(axis=1)
    crossed = np.zeros(len(first), dtype=np.int64)
    for number in np.unique(right):
        reference = references.of_answers(int(number), first.shape[1], margin=margin, alpha=PRODUCT.fixed_limit)
        lives = np.flatnonzero(right == number)
        crossed[lives] = betting.crossings(later[lives], limit=reference.tolerated_loss, alpha=reference.alpha)
    return float((crossed > 0).mean()) if within else median(crossed)


def together() -> float:
    """Return the share of lives in which any test condemns an equal revision: test set, pairs, and a limit of its own."""
    pvalue = functools.cache(lambda breaks, fixes: test_sets.test_set_pvalue(breaks, fixes, 500, 0.0))
    draws = np.random.default_rng(seed("together")).multinomial(500, [CHURN, CHURN, 1 - 2 * CHURN], size=LIVES)
    tested = np.array([pvalue(int(lost), int(won)) <= PRODUCT.test_set for lost, won, _ in draws])
    compared = betting.crossings(paired("together pairs", LIVES, LENGTH, 0.0), limit=0.5, alpha=PRODUCT.comparison) > 0
    plan = limits.Plan(margin=0.0, alpha=PRODUCT.fixed_limit, outcomes=1_000)
    watched = [
        limits.fold(limits.planned(plan), life).worse.crossed for life in bits("together limit", LIVES, LENGTH, 0.05)
    ]
    return float((tested | compared | np.array(watched)).mean())


def same_bits(report: Report) -> None:
    """Lives that are cut into fetches, stored and read again at each cut: how many end in any other bit."""
    generator = np.random.default_rng(seed("PARTITION"))
    differing = 0
    for rate in np.linspace(0.03, 0.2, 200):
        losses = (generator.random(1_500) < rate).astype(float) * generator.choice([1.0, 0.3])
        begun = betting.begin(limit=0.07, alpha=0.01)
        parts = begun
        for part in np.split(losses, np.sort(generator.integers(0, 1_500, 25))):
            parts = betting.from_plain(json.loads(json.dumps(betting.to_plain(betting.fold(parts, part)))))
        at_once = betting.fold(begun, losses)
        differing += parts != at_once or parts.evidence.hex() != at_once.evidence.hex()
    report.add("RESTART and PARTITION: lives of 200 that differ in a bit", differing, 0)
    late = np.concatenate([bits("backlog", 1, 10_000, 0.05)[0], bits("backlog bad", 1, 1_000, 0.15)[0]])
    single = betting.begin(limit=0.07, alpha=0.01)
    for loss in late:
        single = betting.fold(single, [loss])
    at_once = betting.fold(betting.begin(limit=0.07, alpha=0.01), late)
    report.add("backlog of 11,000: outcome that decides, at once", at_once.crossed_at or NEVER, 10_999)
    report.add("backlog of 11,000: the same one by one", single.crossed_at or NEVER, at_once.crossed_at)


def others(report: Report) -> dict[str, dict]:
    """Run the rules of others and ours on the same streams: nothing wrong for 10,000 outcomes, and a 10-point drop."""

    def ours(margin: float, alpha: float):
        return lambda losses, reference: betting.crossings(losses, limit=1 - reference + margin, alpha=alpha)

    rules = {
        **window_rules.RULES,
        "this engine, 250:1, margin 0": ours(0.0, KNOWN),
        "this engine, 250:1, margin 2 points": ours(0.02, KNOWN),
    }
    table: dict[str, dict] = {name: {} for name in rules}
    for accuracy in ACCURACIES:
        good = bits(f"rules {accuracy}", LIVES, LENGTH, 1 - accuracy)
        bad = bits(f"rules {accuracy} bad", LIVES, 4_000, 1 - accuracy + 0.1)
        for name, rule in rules.items():
            fired = float((rule(good, accuracy) > 0).mean())
            found = median(rule(bad, accuracy))
            table[name][str(accuracy)] = {
                "false_rollbacks": round(fired, 4),
                "median_of_10_points": found if found < NEVER else "never",
            }
            report.add(
                f"{name}, {accuracy}: false", fired, *((noisy(KNOWN), MOST) if "engine" in name else (None, SHOWN))
            )
    return table


def seed(name: str) -> list[int]:
    """Return a seed of its own for each stream, the same in every run."""
    return list(name.encode())


def bits(name: str, lives: int, length: int, rate: float) -> np.ndarray:
    return np.random.default_rng(seed(name)).random((lives, length), dtype=np.float32) < rate


def paired(name: str, lives: int, length: int, drop: float) -> np.ndarray:
    """Return losses of pairs: the new one fixes 2 % and breaks 2 % and the drop."""
    uniform = np.random.default_rng(seed(name)).random((lives, length), dtype=np.float32)
    return np.where(uniform < CHURN + drop, 1.0, np.where(uniform > 1 - CHURN, 0.0, 0.5)).astype(np.float32)


def arms(name: str, lives: int, length: int, accuracy: float, drop: float) -> np.ndarray:
    """Return losses of pairs on different inputs, as they meet in a split of the traffic."""
    new, old = bits(f"{name} new", lives, length, 1 - accuracy + drop), bits(f"{name} old", lives, length, 1 - accuracy)
    return ((1 + new.astype(np.float32) - old) / 2).astype(np.float32)


def false(losses: np.ndarray, limit: float, alpha: float) -> float:
    return float((betting.crossings(losses, limit=limit, alpha=alpha) > 0).mean())


def delay(accuracy: float, drop: float, margin: float, alpha: float, length: int) -> float:
    """Return the median delay over 20,000 lives, so that hardly any of what is seen is noise."""
    crossed = []
    for part in range(10):  # in parts, for memory
        losses = bits(f"drop {accuracy} {drop} {alpha} {part}", LIVES, length, 1 - accuracy + drop)
        crossed.append(betting.crossings(losses, limit=1 - accuracy + margin, alpha=alpha))
    return median(np.concatenate(crossed))


def median(crossed: np.ndarray) -> float:
    return float(np.median(np.where(crossed > 0, crossed, NEVER)))


def noisy(level: float, lives: int = LIVES) -> float:
    """Return the bound of a rate that is at most the level, by so many lives: three standard errors more."""
    return round(level + 3 * (level * (1 - level) / lives) ** 0.5, 5)


def environment() -> dict[str, str]:
    model = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return {
        "cpu": model[1] if model else platform.machine(),
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in ("numpy", "scipy", "scikit-learn")},
    }


if __name__ == "__main__":
    sys.exit(main())
