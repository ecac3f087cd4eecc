"""Export the outcomes of one ModelDeployment to a file, or what came since the last time to one more file in a folder.

Tables of JSON lines from the ledger go into a file beside the one that is wanted, one after the other up to the end of the
log; `export_files` makes of it what is asked for, which gets its name once it is whole and on the disk. With a state
(`export_state`) each outcome comes once, wherever a call is interrupted.

Must not keep rows in memory.
"""

import contextlib
import hashlib
import re
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final, NamedTuple
from urllib.parse import urlencode

import msgspec
from leadline_wire import capture_files, captures, ledger, outcome_rows

from leadline_cli import errors, export_files, export_state, export_tally, fetching

_SEQ_DIGITS: Final = 12
"""Of cursors in names of files, so that these sort as the outcomes do."""
_HINTS: Final = {
    410: "the cursor is of another history: begin anew, with another --state and an empty folder",
    404: "a ledger of before exports; upgrade Leadline",
}

_HINTS_OF_CAPTURES: Final = dict.fromkeys((404, 405), "a ledger of before captured inputs; upgrade Leadline")


class Cursor(NamedTuple):
    """How far the log was exported."""

    seq: int = 0
    timeline: str = ""
    """Names the history that it is of; empty: not known."""

    def __str__(self) -> str:
        """Return it as people give it back."""
        return f"{self.seq}@{self.timeline}" if self.timeline else str(self.seq)


_BEGIN: Final = Cursor()


