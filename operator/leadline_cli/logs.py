"""The ledger's log of one ModelDeployment as a file: one entry a line, or whole answers of the ledger.

Next step: `replaying` recomputes what follows from the entries. Must not ask anybody: `fetching` gets a log from a cluster.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from leadline_wire.ledger import DecisionEntry, Entry, Log

from leadline_cli import errors

_EXPECTED: Final = "an entry of the ledger's log (a JSON object of type outcome, pair or decision) or a whole log"
_LATEST_MS: Final = 253_402_300_799_000
"""The last second of the year 9999: what is later is no time in milliseconds."""


def read(path: Path) -> list[Entry]:
    """Read a log: JSON lines, each an entry or an answer of the ledger's `.../log`, or one such answer over many lines.

    Raises:
        Refused: It cannot be read, or is no log of one ModelDeployment; the message gives the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise errors.Refused(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise errors.Refused(f"{path}: byte {error.start}: expected UTF-8 text, {_EXPECTED} on each line") from error
    entries: list[Entry] = []
    for number, found in _objects(path, text):
        where = f"{path}: line {number}"
        for entry in _entries(where, found):
            _check(where, entry, entries[-1] if entries else None)
            entries.append(entry)
    if not entries:
        raise errors.Refused(f"{path}: holds no entry; expected {_EXPECTED} on each line")
    return entries


def write(path: Path, entries: Iterable[Entry]) -> None:
    """Write a log as JSON lines.

    Raises:
        Refused: The file cannot be written.
    """
    try:
        with path.open("wb") as file:
            for entry in entries:
                file.write(msgspec.json.encode(entry) + b"\n")
    except OSError as error:
        raise errors.Refused(f"--save: {path}: {error.strerror}") from error


def end_ms(entries: Sequence[Entry]) -> int:
    """Return when the newest outcome came, in milliseconds since the epoch; of a log without any, the newest decision."""
    came = [entry.came_at_ms for entry in entries if not isinstance(entry, DecisionEntry)]
    return max(came or [entry.at_ms for entry in entries if isinstance(entry, DecisionEntry)], default=0)


def _objects(path: Path, text: str) -> Iterable[tuple[int, Any]]:
    """Yield the JSON values of a file with the line that each begins at."""
    try:
        yield 1, msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        pass  # more than one value, or none
    else:
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            found = msgspec.json.decode(line)
        except (msgspec.DecodeError, RecursionError) as error:
            raise errors.Refused(f"{path}: line {number}: expected {_EXPECTED}, got {line[:60]!r}: {error}") from error
        yield number, found


def _entries(where: str, found: Any) -> Sequence[Entry]:
    try:
        if isinstance(found, dict) and "entries" in found:
            return msgspec.convert(found, Log).entries
        return [msgspec.convert(found, Entry)]
    except msgspec.ValidationError as error:
        raise errors.Refused(f"{where}: expected {_EXPECTED}: {error}") from error


def _check(where: str, entry: Entry, before: Entry | None) -> None:
    at_ms = entry.at_ms if isinstance(entry, DecisionEntry) else entry.came_at_ms
    if not 0 <= at_ms <= _LATEST_MS:
        raise errors.Refused(f"{where}: entry {entry.seq}: expected a time in milliseconds since 1970, got {at_ms}")
    if before is None:
        return
    if entry.model != before.model:
        raise errors.Refused(
            f"{where}: entry {entry.seq} is of {entry.model}, those before of {before.model}; one at a time"
        )
    if entry.seq <= before.seq:
        raise errors.Refused(
            f"{where}: entry {entry.seq} comes after {before.seq}; expected them in the log's order, once each"
        )
