"""What a test set's answers come to."""

import math

from leadline_runtime.engine import session
from leadline_runtime.oip import signature
from leadline_runtime.testset import measuring, runner
from leadline_wire import exchange


def test_the_bitmap_has_row_0_in_the_highest_bit_and_no_answer_is_wrong():
    report = measuring.of_classes([1, 2, None, 4, 5, 6, 7, 8, 9], [1, 2, 3, 4, 5, 6, 7, 0, 9])
    assert report.right == bytes([0b11011110, 0b10000000])
    assert (report.rows, report.invalid, report.task) == (9, 1, "classification")


def test_equal_digests_mean_equal_answers():
    assert measuring.digest([1, 2, None]) == measuring.digest([1, 2, None])
    assert measuring.digest([1, 2, None]) != measuring.digest([1, None, 2])
    assert measuring.digest([1]) != measuring.digest(["1"])


def test_each_pair_of_true_and_predicted_class_is_counted():
    report = measuring.of_classes([1, 1, 2, None, 1], [1, 1, 1, 2, 2])
    assert report.confusion == [
        exchange.ClassCount("1", "1", 2),
        exchange.ClassCount("1", "2", 1),
        exchange.ClassCount("2", None, 1),
        exchange.ClassCount("2", "1", 1),
    ]
    assert report.confusion_rest == 0


def test_of_many_classes_the_most_frequent_pairs_are_told_and_the_rest_as_one_number():
    right = [*range(1_000), *range(10)]
    report = measuring.of_classes(right, right)
    assert len(report.confusion) == exchange.CELLS_MAX
    assert [cell.rows for cell in report.confusion[:11]] == [2] * 10 + [1]
    assert sum(cell.rows for cell in report.confusion) + report.confusion_rest == 1_010
    assert measuring.of_classes(["x" * 1_000], ["y"]).confusion == [exchange.ClassCount("y", "x" * 64, 1)]


def test_errors_are_summed_over_the_rows_that_have_an_answer():
    report = measuring.of_values([1.0, None, 5.0], [2.0, 3.0, 2.0])
    assert (report.absolute_error, report.squared_error, report.invalid, report.rows) == (4.0, 10.0, 1, 3)
    assert (report.right, report.task, report.confusion) == (b"", "regression", [])


def test_errors_beyond_all_bounds_are_still_numbers():
    assert math.isfinite(measuring.of_values([1e300], [-1e300]).squared_error)


def test_values_that_differ_by_rounding_are_the_same_answer():
    assert measuring.is_same(1.0, 1.00001)
    assert not measuring.is_same(1.0, 1.001)
    assert not measuring.is_same(1.0, None)
    assert measuring.of_values([1.000001], [1.0]).answers == measuring.of_values([1.000002], [1.0]).answers
    assert measuring.of_values([1.1], [1.0]).answers != measuring.of_values([1.2], [1.0]).answers


def test_further_passes_cut_the_rows_elsewhere_and_leave_none_out():
    for rows in (1, 7, 8, 9, 16, 40):
        for shift in (0, 8):
            cuts = list(runner._cuts(rows, 16, shift=shift))
            assert [row for start, end in cuts for row in range(start, end)] == list(range(rows))
    assert list(runner._cuts(20, 16, shift=8)) == [(0, 8), (8, 20)]


def model(row_seconds, full_seconds, *, has_rows=True):
    return session.Model(None, signature.Signature((), (), has_rows), "", "", (), row_seconds, full_seconds)


def test_as_many_rows_are_run_at_once_as_hold_nobody_up():
    assert runner._chunk_rows(model(10e-6, 20e-6), 64) == 16
    assert runner._chunk_rows(model(10e-6, 20e-6), 3) == 2
    assert runner._chunk_rows(model(100e-6, 64 * 100e-6), 64) == 4
    assert runner._chunk_rows(model(5e-3, 64 * 5e-3), 64) == 1
    assert runner._chunk_rows(model(10e-6, 10e-6, has_rows=False), 64) == 1
    assert runner._chunk_rows(model(0.0, math.inf, has_rows=False), 64) == 1


def test_under_load_a_run_takes_the_time_that_it_has_and_never_more_than_a_fifth_of_the_cores():
    assert runner._pause(0.01, 10.0) == 99.0
    assert runner._pause(1.0, 10.0) == 9.0
    assert runner._pause(60.0, 10.0) == 4.0
    assert runner._pause(0.0, 10.0) == 99.0
