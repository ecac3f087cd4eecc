"""The account of the demo's clients: who answered how much, when first and last, and what failed.

Reads the lines that `client.py` prints. Pure: no clock, no files, no processes; `clients.py` brings the lines.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Answers:
    """What one revision answered to one kind of client, so far."""

    count: int
    right: int
    first: float
    """Seconds since the epoch, by the clock of the client's pod."""
    last: float


@dataclass(frozen=True)
class Mode:
    """What became of the requests of one kind of client, so far."""

    sent: int
    failed: int
    slowest_seconds: float
    errors: list[str]
    revisions: dict[str, Answers]


@dataclass(frozen=True)
class Snapshot:
    """A client's account at one instant."""

    at: float
    final: bool
    modes: dict[str, Mode]

    def answers_by(self, revision: str) -> int:
        """Return how many answers a revision has given."""
        return sum(mode.revisions[revision].count for mode in self.modes.values() if revision in mode.revisions)


def read(line: str) -> Snapshot | None:
    """Return the snapshot in a line of a client's log; None where the line is something else."""
    try:
        told = json.loads(line)
        return Snapshot(
            at=float(told["at"]),
            final=bool(told["final"]),
            modes={name: _mode(**mode) for name, mode in told["modes"].items()},
        )
    except (ValueError, LookupError, TypeError, AttributeError):
        return None


def _mode(*, revisions: dict[str, dict[str, float]], **rest: object) -> Mode:
    return Mode(**rest, revisions={name: Answers(**told) for name, told in revisions.items()})  # type: ignore[arg-type]


@dataclass
class Account:
    """All snapshots of one client, in order."""

    name: str
    snapshots: list[Snapshot] = field(default_factory=list)
    accepted: int = 0
    """True answers that were reported and acknowledged."""
    refused: int = 0
    report_errors: list[str] = field(default_factory=list)
    acknowledged: dict[str, float] = field(default_factory=dict)
    """By the prediction's id: when its true answer was acknowledged, in seconds since the epoch."""
    other_lines: list[str] = field(default_factory=list)
    """What the client printed that is no snapshot, such as a traceback."""

    def add(self, line: str) -> None:
        """Take one line of the log; one that was read before counts once."""
        snapshot = read(line)
        if snapshot is None and self._take_reports(line):
            return
        if snapshot is None:
            self.other_lines = [*self.other_lines, line][-20:]
        elif not self.snapshots or snapshot.at > self.snapshots[-1].at:
            self.snapshots.append(snapshot)

    def _take_reports(self, line: str) -> bool:
        """Take a line of `reporter.py`; return whether it is one."""
        try:
            told = json.loads(line)
            reports, acknowledged = told["reports"], told["acknowledged"]
            self.accepted, self.refused = int(reports["accepted"]), int(reports["refused"])
            self.report_errors = [str(each) for each in reports["errors"]]
            self.acknowledged |= acknowledged
        except (ValueError, LookupError, TypeError):
            return False
        return True

    @property
    def newest(self) -> Snapshot:
        """The newest snapshot; an empty one before the first."""
        return self.snapshots[-1] if self.snapshots else Snapshot(0.0, final=False, modes={})

    @property
    def sent(self) -> int:
        """Requests sent so far."""
        return sum(mode.sent for mode in self.newest.modes.values())

    @property
    def failed(self) -> int:
        """Requests that were not answered with a prediction."""
        return sum(mode.failed for mode in self.newest.modes.values())

    @property
    def slowest_seconds(self) -> float:
        """Time of the slowest answered request in seconds."""
        return max((mode.slowest_seconds for mode in self.newest.modes.values()), default=0.0)

    @property
    def errors(self) -> list[str]:
        """The first errors of each kind of client."""
        return [f"{self.name}, {name}: {each}" for name, mode in self.newest.modes.items() for each in mode.errors]

    def answers_by(self, revision: str) -> int:
        """Return how many answers a revision has given."""
        return self.newest.answers_by(revision)

    def last_by(self, revision: str) -> float | None:
        """Return when a revision's last answer came, in seconds since the epoch; None: it never answered."""
        return max((answers.last for answers in self._of(revision)), default=None)

    def share_right(self, revision: str) -> float | None:
        """Return the share of a revision's answers that were right; None: it never answered."""
        of = self._of(revision)
        asked = sum(answers.count for answers in of)
        return sum(answers.right for answers in of) / asked if asked else None

    def after(self, revision: str, moment: float) -> int:
        """Return how many answers a revision gave after a moment (seconds since the epoch).

        Exactly 0 where its last answer came before; else at most a second's answers too many, for a line is printed
        once a second.
        """
        last = self.last_by(revision)
        if last is None or last <= moment:
            return 0
        before = [snapshot for snapshot in self.snapshots if snapshot.at <= moment]
        return self.answers_by(revision) - (before[-1].answers_by(revision) if before else 0)

    def _of(self, revision: str) -> list[Answers]:
        return [mode.revisions[revision] for mode in self.newest.modes.values() if revision in mode.revisions]


def kinds_that_saw(accounts: Iterable[Account], revision: str) -> set[str]:
    """Return the kinds of client that a revision answered."""
    return {name for account in accounts for name, mode in account.newest.modes.items() if revision in mode.revisions}
