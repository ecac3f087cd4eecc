"""Metrics for Prometheus, made at each scrape from the pod's counts; nothing is added up twice.

Names begin with `leadline_`, units are base units, label values are bounded: statuses, protocols, slots of workers and one
revision. docs/metrics.md lists them all.
"""

import platform
from collections.abc import Iterator, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from leadline_runtime import VERSION, messages, processes
from leadline_runtime.supervisor.pod import Pod

CONTENT_TYPE: Final = b"text/plain; version=0.0.4; charset=utf-8"
_PHASES: Final = ("Waiting", "Fetching", "Loading", "Ready", "Failed", "Draining")


class Metrics(Collector):
    """Tells a pod's counts to Prometheus."""

    def __init__(self, pod: Pod) -> None:
        self._pod = pod
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def text(self) -> bytes:
        """Return the metrics in Prometheus' text format."""
        return generate_latest(self._registry)

    def describe(self) -> list[Metric]:
        """Return nothing: the registry is ours alone, so names cannot clash."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics."""
        pod, counts = self._pod, self._pod.counts()
        revision = [pod.revision]
        build = InfoMetricFamily("leadline_build", "Version of the runtime, and of the Python that runs it")
        build.add_metric([], {"version": VERSION, "python": platform.python_version()})
        yield build
        info = InfoMetricFamily("leadline_model", "Model that the pod holds")
        info.add_metric([], {"revision": pod.revision, "digest": pod.digest, "runtime_version": VERSION})
        yield info
        yield _by_status(revision, counts)
        yield _by_protocol(revision, counts)
        for name, text, bounds, buckets, total in (
            (
                "leadline_request_seconds",
                "Time from a request's arrival to its answer; all requests of a batch count with its oldest",
                messages.BUCKETS,
                counts.buckets,
                counts.seconds,
            ),
            (
                "leadline_queue_wait_seconds",
                "Time from a request's arrival to the run of the model; all requests of a batch count with its oldest",
                messages.SHORT_BUCKETS,
                counts.wait_buckets,
                counts.wait_seconds,
            ),
            (
                "leadline_inference_seconds",
                "Time of one run of the model",
                messages.SHORT_BUCKETS,
                counts.run_buckets,
                counts.run_seconds,
            ),
            (
                "leadline_run_rows",
                "Rows of one run of the model",
                messages.ROW_BUCKETS,
                counts.row_buckets,
                counts.rows,
            ),
        ):
            yield _histogram(name, text, revision, bounds=bounds, counts=buckets, total=total)
        yield _by_fate("leadline_outcomes", "Reported outcomes, by what became of them", revision, counts.outcomes)
        yield _by_fate("leadline_copies", "Copies of requests, by what became of them", revision, counts.copies)
        for name, text, value in (
            ("leadline_model_failures", "Requests answered 5xx because of the model", counts.failures),
            ("leadline_batches", "Runs of the model for requests", counts.batches),
            ("leadline_batch_rows", "Rows in these runs", counts.rows),
            ("leadline_late", "Requests that waited for the model for too long and were answered 503", counts.late),
            ("leadline_forwarded", "Requests passed on to the serving revision", counts.forwarded),
            ("leadline_unforwarded", "Requests on standby that could not be passed on", counts.unforwarded),
            ("leadline_split", "Requests that a canary answered in this pod's place", counts.split),
            ("leadline_unsplit", "Requests that a canary could not answer, so that this pod did", counts.unsplit),
            ("leadline_receipts", "Predictions that carried a receipt", counts.receipts),
            ("leadline_kept_predictions", "Predictions that the ledger keeps under the client's id", counts.kept),
            ("leadline_kept_predictions_dropped", "Predictions that it could not be brought", counts.kept_dropped),
            ("leadline_captured_rows", "Rows whose inputs were captured and are kept by the ledger", counts.captured),
            ("leadline_captured_rows_dropped", "Rows whose inputs found no room, or no ledger", counts.capture_dropped),
        ):
            counter = CounterMetricFamily(name, text, labels=["revision"])
            counter.add_metric(revision, value)
            yield counter
        for kind, text in (
            ("access_log_dropped", "Lines of the access log that were dropped, for their reader is too slow"),
            ("spans_dropped", "Spans that were dropped, for the collector is too slow or gone"),
        ):
            if kind in counts.untold:
                counter = CounterMetricFamily(f"leadline_{kind}", text, labels=["revision"])
                counter.add_metric(revision, counts.untold[kind])
                yield counter
        for name, text, number in (
            ("leadline_queue_rows", "Rows that wait for the model or run", counts.queue_rows),
            ("leadline_in_flight_requests", "Requests that are being answered", counts.in_flight),
            ("leadline_connections", "Open connections of public and own port", counts.connections),
            ("leadline_inline_workers", "Workers that run the model in their event loop", counts.inline),
            ("leadline_model_fetched_bytes", "Bytes of the model fetched so far", pod.bytes_done),
            (
                "leadline_ledger_trouble",
                "1 while the ledger does not take what it is brought",
                counts.ledger_trouble is not None,
            ),
            ("leadline_standby", "1 while public requests are passed on to the serving revision", pod.forwarding),
        ):
            gauge = GaugeMetricFamily(name, text, labels=["revision"])
            gauge.add_metric(revision, float(number))
            yield gauge
        phases = GaugeMetricFamily("leadline_phase", "1 for the pod's phase", labels=["revision", "phase"])
        for phase in _PHASES:
            phases.add_metric([pod.revision, phase], float(phase == pod.phase))
        yield phases
        yield from self._of_workers()

    def _of_workers(self) -> Iterator[Metric]:
        labels = ["revision", "worker"]
        up = GaugeMetricFamily("leadline_worker_up", "1 while the worker holds the model", labels=labels)
        starts = CounterMetricFamily("leadline_worker_restarts", "Starts of the worker after its first", labels=labels)
        answered = CounterMetricFamily(
            "leadline_worker_requests", "Predictions of the worker since it started", labels=labels
        )
        memory = GaugeMetricFamily(
            "leadline_worker_resident_memory_bytes", "Memory of the worker, shared libraries included", labels=labels
        )
        cpu = CounterMetricFamily(
            "leadline_worker_cpu_seconds", "CPU time of the worker since it started", labels=labels
        )
        for slot, worker in enumerate(self._pod.workers):
            values = [self._pod.revision, str(slot)]
            up.add_metric(values, float(worker.holds_model))
            starts.add_metric(values, max(0, worker.starts - 1))
            answered.add_metric(values, worker.counts.requests)
            memory.add_metric(values, processes.rss_bytes(worker.pid) if worker.pid else 0)
            cpu.add_metric(values, processes.cpu_seconds(worker.pid) if worker.pid else 0.0)
        yield from (up, starts, answered, memory, cpu)


