"""What an export brought: counted line by line, and told as a table.

Must not keep lines: an export may be larger than memory.
"""

from dataclasses import dataclass, field
from typing import Final

import msgspec
from leadline_wire import outcome_rows

from leadline_cli import errors

_SHOWN_MAX: Final = 30
"""Revisions that have a line of their own: the newest."""


class _Line(msgspec.Struct):
    """Of a row what is counted."""

    seq: int
    revision: str
    prediction: outcome_rows.Value | None
    truth: outcome_rows.Value | None
    split: str
    predicted_at: str | None = None


@dataclass(slots=True)
class _Count:
    """Of one revision."""

    train: int = 0
    test: int = 0
    first: str = ""
    last: str = ""

    def add(self, split: str, at: str | None) -> None:
        """Count one outcome."""
        if split == "test":
            self.test += 1
        else:
            self.train += 1
        if at:
            self.first = min(self.first or at, at)
            self.last = max(self.last, at)


@dataclass(slots=True)
class Tally:
    """Of all lines so far."""

    model: str
    after: int
    """Cursor that it began with."""
    last_seq: int = 0
    rows: int = 0
    kinds: set[outcome_rows.Kind] = field(default_factory=set)
    """Of predictions and true answers."""
    _revisions: dict[str, _Count] = field(default_factory=dict)

    def add(self, line: bytes) -> None:
        """Count a line.

        Raises:
            Refused: It is no row, or not one of those that come next.
        """
        try:
            row = _decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise errors.Refused(
                f"{self.model}: what answers is no ledger, or of another version: row {self.rows + 1}: {error}"
            ) from error
        if row.seq <= max(self.last_seq, self.after):
            raise errors.Refused(
                f"ledger: answers outcome {row.seq} to a question for those after {max(self.last_seq, self.after)}"
            )
        self.last_seq = row.seq
        self.rows += 1
        self.kinds |= outcome_rows.kinds_of((row.prediction, row.truth))
        self._revisions.setdefault(row.revision, _Count()).add(row.split, row.predicted_at)

    def lines(self) -> list[str]:
        """Return a table of what came, a revision a line, the oldest first."""
        ordered = sorted(self._revisions.items(), key=lambda each: (each[1].first, each[0]))
        left_out, shown = ordered[:-_SHOWN_MAX], ordered[-_SHOWN_MAX:]
        rows = [(name, each) for name, each in shown]
        if left_out:
            rows.insert(0, (f"{len(left_out)} older ones", _sum([each for _, each in left_out])))
        if len(rows) > 1:
            rows.append(("all", _sum([each for _, each in ordered])))
        width = max([len("revision"), *(len(name) for name, _ in rows)])
        head = f"{'revision':<{width}} {'train':>10} {'test':>10}  predicted (UTC)"
        return [
            head,
            *(f"{name:<{width}} {each.train:>10,} {each.test:>10,}  {_range(each)}".rstrip() for name, each in rows),
        ]


_decode: Final = msgspec.json.Decoder(_Line).decode


def _sum(counts: list[_Count]) -> _Count:
    firsts = [each.first for each in counts if each.first]
    return _Count(
        train=sum(each.train for each in counts),
        test=sum(each.test for each in counts),
        first=min(firsts, default=""),
        last=max((each.last for each in counts), default=""),
    )


def _range(count: _Count) -> str:
    if not count.first:
        return ""
    first, last = (each[:16].replace("T", " ") for each in (count.first, count.last))
    return first if first == last else f"{first} to {last}"
