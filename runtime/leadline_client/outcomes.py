"""Outcomes as people give them, checked, and what becomes of each. Next step: `reporting`. Pure."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from leadline_client import errors, tensors

ANSWERS: Final = ("truth", "correct", "score")
"""Of which each outcome has one."""
_BY: Final = ("key", "receipt", "id")


class Fate(enum.Enum):
    """What became of an outcome."""

    ACCEPTED = "accepted"
    """It is durable in the ledger."""
    DUPLICATE = "duplicate"
    """The same was there already."""
    NOT_JUDGED = "not judged"
    """It is kept, but came after its maturity had passed."""
    CONFLICT = "conflict"
    """Another answer was reported before, which stays; this one is kept as a correction."""
    TOO_OLD = "too old"
    """The prediction is older than outcomes are taken for."""
    NO_RECEIPT = "no receipt"
    """The prediction is not among those that can be reported (`spec.outcomes.percent`, a sample of rows); nothing was sent."""
    REFUSED = "refused"
    """It cannot be taken: `why` says what was expected."""
    WAITING = "waiting"
    """It could not be delivered yet: it is in the store, and goes with `flush`."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One true answer: of the prediction with this key, receipt or id; one of `truth`, `correct` and `score` says how it was."""

    key: str | None = None
    """Under which the receipt was remembered."""
    receipt: str | None = None
    id: str | None = None
    """Of the request, with `keyBy: id`."""
    row: int | None = None
    """None: of an answer of one row."""
    truth: Any = None
    """A class, or the value of a regression; numpy's scalars will do."""
    correct: bool | None = None
    score: float | None = None
    """From 0 to 1."""
    wanted: str | None = None
    """Token of the item where this answer was asked for."""


@dataclass(frozen=True, slots=True)
class Reported:
    """What became of one outcome."""

    outcome: Outcome
    fate: Fate
    why: str = ""
    """In words, where there is something to say."""
    status: int = 0
    """The server's for this outcome; 0: it said nothing of it."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A prediction whose true answer would tell two revisions apart."""

    prediction_id: str
    row: int
    predicted_at: str
    revision: str
    prediction: Any
    other_revision: str
    other_prediction: Any
    token: str
    """Goes back with the answer as `wanted`."""
    id: str | None = None
    """Of the request, with `keyBy: id`."""
    key: str | None = None
    """Under which its receipt was remembered here; None: it was not."""


def outcome_of(given: Outcome | Mapping[str, Any], where: str) -> Outcome:
    """Return a checked outcome.

    Args:
        given: An outcome, or a mapping with the names of its fields.
        where: Begins each message: empty, or as `items[3].`

    Raises:
        InputError: A field is none; the message names it.
    """
    if not isinstance(given, Outcome):
        if not isinstance(given, Mapping):
            raise errors.InputError(
                f"{where.rstrip('.') or 'outcome'}: expected an Outcome or a mapping, got {tensors.shown(given)}"
            )
        unknown = next((name for name in given if name not in _NAMES), None)
        if unknown is not None:
            raise errors.InputError(f"{where}{unknown}: there is no such field; expected {', '.join(_NAMES)}")
        given = Outcome(**given)
    by = [name for name in _BY if getattr(given, name) is not None]
    if len(by) != 1:
        raise errors.InputError(f"{where}key: expected one of key, receipt and id, got {' and '.join(by) or 'none'}")
    for name in (*by, "wanted"):
        value = getattr(given, name)
        if value is not None and not (isinstance(value, str) and value):
            raise errors.InputError(f"{where}{name}: expected a string, got {tensors.shown(value)}")
        _check_text(value or "", f"{where}{name}")
    answers = {name: _plain(getattr(given, name)) for name in ANSWERS if getattr(given, name) is not None}
    if len(answers) != 1:
        got = " and ".join(answers) or "none"
        raise errors.InputError(f"{where}truth: expected one of truth, correct and score, got {got}")
    ((name, value),) = answers.items()
    _check(name, value, where)
    row = _plain(given.row)
    if row is not None and (isinstance(row, bool) or not isinstance(row, int) or row < 0):
        raise errors.InputError(f"{where}row: expected a whole number from 0, got {tensors.shown(row)}")
    return Outcome(
        given.key, given.receipt, given.id, row, **{**dict.fromkeys(ANSWERS), **answers}, wanted=given.wanted
    )


_NAMES: Final = tuple(each.name for each in fields(Outcome))


def _plain(value: Any) -> Any:
    """Return numpy's scalars and arrays of one number as Python's."""
    return value.item() if hasattr(value, "item") and getattr(value, "size", 0) == 1 else value


def _check_text(value: str, where: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise errors.InputError(f"{where}: expected text, got half a character: {error}") from error


def _check(name: str, value: Any, where: str) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if name == "correct" and not isinstance(value, bool):
        raise errors.InputError(f"{where}correct: expected true or false, got {tensors.shown(value)}")
    if name == "score" and not (is_number and 0.0 <= value <= 1.0):
        raise errors.InputError(f"{where}score: expected a number from 0 to 1, got {tensors.shown(value)}")
    if name == "truth" and not (isinstance(value, str | bool) or (is_number and abs(value) < float("inf"))):
        raise errors.InputError(f"{where}truth: expected a class or a finite number, got {tensors.shown(value)}")
    if isinstance(value, str):
        _check_text(value, f"{where}truth")
