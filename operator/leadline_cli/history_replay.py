"""Replay a history of predictions and true answers, before anything is installed: what would have been found, and when.

The entries of `history_entries` go through the operator's own `fold`; the verdicts are those that it would give. Rules of
others get the same outcomes. Once a revision would have been rolled back, the history goes on as it did: what came after
is what happened, not what would have.

Next step: `history_text`. Must not read files.
"""

from __future__ import annotations

import contextlib
import gc
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from leadline_api import quantities
from leadline_operator.reconcile.evidence import Evidence, fold
from leadline_operator.reconcile.streams import Compared, Own
from leadline_operator.reconcile.terms import PLAIN_MEASURES, Terms
from leadline_stats import budgets, classes, detectability, references, verdicts
from leadline_stats.measures import Measure, Reading

from leadline_cli import errors, histories, history_entries, history_rivals
from leadline_cli.histories import History
from leadline_cli.history_files import Columns

BoolArray = npt.NDArray[np.bool_]

DROPS: Final = (0.02, 0.05, 0.1)
"""Drops whose detection is told."""
_SHARES: Final = (Measure.ACCURACY, Measure.PRECISION, Measure.RECALL)
"""Measures that are shares of right answers."""
_DAY_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class Options:
    """What a history is to be judged by."""

    metric: str = "accuracy"
    positive: str = ""
    margin: float | None = None
    """None: 0.02; of mae and rmse, which may grow by a share of themselves, 0.1."""
    probability: float = 0.01
    maturity_ms: int = 0
    on_degraded: str = "Rollback"
    on_decay: str = "VerifyThenRollback"


@dataclass(frozen=True, slots=True)
class Moment:
    """A row of the file, and when its outcome came."""

    row: int
    at_ms: int
    outcome: int
    """Number of the revision's outcome, where the first is 1."""


@dataclass(frozen=True, slots=True)
class Life:
    """What became of one revision."""

    revision: str
    before: str
    """Whose traffic it took; empty: it is the first."""
    since_ms: int
    rows: int
    outcomes: int
    """Rows that the metric is about."""
    pairs: int
    overlaps: bool
    """The one before still answered after it had begun."""
    verdict: verdicts.Verdict
    found: Moment | None
    would: str
    """What Leadline would have done; empty: nothing."""
    reference: float | None
    """What rules of others hold it against."""
    is_own: bool
    """It is of its own first outcomes."""
    rules: tuple[Moment | None, ...]
    """When each of `window_rules.RULES` would have rolled it back."""


