"""Hold what the log's entries say against the decisions that the same log holds.

Each decision by outcomes must be explained by evidence that had crossed by then, the very evidence that it names; each
crossing must have its decision. Some need none: of a revision that no longer serves, or where there is nowhere to go back
to. Next step: `replay_text`.

Must not weigh anything anew: see `replaying`.
"""

import enum
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from leadline_api.reasons import Reason
from leadline_operator.reconcile.evidence import Evidence
from leadline_stats import verdicts
from leadline_wire.ledger import DecisionEntry

from leadline_cli.replaying import Crossing, Kind, Weighed, series

ACTS_WITHIN_MS: Final = 60_000
"""An operator that is well decides within a second or two of an entry; this leaves time for one that was restarted."""
SWITCHES_WITHIN_MS: Final = 600_000
"""The revision that the traffic goes back to may have to fetch its model first."""
_NAMED: Final = re.compile(r"over \d+ outcomes vs .*evidence (\S+), needs (\S+)\)")
"""How a verdict by outcomes ends; findings by a test set speak of rows, and name no evidence."""
LIMITS: Final = ("its limit", "same limit")
"""Its own, and the one by which the other was rejected provisionally."""
_FOLLOW: Final = {
    Kind.WORSE: ("Rejected",),
    Kind.BELOW: ("Rejected", "Verifying"),
    Kind.BELOW_TOO: ("Withdrawn",),
}


class Said(enum.Enum):
    """How a row of the log holds against the others."""

    AGREES = "agrees"
    DIFFERS = "DIFFERS"
    WAITS = "waits"
    """The log ends before the operator can have acted."""
    NOTHING = "-"
    """Nothing is to follow, or it is no matter of outcomes."""


@dataclass(frozen=True, slots=True)
class Alerts:
    """What the spec says is only to be told; the log does not hold it."""

    on_degraded: bool = False
    on_decay: bool = False


NO_ALERTS: Final = Alerts()


@dataclass(frozen=True, slots=True)
class Row:
    """A decision, or an entry at which evidence decided."""

    seq: int
    at_ms: int
    what: str
    revision: str
    other: str
    said: Said
    crossing: Crossing | None = None
    """Of a crossing, itself; of a decision, the one that explains it."""
    text: str = ""
    """Of a decision: what it rests on."""
    note: str = ""
    """Why it differs, waits, or needs nothing."""
    is_decision: bool = True


def rows(
    decisions: Sequence[tuple[DecisionEntry, Evidence]], crossings: Sequence[Crossing], *, end_ms: int, alerts: Alerts
) -> list[Row]:
    """Return the rows of a log, in its order.

    Args:
        decisions: Each with the evidence that stood before it.
        crossings: Of the same log.
        end_ms: When the newest outcome came, in milliseconds since the epoch.
        alerts: What is only to be told.
    """
    entries = [entry for entry, _ in decisions]
    found = [_crossed(crossing, entries, end_ms, alerts) for crossing in crossings]
    told: dict[str, Row] = {}
    for entry, before in decisions:
        row = _decision(entry, before, crossings, told)
        if row.said is not Said.DIFFERS and _stuck(entry, before, entries, end_ms):
            note = f"{entry.revision} served, and no switch follows in the log"
            row = Row(row.seq, row.at_ms, row.what, row.revision, row.other, Said.DIFFERS, row.crossing, row.text, note)
        told[entry.id] = row
    return sorted([*found, *told.values()], key=lambda row: (row.seq, row.what, row.revision, row.other))


def _crossed(crossing: Crossing, decisions: Sequence[DecisionEntry], end_ms: int, alerts: Alerts) -> Row:
    weighed = crossing.weighed
    later = [each for each in decisions if each.seq > crossing.seq]
    said, note = Said.AGREES, ""
    if not any(_follows(crossing, each) for each in later):
        said, note = _unfollowed(crossing, later, end_ms, alerts)
    return Row(
        crossing.seq,
        crossing.came_at_ms,
        weighed.kind.value,
        weighed.revision,
        against(weighed),
        said,
        crossing,
        note=note,
        is_decision=False,
    )


def _follows(crossing: Crossing, entry: DecisionEntry) -> bool:
    of_it = entry.revision == crossing.weighed.revision or crossing.weighed.kind is Kind.BELOW_TOO
    return entry.kind in _FOLLOW[crossing.weighed.kind] and of_it


