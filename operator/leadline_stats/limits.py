"""Watch one revision's outcomes against a limit of its own, for life.

With a floor, or another revision's reference, it watches from the first outcome on. Without, the first outcomes make
the reference, which is then frozen, and those that follow are held against it: at a fixed count, so that the cut of the
stream into fetches changes nothing. What a crossing means is for `verdicts`: alone, it says that the world may have
moved, not that the revision is worse than another.

Must not know where outcomes come from.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy.typing as npt

from leadline_stats import betting, blocks, budgets, checks, intervals, references

_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Plan:
    """How a revision gets a reference of its own."""

    margin: float
    """Tolerated loss of the mean score, in [0, 1)."""
    alpha: float
    """Share of the fixed limit, in (0, 1); half of it pays for the estimate."""
    outcomes: int = references.LEAST_OUTCOMES
    """First outcomes that make the reference, at least 500. More make a higher limit, later."""
    graded: bool = False
    """Whether outcomes are scores in [0, 1], instead of right or wrong, or of several rows that are."""

    def __post_init__(self) -> None:
        checks.within("margin", self.margin, 0.0, 1.0)
        checks.level("alpha", self.alpha)
        if checks.count("outcomes", self.outcomes) < references.LEAST_OUTCOMES:
            raise ValueError(f"outcomes: expected {references.LEAST_OUTCOMES} or more, got {self.outcomes}")


@dataclass(frozen=True, slots=True)
class Watch:
    """All that is known of one revision's outcomes; made by `against` or `planned`, carried on by `fold`."""

    plan: Plan | None
    """None: the reference was there from the start."""
    promotion: float
    """Level of the opposite finding, in (0, 1)."""
    reference: references.Reference | None
    """None: still being made."""
    flaw: str
    """Why no reference can be made of the first outcomes, such as none of them being right; empty: nothing is wrong."""
    worse: betting.Monitor | None
    """Of "the mean score is below the limit"; None without a reference."""
    within: betting.Monitor | None
    """Of the opposite; None without a reference."""
    all: intervals.Summary
    """Losses of all outcomes, those that made the reference included."""
    recent: blocks.Blocks
    """The same, the last 6,000 of them in blocks."""

    @property
    def missing(self) -> int:
        """Outcomes that are still needed before anything can be judged."""
        return max(0, self.plan.outcomes - self.all.outcomes) if self.plan and not self.reference else 0


def against(reference: references.Reference, *, promotion: float = budgets.PROMOTION) -> Watch:
    """Return a watch that holds every outcome against a reference that exists.

    Raises:
        ValueError: The level of the promotion is not in (0, 1).
    """
    fresh = Watch(
        plan=None,
        promotion=checks.level("promotion", promotion),
        reference=None,
        flaw="",
        worse=None,
        within=None,
        all=intervals.EMPTY,
        recent=blocks.EMPTY,
    )
    return _with(fresh, reference)


def planned(plan: Plan, *, promotion: float = budgets.PROMOTION) -> Watch:
    """Return a watch that first makes its own reference.

    Raises:
        ValueError: The level of the promotion is not in (0, 1).
    """
    return Watch(
        plan=plan,
        promotion=checks.level("promotion", promotion),
        reference=None,
        flaw="",
        worse=None,
        within=None,
        all=intervals.EMPTY,
        recent=blocks.EMPTY,
    )


def fold(watch: Watch, losses: npt.ArrayLike, tolerated: Callable[[float], float] | None = None) -> Watch:
    """Return the watch after more outcomes; in parts or at once, the same bits.

    Args:
        watch: What came before.
        losses: Shape (n,), each in [0, 1], in order of arrival.
        tolerated: From the mean loss of the outcomes that make the reference to how much it may grow; None: by the
            plan's margin, whatever the loss is.

    Raises:
        ValueError: A loss is NaN or outside [0, 1].
    """
    arrived = checks.shares_of_one("losses", losses)
    recent = blocks.fold(watch.recent, arrived)
    plan = watch.plan
    if plan is not None and watch.missing:
        first, arrived = arrived[: watch.missing], arrived[watch.missing :]
        watch = dataclasses.replace(watch, all=intervals.fold(watch.all, first))
        if not watch.missing:
            watch = _referenced(watch, plan, tolerated)
    if watch.worse is not None and watch.within is not None:
        watch = dataclasses.replace(
            watch, worse=betting.fold(watch.worse, arrived), within=betting.fold(watch.within, 1 - arrived)
        )
    return dataclasses.replace(watch, all=intervals.fold(watch.all, arrived), recent=recent)


