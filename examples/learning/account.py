"""What the client said of each flight: who answered what; errors over time, and the plot of them. Pure but for `plot`."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Final, NamedTuple

from examples.learning.flights import Flight

WINDOW: Final = 500
"""Flights whose mean error is one point of a curve."""


class Answer(NamedTuple):
    """What the service said of one flight."""

    place: int
    """In the stream."""
    revision: str
    minutes: float


@dataclass
class Account:
    """All answers so far, in the order in which they came."""

    answers: list[Answer] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    is_over: bool = False

    def add(self, line: str) -> None:
        """Take a line of the client's log; other lines than its own are errors."""
        try:
            told = json.loads(line)
        except ValueError:
            self.failed.append(line[:200])
            return
        self.answers += [Answer(*each) for each in told["answers"]]
        self.failed += told["failed"]
        self.is_over = told["final"]

    def revisions(self) -> list[str]:
        """Return who answered, in the order of their first answers."""
        return list(dict.fromkeys(each.revision for each in sorted(self.answers)))


def mean_error(stream: Sequence[Flight], answers: Sequence[tuple[int, float]]) -> float:
    """Return the mean absolute error of answers, each with its flight's place, in minutes."""
    return sum(abs(minutes - stream[place].minutes) for place, minutes in answers) / max(1, len(answers))


def curve(stream: Sequence[Flight], answers: Sequence[tuple[int, float]]) -> tuple[list[date], list[float]]:
    """Return dates and mean errors of windows that follow one another."""
    ordered = sorted(answers)
    parts = [ordered[first : first + WINDOW] for first in range(0, len(ordered) - WINDOW + 1, WINDOW)]
    days = [date.fromisoformat(stream[part[len(part) // 2][0]].date) for part in parts]
    return days, [mean_error(stream, part) for part in parts]


def plot(path: Path, stream: Sequence[Flight], account: Account, frozen: Sequence[float]) -> None:
    """Draw the error over the year, of what served and of the model of January.

    Args:
        path: A PNG file.
        stream: The flights.
        account: What the service said.
        frozen: What the model of January says of each flight.
    """
    import matplotlib as mpl  # noqa: PLC0415 - half a second

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415

    served = [(each.place, each.minutes) for each in account.answers]
    axes: Any  # dates are no numbers to its types
    figure, axes = plt.subplots(figsize=(9, 4), layout="constrained")
    axes.plot(
        *curve(stream, [(place, frozen[place]) for place, _ in served]), color="0.6", label="the model of January"
    )
    axes.plot(*curve(stream, served), color="C0", label="what Leadline served")
    for revision in account.revisions()[1:]:
        first = min(each.place for each in account.answers if each.revision == revision)
        day = date.fromisoformat(stream[first].date)
        axes.axvline(day, color="C1", linewidth=0.8, linestyle="--")
        axes.annotate(revision, (day, 0.5), rotation=90, fontsize=7, ha="right", color="C1")
    axes.set(
        ylabel=f"mean error of {WINDOW} flights, minutes", title="How long a flight from New York is in the air, 2013"
    )
    axes.set_ylim(bottom=0)
    axes.legend(loc="upper left")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)