def _by_protocol(revision: list[str], counts: messages.Counts) -> Metric:
    requests = CounterMetricFamily(
        "leadline_model_requests",
        "Requests that the model was asked to answer, by protocol",
        labels=["revision", "protocol"],
    )
    for protocol, count in (
        ("rest_json", counts.requests - counts.binary - counts.grpc),
        ("rest_binary", counts.binary),
        ("grpc", counts.grpc),
    ):
        requests.add_metric([*revision, protocol], max(0, count))
    return requests


def _by_status(revision: list[str], counts: messages.Counts) -> Metric:
    requests = CounterMetricFamily(
        "leadline_requests", "Predictions given and requests refused, by HTTP status", labels=["revision", "code"]
    )
    answered = {200: counts.requests - counts.failures - counts.unanswerable} | counts.refusals
    for status, count in sorted(answered.items()):
        requests.add_metric([*revision, str(status)], count)
    return requests


def _by_fate(name: str, text: str, revision: list[str], fates: dict[str, int]) -> Metric:
    counter = CounterMetricFamily(name, text, labels=["revision", "fate"])
    for fate, count in sorted(fates.items()):
        counter.add_metric([*revision, fate], count)
    return counter


def _histogram(
    name: str, text: str, revision: list[str], *, bounds: Sequence[float], counts: list[int], total: float
) -> Metric:
    histogram = HistogramMetricFamily(name, text, labels=["revision"])
    names = [*(str(float(bound)) for bound in bounds), "+Inf"]
    so_far, buckets = 0, []
    for bound, count in zip(names, counts or [0] * len(names), strict=True):
        so_far += count
        buckets.append((bound, so_far))
    histogram.add_metric(revision, buckets=buckets, sum_value=total)
    return histogram
