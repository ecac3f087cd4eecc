"""Tables of past predictions for tests: streams with a known share of right answers."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
HEADER = ("time", "revision", "prediction", "truth")
Row = Sequence[object]


def when(minutes: float) -> str:
    return (BEGIN + timedelta(minutes=minutes)).isoformat()


def stream(*revisions: tuple[str, int, float], seed: int = 0) -> list[Row]:
    """Return a row a minute: name, number of rows and share of right answers of each revision, one after the other."""
    rng, rows = np.random.default_rng(seed), []
    for name, number, accuracy in revisions:
        for truth, right in zip(rng.integers(0, 2, number), rng.random(number) < accuracy, strict=True):
            rows.append((when(len(rows)), name, int(truth if right else 1 - truth), int(truth)))
    return rows


def both(number: int, accuracies: Mapping[str, float], *, seed: int = 0) -> list[Row]:
    """Return rows of requests that each revision answered, with the request's number as the last column."""
    rng, rows = np.random.default_rng(seed), []
    for request, truth in enumerate(rng.integers(0, 2, number).tolist()):
        for name, accuracy in accuracies.items():
            answer = truth if rng.random() < accuracy else 1 - truth
            rows.append((when(request), name, answer, truth, f"r{request}"))
    return rows


def values(*revisions: tuple[str, int, float], seed: int = 0) -> list[Row]:
    """Return a row a minute: name, number of rows and standard deviation of the errors, about truths of 100 +- 20."""
    rng, rows = np.random.default_rng(seed), []
    for name, number, spread in revisions:
        for truth, error in zip(rng.normal(100, 20, number), rng.normal(0, spread, number), strict=True):
            rows.append((when(len(rows)), name, round(truth + error, 3), round(truth, 3)))
    return rows


def both_values(number: int, spreads: Mapping[str, float], *, seed: int = 0) -> list[Row]:
    """Return rows of requests that each revision answered with a number, with the request's number as the last column."""
    rng, rows = np.random.default_rng(seed), []
    for request, truth in enumerate(rng.normal(100, 20, number)):
        rows += [
            (when(request), name, truth + rng.normal(0, spread), truth, f"r{request}")
            for name, spread in spreads.items()
        ]
    return rows


def write(path: Path, rows: Iterable[Row], header: Sequence[str] = HEADER, *, delimiter: str = ",") -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(header)
        writer.writerows(rows)
    return path
