"""Where an export goes on: a file that says what was exported, so that each outcome is exported once.

One call at a time has it. A new file of outcomes and the new cursor cannot be written at one instant; so before the file
gets its name the state says what its name will be. Whoever finds such a state finishes that first: the file was whole by
then, and if it has no temporary name any more it has its own, or was taken away from there.

Must not know what is in the files. Next step: `exporting`.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from leadline_cli import errors


class Pending(msgspec.Struct, frozen=True):
    """A file that is whole, and may not have its name yet."""

    temporary: str
    final: str
    cursor: int
    timeline: str


class State(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was exported, of what."""

    model: str
    """`namespace/name`."""
    split: str
    """train, test or both."""
    test_percent: int
    cursor: int = 0
    timeline: str = ""
    """Names the ledger's history that the cursor is of."""
    pending: Pending | None = None
    inputs: str = ""
    """true, only; empty: without captured inputs."""


@contextlib.contextmanager
def held(path: Path, wanted: State) -> Iterator["Held"]:
    """Have a state for as long as this is open, nobody else meanwhile; what was left unfinished is finished first.

    Args:
        path: Of its file; a file that is not there yet is a beginning.
        wanted: What is to be exported; of another model or split the state must not be.

    Raises:
        Refused: Somebody else has it, or it is of something else, or cannot be read.
    """
    lock = path.with_name(f".{path.name}.lock")
    try:
        # The state itself is replaced, and a lock on it would go with the old one.
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise errors.Refused(f"--state: {lock}: {error.strerror}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise errors.Refused(f"--state: {path}: another export with it is running") from error
        yield Held(path, _finished(path, _read(path, wanted)))
    finally:
        os.close(descriptor)


class Held:
    """A state that nobody else has."""

    def __init__(self, path: Path, state: State) -> None:
        """Set up; `state` is what was exported so far."""
        self._path = path
        self.state = state

    def move(self, cursor: int, timeline: str) -> None:
        """Go on to a cursor without a file, for nothing came."""
        self.state = msgspec.structs.replace(self.state, cursor=cursor, timeline=timeline)
        _write(self._path, self.state)

    def add(self, temporary: Path, final: Path, *, cursor: int, timeline: str) -> None:
        """Give a file that is whole its name, and go on to its cursor: both, or neither."""
        pending = Pending(str(temporary.absolute()), str(final.absolute()), cursor, timeline)
        announced = msgspec.structs.replace(self.state, pending=pending)
        _write(self._path, announced)
        self.state = _finished(self._path, announced)


def settle(temporary: Path, final: Path) -> None:
    """Give a file its name, for good.

    Raises:
        Refused: It cannot be.
    """
    try:
        temporary.replace(final)
        _sync(final.parent)
    except OSError as error:
        raise errors.Refused(f"{final}: {error.strerror}") from error


def _read(path: Path, wanted: State) -> State:
    try:
        found = msgspec.json.decode(path.read_bytes(), type=State)
    except FileNotFoundError:
        return wanted
    except OSError as error:
        raise errors.Refused(f"--state: {path}: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise errors.Refused(f"--state: {path}: is no state of an export: {error}") from error
    for name, said, asked in (
        ("of", found.model, wanted.model),
        ("of --split", found.split, wanted.split),
        ("of --test-percent", found.test_percent, wanted.test_percent),
        ("of --inputs", found.inputs or "none", wanted.inputs or "none"),
    ):
        if said != asked:
            raise errors.Refused(
                f"--state: {path}: is {name} {said}, not {asked}; name another file for another export"
            )
    return found


def _finished(path: Path, state: State) -> State:
    if state.pending is None:
        return state
    temporary = Path(state.pending.temporary)
    if temporary.exists():
        settle(temporary, Path(state.pending.final))
    done = msgspec.structs.replace(state, cursor=state.pending.cursor, timeline=state.pending.timeline, pending=None)
    _write(path, done)
    return done


def _write(path: Path, state: State) -> None:
    temporary = path.with_name(f".{path.name}.part")
    try:
        with temporary.open("wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(state), indent=2) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync(path.parent)
    except OSError as error:
        raise errors.Refused(f"--state: {path}: {error.strerror}") from error


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