def to_plain(watch: Watch) -> dict[str, object]:
    """Return what `from_plain` makes the same watch of, bit for bit: values that JSON holds."""
    plan, reference = watch.plan, watch.reference
    return {
        "version": _VERSION,
        "plan": None
        if plan is None
        else {
            "margin": float(plan.margin).hex(),
            "alpha": float(plan.alpha).hex(),
            "outcomes": plan.outcomes,
            "graded": plan.graded,
        },
        "promotion": watch.promotion.hex(),
        "reference": None
        if reference is None
        else {
            "kind": reference.kind.value,
            "value": float(reference.value).hex(),
            "limit": float(reference.limit).hex(),
            "outcomes": reference.outcomes,
            "alpha": float(reference.alpha).hex(),
        },
        "flaw": watch.flaw,
        "worse": None if watch.worse is None else betting.to_plain(watch.worse),
        "within": None if watch.within is None else betting.to_plain(watch.within),
        "all": intervals.to_plain(watch.all),
        "recent": blocks.to_plain(watch.recent),
    }


def from_plain(record: Mapping[str, object]) -> Watch:
    """Return the watch that `to_plain` wrote.

    Raises:
        ValueError: The version is unknown, or a field is missing or impossible. Then fold the outcomes again.
    """
    checks.version(record, _VERSION)
    plan = reference = worse = within = None
    if record.get("plan") is not None:
        stored = checks.record(record, "plan")
        plan = Plan(
            margin=checks.hexed(stored, "margin"),
            alpha=checks.hexed(stored, "alpha"),
            outcomes=checks.count("outcomes", stored.get("outcomes")),
            graded=bool(checks.field(stored, "graded", bool)),
        )
    if record.get("reference") is not None:
        stored = checks.record(record, "reference")
        reference = references.Reference(
            kind=references.Kind(str(stored.get("kind"))),
            value=checks.hexed(stored, "value"),
            limit=checks.hexed(stored, "limit"),
            outcomes=checks.count("outcomes", stored.get("outcomes")),
            alpha=checks.hexed(stored, "alpha"),
        )
        worse = betting.from_plain(checks.record(record, "worse"))
        within = betting.from_plain(checks.record(record, "within"))
        if (worse.limit, worse.alpha) != (reference.tolerated_loss, reference.alpha):
            raise ValueError(f"reference: the limit {reference.limit:g} does not fit its monitor")
    if plan is None and reference is None:
        raise ValueError("reference: expected one, or a plan to make one")
    return Watch(
        plan=plan,
        promotion=checks.level("promotion", checks.hexed(record, "promotion")),
        reference=reference,
        flaw=str(checks.field(record, "flaw", str)),
        worse=worse,
        within=within,
        all=intervals.from_plain(checks.record(record, "all")),
        recent=blocks.from_plain(checks.record(record, "recent")),
    )


def _referenced(watch: Watch, plan: Plan, tolerated: Callable[[float], float] | None) -> Watch:
    """Freeze the reference that the first outcomes make; say why where they make none."""
    try:
        margin = tolerated(watch.all.mean or 0.0) if tolerated is not None else plan.margin
        reference = references.of_losses(watch.all, margin=margin, alpha=plan.alpha, graded=plan.graded)
    except ValueError as error:
        return dataclasses.replace(watch, flaw=str(error))
    return _with(watch, reference)


def _with(watch: Watch, reference: references.Reference) -> Watch:
    return dataclasses.replace(
        watch,
        reference=reference,
        worse=betting.begin(limit=reference.tolerated_loss, alpha=reference.alpha),
        within=betting.mirrored(limit=reference.tolerated_loss, alpha=watch.promotion),
    )
