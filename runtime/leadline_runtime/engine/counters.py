"""What a worker counts, as plain integers: one addition per batch, not per request.

Sent to the supervisor twice a second and at each scrape; the supervisor adds up over the workers' lives and makes
metrics of it. Must not cost the request path anything worth measuring.
"""

from bisect import bisect_left

from leadline_wire import exchange

from leadline_runtime import messages


class Counters:
    """Counts since the worker's start."""

    __slots__ = (
        "batches",
        "buckets",
        "copies",
        "failures",
        "forwarded",
        "kept",
        "kept_dropped",
        "ledger_trouble",
        "outcomes",
        "receipts",
        "requests",
        "rows",
        "seconds",
        "unforwarded",
    )

    def __init__(self) -> None:
        self.requests = 0
        """Inference requests answered with the own model, failures included."""
        self.failures = 0
        """Of these, answered 5xx because of the model."""
        self.forwarded = 0
        self.unforwarded = 0
        """Requests that a standby pod could not forward: answered 503."""
        self.batches = 0
        self.rows = 0
        self.buckets = [0] * (len(messages.BUCKETS) + 1)
        self.seconds = 0.0
        self.receipts = 0
        """Answers that carried a receipt."""
        self.outcomes: dict[str, int] = {}
        """Reported answers by what became of them: a fate of the ledger's, `Refused` or `Unavailable`."""
        self.copies: dict[str, int] = {}
        """Copies of requests by what became of them: Answered, Failed, Unanswered, Dropped, Lost."""
        self.kept = 0
        """Predictions that the ledger keeps under the client's id."""
        self.kept_dropped = 0
        self.ledger_trouble: exchange.Trouble | None = None
        """Why the ledger cannot be reached, if it cannot."""

    def observe(self, requests: int, rows: int, seconds: float) -> None:
        """Count one batch; all its requests are counted with the time of its oldest."""
        self.requests += requests
        self.batches += 1
        self.rows += rows
        self.buckets[bisect_left(messages.BUCKETS, seconds)] += requests
        self.seconds += seconds * requests

    def message(
        self, *, queue_rows: int, connections: int, refusals: dict[int, int], untold: dict[str, int]
    ) -> messages.Counts:
        """Return the counts as the supervisor gets them."""
        return messages.Counts(
            requests=self.requests,
            failures=self.failures,
            forwarded=self.forwarded,
            unforwarded=self.unforwarded,
            batches=self.batches,
            rows=self.rows,
            buckets=list(self.buckets),
            seconds=self.seconds,
            queue_rows=queue_rows,
            connections=connections,
            refusals=refusals,
            receipts=self.receipts,
            outcomes=dict(self.outcomes),
            copies=dict(self.copies),
            kept=self.kept,
            kept_dropped=self.kept_dropped,
            ledger_trouble=self.ledger_trouble,
            untold=untold,
        )
