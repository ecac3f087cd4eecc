"""Predictions and true answers as short typed words, in receipts, copies and the ledger; and the loss of one.

    i7      a class by number             s<base64url, no padding>   a class by name
    p<hex>  a score in [0, 1]             v<hex>                     a value (regression)
    p<hex>i7, p<hex>s<base64url>          a class, and the score in [0, 1] of the class that is watched (metric: auc)
    x<word> no usable answer: x5xx, x4xx, xtimeout, xnan, xclass

The hexadecimal is the number as a big-endian IEEE 754 double: 16 digits, exact. Several rows are joined by `~`; a row
that is not at its own place is written `12=i7`. Words hold letters, digits, `-` and `_` only, so that they need no
escapes in headers and JSON. The form is frozen: receipts of years ago are read by it.

Must not know models, pods or the ledger.
"""

import base64
import binascii
import math
import struct
from collections.abc import Mapping
from typing import Final

ROWS_MAX: Final = 64
"""Rows of one answer whose predictions go into its receipt; of more a random sample of that many."""
NAME_BYTES_MAX: Final = 256
"""Longest class name, in UTF-8."""

Value = int | str | float
_DOUBLE: Final = struct.Struct(">d")
_SCORE_CHARACTERS: Final = 17


class BadWordError(ValueError):
    """What should be a typed word is none."""


def of_class(answer: int | str) -> str:
    """Return the word of a class.

    Raises:
        BadWordError: The name is longer than `NAME_BYTES_MAX`.
    """
    if isinstance(answer, int):
        return f"i{int(answer)}"
    name = answer.encode()
    if len(name) > NAME_BYTES_MAX:
        raise BadWordError(f"class name of {len(name)} bytes, expected at most {NAME_BYTES_MAX}")
    return "s" + base64.urlsafe_b64encode(name).decode().rstrip("=")


def of_score(score: float) -> str:
    """Return the word of a score in [0, 1]."""
    return f"p{_DOUBLE.pack(score).hex()}"


def with_score(word: str, score: float) -> str:
    """Return the word of a class together with a score: of the class that is watched, whichever was predicted."""
    return of_score(score) + word


def of_value(value: float) -> str:
    """Return the word of a value."""
    return f"v{_DOUBLE.pack(value).hex()}"


def failure(why: str) -> str:
    """Return the word of an answer that cannot be used: `5xx`, `4xx`, `timeout`, `nan` or `class`."""
    return f"x{why}"


def is_failure(word: str) -> bool:
    """Tell whether a word stands for no usable answer."""
    return word.startswith("x")


def score_of(word: str) -> float | None:
    """Return the score that a word has, alone or beside a class; None: it has none."""
    if word[:1] != "p" or len(word) < _SCORE_CHARACTERS:
        return None
    try:
        (number,) = _DOUBLE.unpack(bytes.fromhex(word[1:_SCORE_CHARACTERS]))
    except ValueError:
        return None
    return float(number)


def answer_of(word: str) -> str:
    """Return the word of the class alone, without the score beside it; any other word as it is."""
    return word[_SCORE_CHARACTERS:] if word[:1] == "p" and len(word) > _SCORE_CHARACTERS else word


def read(word: str) -> Value:
    """Return what a word says; of a class with a score the class.

    Raises:
        BadWordError: It is no word, or stands for no usable answer.
    """
    answer = answer_of(word)
    kind, rest = answer[:1], answer[1:]
    try:
        if kind == "i":
            return int(rest)
        if kind == "s":
            return base64.urlsafe_b64decode(rest + "=" * (-len(rest) % 4)).decode()
        if kind in ("p", "v") and len(rest) == 16:
            (number,) = _DOUBLE.unpack(bytes.fromhex(rest))
            return float(number)
    except (ValueError, binascii.Error) as error:
        raise BadWordError(f"not a prediction: {word[:80]!r}") from error
    raise BadWordError(f"not a prediction: {word[:80]!r}")


def joined(words: Mapping[int, str]) -> str:
    """Return the words of several rows, by row number, as one text."""
    return "~".join(
        word if place == row else f"{row}={word}" for place, (row, word) in enumerate(sorted(words.items()))
    )


def split(text: str) -> dict[int, str]:
    """Return the words of a text by row number.

    Raises:
        BadWordError: A row number is none, or is there twice.
    """
    words: dict[int, str] = {}
    for place, part in enumerate(text.split("~")):
        row, given, word = part.rpartition("=")
        if given and not (row.isascii() and row.isdigit() and len(row) <= 9):
            raise BadWordError(f"not a row number: {row[:80]!r}")
        number = int(row) if given else place
        if number in words or not word:
            raise BadWordError(f"row {number} is there twice, or empty")
        words[number] = word
    return words


def loss(prediction: str, *, truth: str = "", correct: bool | None = None, score: float | None = None) -> float | None:
    """Return the loss in [0, 1] of a prediction whose answer came; None where it cannot be told.

    Args:
        prediction: Its word. One that stands for no usable answer has loss 1, whatever the answer.
        truth: Word of the true class; empty: not given. A different class, in word or kind, is wrong.
        correct: What the reporter says of the prediction.
        score: How good the reporter says it was, in [0, 1].
    """
    if is_failure(prediction):
        return 1.0
    if truth:
        return float(not _same_class(prediction, truth))
    if correct is not None:
        return float(not correct)
    if score is not None and 0.0 <= score <= 1.0 and not math.isnan(score):
        return 1.0 - score
    return None


def other_loss(
    other: str, prediction: str, *, truth: str = "", correct: bool | None = None, score: float | None = None
) -> float | None:
    """Return the loss of another revision's prediction on the same input; None where it cannot be told.

    With a true class it is known. With only a word on the served prediction (`correct`, `score`) it is the same where
    both predictions agree, and 1 where the served one was right and the other differs; else nobody knows.
    """
    if is_failure(other):
        return 1.0
    if truth:
        return float(not _same_class(other, truth))
    if answer_of(other) == answer_of(prediction):
        return loss(prediction, correct=correct, score=score)
    return 1.0 if correct is True else None


def is_class(word: str, name: str) -> bool:
    """Tell whether a word stands for the class that is called so, or numbered so."""
    try:
        value = read(word)
    except BadWordError:
        return False
    return not isinstance(value, float) and str(value) == name


def _same_class(prediction: str, truth: str) -> bool:
    if prediction == truth:
        return True
    try:
        return str(read(prediction)) == str(read(truth))
    except BadWordError:
        return False