@dataclass(frozen=True, slots=True)
class Drop:
    """Outcomes, or pairs, until half of the drops of one size are found; None: never, or not in any time that counts."""

    drop: float
    outcomes: int | None
    pairs: int | None


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a history says."""

    history: History
    options: Options
    terms: Terms
    lives: tuple[Life, ...]
    estimate: float
    """Of the last revision that can be extrapolated from."""
    per_day: float
    """Outcomes a day, of all revisions."""
    drops: tuple[Drop, ...]
    """Empty: of F1 and errors it is not told."""
    notes: tuple[str, ...]
    evidence: Evidence

    @property
    def reading(self) -> Reading:
        """How numbers of the metric are said."""
        return self.evidence.first.reading


def milliseconds(duration: str) -> int:
    """Return a duration as it is written in a spec, such as `24h`.

    Raises:
        Refused: It is none.
    """
    try:
        return round(quantities.seconds(duration) * 1000)
    except ValueError as error:
        raise errors.Refused(f"--maturity: expected a duration such as 24h or 30m, got {duration!r}") from error


def replay(path: Path, columns: Columns, options: Options) -> Replayed:
    """Read a history and replay it.

    Raises:
        Refused: It cannot be read or used, or the options do not fit it.
    """
    terms = terms_of(options)
    history = histories.read(path, columns, of_values=terms.measures.is_of_errors)
    if options.positive and history.classes is not None:
        place = history.classes.place(options.positive)
        if place is None or not (history.truths == place).any():
            known = ", ".join(sorted(history.classes.names)[:10])
            raise errors.Refused(f"--positive {options.positive}: is no true answer in {path}; there are: {known}")
        terms = terms_of(options, positive=history.classes.names[place])
    return of_history(history, options, terms)


def terms_of(options: Options, *, positive: str = "") -> Terms:
    """Return the terms of options.

    Raises:
        Refused: A number is out of range, or `positive` does not fit the metric.
    """
    measure = Measure(options.metric)
    if measure.is_of_a_class != bool(options.positive):
        raise errors.Refused(
            "--metric precision, recall and f1 need --positive CLASS (the one that is to be found), and no other has it"
        )
    margin = options.margin if options.margin is not None else (0.1 if measure.has_relative_margin else 0.02)
    if not 0 <= margin < 1:
        raise errors.Refused(f"--margin: expected a share from 0 to below 1, such as 0.02, got {margin:g}")
    try:
        shares = budgets.shares(options.probability)
    except ValueError as error:
        raise errors.Refused(f"--probability: {error}") from error
    return Terms(
        key="history",
        metric=options.metric,
        graded=measure.is_graded,
        margin=margin,
        comparison_alpha=shares.comparison,
        limit_alpha=shares.fixed_limit,
        positive=positive,
        measure="" if options.metric in PLAIN_MEASURES else options.metric,
    )


def of_history(history: History, options: Options, terms: Terms) -> Replayed:
    """Replay a history that was read."""
    planned = history_entries.plan(history, maturity_ms=options.maturity_ms)
    places: array[int] = array("q")
    evidence = Evidence()
    befores: dict[int, int] = {}

    def before(promoted: history_entries.Promotion) -> int:
        names, found = planned.history.revision_names, promoted.before
        while found >= 0 and _is_rolled_back(evidence, names[found], _named(names, befores[found]), options):
            found = befores[found]
        befores[promoted.revision] = found
        return found

    with _uncollected():
        for stretch in history_entries.stretches(planned, terms, places, before):
            evidence = fold(evidence, stretch)
    about = _about(planned.history, terms)
    taken = _Taken(planned, about, evidence, places, options, terms)
    lives = tuple(_life(taken, each, befores[each.revision]) for each in planned.promotions)
    counted = int(about.sum())
    days = max(int(planned.known_ms[-1] - planned.known_ms[0]) / _DAY_MS, 1 / 24)
    estimate = next((life.verdict.estimate for life in reversed(lives) if life.verdict.estimate is not None), 0.0)
    return Replayed(
        history=planned.history,
        options=options,
        terms=terms,
        lives=lives,
        estimate=estimate,
        per_day=counted / days,
        drops=tuple(_drop(drop, estimate, lives, terms) for drop in DROPS) if terms.measures in _SHARES else (),
        notes=(*history.notes, *planned.notes),
        evidence=evidence,
    )


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Look for no cycles meanwhile: entries hold none, and looking through them takes a fifth of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _about(history: History, terms: Terms) -> BoolArray:
    if not terms.positive or history.classes is None:
        return np.ones(len(history.rows), dtype=np.bool_)
    place = history.classes.names.index(terms.positive)
    return classes.counted(classes.Measure(terms.measures), history.predictions == place, history.truths == place)


# Only these two know how the operator keeps its series.


def _own(evidence: Evidence, revision: str) -> Own | None:
    return evidence.first.own.get(revision)


def _compared(evidence: Evidence, revision: str, other: str) -> Compared | None:
    return evidence.first.pairs.get((revision, other))


def _is_rolled_back(evidence: Evidence, name: str, before: str, options: Options) -> bool:
    """Tell whether a revision would no longer serve."""
    degraded = _verdict(evidence, name, before, options).name is verdicts.Name.DEGRADED
    return degraded and bool(before) and options.on_degraded == "Rollback"


def _verdict(evidence: Evidence, name: str, before: str, options: Options) -> verdicts.Verdict:
    compared, own = _compared(evidence, name, before), _own(evidence, name)
    return verdicts.decide(
        verdicts.Case(
            metric=options.metric,
            reading=evidence.first.reading,
            comparison=compared.comparison if compared is not None else None,
            watch=own.watch if own is not None else None,
            other=before or "last good",
            comparable=compared is not None,
            has_last_good=bool(before) and compared is None,
        )
    )


def _named(names: Sequence[str], place: int) -> str:
    return names[place] if place >= 0 else ""


@dataclass(frozen=True, slots=True)
class _Taken:
    """A history after its last entry."""

    planned: history_entries.Plan
    about: BoolArray
    """Shape (n,): rows that the metric is about."""
    evidence: Evidence
    places: array[int]
    """Of the row of each entry, by seq - 1."""
    options: Options
    terms: Terms


def _life(taken: _Taken, promoted: history_entries.Promotion, predecessor: int) -> Life:
    planned, about, evidence, options = taken.planned, taken.about, taken.evidence, taken.options
    history = planned.history
    name = history.revision_names[promoted.revision]
    before = _named(history.revision_names, predecessor)
    is_mine = history.revisions == promoted.revision
    mine = np.flatnonzero(is_mine & about)
    compared, own = _compared(evidence, name, before), _own(evidence, name)
    verdict = _verdict(evidence, name, before, options)
    by_pairs = compared is not None and compared.is_worse
    seq = 0
    if verdict.name in (verdicts.Name.DEGRADED, verdicts.Name.DECAYED):
        seq = compared.decided_seq if by_pairs and compared is not None else own.decided_seq if own is not None else 0

    def moment(place: int) -> Moment:
        number = int(np.searchsorted(mine, place, side="right"))
        return Moment(int(history.rows[place]), int(planned.known_ms[place]), number)

    earlier = np.flatnonzero((history.revisions == predecessor) & about)
    rival = history_rivals.of_rows(history, taken.terms, mine, earlier[earlier < promoted.place])
    overlapping = np.flatnonzero(history.revisions == promoted.before)
    first = int(np.flatnonzero(is_mine)[0])
    return Life(
        revision=name,
        before=before,
        since_ms=promoted.at_ms,
        rows=int(is_mine.sum()),
        outcomes=len(mine),
        pairs=compared.comparison.pairs if compared is not None else 0,
        overlaps=bool(len(overlapping)) and int(overlapping[-1]) > first,
        verdict=verdict,
        found=moment(taken.places[seq - 1]) if seq else None,
        would=_would(verdict, before, options) if seq else "",
        reference=rival.reference,
        is_own=rival.is_own,
        rules=tuple(moment(int(mine[number - 1])) if number else None for number in rival.rules),
    )


def _would(verdict: verdicts.Verdict, before: str, options: Options) -> str:
    """Return what Leadline does on a verdict."""
    if not before:
        return "an alert: there is no revision to go back to"
    if verdict.name is verdicts.Name.DEGRADED:
        if options.on_degraded == "Alert":
            return "an alert (onDegraded: Alert)"
        if verdict.provisional:
            return f"rolled back to {before}, provisionally: undone if {before} misses the same limit, too"
        return f"rolled back to {before}"
    if options.on_decay == "Alert":
        return "an alert (onDecay: Alert)"
    return f"an alert, and {before} answers copies of fresh requests; rolled back only if {before} is better on them"


def _drop(drop: float, estimate: float, lives: tuple[Life, ...], terms: Terms) -> Drop:
    outcomes = pairs = None
    if drop < estimate < 1 or (estimate == 1 and drop > terms.margin):
        reference = min(estimate, 1 - 1e-4)
        number = max(references.LEAST_OUTCOMES, *(life.outcomes for life in lives))
        try:
            limit = references.of_answers(
                round(reference * number), number, margin=terms.margin, alpha=terms.limit_alpha
            )
            outcomes = detectability.detectable(
                drop,
                reference=reference,
                margin=terms.margin,
                alpha=limit.alpha,
                per_day=0,
                limit=limit.limit,
            ).outcomes
            pairs = detectability.detectable_in_pairs(
                drop, reference=reference, margin=min(terms.margin, 0.999), alpha=terms.comparison_alpha, per_day=0
            ).outcomes
        except ValueError:
            return Drop(drop, None, None)
    return Drop(drop, outcomes, pairs)
