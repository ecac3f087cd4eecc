"""Bring labelled rows to the ledger of a cluster, and say what came of them.

Rows go in calls of some thousands; each call is durable when it is answered, and bringing a file again is safe. Next step:
a serving pod answers the rows. Must not keep a token.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import urlencode

import msgspec
from leadline_wire import ledger

from leadline_cli import errors, fetching, label_files

T = TypeVar("T")
_LOOK_SECONDS: Final = 1.0
_REFUSED_SHOWN: Final = 20
_HINTS: Final = {
    403: "see docs/labels.md for the Role and the RoleBinding",
    401: "--service-account names who brings the rows",
    404: "a ledger of before labelled rows; upgrade Leadline",
}


@dataclass(frozen=True, slots=True)
class Options:
    """Of which ModelDeployment, and as whom."""

    namespace: str
    name: str
    account: fetching.Account
    wait_seconds: float = 0.0
    install: fetching.Install = field(default_factory=fetching.Install)

    @property
    def model(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"

    @property
    def path(self) -> str:
        """Of its labelled rows in the ledger."""
        return f"{fetching.path_of(self.namespace, self.name)}/labels"


def add(options: Options, file: Path, truth: str, say: Callable[[str], None]) -> tuple[list[str], int]:
    """Bring the rows of a file; return what to print, and the exit status.

    Raises:
        Refused: The file, the cluster or the ledger does not allow it; rows of calls that were answered are kept.
        ModuleNotFoundError: Parquet without what reads it.
    """
    accepted = duplicates = waiting = before = 0
    conflicts: list[int] = []
    with fetching.reached(options.install, options.account) as reached:
        for body in label_files.calls(file, truth):
            asked = f"{options.path}?{urlencode({'truth': truth})}"
            told = _read(reached, asked, options, ledger.LabelsAnswer, body)
            accepted, duplicates, waiting = accepted + told.accepted, duplicates + told.duplicates, told.waiting
            conflicts += [before + number for number in told.conflicts]
            before += body.count(b"\n")
            say(f"{before:,} rows brought")
        counts = f"{accepted:,} rows accepted, {duplicates:,} were there already, {len(conflicts):,} with another truth"
        lines = [f"{options.model}: {counts}"]
        if conflicts:
            shown = ", ".join(map(str, conflicts[:_REFUSED_SHOWN])) + (
                ", ..." if len(conflicts) > _REFUSED_SHOWN else ""
            )
            lines.append(f"the first truth stays, of rows {shown}")
        if not options.wait_seconds:
            return [*lines, f"{waiting:,} wait to be answered"], 0
        state = _waited(reached, options, say)
    return [*lines, "", *told_of(state)], 1 if state.waiting else 0


def status(options: Options) -> tuple[list[str], int]:
    """Return how far labelled rows are, for people.

    Raises:
        Refused: The cluster or the ledger does not tell.
    """
    with fetching.reached(options.install, options.account) as reached:
        return told_of(_read(reached, options.path, options, ledger.LabelsState)), 0


def told_of(state: ledger.LabelsState) -> list[str]:
    """Return what came of labelled rows, a line for each pair of revisions, and for each reason of a refusal."""
    lines = [f"{state.waiting:,} wait to be answered"]
    pairs = dict.fromkeys((each.fate.revision, each.fate.other) for each in state.counted if not each.fate.refused)
    if pairs:
        lines += ["", f"{'answered by':<32} {'rows':>7} {'right':>7}  {'beside':<32} {'right':>7}"]
    for revision, other in pairs:
        counts = [each for each in state.counted if (each.fate.revision, each.fate.other) == (revision, other)]
        counts = [each for each in counts if not each.fate.refused]
        rows = sum(each.rows for each in counts)
        right = _right([(each.rows, each.fate.right) for each in counts])
        beside = _right([(each.rows, each.fate.other_right) for each in counts]) if other else "-"
        lines.append(f"{revision:<32} {rows:>7,} {right:>7}  {other or '-':<32} {beside:>7}")
    refused = [each for each in state.counted if each.fate.refused]
    if refused:
        lines += ["", "not counted"]
        lines += [f"{each.rows:>7,}  {each.fate.refused}" for each in refused[:_REFUSED_SHOWN]]
        if len(refused) > _REFUSED_SHOWN:
            lines.append(f"         and {len(refused) - _REFUSED_SHOWN} other reasons")
    return lines


def _right(counts: Sequence[tuple[int, bool | None]]) -> str:
    if all(right is None for _, right in counts):
        return "-"
    return f"{sum(rows for rows, right in counts if right):,}"


def _waited(reached: fetching.Reached, options: Options, say: Callable[[str], None]) -> ledger.LabelsState:
    until = time.monotonic() + options.wait_seconds
    last = -1
    while True:
        state = _read(reached, options.path, options, ledger.LabelsState)
        if state.waiting != last:
            say(f"{state.waiting:,} wait to be answered")
            last = state.waiting
        if not state.waiting or time.monotonic() >= until:
            return state
        time.sleep(_LOOK_SECONDS)


def _read(reached: fetching.Reached, path: str, options: Options, kind: type[T], body: bytes | None = None) -> T:
    answer = reached.ask(path, options.model, hints=_HINTS, body=body)
    said = b"".join(reached.blocks(answer))
    try:
        return msgspec.json.decode(said, type=kind)
    except msgspec.DecodeError as error:
        raise errors.Refused(f"{options.model}: what answers is no ledger, or of another version: {error}") from error
