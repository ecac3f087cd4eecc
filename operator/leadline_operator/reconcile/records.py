"""What is remembered of a revision: the JSON in its ControllerRevision's annotation.

Only what a restart must know: when things began, what the test set showed, whether it served, why it was rejected.
Everything else is read from the world again. Fields are only ever added, with defaults; those of a newer version are
kept beside ours, and what cannot be read is left as it is: an operator that was rolled back loses nothing.
"""

import zlib
from typing import Any, Final, TypeVar

import msgspec

REJECTIONS_KEPT: Final = 10


class _Remembered(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    rest: dict[str, Any] = msgspec.field(name="<rest>", default_factory=dict)
    """Fields that this version does not know; in JSON they stand beside the others."""


class Rejection(_Remembered, frozen=True, omit_defaults=True):
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
    provisional: bool = False
    """By a limit alone: withdrawn if the revision that the traffic went back to falls below it as well."""
    measured: dict[str, str] = {}
    """The numbers that it rests on, as they were: see `measured` in docs/decisions.md."""


class TestResult(_Remembered, frozen=True, omit_defaults=True):
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


class Judged(_Remembered, frozen=True, omit_defaults=True):
    """By which rows a revision was judged, and how many others they had judged before."""

    digest: str
    """Of the test set."""
    number: int
    """1: it was the first."""


class OddPod(_Remembered, frozen=True, omit_defaults=True):
    """A pod that alone answered a replay of the test set otherwise than its revision did at admission."""

    name: str
    uid: str
    at: float
    """When it was found."""
    answers: str
    """Digest of all that it answered."""
    message: str = ""
    """What is said of it while it is there."""
    stays: bool = False
    """It is not restarted: that is of no use any more."""

    def with_(self, **changes: object) -> "OddPod":
        """Return it with some fields changed."""
        return msgspec.structs.replace(self, **changes)


class WayBack(_Remembered, frozen=True, omit_defaults=True):
    """A last good revision that has to answer the test set before the traffic goes back to it for the floor."""

    gate: str
    revision: str
    since: float
    """progressDeadline counts from here."""


class Trained(_Remembered, frozen=True, omit_defaults=True):
    """The training run that brought a revision, which stands in for the model that the spec names."""

    run: str
    uri: str
    digest: str
    base: str
    """Hash of the spec's own model at the run's start."""
    at: float
    """When it ended."""


class Record(_Remembered, frozen=True, omit_defaults=True):
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
    shadow_since: float | None = None
    """When it began to answer copies of requests before it gets traffic; None: it did not."""
    canary_step: int = 0
    """Number of the canary's step, the first is 0; as many as there are: it is through."""
    canary_since: float | None = None
    """When it entered that step; None: it has not answered a share of the requests."""
    canary_from: int = 0
    """Outcomes of it that had come by then."""
    promoted_at: float | None = None
    """When the user last said that it need not wait for a verdict or the end of a pause; counts for the attempt that it was said in."""
    withdrawn_at: float | None = None
    """When a provisional finding against it was withdrawn; there is no second one. None: none was."""
    judged: Judged | None = None
    """None: by no test set yet, or by an operator that did not count."""
    odd_pod: OddPod | None = None
    """One that is there and was not restarted; None: the newest replay showed none."""
    restarted_pods: list[OddPod] = []
    """Odd ones that were restarted, the newest last."""
    service_level: dict[str, Any] | None = None
    """How its pods have answered, as `service_levels` writes it; None: nothing is known, or nobody asked."""
    alerted: str = ""
    """Gate under which an alert was raised already."""
    crept: str = ""
    """Gate under which it was said, while it serves, that more than twice the margin was lost against the best accepted one."""
    handled_action: str = ""
    """Newest command that was carried out on this revision."""
    refused_action: str = ""
    """Newest command that was refused because it could not be read or its time was yet to come."""

    trained: Trained | None = None
    """Where it came of a training run, with mode: Auto."""
    asked_at: float = 0.0
    """When the spec itself began to ask for it, while spec.retrain is set; 0: it did not, or before that."""

    @property
    def retries(self) -> int:
        """How often it was tried again by command."""
        return len({(each.gate, each.at) for each in self.pardoned})

    @property
    def was_tried(self) -> bool:
        """Tell whether anything is known of it: what it did, or what was found."""
        return bool(self.rejections or self.pardoned or self.serving_since is not None)

    @property
    def is_promoted(self) -> bool:
        """Tell whether the user has said that the current attempt need not wait any longer."""
        return self.promoted_at is not None and self.promoted_at >= self.wanted_at

    def rejection(self, gate: str) -> Rejection | None:
        """Return the newest finding that holds under a gate."""
        return next((each for each in reversed(self.rejections) if each.gate in ("", gate)), None)

    def rejected(self, finding: Rejection) -> "Record":
        """Return the record with one more finding."""
        kept = [*self.rejections, finding][-REJECTIONS_KEPT:]
        return msgspec.structs.replace(self, rejections=kept, shadow_since=None, canary_since=None, canary_step=0)

    def with_(self, **changes: object) -> "Record":
        """Return the record with some fields changed."""
        return msgspec.structs.replace(self, **changes)


class Unreadable(Record, frozen=True, omit_defaults=True):
    """A record that this version cannot read: nothing is known of the revision, and nothing is written over it."""

    text: str = ""
    problem: str = ""
    """What is wrong with it, for people."""


def read(text: str) -> Record:
    """Return a record from its JSON; an empty one counts as none, as if the revision were new."""
    if not text:
        return Record()
    try:
        raw = msgspec.json.decode(text)
        record = _with_rest(msgspec.convert(raw, Record), raw)
        if record.test is not None and len(record.test.bitmap) != (record.test.rows + 7) // 8:
            return Unreadable(text=text, problem=f"test.right: expected a bit for each of {record.test.rows} rows")
    except (msgspec.ValidationError, msgspec.DecodeError, zlib.error, RecursionError) as error:
        return Unreadable(text=text, problem=str(error))
    return record


def write(record: Record) -> str:
    """Return a record as JSON; one that could not be read as the text that it was."""
    if isinstance(record, Unreadable):
        return record.text
    return msgspec.json.encode(_beside(msgspec.to_builtins(record))).decode()


_Struct = TypeVar("_Struct", bound=_Remembered)


def _with_rest(read: _Struct, raw: dict[str, Any]) -> _Struct:
    """Return what was read together with what its JSON has beyond that, at every level."""
    fields = {field.name for field in msgspec.structs.fields(read)} - {"rest"}
    changes: dict[str, Any] = {"rest": {name: value for name, value in raw.items() if name not in fields}}
    for name in fields & raw.keys():
        inner = getattr(read, name)
        if isinstance(inner, _Remembered):
            changes[name] = _with_rest(inner, raw[name])
        elif isinstance(inner, list):
            changes[name] = [_with_rest(*each) for each in zip(inner, raw[name], strict=True)]
    return msgspec.structs.replace(read, **changes)


def _beside(found: dict[str, Any]) -> dict[str, Any]:
    """Return encoded fields with the unknown ones beside them, at every level."""
    result = dict(found.pop("<rest>", {}))
    for name, value in found.items():
        if isinstance(value, dict):
            result[name] = _beside(value)
        elif isinstance(value, list):
            result[name] = [_beside(each) if isinstance(each, dict) else each for each in value]
        else:
            result[name] = value
    return result


def compressed(bitmap: bytes) -> bytes:
    """Return a bitmap as `TestResult.right` holds it."""
    return zlib.compress(bitmap, 9)
