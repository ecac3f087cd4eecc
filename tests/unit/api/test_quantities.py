"""Durations mean here what the API server takes them for; amounts of pods round up."""

import pytest
from leadline_api import quantities


@pytest.mark.parametrize(
    ("duration", "expected"),
    [
        ("90s", 90),
        ("1h30m", 5400),
        ("1.5h", 5400),
        (".5s", 0.5),
        ("250ms", 0.25),
        ("0", 0),
        ("-5m", -300),
        ("+5m", 300),
        ("7d", 604_800),
        ("2w", 1_209_600),
        ("2 weeks", 1_209_600),
        ("10 minutes", 600),
        ("1 day 12 hours", 129_600),
        ("1d2h", 93_600),
        ("3 HR", 10_800),
        ("3650d", 315_360_000),
    ],
)
def test_seconds_reads_what_the_api_server_reads(duration, expected):
    assert quantities.seconds(duration) == pytest.approx(expected)


@pytest.mark.parametrize("duration", ["", "10", "abc", "s", "1", "1.5", "5 moons", ".s"])
def test_seconds_refuses_what_is_no_duration(duration):
    with pytest.raises(ValueError, match="expected a duration such as 90s, 1h30m or 7d, got"):
        quantities.seconds(duration)


def test_seconds_refuses_more_than_ten_years():
    with pytest.raises(ValueError, match="expected a duration of at most 3650d, got '99999w'"):
        quantities.seconds("99999w")


@pytest.mark.parametrize(
    ("amount", "of", "expected"),
    [("Same", 3, 3), ("50%", 3, 2), ("0%", 3, 0), ("100%", 3, 3), ("1%", 0, 0), (2, 5, 2), ("2", 5, 2), (0, 5, 0)],
)
def test_pods_counts_same_percentages_and_numbers(amount, of, expected):
    assert quantities.pods(amount, of=of) == expected


@pytest.mark.parametrize("amount", ["same", "half", "", "-1", -1, "1.5", "50 %"])
def test_pods_refuses_anything_else(amount):
    with pytest.raises(ValueError, match="expected Same, a percentage such as 50% or a number of pods, got"):
        quantities.pods(amount, of=3)