@dataclass(frozen=True, slots=True)
class Options:
    """What is wanted."""

    namespace: str
    name: str
    output: Path
    """A file; with a state a folder."""
    state: Path | None = None
    after: Cursor = _BEGIN
    """Where to begin, where no state says it."""
    split: str = ""
    """train or test; empty: both."""
    test_percent: int = outcome_rows.TEST_PERCENT
    inputs: str = ""
    """true: with captured inputs; only: outcomes that have them alone; empty: without."""
    format_: str = "parquet"
    install: fetching.Install = field(default_factory=fetching.Install)

    @property
    def model(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class _Gathered:
    """What came."""

    tally: export_tally.Tally
    cursor: Cursor
    """From where to go on."""
    captured: capture_files.Described | None = None
    """What is captured; None: nobody asked for it."""


def export(options: Options, say: Callable[[str], None]) -> list[str]:
    """Write a file with the outcomes that are wanted; return what it holds, for people.

    Raises:
        Refused: The cluster or the ledger does not give them, or a file cannot be written.
        ModuleNotFoundError: Parquet without what writes it.
    """
    export_files.require(options.format_)
    return _once(options, say) if options.state is None else _further(options, options.state, say)


def _once(options: Options, say: Callable[[str], None]) -> list[str]:
    if options.output.is_dir():
        raise errors.Refused(f"--output: {options.output} is a folder; name a file, or give --state FILE as well")
    purpose = str(options.output.absolute())
    with _temporary(options.output.parent, purpose) as whole:
        gathered = _gathered(options, options.after, whole, purpose, say)
        if gathered.tally.rows:
            export_state.settle(whole, options.output)
    return _told(options, gathered, options.output, f"--after {gathered.cursor}")


def _further(options: Options, state: Path, say: Callable[[str], None]) -> list[str]:
    _make(options.output)
    _make(state.parent)
    wanted = export_state.State(options.model, options.split or "both", options.test_percent, inputs=options.inputs)
    purpose = str(state.absolute())
    with export_state.held(state, wanted) as held:
        _tidy(options.output, purpose)
        before = Cursor(held.state.cursor, held.state.timeline)
        whole = _fresh(options.output, purpose)
        try:
            gathered = _gathered(options, before, whole, purpose, say)
            final = options.output / _name(options, before.seq, gathered.cursor.seq)
            _check_new(final)
        except BaseException:
            whole.unlink(missing_ok=True)
            raise
        # From here on the file is the state's: whatever ends this, the next call finishes it.
        if gathered.tally.rows:
            held.add(whole, final, cursor=gathered.cursor.seq, timeline=gathered.cursor.timeline)
        else:
            held.move(*gathered.cursor)
    return _told(options, gathered, final, f"the same command: {state} holds cursor {gathered.cursor.seq}")


def _gathered(options: Options, after: Cursor, whole: Path, purpose: str, say: Callable[[str], None]) -> _Gathered:
    """Get what came after a cursor, and write all of it to a file; to none where nothing came."""
    with _temporary(whole.parent, purpose) as lines:
        try:
            with lines.open("xb") as file:
                gathered = _fetched(options, after, file, say)
            if gathered.tally.rows:
                say(f"writing {options.format_}")
                metadata = {
                    "schema": outcome_rows.VERSION,
                    "model": options.model,
                    "after": str(after.seq),
                    "cursor": str(gathered.cursor.seq),
                    "timeline": gathered.cursor.timeline,
                    "more": "false",
                    "split": options.split or "both",
                    "test_percent": str(options.test_percent),
                }
                if options.inputs:
                    metadata["inputs"] = options.inputs
                export_files.write(
                    lines,
                    whole,
                    format_=options.format_,
                    kinds=gathered.tally.kinds,
                    metadata=metadata,
                    captured=gathered.captured,
                )
        except OSError as error:
            raise errors.Refused(f"--output: {error.filename or options.output}: {error.strerror}") from error
    if not gathered.tally.rows and after.seq == 0:
        raise errors.Refused(
            f"{options.model}: the ledger holds no outcomes of it; kubectl get mdep -n {options.namespace} lists those "
            "there are, and only one with spec.outcomes has any"
        )
    return gathered


def _fetched(options: Options, after: Cursor, file: IO[bytes], say: Callable[[str], None]) -> _Gathered:
    tally = export_tally.Tally(options.model, after.seq)
    query = {"format": "ndjson", "test_percent": str(options.test_percent)}
    if options.split:
        query["split"] = options.split
    (cursor, timeline), more = after, True
    captured = None
    if options.inputs:
        query["inputs"] = options.inputs
    with fetching.reached(options.install) as reached:
        while more:
            asked = urlencode({**query, "after": str(cursor), "timeline": timeline})
            path = f"{fetching.path_of(options.namespace, options.name)}/outcomes?{asked}"
            answer = reached.ask(path, options.model, hints=_HINTS)
            told = answer.headers.get(ledger.CURSOR_HEADER, "")
            if not (told.isascii() and told.isdigit()) or int(told) < cursor:
                raise errors.Refused(f"{options.model}: what answers is no ledger, or of another version: no cursor")
            timeline = answer.headers.get(ledger.TIMELINE_HEADER, "")
            more = answer.headers.get(ledger.MORE_HEADER) == "true" and int(told) > cursor
            cursor = int(told)
            rest = b""
            for block in reached.blocks(answer):
                *whole, rest = (rest + block).split(b"\n")
                for line in whole:
                    tally.add(line)
                file.write(block)
            if rest:
                raise errors.Refused(f"{options.model}: the ledger's answer ends within a line")
            say(f"{tally.rows:,} outcomes, up to entry {cursor:,}")
        if options.inputs:
            # After the lines: what they hold is described by then.
            captured = _captured(options, reached)
    return _Gathered(tally, Cursor(cursor, timeline), captured)


def _captured(options: Options, reached: fetching.Reached) -> capture_files.Described:
    path = f"{fetching.path_of(options.namespace, options.name)}/{captures.PATH}"
    answer = reached.ask(path, options.model, hints=_HINTS_OF_CAPTURES)
    try:
        return msgspec.json.decode(b"".join(reached.blocks(answer)), type=capture_files.Described)
    except msgspec.DecodeError as error:
        raise errors.Refused(f"{options.model}: what answers is no ledger, or of another version: {error}") from error


def _told(options: Options, gathered: _Gathered, final: Path, following: str) -> list[str]:
    tally = gathered.tally
    if not tally.rows:
        return [f"{options.model}: nothing new after entry {tally.after}; no file was written", f"next  {following}"]
    return [
        f"{options.model}: {tally.rows:,} outcomes of entries {tally.after + 1} to {gathered.cursor.seq}",
        "",
        *tally.lines(),
        "",
        *_of_inputs(gathered.captured),
        f"file  {final}",
        f"next  {following}",
    ]


def _of_inputs(captured: capture_files.Described | None) -> list[str]:
    if captured is None:
        return []
    if not captured.rows:
        return ["inputs  none were captured: spec.outcomes.capture has them captured from now on", ""]
    return [f"inputs  {len(captured.columns)} columns; the ledger holds {captured.rows:,} captured rows", ""]


def _name(options: Options, after: int, cursor: int) -> str:
    side = f"-{options.split}" if options.split else ""
    return f"{options.name}{side}-{after:0{_SEQ_DIGITS}}-{cursor:0{_SEQ_DIGITS}}.{options.format_}"


def _check_new(final: Path) -> None:
    if final.exists():
        raise errors.Refused(f"{final}: is there already; export into another folder")


@contextlib.contextmanager
def _temporary(folder: Path, purpose: str) -> Iterator[Path]:
    """Have a name for a file that is not whole yet; what still has it when this ends is deleted."""
    path = _fresh(folder, purpose)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _fresh(folder: Path, purpose: str) -> Path:
    return folder / f"{_prefix(purpose)}{secrets.token_hex(8)}"


def _prefix(purpose: str) -> str:
    # Readers of folders leave out what begins with a dot.
    return f".leadline-export-{hashlib.sha256(purpose.encode()).hexdigest()[:8]}-"


def _tidy(folder: Path, purpose: str) -> None:
    """Delete what a call with the same state left that was killed."""
    for path in folder.iterdir():
        if re.fullmatch(re.escape(_prefix(purpose)) + "[0-9a-f]{16}", path.name):
            path.unlink(missing_ok=True)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise errors.Refused(f"{folder}: {error.strerror}") from error
