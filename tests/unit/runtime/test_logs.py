"""What a line of the logs looks like, and of the access log."""

import io
import json
import logging
import os
import threading
from pathlib import Path

import pytest
from leadline_runtime import logs
from leadline_runtime.telemetry import access_log


@pytest.fixture
def lines():
    """Return a function that gives what was logged."""
    logger = logging.getLogger("leadline.runtime")
    before = logger.handlers[:], logger.level, logger.propagate
    logs.start("worker")
    stream = io.StringIO()
    logger.handlers[0].setStream(stream)
    yield lambda: stream.getvalue().splitlines()
    logger.handlers[:], logger.propagate = before[0], before[2]
    logger.setLevel(before[1])


def broken():
    raise ValueError("first line\nsecond line")


def fail():
    try:
        broken()
    except ValueError:
        logs.error("it failed", exc_info=True, path="/v2")


@pytest.mark.parametrize("form", logs.Format)
def test_a_traceback_stands_in_its_line(lines, form):
    logs.adjust(logs.Level.INFO, form)
    fail()
    (line,) = lines()
    assert "ValueError: first line\\nsecond line" in line
    assert "Traceback" in line


def test_a_text_line_quotes_what_could_be_misread(lines):
    logs.info("model fetched", uri="s3://a/b", why="two words", empty="")
    (line,) = lines()
    assert line.partition("Z ")[2] == 'INFO worker model fetched uri=s3://a/b why="two words" empty=""'


def test_a_json_line_keeps_numbers_and_its_own_fields(lines):
    logs.adjust(logs.Level.INFO, logs.Format.JSON)
    logs.warning("slow", seconds=1.5, rows=3, ok=True, none=None, level="hidden", path=os.path)
    line = json.loads(lines()[0])
    assert (line["seconds"], line["rows"], line["ok"], line["none"]) == (1.5, 3, True, None)
    assert (line["level"], line["message"], line["process"]) == ("warning", "slow", "worker")
    assert line["path"].startswith("<module")


def test_less_than_the_level_is_not_logged(lines):
    logs.adjust(logs.Level.WARNING, logs.Format.TEXT)
    logs.info("not this")
    logs.debug("nor this")
    logs.warning("this")
    assert len(lines()) == 1
    logs.adjust(logs.Level.DEBUG, logs.Format.TEXT)
    logs.debug("now this")
    assert len(lines()) == 2


def test_a_request_is_found_again_by_its_ids():
    headers = {b"x-request-id": b"order-7" * 50, b"traceparent": b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01"}
    assert logs.of_request(headers) == {"request_id": ("order-7" * 50)[:128], "trace_id": "a" * 32}
    assert logs.of_request({}) == {}


def record(target=b"/v2", **more):
    fields = {"ended_ns": 1_764_110_000_123_456_789, "seconds": 0.0012345, "port": "public", "protocol": "HTTP/1.1"}
    fields |= {"method": b"GET", "target": target, "status": 200, "request_bytes": 0, "response_bytes": 5}
    return access_log.Record(**fields, client="::1", trace=b"", request_id=b"", **more)


def written(*records, share=1.0):
    reader, writer = os.pipe()
    log = access_log.AccessLog(share, "m-1", descriptor=writer)
    for each in records:
        log.add(each)
    log.start()
    log.close()
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        return file.read()


def test_a_line_of_the_access_log_is_json_with_units_in_its_names():
    assert json.loads(written(record(grpc_status=0))) == {
        "time": "2025-11-25T22:33:20.123Z",
        "port": "public",
        "protocol": "HTTP/1.1",
        "method": "GET",
        "path": "/v2",
        "status": 200,
        "duration_ms": 1.234,
        "request_bytes": 0,
        "response_bytes": 5,
        "revision": "m-1",
        "client": "::1",
        "grpc_status": 0,
    }


def test_what_a_client_sent_cannot_forge_a_line_or_fill_the_log():
    raw = written(record(b'/v2\n{"status":200}\xff' + b"x" * 10_000))
    (line,) = raw.splitlines()
    path = json.loads(line)["path"]
    assert path.startswith('/v2\n{"status":200}�x')
    assert len(path) == 512


def test_each_write_comes_through_a_pipe_in_one_piece(monkeypatch):
    sizes = []
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: sizes.append(len(data)) or write(descriptor, data))
    assert len(written(*[record(b"/v2/%d" % number) for number in range(200)]).splitlines()) == 200
    assert max(sizes) <= access_log.WRITE_BYTES
    assert len(sizes) < 50


def test_a_full_buffer_drops_and_counts():
    log = access_log.AccessLog(1.0, "m-1")
    for _ in range(access_log.BUFFER_MAX + 7):
        log.add(record())
    assert log.dropped == 7


def test_an_output_that_is_gone_is_told_once_and_counted(lines):
    reader, writer = os.pipe()
    os.close(reader)
    log = access_log.AccessLog(1.0, "m-1", descriptor=writer)
    log.start()
    told = threading.Event()
    for _ in range(500):
        log.add(record())
        if told.wait(0.01) or log.dropped:
            break
    log.close()
    os.close(writer)
    assert log.dropped > 0
    assert len(lines()) == 1
    assert 'access log cannot be written and ends error="Broken pipe"' in lines()[0]


def test_a_share_of_the_good_and_all_errors_are_wanted():
    log = access_log.AccessLog(0.25, "m-1")
    assert all(log.wants(status) for status in (400, 404, 499, 500))
    wanted = sum(log.wants(200) for _ in range(10_000))
    assert 2_000 < wanted < 3_000
    assert not any(access_log.AccessLog(0.0, "m-1").wants(200) for _ in range(100))


def test_the_docs_show_a_line_as_it_is():
    page = (Path(__file__).parents[3] / "docs" / "observability.md").read_text()
    (example,) = [line for line in page.splitlines() if line.startswith('{"time":"')]
    trace = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    shown = record(b"/v2/models/digits/infer")._replace(
        ended_ns=1_772_357_400_123_000_000,
        seconds=0.000412,
        method=b"POST",
        request_bytes=1_306,
        response_bytes=331,
        client="10.244.1.7",
        trace=trace,
        request_id=b"order-7",
    )
    assert written(shown).decode().strip() == example.replace("digits-6c1f02ab9e", "m-1")
