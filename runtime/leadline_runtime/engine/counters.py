"""What a worker counts, as plain integers: one addition per batch, not per request.

Sent to the supervisor twice a second and at each scrape; the supervisor adds up over the workers' lives and makes
metrics of it. Must not cost the request path anything worth measuring.
"""

from bisect import bisect_left
from collections import defaultdict
from typing import Final

from leadline_wire import exchange

from leadline_runtime import messages

_BUCKETS: Final = messages.BUCKETS
_SHORT: Final = messages.SHORT_BUCKETS
_CLASSES_MAX: Final = 64
"""Counted apart; there is no telling about others."""
_SCORE_CHARACTERS: Final = 17
"""Of a score before a class; see `leadline_wire.predictions`."""
_ROWS_LAST: Final = len(messages.ROW_BUCKETS)


class Counters:
    """Counts since the worker's start."""

    __slots__ = (
        "batches",
        "buckets",
        "capture_dropped",
        "captured",
        "copies",
        "failures",
        "forwarded",
        "full",
        "kept",
        "kept_dropped",
        "late",
        "ledger_trouble",
        "outcomes",
        "predicted",
        "protocols",
        "receipts",
        "reported",
        "requests",
        "row_buckets",
        "rows",
        "run_buckets",
        "run_seconds",
        "seconds",
        "split",
        "unanswerable",
        "unforwarded",
        "unsplit",
        "wait_buckets",
        "wait_seconds",
    )

    def __init__(self) -> None:
        self.requests = 0
        """Inference requests answered with the own model, failures included."""
        self.failures = 0
        """Of these, answered 5xx because of the model."""
        self.unanswerable = 0
        """Of the requests, answered 400: JSON can carry neither what they hold nor its answer."""
        self.protocols: dict[str, int] = defaultdict(int)
        """Of the requests, those answered in another protocol than JSON over REST, to which the usual way adds nothing up."""
        self.late = 0
        """Requests that waited for the model for too long and were turned away."""
        self.full = 0
        """Requests that were turned away at once because the queue was full."""
        self.forwarded = 0
        self.unforwarded = 0
        """Requests that a standby pod could not forward: answered 503."""
        self.split = 0
        """Requests that a canary answered in our place."""
        self.unsplit = 0
        """Requests that it could not answer, so that we did."""
        self.batches = 0
        self.rows = 0
        self.buckets = [0] * (len(messages.BUCKETS) + 1)
        self.seconds = 0.0
        self.row_buckets = [0] * (len(messages.ROW_BUCKETS) + 1)
        self.wait_buckets = [0] * (len(messages.SHORT_BUCKETS) + 1)
        self.wait_seconds = 0.0
        self.run_buckets = [0] * (len(messages.SHORT_BUCKETS) + 1)
        self.run_seconds = 0.0
        self.receipts = 0
        """Answers that carried a receipt."""
        self.outcomes: dict[str, int] = {}
        """Reported answers by what became of them: a fate of the ledger's, `Refused` or `Unavailable`."""
        self.predicted: dict[str, int] = {}
        """A sample of the predictions with a receipt, by class."""
        self.reported: dict[str, int] = {}
        """Predictions whose outcome came for the first time, by class, other than those that were asked for."""
        self.copies: dict[str, int] = {}
        """Copies of requests by what became of them: Answered, Failed, Unanswered, Dropped, Lost."""
        self.kept = 0
        """Predictions that the ledger keeps under the client's id."""
        self.kept_dropped = 0
        self.captured = 0
        """Rows whose inputs the ledger keeps."""
        self.capture_dropped = 0
        self.ledger_trouble: exchange.Trouble | None = None
        """Why the ledger cannot be reached, if it cannot."""

    def observe(self, requests: int, rows: int, *, wait_seconds: float, run_seconds: float, seconds: float) -> None:
        """Count one batch; all its requests are counted with the times of its oldest.

        Args:
            requests: Requests of the batch.
            rows: Their rows.
            wait_seconds: From the oldest request's arrival to the run.
            run_seconds: The run itself.
            seconds: From the oldest request's arrival until all were answered.
        """
        self.requests += requests
        self.batches += 1
        self.rows += rows
        self.buckets[bisect_left(_BUCKETS, seconds)] += requests
        self.seconds += seconds * requests
        self.row_buckets[min((rows - 1).bit_length(), _ROWS_LAST)] += 1
        self.wait_buckets[bisect_left(_SHORT, wait_seconds)] += requests
        self.wait_seconds += wait_seconds * requests
        self.run_buckets[bisect_left(_SHORT, run_seconds)] += 1
        self.run_seconds += run_seconds

    def count_class(self, counts: dict[str, int], word: str) -> None:
        """Count one prediction of a class in `predicted` or `reported`; values and failures are not counted."""
        if word[:1] == "p":
            word = word[_SCORE_CHARACTERS:]
        if word[:1] in {"i", "s"} and (word in counts or len(counts) < _CLASSES_MAX):
            counts[word] = counts.get(word, 0) + 1

    def message(
        self,
        *,
        queue_rows: int,
        connections: int,
        in_flight: int,
        is_inline: bool,
        refusals: dict[int, int],
        untold: dict[str, int] | None = None,
    ) -> messages.Counts:
        """Return the counts as the supervisor gets them."""
        return messages.Counts(
            requests=self.requests,
            binary=self.protocols["rest_binary"],
            grpc=self.protocols["grpc"],
            failures=self.failures,
            unanswerable=self.unanswerable,
            late=self.late,
            full=self.full,
            forwarded=self.forwarded,
            unforwarded=self.unforwarded,
            split=self.split,
            unsplit=self.unsplit,
            batches=self.batches,
            rows=self.rows,
            buckets=list(self.buckets),
            seconds=self.seconds,
            row_buckets=list(self.row_buckets),
            wait_buckets=list(self.wait_buckets),
            wait_seconds=self.wait_seconds,
            run_buckets=list(self.run_buckets),
            run_seconds=self.run_seconds,
            queue_rows=queue_rows,
            connections=connections,
            in_flight=in_flight,
            inline=int(is_inline),
            refusals=refusals,
            receipts=self.receipts,
            outcomes=dict(self.outcomes),
            predicted=dict(self.predicted),
            reported=dict(self.reported),
            copies=dict(self.copies),
            kept=self.kept,
            kept_dropped=self.kept_dropped,
            ledger_trouble=self.ledger_trouble,
            captured=self.captured,
            capture_dropped=self.capture_dropped,
            untold=untold or {},
        )
