"""What `make bench-serving` makes of its figures: the summary, the goals, the page. Nothing is measured here."""

import json
import re

import pytest

from benchmarks.serving import contenders, page, places, summary


def test_page_agrees_with_the_results_file():
    results = [json.loads(path.read_text()) for path in page.SOURCES]
    assert places.PAGE.read_text() == page.text(*results), "run: make bench-serving ARGS=--page"


def test_every_goal_has_a_meaning_and_a_row():
    assert set(summary.MEANINGS) == set(summary.GOALS)
    _, rows = page.goals({})
    assert [row[0] for row in rows] == list(summary.GOALS)
    assert {row[3] for row in rows} == {"not measured"}


@pytest.mark.parametrize(
    ("name", "value", "met"),
    [("echo_fraction_16", 0.5, True), ("echo_fraction_16", 0.49, False), ("rss_mb", 120, True), ("rss_mb", 121, False)],
)
def test_goal_is_met_from_its_own_side(name, value, met):
    assert summary.is_met(name, value) is met


def measured(server, rate, *, round_number=1, model="small", protocol="json", connections=16):
    return {
        "model": model,
        "protocol": protocol,
        "rows": 1,
        "connections": connections,
        "server": server,
        "round": round_number,
        "requests_per_second": rate,
        "cpu_microseconds": 1e6 / rate,
    }


def run(measurements, raw=(), memory=()):
    return {"measurements": measurements, "raw": list(raw), "memory": list(memory), "latencies": [], "failures": []}


def test_ratio_is_the_median_of_each_rounds_own():
    # The second round ran on a machine half as fast: both lost, the ratio did not.
    lines = [
        measured(server, rate / number, round_number=number)
        for server, rate in (("leadline", 30_000.0), ("mlserver", 1_000.0))
        for number in (1, 2)
    ]
    assert summary.summarise(run(lines), None)["mlserver_ratio_16"] == 30


def test_figure_is_none_where_a_peer_failed():
    found = summary.summarise(run([measured("leadline", 30_000.0)]), None)
    assert found["kserve_ratio_16"] is None
    assert found["requests_per_second_16"] == 30_000


def test_compute_fraction_compares_rows_with_the_raw_loop_of_the_same_batch():
    lines = [measured("leadline", 95.0, model="compute", protocol="binary")]
    raw = [
        {"model": "compute", "rows": 1, "round": 1, "runs_per_second": 80.0},
        {"model": "compute", "rows": 4, "round": 1, "runs_per_second": 25.0},
    ]
    assert summary.summarise(run(lines, raw), None)["compute_fraction"] == 0.95


def test_costs_are_positive_shares_of_requests_lost():
    changes = {
        "receipts_over_off_requests_change_16": -0.05,
        "receipts_over_off_requests_change_64": -0.06,
        "copies_over_receipts_requests_change_16": -0.12,
        "copies_over_receipts_requests_change_64": -0.08,
    }
    found = summary.summarise(run([]), changes)
    assert (found["receipts_cost"], found["copies_cost_16"], found["copies_cost_64"]) == (0.06, 0.12, 0.08)


def test_memory_is_told_beyond_the_model():
    memory = [{"model": "small", "server": "leadline", "model_mb": 2.0, "rss_mb": 110.0, "pss_mb": 80.0}]
    assert summary.summarise(run([], memory=memory), None)["rss_mb"] == 108


def test_failures_are_named_on_the_page():
    failure = {"model": "", "server": "mosec", "what": "does not install here", "reason": "no wheel"}
    results = run([]) | {"summary": {}, "environment": {}, "failures": [failure]}
    others = [json.loads(path.read_text()) for path in page.SOURCES[1:]]
    assert "mosec: does not install here: no wheel" in page.text(results, *others)


@pytest.mark.parametrize("contender", [each for each in contenders.ALL if each.peer], ids=lambda each: each.name)
def test_peer_is_pinned_whole(contender):
    lines = (places.PEERS / f"{contender.peer}.txt").read_text().splitlines()
    assert all(line.startswith("#") or re.fullmatch(r"[\w.-]+==[\w.+-]+", line) for line in lines)
    assert contenders.version(contender)
    assert (places.PEERS / f"{contender.peer}_server.py").is_file()
