"""What is remembered of a revision: the JSON in its ControllerRevision's annotation.

Only what a restart must know: when things began, what the test set showed, whether it served, why it was rejected.
Everything else is read from the world again. Fields are only ever added, with defaults.
"""

import zlib
from typing import Final

import msgspec

REJECTIONS_KEPT: Final = 10


class Rejection(msgspec.Struct, frozen=True, omit_defaults=True):
    """A finding against a revision under one gate."""

    gate: str
    """Hash of what it was judged by; empty: a finding about the bytes, which no gate changes."""
    reason: str
    message: str
    at: float
    served: bool = False
    """It served when it was found bad: a rollback, not a refused candidate."""
    command: str = ""
    """The user's command that asked for it, if one did."""


class TestResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a revision answered to a test set at admission."""

    key: str
    """Hash of the test set as the spec names it."""
    digest: str
    rows: int
    right: bytes
    """Bitmap as in `leadline_wire.exchange.TestSetReport`, compressed with zlib."""
    answers: str
    changed: int = 0
    invalid: int = 0
    at: float = 0.0

    @property
    def bitmap(self) -> bytes:
        """The bitmap, one bit per row."""
        return zlib.decompress(self.right)

    @property
    def right_rows(self) -> int:
        """How many rows were answered right."""
        return int.from_bytes(self.bitmap, "big").bit_count()

    @property
    def estimate(self) -> float:
        """Share of rows answered right."""
        return self.right_rows / self.rows if self.rows else 0.0


class WayBack(msgspec.Struct, frozen=True, omit_defaults=True):
    """A last good revision that has to answer the test set before the traffic goes back to it for the floor."""

    gate: str
    revision: str
    since: float
    """progressDeadline counts from here."""


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is remembered of one revision."""

    wanted_at: float = 0.0
    """When the current attempt began; progressDeadline counts from here."""
    test: TestResult | None = None
    admitted_gate: str = ""
    """Gate that it passed; empty: none."""
    p_value: float | None = None
    """Of its comparison with `compared_with`."""
    compared_with: str = ""
    reference: float | None = None
    """The compared revision's estimate on the same rows."""
    serving_since: float | None = None
    """When it last got the traffic; None: never."""
    served_until: float | None = None
    """When it last lost the traffic; None: never, or it has it."""
    rejections: list[Rejection] = []
    pardoned: list[Rejection] = []
    """Findings that a `retry` set aside."""
    way_back: WayBack | None = None
    """While this one serves below the floor, and it is not known whether the last good one is better."""
    alerted: str = ""
    """Gate under which an alert was raised already."""
    handled_action: str = ""
    """Newest command that was carried out on this revision."""

    @property
    def retries(self) -> int:
        """How often it was tried again by command."""
        return len({(each.gate, each.at) for each in self.pardoned})

    def rejection(self, gate: str) -> Rejection | None:
        """Return the newest finding that holds under a gate."""
        return next((each for each in reversed(self.rejections) if each.gate in ("", gate)), None)

    def rejected(self, finding: Rejection) -> "Record":
        """Return the record with one more finding."""
        return msgspec.structs.replace(self, rejections=[*self.rejections, finding][-REJECTIONS_KEPT:])

    def with_(self, **changes: object) -> "Record":
        """Return the record with some fields changed."""
        return msgspec.structs.replace(self, **changes)


def read(text: str) -> Record:
    """Return a record from its JSON; an empty or unreadable one counts as none, as if the revision were new."""
    if not text:
        return Record()
    try:
        return msgspec.json.decode(text, type=Record)
    except (msgspec.ValidationError, msgspec.DecodeError):
        return Record()


def write(record: Record) -> str:
    """Return a record as JSON."""
    return msgspec.json.encode(record).decode()


def compressed(bitmap: bytes) -> bytes:
    """Return a bitmap as `TestResult.right` holds it."""
    return zlib.compress(bitmap, 9)
