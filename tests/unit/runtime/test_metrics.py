"""The metrics, and that docs/metrics.md lists them all, word for word."""

import re
from pathlib import Path

from leadline_runtime import messages
from leadline_runtime.supervisor.metrics import Metrics
from leadline_runtime.supervisor.pod import Pod, Worker

PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"


def counts(**more):
    times = [0] * (len(messages.SHORT_BUCKETS) + 1)
    times[2] = 4
    full = {
        "requests": 10,
        "binary": 3,
        "grpc": 2,
        "buckets": [10] + [0] * len(messages.BUCKETS),
        "wait_buckets": times,
        "run_buckets": times,
        "row_buckets": [0, 4] + [0] * (len(messages.ROW_BUCKETS) - 1),
        "rows": 8,
        "outcomes": {"Accepted": 1},
        "copies": {"Answered": 1},
    }
    return messages.Counts(**{**full, **more})


def scraped(*workers):
    text = Metrics(Pod(uid="u", revision="digits-1", phase="Ready", workers=list(workers))).text().decode()
    return {
        name: float(value)
        for name, _, value in (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    }, text


def listed(text):
    """Return kind, labels and help of each metric in the exposition format."""
    found = {}
    for line in text.splitlines():
        mark, kind, name, rest = ([*line.split(" ", 3), "", "", ""])[:4] if line.startswith("#") else ("", "", "", "")
        if kind == "HELP":
            found[name] = [rest]
        elif kind == "TYPE":
            found[name].insert(0, rest)
            family, labels = name, set()
        elif not mark:
            sample, _, rest = line.partition("{")
            assert sample.startswith(family)
            labels |= set(re.findall(r'(\w+)="', rest)) - {"le"}
            found[family][2:] = [", ".join(sorted(labels))]
    return {name: (kind, labels, told) for name, (kind, told, labels) in found.items()}


def test_the_page_of_metrics_lists_what_there_is():
    rows = re.findall(r"^\| `(leadline_\w+)` \| (\w+) \| ([^|]*) \| (.+) \|$", PAGE.read_text(), re.MULTILINE)
    written = {name: (kind, labels.replace("`", "").strip(), told) for name, kind, labels, told in rows}
    _, text = scraped(Worker(pid=0, counts=counts()))
    assert written == listed(text)


def test_requests_are_told_apart_by_protocol_and_add_up():
    told, _ = scraped(Worker(counts=counts()), Worker(counts=counts(binary=0, grpc=0)))
    by_protocol = {
        protocol: told[f'leadline_model_requests_total{{protocol="{protocol}",revision="digits-1"}}']
        for protocol in ("rest_json", "rest_binary", "grpc")
    }
    assert by_protocol == {"rest_json": 15, "rest_binary": 3, "grpc": 2}


def test_buckets_are_cumulative_and_add_up_over_workers():
    told, _ = scraped(Worker(counts=counts()), Worker(counts=counts()))
    assert told['leadline_run_rows_bucket{le="1.0",revision="digits-1"}'] == 0
    assert told['leadline_run_rows_bucket{le="2.0",revision="digits-1"}'] == 8
    assert told['leadline_run_rows_bucket{le="+Inf",revision="digits-1"}'] == 8
    assert told['leadline_run_rows_sum{revision="digits-1"}'] == 16
    assert told['leadline_inference_seconds_count{revision="digits-1"}'] == 8


def test_each_worker_is_told_by_its_slot():
    first, second = Worker(pid=0, starts=3, holds_model=True), Worker(starts=1)
    told, _ = scraped(first, second)
    assert told['leadline_worker_restarts_total{revision="digits-1",worker="0"}'] == 2
    assert told['leadline_worker_restarts_total{revision="digits-1",worker="1"}'] == 0
    assert told['leadline_worker_up{revision="digits-1",worker="0"}'] == 1
    assert told['leadline_worker_up{revision="digits-1",worker="1"}'] == 0


def test_a_request_that_is_refused_after_its_run_is_counted_once():
    told, _ = scraped(Worker(counts=counts(failures=2, unanswerable=3, refusals={400: 4, 500: 2})))
    found = {code: told[f'leadline_requests_total{{code="{code}",revision="digits-1"}}'] for code in (200, 400, 500)}
    assert found == {200: 5, 400: 4, 500: 2}
