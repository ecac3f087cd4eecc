"""A real store on a folder, at a time that the test sets, and short ways to say what comes in."""

import contextlib
import itertools
import shutil

import msgspec
from leadline_ledger import sqlite, store
from leadline_wire import ledger, predictions

MODEL = "shop/fraud"
NOW_MS = 1_800_000_000_000
DAY_MS = 86_400_000
_NAMES = itertools.count()


class Clock:
    """The time, as the test says."""

    def __init__(self, now_ms=NOW_MS):
        self.now_ms = now_ms

    def __call__(self):
        return self.now_ms


def on_sqlite(folder, **options):
    return sqlite.kept(folder / "ledger.db", **options)


class Kind:
    """Which store the suite is about; others set another one."""

    make = staticmethod(on_sqlite)
    backup = staticmethod(shutil.copytree)
    """Copies what one folder's store keeps, while none is open, to another folder's."""


@contextlib.asynccontextmanager
async def opened(folder, *, clock=None, limits=None, name=""):
    kept = Kind.make(
        folder, clock_ms=clock or Clock(), limits=limits or store.Limits(), name=name or f"start-{next(_NAMES)}"
    )
    await kept.open()
    try:
        yield kept
    finally:
        await kept.close()


def identifier(number=0, at_ms=NOW_MS - 1_000):
    """Return a UUIDv7 of a time."""
    return f"{at_ms:012x}7{number:03x}8{number:015x}"


def outcome(number=0, *, row=0, truth=1, at_ms=NOW_MS - 1_000, **more):
    more = {"prediction": predictions.of_class(1), "revision": "fraud-a"} | more
    return ledger.Outcome(row=row, id=identifier(number, at_ms), truth=predictions.of_class(truth), **more)


def copied(number=0, *, words="i1", other_words="i2", other="fraud-b", at_ms=NOW_MS - 1_000, **more):
    return ledger.Copied(identifier(number, at_ms), "fraud-a", other, words, other_words, **more)


async def told(kept, *outcomes, model=MODEL):
    return await kept.take(model, ledger.Intake(outcomes=list(outcomes)))


async def copy(kept, *copies, model=MODEL):
    await kept.take(model, ledger.Intake(copies=list(copies)))


async def entries(kept, after=0, **more):
    found = await kept.read(after, limit=10_000, **more)
    return [msgspec.json.decode(entry, type=ledger.Entry) for entry in found.entries]


def in_short(found):
    """Return entries as (kind, number of id, row), for comparing an order."""
    return [(entry.__struct_config__.tag, int(entry.id[17:], 16), entry.row) for entry in found]
