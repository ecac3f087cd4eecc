"""What outcomes are judged by: a metric, its margin and its share of the false rollback probability.

The ledger holds terms as a decision, so that whoever folds its log judges by what held then. Fields are only ever added, and
written only where they say something: an older version reads the log of one metric that it knows. Must not judge anything.
"""

import json
from dataclasses import asdict, dataclass
from typing import Any, Final

from leadline_api.spec import ModelDeploymentSpec
from leadline_stats import budgets
from leadline_stats.measures import Measure
from leadline_wire.ledger import DecisionEntry

from leadline_operator.reconcile.gate import key_of

PLAIN_MEASURES: Final = ("accuracy", "recall", "score")
"""Measures that are told by the other fields."""
_ADDED: Final = ("positive", "measure", "quorum", "max_share")
"""What an older version would not know."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What outcomes are judged by for one metric; other terms begin all evidence anew."""

    key: str
    """Hash of the terms of all metrics."""
    metric: str
    """Its name."""
    graded: bool
    """Losses are any numbers in [0, 1]; false: right or wrong."""
    margin: float
    """As the measure has it: a difference, or a share of it."""
    comparison_alpha: float
    """Probability, at most, with which a comparison on the same inputs condemns a revision within the margin."""
    limit_alpha: float
    """The same for the limit of its own; half of it is spent on an estimated reference."""
    positive: str = ""
    """The class that it is about. Empty: none, all outcomes say something of it."""
    measure: str = ""
    """What is measured, where the other fields do not tell: by themselves they are of accuracy, recall or score."""
    quorum: int = 0
    """Sources without any one less than which nothing is decided; 2: no single one decides. 0: whoever reports counts."""
    max_share: float = 0.0
    """Largest share of the outcomes that count which may be of one source, in (0, 1); 0: any."""

    @property
    def weighs_sources(self) -> bool:
        """Tell whether it matters who reported an outcome."""
        return self.quorum > 1 or self.max_share > 0

    @property
    def measures(self) -> Measure:
        """What is measured."""
        if self.measure:
            return Measure(self.measure)
        return Measure.SCORE if self.graded else Measure.RECALL if self.positive else Measure.ACCURACY


def asked(spec: ModelDeploymentSpec) -> tuple[Terms, ...]:
    """Return what a spec asks outcomes to be judged by, a part for each metric; empty: they are not to be judged."""
    quality = spec.quality
    if spec.outcomes is None or not quality.metrics:
        return ()
    shares = budgets.shares(float(quality.false_rollback_probability), metrics=len(quality.metrics))
    first, *others = ([each.name, each.metric, each.tolerance, each.positive] for each in quality.metrics)
    key = key_of(
        [
            *first[:3],
            quality.false_rollback_probability,
            *(each for each in first[3:] if each),
            *others,
            *_sources_key(spec),
        ]
    )
    sources = spec.outcomes.sources
    return tuple(
        Terms(
            key=key,
            metric=metric.name,
            graded=Measure(metric.metric).is_graded,
            margin=metric.tolerated,
            comparison_alpha=shares.comparison,
            limit_alpha=shares.fixed_limit,
            positive=metric.positive or "",
            measure="" if metric.metric in PLAIN_MEASURES else metric.metric,
            quorum=sources.quorum if sources is not None and sources.quorum > 1 else 0,
            max_share=float(sources.max_share) if sources is not None and sources.max_share is not None else 0.0,
        )
        for metric in quality.metrics
    )


def _sources_key(spec: ModelDeploymentSpec) -> list[Any]:
    """Return what the hash of the terms has of sources; nothing where they do not matter, so that it stays what it was."""
    sources = spec.outcomes.sources if spec.outcomes is not None else None
    if sources is None or (sources.quorum < 2 and sources.max_share is None):
        return []
    return [["sources", sources.quorum, sources.max_share]]


def plain(terms: Terms) -> dict[str, Any]:
    """Return terms without what an older version would not know, where it says nothing."""
    return {name: value for name, value in asdict(terms).items() if name not in _ADDED or value}


def data_of(several: tuple[Terms, ...]) -> dict[str, str]:
    """Return the terms of all metrics as one decision holds them."""
    first, *more = (_data(terms) for terms in several)
    return first | ({"more": json.dumps(more)} if more else {})


def read(entry: DecisionEntry) -> tuple[Terms, ...]:
    """Read terms back from a decision.

    Raises:
        ValueError: It holds no terms that this version can read.
    """
    try:
        more = json.loads(entry.data.get("more", "[]"))
        return tuple(_of(data) for data in (entry.data, *more))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"decision {entry.id}: expected {error} in terms") from error


def _data(terms: Terms) -> dict[str, str]:
    return {
        "key": terms.key,
        "metric": terms.metric,
        "graded": str(terms.graded),
        "margin": repr(terms.margin),
        "comparisonAlpha": repr(terms.comparison_alpha),
        "limitAlpha": repr(terms.limit_alpha),
        **{name: str(getattr(terms, name)) for name in _ADDED if getattr(terms, name)},
    }


def _of(data: dict[str, str]) -> Terms:
    terms = Terms(
        key=data["key"],
        metric=data["metric"],
        graded=data["graded"] == "True",
        margin=float(data["margin"]),
        comparison_alpha=float(data["comparisonAlpha"]),
        limit_alpha=float(data["limitAlpha"]),
        positive=data.get("positive", ""),
        measure=data.get("measure", ""),
        quorum=int(data.get("quorum", "0")),
        max_share=float(data.get("max_share", "0")),
    )
    _ = terms.measures  # a measure of a newer version is refused here
    return terms
