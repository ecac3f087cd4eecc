"""What the pod is right now, as one object that all parts of the supervisor write to and the report is made from.

Holds values only: no I/O, no clock, no task. Nothing of it survives the process; the operator tells it again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from leadline_wire import exchange, receipts

from leadline_runtime import VERSION, messages


@dataclass(slots=True)
class Worker:
    """One worker, as `fleet` knows it; the same object over all its restarts."""

    pid: int = 0
    """0: none runs."""
    starts: int = 0
    serial: int = -1
    """Newest role that it has confirmed; -1: none."""
    accepts: bool = False
    """It was told to accept connections."""
    loading: bool = False
    """It was told to load the model and has not answered."""
    holds_model: bool = False
    refused: bool = False
    """It cannot load the model and says so to clients."""
    crashes: int = 0
    """In a row, while loading."""
    unanswered: int = 0
    """Beats since it was last heard."""
    counts: messages.Counts = field(default_factory=messages.Counts)


@dataclass(slots=True)
class Pod:
    """One pod's state."""

    uid: str
    revision: str
    phase: exchange.Phase = "Fetching"
    trouble: exchange.Trouble | None = None
    """Kept until it is overcome, not just until the next try: a condition must not flap."""
    uri_trouble: exchange.Trouble | None = None
    """Why the bytes came from the ledger."""
    bytes_done: int = 0
    bytes_total: int = 0
    digest: str = ""
    """Of the bytes as fetched."""
    signature: exchange.Signature = ""
    resolved: str = ""
    """What a name that may move stood for when it was fetched."""
    model: exchange.ModelInfo | None = None
    epoch: int = 0
    """Newest that an exchange carried."""
    role: exchange.Role = "serving"
    """Until an operator has called, the pod serves."""
    forward: exchange.Forward | None = None
    splits: list[exchange.Split] = field(default_factory=list)
    """Who answers a share of the requests; empty unless this pod serves and its role has not expired."""
    role_serial: int = 0
    """Grows with each change of role, target or shares."""
    outcomes: exchange.OutcomeSettings | None = None
    copies: list[exchange.Copy] = field(default_factory=list)
    """To whom requests are copied; empty unless this pod serves and its role has not expired."""
    labels: exchange.LabelsRequest | None = None
    """Labelled rows are to be answered; None unless this pod serves and its role has not expired."""
    keys: list[receipts.Key] = field(default_factory=list)
    """Receipt keys of all rotations that are believed, oldest first."""
    is_told: bool = False
    """An operator has said whether there are receipts, outcomes and copies."""
    test_set: exchange.TestSetReport | None = None
    past: messages.Counts = field(default_factory=messages.Counts)
    """Counts of workers that have ended."""
    workers: list[Worker] = field(default_factory=list)
    """By slot; those that are to be, whether they run or not."""
    started_ms: int = 0
    """When the supervisor started; its counts begin there."""

    @property
    def is_ready(self) -> bool:
        """Tell whether requests are answered with the own model."""
        return self.phase == "Ready"

    @property
    def is_role_in_force(self) -> bool:
        """Tell whether all workers that accept connections have confirmed the role, and there is one."""
        return {worker.serial for worker in self.workers if worker.accepts} == {self.role_serial}

    @property
    def forwarding(self) -> bool:
        """Tell whether standby is in force."""
        return self.role == "standby" and self.is_role_in_force

    @property
    def split_share(self) -> int:
        """The share of the requests, in millionths, that others answer; 0 until that is in force."""
        return sum(split.share for split in self.splits) if self.is_role_in_force else 0

    def take_role(
        self, role: exchange.Role, forward: exchange.Forward | None, splits: Sequence[exchange.Split] = ()
    ) -> bool:
        """Take a role; return whether the worker must hear of it."""
        if role != "standby":
            forward = None
        shares = list(splits) if role == "serving" else []
        changed = (role == "standby") != (self.role == "standby") or forward != self.forward or shares != self.splits
        self.role, self.forward, self.splits = role, forward, shares
        if changed:
            self.role_serial += 1
        return changed

    def role_message(self) -> messages.SetRole:
        """Return the role as the worker is told."""
        return messages.SetRole(
            serial=self.role_serial, standby=self.role == "standby", forward=self.forward, splits=self.splits
        )

    def evidence_message(self) -> messages.SetEvidence | None:
        """Return what becomes of answers, as the worker is told; None: nothing has been said yet."""
        if not self.is_told:
            return None
        return messages.SetEvidence(
            outcomes=self.outcomes,
            keys=self.keys,
            is_candidate=self.role == "candidate",
            copies=self.copies if self.role == "serving" else [],
            labels=self.labels if self.role == "serving" else None,
        )

    def worker_ended(self, worker: Worker) -> None:
        """Keep the counts of a worker that is gone, and forget what it was."""
        self.past = messages.total((self.past, messages.past(worker.counts)))
        worker.counts = messages.Counts()
        worker.pid, worker.serial, worker.unanswered = 0, -1, 0
        worker.accepts = worker.loading = worker.holds_model = worker.refused = False

    def counts(self) -> messages.Counts:
        """Return the counts of all workers, gone ones included; queue and connections are of those that run."""
        return messages.total((self.past, *(worker.counts for worker in self.workers)))

    def report(self, nonce: str) -> exchange.ExchangeReport:
        """Return what the operator is told."""
        counts = self.counts()
        return exchange.ExchangeReport(
            nonce=nonce,
            pod_uid=self.uid,
            revision=self.revision,
            epoch=self.epoch,
            role=self.role,
            phase=self.phase,
            version=VERSION,
            forwarding=self.forwarding,
            bytes_done=self.bytes_done,
            bytes_total=self.bytes_total,
            digest=self.digest,
            signature=self.signature,
            resolved=self.resolved,
            model=self.model,
            test_set=self.test_set,
            trouble=self.trouble,
            uri_trouble=self.uri_trouble,
            requests=counts.requests,
            failures=counts.failures,
            forwarded=counts.forwarded,
            outcomes=self._outcomes_report(counts) if self.outcomes is not None else None,
            service=self._service_report(counts),
            split_share=self.split_share,
            split=counts.split,
            unsplit=counts.unsplit,
        )

    def _service_report(self, counts: messages.Counts) -> exchange.ServiceReport:
        return exchange.ServiceReport(
            started_ms=self.started_ms,
            requests=counts.requests,
            failures=counts.failures,
            refused=counts.late + counts.full,
            seconds=counts.seconds,
            bounds=list(messages.BUCKETS),
            latency=counts.buckets,
        )

    def _outcomes_report(self, counts: messages.Counts) -> exchange.OutcomesReport:
        fates, copies = counts.outcomes, counts.copies
        return exchange.OutcomesReport(
            receipts=counts.receipts,
            accepted=sum(fates.get(fate, 0) for fate in ("Accepted", "Duplicate", "TooLate")),
            refused=sum(fates.get(fate, 0) for fate in ("Conflict", "UnknownId", "Expired", "Refused")),
            copies=copies.get("Answered", 0) + copies.get("Failed", 0),
            dropped=sum(copies.get(fate, 0) for fate in ("Dropped", "Unanswered", "Lost")),
            trouble=counts.ledger_trouble,
            predicted=counts.predicted,
            reported=counts.reported,
        )

    def unready(self) -> str:
        """Return why the pod is not ready, for the kubelet's event; empty if it is."""
        if self.is_ready:
            return ""
        if self.trouble is not None:
            return f"{self.phase}: {self.trouble.reason}: {self.trouble.message}"
        if self.phase == "Fetching":
            return f"Fetching: {self.bytes_done} of {self.bytes_total or 'unknown'} bytes"
        if self.phase == "Waiting":
            return f"Waiting: no digest to trust yet; fetched {self.digest}"
        return self.phase
