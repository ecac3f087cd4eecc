"""Outcomes as people give them, as they are sent, and what becomes of each. Pure.

Rows of one prediction go in one request, for the ledger counts what comes together as one outcome.
"""

import enum
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final, NamedTuple

from leadline_wire import predictions

from leadline_client import errors, retrying, steps, tensors

ITEMS_MAX: Final = 4_096
"""Outcomes that the server takes in one request."""
BYTES_MAX: Final = 3 << 20
"""Of the body of one request; the server takes 4 MiB, and less where names are long."""
_ANSWERS: Final = ("truth", "correct", "score")
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


UNSAID: Final = "accepted, or there already: this server does not say which of them"
_BY_STATUS: Final = {409: Fate.CONFLICT, 410: Fate.TOO_OLD}


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


class Item(NamedTuple):
    """An outcome as it is sent."""

    outcome: Outcome
    body: str
    """JSON."""
    prediction: str
    """Equal for rows of one prediction."""


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
    answers = {name: _plain(getattr(given, name)) for name in _ANSWERS if getattr(given, name) is not None}
    if len(answers) != 1:
        got = " and ".join(answers) or "none"
        raise errors.InputError(f"{where}truth: expected one of truth, correct and score, got {got}")
    ((name, value),) = answers.items()
    _check(name, value, where)
    row = _plain(given.row)
    if row is not None and (isinstance(row, bool) or not isinstance(row, int) or row < 0):
        raise errors.InputError(f"{where}row: expected a whole number from 0, got {tensors.shown(row)}")
    return Outcome(
        given.key, given.receipt, given.id, row, **{**dict.fromkeys(_ANSWERS), **answers}, wanted=given.wanted
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


def item_of(outcome: Outcome, kept: str | None) -> Item | Reported:
    """Return what is sent for an outcome, or its fate where there is nothing to send.

    Args:
        outcome: Checked.
        kept: Receipt that was remembered under its key, empty where there was none; None: it is not by key.
    """
    receipt = outcome.receipt if kept is None else kept
    if not receipt and outcome.id is None:
        return Reported(outcome, Fate.NO_RECEIPT, "the prediction came without a receipt (spec.outcomes.percent)")
    if receipt and outcome.row is not None:
        known = rows_of(receipt)
        if len(known) >= predictions.ROWS_MAX and outcome.row not in known:
            why = f"row {outcome.row} is not in the receipt, which is of a random sample of {len(known)} rows"
            return Reported(outcome, Fate.NO_RECEIPT, why)
    answers = {name: getattr(outcome, name) for name in (*_ANSWERS, "row", "wanted")}
    told = {"receipt": receipt} if receipt else {"id": outcome.id}
    told |= {name: value for name, value in answers.items() if value is not None}
    body = json.dumps(told, separators=(",", ":"), ensure_ascii=False)
    return Item(outcome, body, str(receipt or outcome.id))


def rows_of(receipt: str) -> frozenset[int]:
    """Return the rows that a receipt is of; none of what is no receipt, which the server says better."""
    parts = receipt.rsplit(".", 2)
    try:
        return frozenset(predictions.split(parts[-2])) if len(parts) == 3 else frozenset()
    except predictions.BadWordError:
        return frozenset()


def prediction_id_of(receipt: str) -> str:
    """Return the id of the prediction that a receipt is of; empty of what is no receipt."""
    parts = receipt.rsplit(".", 3)
    return parts[1] if len(parts) == 4 else ""


def batches(items: Iterable[Item]) -> list[list[Item]]:
    """Return items in the requests that they go in, rows of one prediction side by side in one.

    Predictions are in the order in which they come first. Only one whose rows no request holds is divided.
    """
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(item.prediction, []).append(item)
    found: list[list[Item]] = []
    count = size = 0
    for group in groups.values():
        group_size = sum(len(item.body.encode()) + 1 for item in group)
        fits = count + len(group) <= ITEMS_MAX and size + group_size <= BYTES_MAX
        if found and fits:
            found[-1] += group
            count, size = count + len(group), size + group_size
            continue
        pieces = list(_pieces(group)) if len(group) > ITEMS_MAX or group_size > BYTES_MAX else [group]
        found += pieces
        count, size = len(pieces[-1]), sum(len(item.body.encode()) + 1 for item in pieces[-1])
    return [list(batch) for batch in found]


def _pieces(group: Sequence[Item]) -> Iterable[list[Item]]:
    piece: list[Item] = []
    size = 0
    for item in group:
        length = len(item.body.encode()) + 1
        if piece and (len(piece) == ITEMS_MAX or size + length > BYTES_MAX):
            yield piece
            piece, size = [], 0
        piece.append(item)
        size += length
    yield piece


def halves(batch: Sequence[Item]) -> list[list[Item]]:
    """Return a request's items in two, between two predictions where there are two."""
    middle = len(batch) // 2
    cuts = [place for place in range(1, len(batch)) if batch[place].prediction != batch[place - 1].prediction]
    cut = min(cuts, key=lambda place: abs(place - middle)) if cuts else middle
    return [list(batch[:cut]), list(batch[cut:])]


def request(batch: Sequence[Item]) -> steps.Request:
    """Return the request that reports these: always a list, so that what is refused as a whole is told from a refused item."""
    body = f"[{','.join(item.body for item in batch)}]".encode()
    return steps.Request("POST", "/outcomes", body, {"content-type": "application/json"})


def read(batch: Sequence[Item], response: steps.Response) -> list[Reported]:
    """Return what became of each, from an answer 200 or 207.

    Raises:
        Unavailable: That is no such answer.
    """
    try:
        told = json.loads(response.body)
        refused = {each["index"]: each for each in told.get("refused", ())}
        late, repeated = set(told.get("late", ())), set(told.get("repeated", ()))
        accepted, duplicates = told["accepted"], told["duplicates"]
        if accepted + duplicates + len(refused) != len(batch):
            raise ValueError(f"it is of {accepted + duplicates + len(refused)} outcomes of {len(batch)}")  # noqa: TRY301 - said in one place
        is_mixed = accepted > 0 and len(repeated) != duplicates
        unsaid = UNSAID if is_mixed else ""
        found = []
        for place, item in enumerate(batch):
            if place in refused:
                status, why = int(refused[place]["status"]), str(refused[place]["error"])
                found.append(Reported(item.outcome, _BY_STATUS.get(status, Fate.REFUSED), why, status))
            elif place in repeated or not accepted:
                found.append(Reported(item.outcome, Fate.DUPLICATE, "", response.status))
            elif place in late:
                found.append(Reported(item.outcome, Fate.NOT_JUDGED, str(told.get("note", "")), response.status))
            else:
                found.append(Reported(item.outcome, Fate.ACCEPTED, unsaid, response.status))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise errors.Unavailable(f"the server's answer cannot be read: {error!r}") from error
    return found


def read_wanted(response: steps.Response) -> list[Wanted]:
    """Return what is wanted; of a 404, nothing.

    Raises:
        Refused: Another status.
        Unavailable: The answer cannot be read.
    """
    if response.status == 404:
        return []
    if response.status != 200:
        raise errors.Refused(response.status, retrying.said(response))
    names = {each.name for each in fields(Wanted)} - {"key"}
    try:
        listed = json.loads(response.body)["wanted"]
        return [Wanted(**{name: each[name] for name in names if name in each}) for each in listed]
    except (ValueError, KeyError, TypeError) as error:
        raise errors.Unavailable(f"the server's answer cannot be read: {error!r}") from error


def with_key(wanted: Wanted, key: str | None) -> Wanted:
    """Return the same with the key under which its receipt is kept."""
    return replace(wanted, key=key)
