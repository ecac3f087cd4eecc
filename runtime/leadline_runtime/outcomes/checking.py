"""From what a client reports to an outcome for the ledger, or to a message that says what was expected.

A receipt brings all that is known of the prediction; by the client's own id the ledger looks it up. Exactly one of
`truth`, `correct` and `score` says how it was. Must not read the clock and must not talk to the ledger.
"""

import io
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson
from leadline_wire import exchange, ledger, predictions, receipts

from leadline_runtime import errors
from leadline_runtime.outcomes import wanting
from leadline_runtime.outcomes.recording import CLIENT_ID_CHARACTERS_MAX
from leadline_runtime.outcomes.words import Words

_ANSWERS: Final = ("truth", "correct", "score")
_FIELDS: Final = frozenset({"receipt", "id", "row", "wanted", *_ANSWERS})
_EXPECTED: Final = 'expected {"receipt": "...", "row": 0} and one of truth, correct and score'
_LINES_MAX: Final = 4 * ledger.INTAKE_ITEMS_MAX
"""Of one report, empty ones counted."""
_ROW_MAX: Final = 10**9 - 1


@dataclass(frozen=True, slots=True)
class Rules:
    """What outcomes are checked against."""

    settings: exchange.OutcomeSettings
    keys: Mapping[str, receipts.Key]
    revision: str
    """Whose classes `words` knows."""
    words: Words | None
    """None: the model is not loaded, or has no prediction that can be told."""


def items(body: bytes, content_type: bytes) -> tuple[list[Any], bool]:
    """Return what was reported, and whether it was one thing by itself.

    Raises:
        BadRequestError: The body is neither an object, a list of outcomes, nor lines of them.
    """
    if content_type.partition(b";")[0].strip().lower() == b"application/x-ndjson":
        found: list[Any] = []
        for number, line in enumerate(io.BytesIO(body), 1):
            if number > _LINES_MAX:
                raise errors.BadRequestError(f"more than {number - 1} lines, expected at most as many", status=413)
            if line.strip():
                found.append(_loaded(line, f"line {number}"))
            if len(found) > ledger.INTAKE_ITEMS_MAX:
                break
        return _counted(found), False
    whole = _loaded(body, "body")
    if isinstance(whole, dict) and "outcomes" in whole:
        if len(whole) > 1 or not isinstance(whole["outcomes"], list):
            raise errors.BadRequestError('body: expected {"outcomes": [...]} with a list and nothing else')
        return _counted(whole["outcomes"]), False
    if isinstance(whole, list):
        return _counted(whole), False
    return [whole], True


def outcome(item: Any, rules: Rules, now_ms: int) -> ledger.Outcome:
    """Return one reported outcome as the ledger takes it.

    Raises:
        BadRequestError: It cannot be taken; status 410 where it comes too late.
    """
    if not isinstance(item, dict):
        raise errors.BadRequestError(f"expected an object; {_EXPECTED}")
    unknown = next((name for name in item if name not in _FIELDS), None)
    if unknown is not None:
        raise errors.BadRequestError(f"{str(unknown)[:80]}: there is no such field; {_EXPECTED}")
    row = item.get("row")
    if row is not None and (isinstance(row, bool) or not isinstance(row, int) or not 0 <= row <= _ROW_MAX):
        raise errors.BadRequestError(f"row: expected a whole number from 0, got {_shown(row)}")
    has_receipt, has_id = item.get("receipt") is not None, item.get("id") is not None
    if has_receipt == has_id:
        found = "both" if has_receipt else "neither"
        raise errors.BadRequestError(f"expected either receipt or id, got {found}; {_EXPECTED}")
    if has_id:
        return _by_id(item, row or 0, rules)
    return _by_receipt(item, row, rules, now_ms)


def _by_receipt(item: dict[str, Any], row: int | None, rules: Rules, now_ms: int) -> ledger.Outcome:
    token, settings = item["receipt"], rules.settings
    if not isinstance(token, str):
        raise errors.BadRequestError("receipt: expected a string, as it came with the prediction")
    try:
        receipt = receipts.verify(token, rules.keys)
    except receipts.BadReceiptError as error:
        raise errors.BadRequestError(f"receipt: {error}") from error
    age_ms = now_ms - receipt.predicted_at_ms
    if age_ms > settings.max_age_ms:
        raise errors.BadRequestError(
            f"receipt: the prediction is {_hours(age_ms)} old, outcomes are taken for {_hours(settings.max_age_ms)} "
            "(spec.outcomes.maxAge)",
            status=410,
        )
    rows = receipt.predictions
    if row is None:
        if len(rows) > 1:
            raise errors.BadRequestError(f"row: the receipt is of {len(rows)} rows; say which, e.g. {min(rows)}")
        (row,) = rows
    if row not in rows:
        raise errors.BadRequestError(f"row: {row} is not in the receipt, which is of {_rows(rows)}")
    word = rows[row]
    asked = _asked(item, row, rules, lambda asked: asked.id == receipt.id)
    own = rules.words if receipt.revision == rules.revision else None
    truth, correct, score = _answer(item, word[:1], own)
    return ledger.Outcome(
        row=row,
        id=receipt.id,
        revision=receipt.revision,
        prediction=word,
        share=receipt.share,
        entity=receipt.entity,
        tags=dict(receipt.tags),
        truth=truth,
        correct=correct,
        score=score,
        wanted=asked.other if asked is not None else "",
        agreements=asked.agreements if asked is not None else 0.0,
        maturity_ms=settings.maturity_ms,
        max_age_ms=settings.max_age_ms,
    )


