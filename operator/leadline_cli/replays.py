"""Replay a log whole: what follows from its entries, beside what the operator decided and what others would have.

`leadline replay` calls it with what `logs` or `fetching` brought; the same entries give the same text.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from leadline_operator.reconcile.evidence import Evidence
from leadline_wire.ledger import DecisionEntry, Entry

from leadline_cli import agreeing, logs, replay_text, replaying, rivals


@dataclass(frozen=True, slots=True)
class Replay:
    """What a log says."""

    model: str
    """`namespace/name`."""
    entries: int
    first_seq: int
    begins_late: bool
    """It has outcomes before the first terms: older entries were deleted, and what was before cannot be recomputed."""
    rows: tuple[agreeing.Row, ...]
    lives: tuple[rivals.Life, ...]
    is_graded: bool
    """Outcomes are scores or numbers, which no window rule knows."""
    evidence: Evidence

    @property
    def agrees(self) -> bool:
        """Tell whether all that was decided follows from the entries, and the other way round."""
        return all(row.said is not agreeing.Said.DIFFERS for row in self.rows)

    def lines(self, *, exact: bool = False) -> list[str]:
        """Return the report for people; with `exact` also the evidence to the last bit."""
        lines = [f"{self.model}: {self.entries:,} entries, {self.first_seq} to {self.evidence.cursor}"]
        if self.begins_late:
            lines.append("It begins with outcomes before any terms: what rests on older entries cannot be recomputed")
        lines.append("")
        lines += replay_text.decisions(self.model, self.rows, self.evidence)
        if self.is_graded:
            lines += ["", "Outcomes are scores or numbers here, and window rules of others know right and wrong only"]
        elif self.lives:
            lines += ["", *replay_text.rules(self.model, self.lives)]
        if exact:
            lines += ["", *replay_text.exact(self.evidence)]
        return lines


def replay(stretches: Iterable[Sequence[Entry]], alerts: agreeing.Alerts = agreeing.NO_ALERTS) -> Replay:
    """Replay a log that comes in stretches, wherever it was cut.

    Raises:
        Refused: There are no entries, or some hold what cannot be weighed.
    """
    walk = replaying.Walk()
    entries: list[Entry] = []
    decisions: list[tuple[DecisionEntry, Evidence]] = []
    for stretch in stretches:
        decisions += walk.take(stretch)
        entries += stretch
    rows = agreeing.rows(decisions, walk.crossings, end_ms=logs.end_ms(entries), alerts=alerts)
    terms = next((entry.seq for entry, _ in decisions if entry.kind == "Terms"), None)
    first = next((entry.seq for entry in entries if not isinstance(entry, DecisionEntry)), None)
    return Replay(
        model=entries[0].model,
        entries=len(entries),
        first_seq=entries[0].seq,
        begins_late=first is not None and (terms is None or first < terms),
        rows=tuple(rows),
        lives=tuple(rivals.lives(entries, rows)),
        is_graded=all(stream.terms.graded for stream in walk.evidence.streams.values()) and bool(walk.evidence.streams),
        evidence=walk.evidence,
    )
