"""A replayed history in words: tables of at most 100 columns.

Must not compute anything that decides: see `history_replay`.
"""

import textwrap
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from leadline_stats import window_rules
from leadline_stats.verdicts import Name

from leadline_cli import history_rivals
from leadline_cli.history_replay import Drop, Moment, Replayed
from leadline_cli.replay_text import COLUMNS
from leadline_cli.rivals import REFERENCE_OUTCOMES

_NAME_COLUMNS: Final = 16
_RULE_COLUMNS: Final = max(len(name) for name in window_rules.RULES)
_INTERVAL_COLUMNS: Final = 16


def lines(replayed: Replayed) -> list[str]:
    """Return the report."""
    history, options = replayed.history, replayed.options
    first, last = _when(int(history.times_ms[0])), _when(int(history.times_ms[-1]))
    count = len(replayed.lives)
    metric = f"{options.metric} of {options.positive}" if options.positive else options.metric
    after = f", outcomes {_hours(options.maturity_ms)} after the prediction" if options.maturity_ms else ""
    revisions = f"{count} revision{'' if count == 1 else 's'}"
    terms = f"{metric}, {replayed.reading.terms}, probability {options.probability:g} of ever rolling back a good one"
    said = [
        f"{history.name}: {len(history.rows):,} rows from {first} to {last} UTC, {revisions}",
        *textwrap.wrap(terms + after, COLUMNS),
    ]
    for note in replayed.notes:
        said += textwrap.wrap(f"note: {note}", COLUMNS, subsequent_indent="  ")
    parts = [_revisions, _found, _rules, *([_detectable] if replayed.drops else [])]
    return [*said, *(line for part in parts for line in ("", *part(replayed)))]


def _revisions(replayed: Replayed) -> Iterator[str]:
    reading, metric = replayed.reading, replayed.options.metric

    def text(value: float | None) -> str:
        return reading.text(value) if value is not None else "-"

    yield (
        f"{'revision':{_NAME_COLUMNS}} {'since (UTC)':16} {'outcomes':>9} {'pairs':>9} {metric:>8} "
        f"{'[at any look]':{_INTERVAL_COLUMNS}} {'held to':>7} verdict"
    )
    for life in replayed.lives:
        verdict = life.verdict
        low, high = verdict.interval
        held = verdict.limit if verdict.limit is not None else verdict.reference
        interval = f"[{text(low)}, {text(high)}]"
        yield (
            f"{_name(life.revision):{_NAME_COLUMNS}} {_when(life.since_ms)} {life.outcomes:>9,} {life.pairs or '-':>9} "
            f"{text(verdict.estimate):>8} {interval:{_INTERVAL_COLUMNS}} {text(held):>7} {verdict.name.value}"
        )
    overlapping = [life.revision for life in replayed.lives if life.overlaps]
    if overlapping:
        shown = ", ".join(overlapping[:5]) + (", ..." if len(overlapping) > 5 else "")
        yield from _item(
            f"The revision before {shown} went on answering: each row counts for its revision, and one takes over with its "
            "first row."
        )


def _found(replayed: Replayed) -> Iterator[str]:
    yield "what Leadline would have found and done:"
    for life in replayed.lives:
        verdict, found = life.verdict, life.found
        if found is None:
            why = f": {verdict.why}" if verdict.why else ""
            yield from _item(f"{life.revision}: nothing ({verdict.name.value}{why})")
            continue
        beyond = "above" if replayed.reading.measure.has_relative_margin else "below"
        by = f"worse than {life.before} on the same inputs" if verdict.limit is None else f"{beyond} its limit"
        name = f"{verdict.name.value}, provisionally" if verdict.provisional else verdict.name.value
        yield from _item(f"{life.revision}: {name} at {_moment(found)}, {by}: {life.would}")
        yield from textwrap.wrap(
            f"by the end: {verdict.message}", COLUMNS, initial_indent="    ", subsequent_indent="    "
        )
    if any(life.verdict.provisional or life.verdict.name is Name.DECAYED for life in replayed.lives):
        yield from textwrap.wrap(
            "A limit alone cannot tell a worse model from a changed world. Leadline copies requests to the revision before, "
            "and decides on the same inputs; a history has those where two revisions answered one id.",
            COLUMNS,
        )


def _rules(replayed: Replayed) -> Iterator[str]:
    yield "what window rules of others would have done with the same outcomes:"
    any_own, names = False, history_rivals.rule_names(replayed.terms)
    for life in replayed.lives:
        if life.reference is None:
            yield from _item(f"{life.revision}: nothing to hold it against, fewer than {REFERENCE_OUTCOMES} outcomes")
            continue
        any_own |= life.is_own
        star = "*" if life.is_own else ""
        head = f"{_name(life.revision)}, against {replayed.reading.text(life.reference)}{star}:"
        if not any(life.rules):
            yield f"{head} none rolls it back"
            continue
        yield f"{head:{_RULE_COLUMNS + 2}} {'at row':>11} {'when (UTC)':16} {'its outcome':>11}"
        for name, moment in zip(names, life.rules, strict=True):
            what = (
                f"{moment.row:>11,} {_when(moment.at_ms)} {moment.outcome:>11,}" if moment is not None else f"{'-':>11}"
            )
            yield f"  {name:{_RULE_COLUMNS}} {what}"
    own = f" *: its own first {REFERENCE_OUTCOMES}, for the one before had fewer." if any_own else ""
    yield from textwrap.wrap(
        f"Rolled back where a number stands. Each looks every {window_rules.EVERY} outcomes and holds them against what the "
        f"revision before had over all its outcomes until then.{own} None corrects for how often it looks: by accuracy, over 10,000 outcomes, they roll back 12 to 100 % of "
        "good models (make bench-decisions).",
        COLUMNS,
    )


def _detectable(replayed: Replayed) -> Iterator[str]:
    yield f"to detect a drop from {replayed.estimate:.3f}, at {replayed.per_day:,.0f} outcomes a day:"
    for drop in replayed.drops:
        yield f"  {100 * drop.drop:g} points: {_needed(drop, replayed)}"


def _needed(drop: Drop, replayed: Replayed) -> str:
    if drop.drop <= replayed.terms.margin:
        return f"tolerated (margin {replayed.terms.margin:g})"
    parts = [
        f"~{number:,} {what} ({_days(number / replayed.per_day)})"
        for number, what in ((drop.outcomes, "outcomes against a limit"), (drop.pairs, "pairs on the same inputs"))
        if number is not None
    ]
    return ", ".join(parts) or "never"


def _item(text: str) -> list[str]:
    return textwrap.wrap(text, COLUMNS, subsequent_indent="    ")


def _moment(moment: Moment) -> str:
    return f"row {moment.row:,}, {_when(moment.at_ms)} (its outcome {moment.outcome:,})"


def _name(revision: str) -> str:
    return revision if len(revision) <= _NAME_COLUMNS else f"…{revision[1 - _NAME_COLUMNS :]}"


def _when(at_ms: int) -> str:
    return f"{datetime.fromtimestamp(at_ms // 1000, UTC):%Y-%m-%d %H:%M}"


def _hours(milliseconds: int) -> str:
    hours = milliseconds / 3_600_000
    return f"{hours:g} h" if hours >= 1 else f"{milliseconds / 60_000:g} min"


def _days(days: float) -> str:
    if days > 3_650:
        return "more than 10 years"
    if days >= 1.5:
        return f"{days:,.0f} days"
    return f"{24 * days:.0f} h" if days * 24 >= 1.5 else f"{max(1, round(1_440 * days))} min"
