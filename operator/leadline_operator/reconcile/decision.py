"""A Decision: what follows from one look, before it becomes objects and words.

`rollout.decide` makes it, with `commands` and `judging` each filling in their part; `children` and `conditions` read it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from leadline_api.reasons import Reason
from leadline_stats.verdicts import Verdict
from leadline_wire.exchange import TestSetRequest, Trouble
from leadline_wire.ledger import Decision as Told

from leadline_operator.reconcile.findings import Finding
from leadline_operator.reconcile.gate import Gate
from leadline_operator.reconcile.observed import Pod
from leadline_operator.reconcile.plan import Event
from leadline_operator.reconcile.records import Record, Rejection, Unreadable
from leadline_operator.reconcile.testing import Judgement
from leadline_operator.specs.metadata import Manifest


@dataclass(frozen=True, slots=True)
class Training:
    """What follows for training runs."""

    create: Manifest | None = None
    """Job of the run that begins."""
    delete: tuple[Manifest, ...] = ()
    told: tuple[Told, ...] = ()
    """What the ledger is to hold of runs."""
    notices: tuple[Told, ...] = ()
    """Runs that ended, for whoever wants to be told."""
    status: dict[str, Any] | None = None
    """None: nothing is to be said."""
    seconds: float | None = None
    """Until something is due; None: nothing is."""


@dataclass
class Decision:
    """What follows from one look, before it is turned into objects and words."""

    gate: Gate
    desired: str
    serving: str
    """By the records, after this step; empty: none."""
    selected: str
    """By the Service, as observed."""
    last_good: str = ""
    records: dict[str, Record] = field(default_factory=dict)
    """Of all revisions, after this step."""
    digests: dict[str, str] = field(default_factory=dict)
    """Learned in this step."""
    replicas: dict[str, int] = field(default_factory=dict)
    """Of the revisions that keep their children; the others' children are deleted."""
    requests: dict[str, TestSetRequest] = field(default_factory=dict)
    """Test-set run that each revision's pods should have done."""
    to_measure: str = ""
    """The last good revision that gets pods to answer the test set before the traffic may go back to it, or labelled rows."""
    verdicts: dict[tuple[str, str, str], Verdict] = field(default_factory=dict)
    """By outcomes: of a metric, a revision and another; each is made once in a pass."""
    splits: dict[str, int] = field(default_factory=dict)
    """Share of the requests, in millionths, that a candidate answers in place of the serving revision."""
    copies: dict[str, int] = field(default_factory=dict)
    """Revisions to which the serving pods copy requests, with the share in millionths."""
    labels: str | None = None
    """Revision that answers labelled rows beside the serving one; empty: there is none, so that the serving one answers them
    alone. None: none wait, or they have to wait."""
    verifying: bool = False
    """Outcomes of the serving revision are below its limit, and the last good one is compared on fresh requests."""
    must_begin_verifying: bool = False
    """That comparison has not begun: the ledger is to be told so."""
    waits_for_memory: bool = False
    """It seems to be new, and the ledger, which may know better, was not read yet: nothing is created."""
    handing_over: str = ""
    """The demoted revision whose pods have not all acknowledged that they forward; empty: the switch is complete."""
    waits_for_pods: bool = False
    """The candidate has all behind it, and lacks pods that the autoscaler has added to the serving revision meanwhile."""
    target: str = ""
    """Where the traffic is going; empty: nowhere else."""
    phase: Reason = Reason.SERVING
    trouble: Trouble | None = None
    """What holds the candidate, or the rollback, up."""
    odd_pod: Pod | None = None
    """A pod of the serving revision that is to be restarted, for it alone answers otherwise than at admission."""
    notes: list[Trouble] = field(default_factory=list)
    """What is worth a look, and no finding: said beside what was measured."""
    unmeasured: Trouble | None = None
    """Why the newest replay of the serving revision says nothing."""
    finding: Judgement | None = None
    """What was found against the serving revision where it cannot go back."""
    creep: Finding | None = None
    """What the serving revision has lost against the best accepted one, where that is more than twice the margin."""
    best: str = ""
    """Accepted revision with the most right answers to today's test set: later ones are held against it, so it is kept."""
    command: str = ""
    retrain_command: str = ""
    """The user's command that asks for a training run which has not begun."""
    training: Training | None = None
    """What follows for training runs; None where there are none, and none is asked for."""
    events: list[Event] = field(default_factory=list)
    wakes: list[float] = field(default_factory=list)
    """Seconds until something is due."""

    def is_rejected(self, name: str) -> bool:
        """Tell whether a finding holds against a revision under the gate of today."""
        return name in self.records and self.records[name].rejection(self.gate.key) is not None

    def is_unreadable(self, name: str) -> bool:
        """Tell whether the record of a revision cannot be read, so that nothing is known of it."""
        return isinstance(self.records.get(name), Unreadable)

    def may_try(self, name: str) -> bool:
        """Tell whether a revision may be tried: nothing is known against it, and what is known can be read."""
        return not self.is_rejected(name) and not self.is_unreadable(name)

    def stands(self, record: Record) -> bool:
        """Tell whether nothing is held against a revision.

        A finding under another gate counts too, until the gate of today has admitted the revision.
        """
        if isinstance(record, Unreadable) or record.rejection(self.gate.key) is not None:
            return False
        return not record.rejections or record.admitted_gate == self.gate.key

    def reject(
        self,
        name: str,
        reason: Reason,
        message: str,
        now: float,
        *,
        gate: str,
        measured: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Remember a finding against a candidate, with the numbers that it rests on."""
        finding = Rejection(gate=gate, reason=reason, message=message, at=now, measured=dict(measured))
        self.records[name] = self.records[name].rejected(finding)
        self.trouble = None
        self.events.append(Event("Warning", reason, f"Revision {name} is rejected: {message}"))
