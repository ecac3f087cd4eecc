"""Reports of runtimes of other versions."""

import msgspec
from leadline_wire import exchange

OLD = b'{"nonce":"n","pod_uid":"u","revision":"digits-1","epoch":3,"role":"serving","phase":"Ready","requests":5}'


def test_a_report_of_an_older_runtime_says_nothing_of_service():
    report = msgspec.json.decode(OLD, type=exchange.ExchangeReport)
    assert (report.requests, report.service) == (5, None)


def test_a_report_of_a_newer_runtime_is_read_as_far_as_it_is_known():
    service = exchange.ServiceReport(started_ms=1, requests=5, bounds=[0.1], latency=[5, 0])
    report = exchange.ExchangeReport("n", "u", "digits-1", 3, "serving", "Ready", service=service)
    told = msgspec.json.decode(msgspec.json.encode(report))
    told["service"]["what_comes_later"] = 1
    assert msgspec.convert(told, exchange.ExchangeReport) == report


def test_bounds_of_latency_rise():
    assert list(exchange.LATENCY_BOUNDS_SECONDS) == sorted(set(exchange.LATENCY_BOUNDS_SECONDS))