def _by_id(item: dict[str, Any], row: int, rules: Rules) -> ledger.Outcome:
    identifier, settings = item["id"], rules.settings
    if settings.key_by != "id":
        raise errors.BadRequestError(
            "id: outcomes of this model are reported by receipt (spec.outcomes.keyBy is receipt)",
        )
    if not isinstance(identifier, str) or not 0 < len(identifier) <= CLIENT_ID_CHARACTERS_MAX:
        raise errors.BadRequestError(
            f"id: expected the request's id, a string of 1 to {CLIENT_ID_CHARACTERS_MAX} characters",
        )
    kind = "v" if rules.words is not None and rules.words.is_value else ""
    truth, correct, score = _answer(item, kind, None)
    request = wanting.hash_of(identifier)
    asked = _asked(item, row, rules, lambda asked: asked.request == request)
    return ledger.Outcome(
        row=row,
        client_id=identifier,
        truth=truth,
        correct=correct,
        score=score,
        wanted=asked.other if asked is not None else "",
        agreements=asked.agreements if asked is not None else 0.0,
        maturity_ms=settings.maturity_ms,
        max_age_ms=settings.max_age_ms,
    )


def _asked(
    item: dict[str, Any], row: int, rules: Rules, is_same: Callable[[wanting.Asked], bool]
) -> wanting.Asked | None:
    """Return why an answer was asked for; None: it comes by itself."""
    token = item.get("wanted")
    if token is None:
        return None
    if not isinstance(token, str):
        raise errors.BadRequestError("wanted: expected a string, the token of what is wanted")
    try:
        asked = wanting.read(token, rules.keys)
    except wanting.BadTokenError as error:
        raise errors.BadRequestError(f"wanted: {error}") from error
    if asked.row != row or not is_same(asked):
        raise errors.BadRequestError("wanted: the token is of another prediction, or another row of it")
    return asked


def _answer(item: dict[str, Any], kind: str, words: Words | None) -> tuple[str, bool | None, float | None]:
    given = [name for name in _ANSWERS if item.get(name) is not None]
    if len(given) != 1:
        raise errors.BadRequestError(
            f"expected exactly one of truth, correct and score, got {' and '.join(given) or 'none'}",
        )
    value = item[given[0]]
    if given[0] == "correct":
        if not isinstance(value, bool):
            raise errors.BadRequestError(f"correct: expected true or false, got {_shown(value)}")
        return "", value, None
    if given[0] == "score":
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value <= 1.0:
            raise errors.BadRequestError(f"score: expected a number from 0 to 1, got {_shown(value)}")
        return "", None, float(value)
    return _truth(value, kind, words), None, None


def _truth(value: Any, kind: str, words: Words | None) -> str:
    """Return the word of a true answer; `kind` is the prediction's, empty where only the ledger knows it."""
    if isinstance(value, bool):
        value = int(value) if kind == "i" else value
    elif isinstance(value, float) and value.is_integer() and kind in {"i", ""}:
        value = int(value)  # JSON has one kind of number
    if kind == "v":
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise errors.BadRequestError(f"truth: expected a number, as the prediction is; got {_shown(value)}")
        return _value(value)
    expected = {"i": "a whole number, as the prediction is", "s": "a string, as the prediction is"}.get(
        kind, "a class: a string or a whole number"
    )
    is_text = isinstance(value, str)
    is_number = isinstance(value, int) and not isinstance(value, bool)
    if not (is_text and kind != "i") and not (is_number and kind != "s"):
        raise errors.BadRequestError(f"truth: expected {expected}; got {_shown(value)}")
    if words is not None and words.classes and value not in words.classes:
        known = ", ".join(_shown(name) for name in sorted(words.classes, key=str)[:10])
        more = ", ..." if len(words.classes) > 10 else ""
        raise errors.BadRequestError(f"truth: {_shown(value)} is no class of the model; expected one of {known}{more}")
    try:
        return predictions.of_class(value)
    except predictions.BadWordError as error:
        raise errors.BadRequestError(f"truth: {error}") from error


def _value(value: float) -> str:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise errors.BadRequestError("truth: expected a number that a double holds")
    return predictions.of_value(number)


def _loaded(text: bytes, where: str) -> Any:
    try:
        return orjson.loads(text)
    except ValueError as error:
        raise errors.BadRequestError(f"{where}: expected JSON; {error}") from error


def _counted(found: list[Any]) -> list[Any]:
    if len(found) > ledger.INTAKE_ITEMS_MAX:
        raise errors.BadRequestError(
            f"{len(found)} outcomes or more in one request, expected at most {ledger.INTAKE_ITEMS_MAX}", status=413
        )
    if not found:
        raise errors.BadRequestError("no outcome in the request, expected at least one")
    return found


def _rows(rows: Mapping[int, str]) -> str:
    numbers = sorted(rows)
    if len(numbers) == 1:
        return f"row {numbers[0]}"
    return f"rows {', '.join(map(str, numbers[:10]))}{', ...' if len(numbers) > 10 else ''}"


def _hours(milliseconds: int) -> str:
    seconds = milliseconds / 1000
    return f"{seconds:.0f} s" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def _shown(value: object) -> str:
    return errors.shorten(json.dumps(value, ensure_ascii=False), 80)