def _unfollowed(crossing: Crossing, later: Sequence[DecisionEntry], end_ms: int, alerts: Alerts) -> tuple[Said, str]:
    why = _needs_nothing(crossing, alerts)
    if why:
        return Said.NOTHING, why
    soon = crossing.came_at_ms + ACTS_WITHIN_MS
    switch = next((each for each in later if each.kind in ("Promoted", "RolledBack")), None)
    if switch is not None and switch.at_ms <= soon and _by_the_spec(switch, crossing.before):
        return Said.NOTHING, f"entry {switch.seq} came first: the spec asked for another one"
    if switch is None and end_ms <= soon:
        return Said.WAITS, f"the log ends {(end_ms - crossing.came_at_ms) / 1000:.1f} s after it"
    expected = " or ".join(_FOLLOW[crossing.weighed.kind])
    hint = {
        Kind.WORSE: "; right only if spec.quality.onDegraded is Alert (say --on-degraded Alert)",
        Kind.BELOW: "; right only if spec.quality.onDecay or onDegraded is Alert (say --on-decay Alert)",
        Kind.BELOW_TOO: "",
    }[crossing.weighed.kind]
    return Said.DIFFERS, f"expected {expected} to follow, and the log holds none{hint}"


def _by_the_spec(entry: DecisionEntry, before: Evidence) -> bool:
    """Tell whether a switch took the traffic from the serving revision because the spec asked for another one."""
    return entry.kind == "Promoted" and entry.other == before.serving and not standing(before, entry.revision)


def _needs_nothing(crossing: Crossing, alerts: Alerts) -> str:
    """Say why nothing has to follow; empty where something must."""
    weighed, before = crossing.weighed, crossing.before
    name, memory = weighed.revision, before.remembered(weighed.revision)
    serves = before.serving == name
    if weighed.kind is Kind.BELOW_TOO:
        provisional = any(each.data.get("provisional") for other in before.memory for each in standing(before, other))
        return "" if serves and provisional else "no provisional rejection stands"
    if standing(before, name):
        return "it is rejected already"
    if weighed.kind is Kind.WORSE:
        if alerts.on_degraded and serves:
            return "onDegraded is Alert"
        is_candidate = not memory.served and weighed.other == before.serving
        return "" if serves or is_candidate else "it does not serve any longer"
    if not serves:
        return "it does not serve"
    if alerts.on_decay or alerts.on_degraded:
        return "onDecay or onDegraded is Alert"
    if memory.verifications or memory.withdrawn:
        return "it was held against the last good one before"
    others = [other for other, each in before.memory.items() if other != name and each.served]
    return "" if any(not standing(before, other) for other in others) else "there is no other to go back to"


def standing(evidence: Evidence, revision: str) -> list[DecisionEntry]:
    """Return the rejections of a revision that nothing has set aside since."""
    found: list[DecisionEntry] = []
    for entry in evidence.decisions.values():
        if entry.revision != revision:
            continue
        if entry.kind == "Rejected":
            found.append(entry)
        elif entry.kind in ("Retried", "Promoted"):
            found = []
        elif entry.kind == "Withdrawn":
            found = [each for each in found if not each.data.get("provisional")]
    return found


def _decision(entry: DecisionEntry, before: Evidence, crossings: Sequence[Crossing], told: dict[str, Row]) -> Row:
    crossing, text, note, said = None, "not from outcomes", "", Said.NOTHING
    other = entry.other
    earlier = [each for each in crossings if each.seq < entry.seq]
    if entry.kind == "Rejected" and is_by_outcomes(entry):
        crossing, note = _explained(entry, before, earlier)
        other = against(crossing.weighed) if crossing is not None else ""
    elif entry.kind == "Verifying":
        crossing = _last(earlier, Kind.BELOW, entry.revision)
        note = "" if crossing is not None else _nearest(Kind.BELOW, entry.revision, before)
    elif entry.kind == "Withdrawn" and _is_by_objectives(standing(before, entry.revision)):
        other, text = before.serving, f"{text}: {Reason.OBJECTIVES_MISSED}"
    elif entry.kind == "Withdrawn":
        other = before.serving
        crossing = _last(earlier, Kind.BELOW_TOO, other)
        note = "" if crossing is not None else _nearest(Kind.BELOW_TOO, other, before)
        if not any(each.data.get("provisional") for each in standing(before, entry.revision)):
            note = f"no provisional rejection of {entry.revision} stands before it"
    elif entry.kind == "RolledBack":
        causes = [each for each in standing(before, entry.revision) if each.data.get("served")]
        cause = told[causes[-1].id] if causes else None
        if cause is None:
            note = f"no rejection of {entry.revision} while it served stands before it"
        elif is_by_outcomes(causes[-1]):
            text, said, crossing = f"after entry {cause.seq}", Said.AGREES, cause.crossing
        else:
            text = f"after entry {cause.seq}, not from outcomes"
    else:
        text += _subject(entry)
    note = note or _missing_switch(entry, before)
    if note:
        said, text = Said.DIFFERS, "explained by nothing"
    elif crossing is not None and entry.kind != "RolledBack":
        said, text = Said.AGREES, f"by entry {crossing.seq}"
    return Row(entry.seq, entry.at_ms, entry.kind, entry.revision, other, said, crossing, text, note)


