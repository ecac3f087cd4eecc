"""Commands of the user: the annotation `leadline.dev/action: <verb>@<RFC 3339 time>`.

Ordered by their time, because Git re-applies old ones: done once; one that is not newer than the last handled, or is
older than the object, is ignored. One that cannot be read, or whose time is yet to come, is refused and is no measure for
those after it.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, cast

import msgspec
from leadline_api.reasons import Reason

from leadline_operator.reconcile import training_runs
from leadline_operator.reconcile.decision import Decision
from leadline_operator.reconcile.observed import Observed
from leadline_operator.reconcile.plan import Event
from leadline_operator.reconcile.records import Rejection

VERBS: Final = ("promote", "retrain", "retry", "rollback")
Verb = Literal["promote", "retrain", "retry", "rollback"]
LONGEST: Final = 64
"""Characters that count of the annotation; as many as the status keeps."""
PARDONED_MESSAGE_MAX: Final = 64
"""Characters that are kept of a finding that was pardoned before the newest retry."""
AHEAD_SECONDS: Final = 300.0
"""How far a command's time may be ahead of ours: clocks differ a little; one in the far future would outrank all others."""


@dataclass(frozen=True, slots=True)
class Command:
    """A command that is due, or why the annotation is none."""

    text: str
    verb: Verb | None
    """None: it is refused."""
    problem: str = ""


def due(observed: Observed, now: float) -> Command | None:
    """Return the command to carry out or to refuse now; None where there is nothing new."""
    text = observed.action[:LONGEST]
    handled = _handled_texts(observed)
    if not text or text in handled or any(text == each.record.refused_action for each in observed.revisions):
        return None
    verb, at, stamp = text.partition("@")
    when = _time(stamp)
    if verb not in VERBS or not at or when is None:
        expected = (
            "expected promote@<time>, retrain@<time>, retry@<time> or rollback@<time>, e.g. retry@2026-01-31T12:00:00Z"
        )
        return Command(text, None, f"leadline.dev/action: {expected}, got {text!r}")
    if when > now + AHEAD_SECONDS:
        ahead = f"{text} is {_spoken(when - now)} ahead of the operator's clock (limit {_spoken(AHEAD_SECONDS)})"
        return Command(text, None, f"leadline.dev/action: {ahead}; annotate it again with the time of now")
    stamps = [_time(each.partition("@")[2]) for each in handled if each.partition("@")[0] in VERBS]
    newest = max((each for each in stamps if each is not None and each <= now + AHEAD_SECONDS), default=None)
    if when < observed.created_at or (newest is not None and when <= newest):
        return None
    return Command(text, cast("Verb", verb))


def _handled_texts(observed: Observed) -> tuple[str, ...]:
    texts = [revision.record.handled_action for revision in observed.revisions]
    return tuple(text for text in (*texts, observed.status.get("handledAction") or "") if text)


def _time(text: str) -> float | None:
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        return None
    return parsed.timestamp() if parsed.tzinfo else None


def _spoken(seconds: float) -> str:
    """Return a length of time as people say it."""
    for length, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= length:
            count = round(seconds / length)
            return f"{count} {unit}{'' if count == 1 else 's'}"
    return f"{seconds:.0f} seconds"


