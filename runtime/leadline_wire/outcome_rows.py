"""One outcome of the log as one row of a table for retraining, and on which side of the split it stands.

A row is a function of its entry alone and the share of test: whoever exports it, and whenever, gets the same. Next step:
`outcome_files` makes Parquet of rows. What the columns mean to users is in docs/export.md.

Must not read the clock, draw anything at random, or know who asks.
"""

import datetime as dt
import hashlib
from collections.abc import Iterable
from typing import Final, Literal

import msgspec

from leadline_wire import predictions
from leadline_wire.ledger import OutcomeEntry

VERSION: Final = "1"
"""Of the columns: it changes when one goes or means something else, not when one is added."""
TEST_PERCENT: Final = 20
"""Of all entities, when nobody says otherwise."""
_BUCKETS: Final = 1 << 32
_INT64: Final = range(-(1 << 63), 1 << 63)
_YEAR_9999_MS: Final = 253_402_300_799_999
"""What is later has no place in a calendar."""

Value = predictions.Value
Side = Literal["train", "test"]
Kind = Literal["integer", "string", "double"]


class Row(msgspec.Struct, frozen=True):
    """One outcome; times are ISO 8601 in UTC with milliseconds, so that they can be read without knowing their unit."""

    seq: int
    """Its place in the log: grows, never used again."""
    prediction_id: str
    """UUIDv7, 32 hexadecimal digits; the seventh part of the receipt."""
    row: int
    client_id: str | None
    """The client's own request id, where the outcome was reported by it (`keyBy: id`)."""
    predicted_at: str | None
    came_at: str | None
    revision: str
    prediction: Value | None
    """None: there was no usable answer (`failed`)."""
    truth: Value | None
    """None: only `correct` or `score` was reported."""
    prediction_score: float | None
    """In [0, 1]: of the class that is watched, where `metric: auc` watches one."""
    correct: bool | None
    """None: nobody can tell, as of a value or where only a score was reported."""
    score: float | None
    """As it was reported, in [0, 1]."""
    share: float
    """Probability in (0, 1] with which this prediction could be reported; 1 / share is its weight."""
    entity: str | None
    """Keyed hash of whom the prediction is about."""
    tags: dict[str, str]
    repeats: bool
    """Not the first outcome of this revision about its entity, or of its prediction: it was not judged."""
    wanted: bool
    """It was asked for since two revisions differ here: the hard ones are too many among these."""
    wanted_against: str | None
    """The other one of the two."""
    agreements: float | None
    """Inputs on which the two agreed, for each on which they did not."""
    failed: bool
    split: Side
    source: str | None = None
    """Who reported it (`spec.outcomes.sources`)."""


def side_of(entry: OutcomeEntry, test_percent: int) -> Side:
    """Return on which side an outcome stands: a function of what it is about, and of nothing else.

    SHA-256 of the UTF-8 bytes of `entity:<entity>`, or without one `client:<client_id>`, or without either
    `prediction:<prediction_id>`; its first four bytes, read as a big-endian number, are below `test_percent` hundredths of
    2 ** 32 on the side of test. So a larger share of test holds the smaller one.

    Args:
        entry: The outcome.
        test_percent: From 0 to 100.
    """
    if entry.entity:
        name = f"entity:{entry.entity}"
    elif entry.client_id:
        name = f"client:{entry.client_id}"
    else:
        name = f"prediction:{entry.id}"
    bucket = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
    return "test" if bucket * 100 < test_percent * _BUCKETS else "train"


def row_of(entry: OutcomeEntry, test_percent: int, *, as_text: bool = False) -> Row:
    """Return the row of an outcome.

    Args:
        entry: The outcome.
        test_percent: Share of test, from 0 to 100.
        as_text: Give prediction and truth as strings, for a file in which they are not all of one kind.
    """
    failed = predictions.is_failure(entry.prediction)
    prediction = None if failed else _value(entry.prediction)
    truth = _value(entry.truth)
    return Row(
        seq=entry.seq,
        prediction_id=entry.id,
        row=entry.row,
        client_id=entry.client_id or None,
        predicted_at=_time(int(entry.id[:12], 16)),
        came_at=_time(entry.came_at_ms),
        revision=entry.revision,
        prediction=str(prediction) if as_text and prediction is not None else prediction,
        truth=str(truth) if as_text and truth is not None else truth,
        prediction_score=predictions.score_of(entry.prediction),
        correct=_correct(entry, prediction, truth),
        score=entry.score,
        share=entry.share / 1_000_000,
        entity=entry.entity or None,
        tags=entry.tags,
        repeats=entry.repeats,
        wanted=bool(entry.wanted),
        wanted_against=entry.wanted or None,
        agreements=entry.agreements if entry.wanted else None,
        failed=failed,
        split=side_of(entry, test_percent),
        source=entry.source or None,
    )


def kinds_of(values: Iterable[Value | None]) -> set[Kind]:
    """Return of which kinds predictions and true answers are; numbers beyond 64 bits can only be strings."""
    kinds = set[Kind]()
    for value in values:
        if isinstance(value, str) or (isinstance(value, int) and value not in _INT64):
            kinds.add("string")
        elif isinstance(value, int):
            kinds.add("integer")
        elif value is not None:
            kinds.add("double")
    return kinds


def kinds_of_entry(entry: OutcomeEntry) -> set[Kind]:
    """Return of which kinds an outcome's prediction and true answer are."""
    return kinds_of((_value(entry.prediction), _value(entry.truth)))


def one_kind(kinds: Iterable[Kind]) -> Kind:
    """Return of which kind a column is that holds all of these: strings, unless all are of one kind."""
    found = set(kinds)
    return found.pop() if len(found) == 1 else "string"


def _value(word: str) -> Value | None:
    # What no runtime of ours sent may stand in the log all the same: the row is kept, without it.
    try:
        return predictions.read(word)
    except predictions.BadWordError:
        return None


def _correct(entry: OutcomeEntry, prediction: Value | None, truth: Value | None) -> bool | None:
    if isinstance(truth, float) or isinstance(prediction, float):
        return entry.correct
    loss = predictions.loss(entry.prediction, truth=entry.truth, correct=entry.correct)
    return None if loss is None else loss == 0.0


def _time(milliseconds: int) -> str | None:
    if not 0 <= milliseconds <= _YEAR_9999_MS:
        return None
    seconds, rest = divmod(milliseconds, 1_000)
    day = dt.datetime.fromtimestamp(seconds, dt.UTC)
    return f"{day.isoformat()[:19]}.{rest:03d}Z"