def _missing_switch(entry: DecisionEntry, before: Evidence) -> str:
    """Say where a switch does not begin at the revision that served by the log: one before it is not there."""
    begins = {"Promoted": entry.other, "RolledBack": entry.revision}.get(entry.kind, "")
    if not begins or not before.serving or begins == before.serving:
        return ""  # a ModelDeployment that was made anew does not say who served before
    return f"it takes the traffic from {begins}, and by the log {before.serving} served: a switch before it is missing"


def against(weighed: Weighed) -> str:
    """Return what a series holds a revision against, as the tables say it: another one, or a limit."""
    return {Kind.WORSE: weighed.other, Kind.BELOW: LIMITS[0], Kind.BELOW_TOO: LIMITS[1]}[weighed.kind]


def is_by_outcomes(entry: DecisionEntry) -> bool:
    """Tell whether a rejection rests on outcomes, by what it says."""
    if entry.data.get("reason") == Reason.OBJECTIVES_MISSED:
        return False  # the pods' own counters, which the log does not hold
    by_limit = entry.data.get("reason") == "Decayed" or bool(entry.data.get("provisional"))
    return by_limit or _NAMED.search(entry.data.get("message", "")) is not None


def _is_by_objectives(standing_: Sequence[DecisionEntry]) -> bool:
    provisional = [each for each in standing_ if each.data.get("provisional")]
    return bool(provisional) and not any(map(is_by_outcomes, provisional))


def _subject(entry: DecisionEntry) -> str:
    if entry.kind == "Terms":
        return f": {entry.data.get('metric', '')}, margin {entry.data.get('margin', '')}"
    if entry.kind == "Retried" or entry.data.get("command"):
        return ": a command"
    return {"Rejected": f": {entry.data.get('reason', '')}", "Promoted": ": the spec"}.get(entry.kind, "")


def _explained(entry: DecisionEntry, before: Evidence, earlier: Sequence[Crossing]) -> tuple[Crossing | None, str]:
    """Return the crossing that a rejection rests on, or why there is none."""
    kind = Kind.BELOW if entry.data.get("reason") == "Decayed" else Kind.WORSE
    candidates = [each for each in earlier if (each.weighed.kind, each.weighed.revision) == (kind, entry.revision)]
    if not candidates:
        return None, _nearest(kind, entry.revision, before)
    named = _NAMED.search(entry.data.get("message", ""))
    if named is None:
        return candidates[-1], ""
    for each in reversed(candidates):
        if named.groups() == _odds(each):
            return each, ""
    evidence, needed = _odds(candidates[-1])
    said = f"it names evidence {named[1]}, needs {named[2]}"
    return None, f"{said}; the entries give {evidence}, needs {needed}, at entry {candidates[-1].seq}"


def _odds(crossing: Crossing) -> tuple[str, str]:
    weighed = crossing.weighed
    return verdicts.odds(weighed.evidence), verdicts.odds(weighed.needed or 1.0)


def _last(crossings: Sequence[Crossing], kind: Kind, revision: str) -> Crossing | None:
    fit = [each for each in crossings if (each.weighed.kind, each.weighed.revision) == (kind, revision)]
    return fit[-1] if fit else None


def _nearest(kind: Kind, revision: str, before: Evidence) -> str:
    """Say what the entries before a decision give instead of a crossing."""
    found = [each for each in series(before) if (each.kind, each.revision) == (kind, revision)]
    if not found:
        return f"the entries before it hold no outcome that could show {revision} to be {kind.value}"
    most = max(found, key=lambda each: each.evidence)
    needs = f", needs {verdicts.odds(most.needed)}" if most.needed is not None else "; there is no limit yet"
    return f"the entries before it give evidence {verdicts.odds(most.evidence)} over {most.number} outcomes{needs}"


def _stuck(entry: DecisionEntry, before: Evidence, decisions: Sequence[DecisionEntry], end_ms: int) -> bool:
    """Tell whether a rejection of the serving revision was followed by no switch, although there was time."""
    if entry.kind != "Rejected" or not entry.data.get("served") or before.serving != entry.revision:
        return False
    later = [each for each in decisions if each.seq > entry.seq]
    moved = any(
        each.kind == "Promoted"
        or (each.kind in ("RolledBack", "Retried", "Withdrawn") and each.revision == entry.revision)
        for each in later
    )
    return not moved and end_ms > entry.at_ms + SWITCHES_WITHIN_MS
