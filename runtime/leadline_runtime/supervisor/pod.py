"""What the pod is right now, as one object that all parts of the supervisor write to and the report is made from.

Holds values only: no I/O, no clock, no task. Nothing of it survives the process; the operator tells it again.
"""

from dataclasses import dataclass, field

from leadline_wire import exchange, receipts

from leadline_runtime import VERSION, messages


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
    resolved: str = ""
    """What a name that may move stood for when it was fetched."""
    model: exchange.ModelInfo | None = None
    epoch: int = 0
    """Newest that an exchange carried."""
    role: exchange.Role = "serving"
    """Until an operator has called, the pod serves."""
    forward: exchange.Forward | None = None
    role_serial: int = 0
    """Grows with each change of role or target."""
    role_serial_in_force: int = -1
    """Newest that the worker has confirmed; -1: no worker runs."""
    outcomes: exchange.OutcomeSettings | None = None
    copies: list[exchange.Copy] = field(default_factory=list)
    """To whom requests are copied; empty unless this pod serves and its role has not expired."""
    keys: list[receipts.Key] = field(default_factory=list)
    """Receipt keys of all rotations that are believed, oldest first."""
    is_told: bool = False
    """An operator has said whether there are receipts, outcomes and copies."""
    test_set: exchange.TestSetReport | None = None
    past: messages.Counts = field(default_factory=messages.Counts)
    """Counts of workers that have ended."""
    current: messages.Counts = field(default_factory=messages.Counts)
    """Counts of the worker that runs."""

    @property
    def is_ready(self) -> bool:
        """Tell whether requests are answered with the own model."""
        return self.phase == "Ready"

    @property
    def forwarding(self) -> bool:
        """Tell whether standby is in force in the worker."""
        return self.role == "standby" and self.role_serial == self.role_serial_in_force

    def take_role(self, role: exchange.Role, forward: exchange.Forward | None) -> bool:
        """Take a role; return whether the worker must hear of it."""
        if role != "standby":
            forward = None
        changed = (role == "standby") != (self.role == "standby") or forward != self.forward
        self.role, self.forward = role, forward
        if changed:
            self.role_serial += 1
        return changed

    def role_message(self) -> messages.SetRole:
        """Return the role as the worker is told."""
        return messages.SetRole(serial=self.role_serial, standby=self.role == "standby", forward=self.forward)

    def evidence_message(self) -> messages.SetEvidence | None:
        """Return what becomes of answers, as the worker is told; None: nothing has been said yet."""
        if not self.is_told:
            return None
        return messages.SetEvidence(
            outcomes=self.outcomes,
            keys=self.keys,
            is_candidate=self.role == "candidate",
            copies=self.copies if self.role == "serving" else [],
        )

    def worker_ended(self) -> None:
        """Keep the counts of a worker that is gone."""
        self.past = self.counts()
        self.current = messages.Counts()
        self.role_serial_in_force = -1

    def counts(self) -> messages.Counts:
        """Return the counts of all workers; queue and connections are of the one that runs."""
        past, current = self.past, self.current
        buckets = [
            a + b
            for a, b in zip(
                past.buckets or [0] * len(current.buckets),
                current.buckets or [0] * len(past.buckets),
                strict=True,
            )
        ]
        statuses = past.refusals.keys() | current.refusals.keys()
        return messages.Counts(
            requests=past.requests + current.requests,
            failures=past.failures + current.failures,
            forwarded=past.forwarded + current.forwarded,
            unforwarded=past.unforwarded + current.unforwarded,
            batches=past.batches + current.batches,
            rows=past.rows + current.rows,
            buckets=buckets,
            seconds=past.seconds + current.seconds,
            queue_rows=current.queue_rows,
            connections=current.connections,
            refusals={status: past.refusals.get(status, 0) + current.refusals.get(status, 0) for status in statuses},
            receipts=past.receipts + current.receipts,
            outcomes=_added(past.outcomes, current.outcomes),
            copies=_added(past.copies, current.copies),
            kept=past.kept + current.kept,
            kept_dropped=past.kept_dropped + current.kept_dropped,
            ledger_trouble=current.ledger_trouble,
            untold=_added(past.untold, current.untold),
        )

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
            resolved=self.resolved,
            model=self.model,
            test_set=self.test_set,
            trouble=self.trouble,
            uri_trouble=self.uri_trouble,
            requests=counts.requests,
            failures=counts.failures,
            forwarded=counts.forwarded,
            outcomes=self._outcomes_report(counts) if self.outcomes is not None else None,
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


def _added(past: dict[str, int], current: dict[str, int]) -> dict[str, int]:
    return {name: past.get(name, 0) + current.get(name, 0) for name in past.keys() | current.keys()}
