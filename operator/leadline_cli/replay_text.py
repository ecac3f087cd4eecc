"""A replayed log in words: tables of at most 100 columns, and exact evidence for a diff.

Must not compute anything that decides: see `replaying`, `agreeing` and `rivals`.
"""

import string
import textwrap
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from leadline_operator.reconcile.evidence import Evidence
from leadline_stats import verdicts, window_rules

from leadline_cli.agreeing import LIMITS, Row, Said, against
from leadline_cli.replaying import Kind, Weighed, series
from leadline_cli.rivals import REFERENCE_OUTCOMES, Life

COLUMNS: Final = 100
_NAME_COLUMNS: Final = 10
_NUMBERS_COLUMNS: Final = 32
"""Of the columns outcome to evidence:needed, which a row without numbers uses for words."""


class Names:
    """Revision names as the tables show them: without the name of the ModelDeployment, and never wider than a column."""

    def __init__(self, model: str) -> None:
        self._prefix = model.rpartition("/")[2] + "-"

    def short(self, revision: str) -> str:
        """Return a name of at most 10 characters."""
        name = revision.removeprefix(self._prefix)
        return name if len(name) <= _NAME_COLUMNS else "…" + name[1 - _NAME_COLUMNS :]


def decisions(model: str, rows: Sequence[Row], evidence: Evidence) -> list[str]:
    """Return the table of decisions and crossings, then what is open, then notes and the sum of it."""
    names = Names(model)
    width = max([5, *(len(str(row.seq)) for row in rows)])
    has_several = len(evidence.streams) > 1
    head = f"{'entry':>{width}} {'what':10} {'when (UTC)':19} {'revision':10} {'vs':10} {_numbers('outcome', 'mean', 'ref.', 'evidence:needed')} said"
    table = [head]
    for row in rows:
        # A decision says by which entry; the numbers stand there.
        numbers = _weighed(row.crossing.weighed) if not row.is_decision and row.crossing else row.text
        said = "" if row.is_decision and row.said is Said.NOTHING else row.said.value
        if has_several and row.crossing is not None:
            said += f" ({row.crossing.weighed.metric})"
        line = (
            f"{row.seq:>{width}} {row.what:10} {_when(row.at_ms)} {names.short(row.revision):10} "
            f"{_other(names, row.other):10} {numbers:{_NUMBERS_COLUMNS}} {said}"
        )
        table.append(line[:COLUMNS].rstrip())
    for each in series(evidence):
        if each.decided_seq:
            continue
        what = "within" if each.within is not None and each.within.crossed else "open"
        table.append(
            f"{'':>{width}} {what:10} {'at the end':19} {names.short(each.revision):10} "
            f"{_other(names, against(each)):10} {_weighed(each)} -{f' ({each.metric})' if has_several else ''}"[
                :COLUMNS
            ]
        )
    return [*table, *_notes(rows), "", *_sum(rows)]


def rules(model: str, lives: Sequence[Life]) -> list[str]:
    """Return the table of what window rules would have done, and what they are."""
    names, letters = Names(model), string.ascii_lowercase
    marks = "".join(f"{letter:>7}" for letter, _ in zip(letters, window_rules.RULES, strict=False))
    table = [
        "rolled back at which outcome since the promotion, by rules of others (a to e) and by ours:",
        f"{'revision':10} {'since (UTC)':19} {'outcomes':>8} {'mean':>5} {'ref.':>6}{marks} {'ours':>7}",
    ]
    for life in lives:
        mark = "*" if life.is_own and life.reference is not None else " "
        fired = "".join(f"{number or '-':>7}" for number in life.rules)
        table.append(
            f"{names.short(life.revision):10} {_when(life.since_ms)} {life.outcomes:8} {_mean(life.accuracy)} "
            f"{_mean(life.reference)}{mark}{fired} {life.ours if life.ours is not None else '-':>7}"
        )
    said = (
        f"Each rule looks every {window_rules.EVERY} outcomes and holds them against ref.: the accuracy of the revision before, "
        f"over all its outcomes until then; *: its own first {REFERENCE_OUTCOMES}, where the one before had fewer. None corrects for how "
        "often it looks. Argo Rollouts and Flagger count failed looks over the whole run. -: never within the outcomes that "
        "came; after a rollback none come. Ours: '-' also where it was rolled back by something else than outcomes."
    )
    legend = [f"  {letter}  {name}" for letter, name in zip(letters, window_rules.RULES, strict=False)]
    return [*table, *legend, *textwrap.wrap(said, COLUMNS)]


def exact(evidence: Evidence) -> list[str]:
    """Return where each series stands to the last bit, a line each, by full names."""
    lines = [f"evidence after entry {evidence.cursor}:"]
    for each in series(evidence):
        by = f" by {each.metric}" if len(evidence.streams) > 1 else ""
        parts = [
            f"{each.kind.value} {each.revision} vs {each.other}{by}: outcomes {each.number}, mean {each.estimate!r}"
        ]
        if each.reference is not None:
            parts.append(f"{'mean of the other' if each.kind is Kind.WORSE else 'limit'} {each.reference!r}")
        for name, monitor in (("evidence", each.worse), ("for it", each.within)):
            if monitor is not None:
                at = f" at {monitor.crossed_at}" if monitor.crossed else ""
                parts.append(f"{name} {monitor.evidence!r} of {monitor.needed!r}{at}")
        if each.decided_seq:
            parts.append(f"decided by entry {each.decided_seq}")
        lines.append(", ".join(parts))
    return lines


def _numbers(number: str, mean: str, reference: str, evidence: str) -> str:
    return f"{number:>7} {mean:>5} {reference:>5} {evidence:>{_NUMBERS_COLUMNS - 20}}"


def _weighed(weighed: Weighed) -> str:
    evidence = verdicts.odds(weighed.evidence).removesuffix(":1")
    against = f"{evidence}:{weighed.needed:.0f}" if weighed.needed is not None else "no limit yet"
    return _numbers(str(weighed.number), _mean(weighed.estimate), _mean(weighed.reference), against)


def _mean(value: float | None) -> str:
    if value is None:
        return "    -"
    if abs(value) < 10:
        return f"{value:5.3f}"
    return f"{value:5.4g}" if abs(value) < 10_000 else f"{value:5.0e}"


def _other(names: Names, other: str) -> str:
    return other if other in LIMITS else names.short(other)


def _when(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms // 1000, UTC):%Y-%m-%d %H:%M:%S}"


def _notes(rows: Sequence[Row]) -> list[str]:
    lines: list[str] = []
    for row in rows:
        if row.note:
            lines += textwrap.wrap(f"entry {row.seq}, {row.what}: {row.note}", COLUMNS, subsequent_indent="  ")
    return ["", *lines] if lines else []


def _sum(rows: Sequence[Row]) -> list[str]:
    told = [row for row in rows if row.is_decision]
    by_outcomes = [row for row in told if row.said is not Said.NOTHING]
    differing = [row for row in rows if row.said is Said.DIFFERS]
    said = f"{len(told)} decisions, {len(by_outcomes)} of them from outcomes: "
    if differing:
        entries = ", ".join(str(row.seq) for row in differing)
        what = "1 row DIFFERS (entry" if len(differing) == 1 else f"{len(differing)} rows DIFFER (entries"
        return textwrap.wrap(f"{said}{what} {entries})", COLUMNS)
    return textwrap.wrap(f"{said}all follow from the log's entries, and every crossing has its decision", COLUMNS)
