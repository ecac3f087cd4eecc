"""What the ledger counts, for Prometheus: read from its parts when somebody asks, so that counting costs nothing more."""

from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector

from leadline_ledger import store, tokens
from leadline_ledger.blobs.kept import Blobs
from leadline_ledger.captures.kept import Captures
from leadline_ledger.serving import edge


@dataclass(frozen=True, slots=True)
class Metrics(Collector):
    """Looks at store, blobs, tokens and edge."""

    kept: store.Store
    model_bytes: Blobs
    known: tokens.Tokens
    rim: edge.Edge
    captured: Captures

    def text(self) -> bytes:
        """Return all in the text format of Prometheus."""
        registry = CollectorRegistry()
        registry.register(self)
        return generate_latest(registry)

    def collect(self) -> Iterator[Metric]:
        """Return each metric with its values now."""
        counts = self.kept.counts
        up = GaugeMetricFamily("leadline_ledger_writable", "1 while what comes in becomes durable, else 0")
        up.add_metric([], float(not self.kept.trouble))
        yield up
        outcomes = CounterMetricFamily("leadline_ledger_outcomes", "Outcomes that came in, by fate", labels=["fate"])
        for fate, count in sorted(counts.fates.items()):
            outcomes.add_metric([fate], count)
        yield outcomes
        entries = CounterMetricFamily("leadline_ledger_entries", "Entries appended to the log", labels=["kind"])
        for kind, count in sorted(counts.entries.items()):
            entries.add_metric([kind], count)
        yield entries
        dropped = CounterMetricFamily(
            "leadline_ledger_dropped",
            "Copies and predictions that went for age or number; of copies those that met no outcome",
            labels=["kind", "why"],
        )
        for (kind, why), count in sorted(counts.dropped.items()):
            dropped.add_metric([kind, why], count)
        yield dropped
        yield SummaryMetricFamily(
            "leadline_ledger_commit_seconds",
            "Transactions, from their begin to the disk",
            count_value=counts.commits,
            sum_value=counts.commit_seconds,
        )
        yield _gauge("leadline_ledger_head", "Newest entry of the log", self.kept.head)
        yield _gauge("leadline_ledger_waiting_calls", "Calls that wait to become durable", self.kept.waiting)
        yield _gauge("leadline_ledger_requests_under_way", "Calls under way, long polls included", self.rim.under_way)
        if (held := self.model_bytes.held_bytes) is not None:
            yield _gauge("leadline_ledger_blob_bytes", "Model bytes kept", held)
        yield _gauge(
            "leadline_ledger_capture_bytes", "Bytes of captured inputs, when last looked", self.captured.held_bytes
        )
        files = CounterMetricFamily("leadline_ledger_capture_files", "Files of captured inputs", labels=["fate"])
        for fate in ("kept", "merged", "deleted"):
            files.add_metric([fate], self.captured.counts[fate])
        yield files
        reviews = CounterMetricFamily("leadline_ledger_token_reviews", "Answers of the API server", labels=["result"])
        for result, count in sorted(self.known.reviews.items()):
            reviews.add_metric([result], count)
        yield reviews
        answered = CounterMetricFamily("leadline_ledger_requests", "Calls answered", labels=["path", "status"])
        for (path, status), count in sorted(self.rim.answered.items()):
            answered.add_metric([path, str(status)], count)
        yield answered


def _gauge(name: str, what: str, value: float) -> GaugeMetricFamily:
    metric = GaugeMetricFamily(name, what)
    metric.add_metric([], value)
    return metric
