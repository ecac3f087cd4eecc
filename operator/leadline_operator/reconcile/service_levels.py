"""How a revision's pods answer, held against objectives: the share of requests that failed, and of those that were slow.

Pods count; what is new in their counters since the last slot is one slot's share, and slots are what the evidence is made of: a
burst of failures is one observation, not thousands. Slots last 10 s in the first hour and a minute later. Counters go on
while nobody looks, so an operator that was away has one long slot, and no request counts twice.

Must not know who serves, or what follows.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from leadline_stats import betting, budgets
from leadline_wire.exchange import ServiceReport

SLOT_SECONDS: Final = 10.0
LATER_SLOT_SECONDS: Final = 60.0
FIRST_SECONDS: Final = 3_600.0
"""For which slots are short."""
ERRORS: Final = "errorRate"
LATENCY: Final = "latency"
_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Asked:
    """What a revision's answers are held against, in one stretch of time in which it gets requests."""

    key: str
    """Hash of the objectives and of the stretch; another one begins anew."""
    error_rate: float | None
    """Share of requests that may fail."""
    under_seconds: float | None
    """An answer that takes longer is slow."""
    slow_share: float
    """Share of requests that may be slow."""

    @property
    def limits(self) -> dict[str, float]:
        """Tolerated share by objective."""
        errors = {ERRORS: self.error_rate} if self.error_rate is not None else {}
        return errors | ({LATENCY: self.slow_share} if self.under_seconds is not None else {})


@dataclass(frozen=True, slots=True)
class Count:
    """Counters of one pod, as they were when the last slot ended."""

    started_ms: int
    requests: int
    failures: int
    slow: int


@dataclass(frozen=True, slots=True)
class ServiceLevel:
    """How a revision's pods have answered in one stretch of time; made by `begin`, carried on by `fold`."""

    key: str
    began_at: float
    """Seconds since the epoch."""
    slot_at: float
    """When the last slot ended."""
    begun: int
    """How many stretches the revision had before this one: the levels of all of them add up."""
    monitors: Mapping[str, betting.Monitor]
    """By objective."""
    requests: int = 0
    failures: int = 0
    slow: int = 0
    missed_at: float | None = None
    """When an objective was found to be missed."""
    pods: Mapping[str, Count] = field(default_factory=dict)
    """By uid."""

    @property
    def slots(self) -> int:
        """Slots in which there were requests."""
        return max((each.outcomes for each in self.monitors.values()), default=0)

    @property
    def missed(self) -> tuple[str, ...]:
        """Objectives that were found to be missed."""
        return tuple(name for name, each in self.monitors.items() if each.crossed)

    def slot_seconds(self, now: float) -> float:
        """Return how long a slot lasts by now."""
        return SLOT_SECONDS if now - self.began_at < FIRST_SECONDS else LATER_SLOT_SECONDS

    def seconds_left(self, now: float) -> float:
        """Return how long the slot of now still lasts."""
        return max(0.0, self.slot_at + self.slot_seconds(now) - now)


def begin(asked: Asked, reports: Mapping[str, ServiceReport | None], now: float, *, begun: int = 0) -> ServiceLevel:
    """Return a service level that has seen nothing: what pods counted before is of another stretch.

    Args:
        asked: What answers are held against.
        reports: Newest of each pod, by uid; None: it was not reached.
        now: Seconds since the epoch.
        begun: Stretches of the same revision before this one.
    """
    limits = asked.limits
    alpha = budgets.SERVICE_SIGNALS / max(1, len(limits))
    if begun:
        alpha = budgets.retest_alpha(alpha, begun)
    return ServiceLevel(
        key=asked.key,
        began_at=now,
        slot_at=now,
        begun=begun,
        monitors={name: betting.begin(limit=limit, alpha=alpha) for name, limit in limits.items()},
        pods={uid: _count(report, asked) for uid, report in reports.items() if report is not None},
    )


def fold(level: ServiceLevel, asked: Asked, reports: Mapping[str, ServiceReport | None], now: float) -> ServiceLevel:
    """Return the service level after the slot, where it is over; a slot without requests says nothing.

    Args:
        level: What came before.
        asked: What answers are held against.
        reports: Newest of each pod that exists, by uid; None: it was not reached, and is asked again later.
        now: Seconds since the epoch.
    """
    if level.seconds_left(now) > 0:
        return level
    pods = {uid: count for uid, count in level.pods.items() if uid in reports}
    requests = failures = slow = 0
    for uid, report in reports.items():
        if report is None:
            continue
        count, before = _count(report, asked), pods.get(uid)
        pods[uid] = count
        if before is None:
            continue  # a pod that is new to us has counted since we do not know when
        if before.started_ms != count.started_ms:
            before = Count(count.started_ms, 0, 0, 0)  # its container has started anew
        requests += max(0, count.requests - before.requests)
        failures += max(0, count.failures - before.failures)
        slow += max(0, count.slow - before.slow)
    level = replace(level, slot_at=now, pods=pods)
    if not requests:
        return level
    lost = {ERRORS: failures, LATENCY: slow}
    monitors = {
        name: betting.fold(monitor, [min(1.0, lost[name] / requests)]) for name, monitor in level.monitors.items()
    }
    crossed = any(each.crossed for each in monitors.values())
    return replace(
        level,
        monitors=monitors,
        requests=level.requests + requests,
        failures=level.failures + failures,
        slow=level.slow + slow,
        missed_at=level.missed_at if level.missed_at is not None or not crossed else now,
    )


def to_plain(level: ServiceLevel) -> dict[str, Any]:
    """Return what `from_plain` makes the same of: values that JSON holds."""
    return {
        "version": _VERSION,
        "key": level.key,
        "beganAt": level.began_at,
        "slotAt": level.slot_at,
        "begun": level.begun,
        "monitors": {name: betting.to_plain(each) for name, each in level.monitors.items()},
        "requests": level.requests,
        "failures": level.failures,
        "slow": level.slow,
        "missedAt": level.missed_at,
        "pods": {uid: [each.started_ms, each.requests, each.failures, each.slow] for uid, each in level.pods.items()},
    }


def from_plain(plain: Mapping[str, Any]) -> ServiceLevel:
    """Return the service level that `to_plain` wrote.

    Raises:
        ValueError: The version is unknown, or a field is missing or impossible. Then begin anew.
    """
    if plain.get("version") != _VERSION:
        raise ValueError(f"version: expected {_VERSION}, got {plain.get('version')!r}")
    try:
        return ServiceLevel(
            key=str(plain["key"]),
            began_at=float(plain["beganAt"]),
            slot_at=float(plain["slotAt"]),
            begun=int(plain["begun"]),
            monitors={str(name): betting.from_plain(each) for name, each in plain["monitors"].items()},
            requests=int(plain["requests"]),
            failures=int(plain["failures"]),
            slow=int(plain["slow"]),
            missed_at=None if plain["missedAt"] is None else float(plain["missedAt"]),
            pods={str(uid): Count(*map(int, each)) for uid, each in plain["pods"].items()},
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"service level: expected another form ({error})") from error


def _count(report: ServiceReport, asked: Asked) -> Count:
    slow = 0
    if asked.under_seconds is not None:
        # Of a runtime that knows no such bound what is surely above it.
        lows = (0.0, *report.bounds)
        slow = sum(number for low, number in zip(lows, report.latency, strict=False) if low >= asked.under_seconds)
    return Count(report.started_ms, report.requests, report.failures, slow)