def obey(observed: Observed, decision: Decision, now: float) -> None:
    """Carry out the user's command, if one is due."""
    command = due(observed, now)
    if command is None:
        return
    if command.verb is None:
        _refuse(decision, command)
        return
    if command.verb == "retrain" and not _is_trained(observed, decision, command.text):
        return
    decision.command = command.text
    # Done or ignored: once, even where the status is lost.
    desired = decision.records[decision.desired] = decision.records[decision.desired].with_(handled_action=command.text)
    if command.verb == "retry" and decision.is_unreadable(decision.desired):
        _ignore(decision, f"retry: the record of {decision.desired} cannot be read")
    elif command.verb == "retry":
        if desired.rejection(decision.gate.key) is None:
            _ignore(decision, f"retry: nothing was found against the desired revision {decision.desired}")
            return
        decision.records[decision.desired] = desired.with_(
            rejections=[],
            pardoned=[*map(_shortened, desired.pardoned), *desired.rejections],
            wanted_at=now,
            handled_action=command.text,
            admitted_gate="",
        )
        decision.events.append(
            Event("Normal", Reason.COMMAND_DONE, f"Trying {decision.desired} again (retry {desired.retries + 1})")
        )
    elif command.verb == "retrain":
        pass
    elif command.verb == "promote":
        _promote(decision, now)
    else:
        _roll_back_by_command(decision, command.text, now)


def _is_trained(observed: Observed, decision: Decision, text: str) -> bool:
    """Tell whether nothing is left to do: the run has begun, or there is none to begin.

    Until then the command is not handled, so that a pass that is cut, or a ledger that is away, does not lose it.
    """
    if observed.spec.retrain is None:
        _ignore(decision, "retrain: spec.retrain is not set")
        return True
    if not training_runs.has_begun(observed, f"command/{text}"):
        decision.retrain_command = text
        return False
    decision.events.append(Event("Normal", Reason.COMMAND_DONE, f"A training run has begun: {text}"))
    return True


def _promote(decision: Decision, now: float) -> None:
    """Let the candidate have the traffic once it is ready and tested, without a verdict of outcomes, and though paused.

    What was found against it holds: for that there is retry.
    """
    name = decision.desired
    if decision.is_unreadable(name):
        _ignore(decision, f"promote: the record of {name} cannot be read")
    elif name == decision.serving:
        _ignore(decision, f"promote: the desired revision {name} serves already")
    elif decision.is_rejected(name):
        _ignore(decision, f"promote: the desired revision {name} is rejected; to try it again, retry")
    else:
        decision.records[name] = decision.records[name].with_(promoted_at=now)
        decision.events.append(
            Event(
                "Normal",
                Reason.COMMAND_DONE,
                f"Promoting {name}: it waits neither for outcomes nor for the end of a pause",
            )
        )


def _shortened(finding: Rejection) -> Rejection:
    """Return an old finding without most of its words: the ledger has them, and an annotation has room for 256 KiB."""
    return msgspec.structs.replace(finding, message=finding.message[:PARDONED_MESSAGE_MAX])


def _roll_back_by_command(decision: Decision, text: str, now: float) -> None:
    """Undo the newest change: refuse the candidate under way, or send the traffic back."""
    under_way = decision.serving and decision.desired != decision.serving and not decision.is_rejected(decision.desired)
    name = decision.desired if under_way else decision.serving
    if decision.is_unreadable(name):
        _ignore(decision, f"rollback: the record of {name} cannot be read")
        return
    if not name or (not under_way and not decision.last_good):
        _ignore(decision, "rollback: there is no last good revision to go back to")
        return
    finding = Rejection(
        gate=decision.gate.key,
        reason=Reason.ROLLED_BACK_BY_COMMAND,
        message=f"command {text}",
        at=now,
        served=not under_way,
        command=text,
    )
    decision.records[name] = decision.records[name].rejected(finding).with_(handled_action=text)
    decision.events.append(Event("Normal", Reason.COMMAND_DONE, f"Rolling back {name}: {text}"))


def _refuse(decision: Decision, command: Command) -> None:
    """Say once why a command is not carried out, without taking it for the newest one handled."""
    _ignore(decision, command.problem)
    for name in (decision.desired, decision.serving):
        if name and not decision.is_unreadable(name):
            decision.records[name] = decision.records[name].with_(refused_action=command.text)
            return
    decision.command = command.text


def _ignore(decision: Decision, problem: str) -> None:
    decision.events.append(Event("Warning", Reason.COMMAND_IGNORED, problem[:1].upper() + problem[1:]))
