"""Operator and runtime of neighbouring versions understand each other about test sets."""

import msgspec
from leadline_wire import exchange

OLD = {
    "run": "k.a0",
    "state": "Done",
    "digest": "sha256:d",
    "rows": 9,
    "right": "/4A=",
    "changed": 1,
    "answers": "sha256:a",
}


def test_a_report_of_a_runtime_that_counted_right_and_wrong_only_is_read():
    report = msgspec.json.decode(msgspec.json.encode(OLD), type=exchange.TestSetReport)
    assert (report.right, report.changed, report.task, report.passes, report.confusion) == (b"\xff\x80", 1, "", 1, [])


def test_a_new_report_is_read_by_an_operator_that_knows_right_and_wrong_only():
    old = msgspec.defstruct("Old", [("run", str), ("state", str), ("rows", int), ("right", bytes), ("changed", int)])
    new = exchange.TestSetReport(
        run="k.a0",
        state="Done",
        rows=9,
        right=b"\xff\x80",
        changed=1,
        unsteady=b"\x80\x00",
        confusion=[exchange.ClassCount("a", None, 9)],
    )
    told = msgspec.json.decode(msgspec.json.encode(new), type=old)
    assert (told.rows, told.right, told.changed) == (9, b"\xff\x80", 1)


def test_a_request_of_an_operator_that_says_no_task_is_for_classes():
    request = msgspec.json.decode(b'{"uri": "s3://a/b", "truth": "y", "run": "k.a0"}', type=exchange.TestSetRequest)
    assert (request.task, request.pace_seconds) == ("", 0.0)


def test_the_largest_report_is_a_small_part_of_what_an_exchange_may_hold():
    cells = [exchange.ClassCount("\\" * 64, "\\" * 64, 65_536)] * exchange.CELLS_MAX
    report = exchange.TestSetReport(
        run="k.a0", state="Done", rows=65_536, right=bytes(8_192), unsteady=bytes(8_192), confusion=cells
    )
    assert len(msgspec.json.encode(report)) < exchange.BODY_LIMIT_BYTES / 4
