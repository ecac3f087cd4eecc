"""What is to be done: a value that can be compared, printed and tested before anything acts on it."""

from dataclasses import dataclass
from typing import Any, Literal

from leadline_wire.exchange import Copy, Forward, LabelsRequest, OutcomeSettings, Role, Split, TestSetRequest
from leadline_wire.ledger import Decision as Told

from leadline_operator.specs.metadata import Manifest


@dataclass(frozen=True, slots=True)
class Create:
    """POST a new object. `quiet` ones (Secret, ConfigMap) are never read: one that exists counts as ours."""

    manifest: Manifest
    quiet: bool = False


@dataclass(frozen=True, slots=True)
class Replace:
    """PUT an object over the one that was observed: metadata carries its uid and resourceVersion."""

    manifest: Manifest
    why: str


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete the object that was observed, and no namesake."""

    kind: str
    name: str
    uid: str
    resource_version: str = ""
    """Only as it was observed, so that who acts late deletes nothing that has changed; empty: in whatever state (Pods)."""


Write = Create | Replace | Delete


@dataclass(frozen=True, slots=True)
class Sounding:
    """How one pod is to be addressed from now on."""

    pod: str
    uid: str
    ip: str
    revision: str
    role: Role
    forward: Forward | None
    digest: str
    test_set: TestSetRequest | None
    every_seconds: float
    outcomes: OutcomeSettings | None = None
    copies: tuple[Copy, ...] = ()
    splits: tuple[Split, ...] = ()
    labels: LabelsRequest | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened, said once."""

    type: Literal["Normal", "Warning"]
    reason: str
    note: str


@dataclass(frozen=True, slots=True)
class Grow:
    """A test set that is wanted out of outcomes."""

    revision: str
    """That is to be tested: for each one a set is made anew, once."""
    size: int
    least: int
    """Rows with which it is a test set; with fewer it is asked for again, later."""


@dataclass(frozen=True, slots=True)
class Plan:
    """All that follows from one look at one ModelDeployment."""

    writes: tuple[Write, ...] = ()
    """In this order; the first that is refused ends the pass."""
    status: dict[str, Any] | None = None
    """None: leave it as it is."""
    events: tuple[Event, ...] = ()
    """Of decisions: said once the records are written."""
    status_events: tuple[Event, ...] = ()
    """Of conditions: said once the status is written."""
    soundings: tuple[Sounding, ...] = ()
    told: tuple[Told, ...] = ()
    """Decisions that the ledger is to hold, in this order."""
    notices: tuple[Told, ...] = ()
    """What was decided lately, for whoever wants to be told; the same ones at each pass."""
    grow: Grow | None = None
    """The test set that is to be made out of outcomes; None: none is needed."""
    wake_after_seconds: float | None = None
    """None: only when something changes."""
