"""The example that learns: its flights, its models, and what it makes of the client's log."""

import json
from datetime import date

import numpy as np
import onnxruntime
import pandas as pd
import pytest

from examples.learning import account, flights, train


def flight(number, **changed):
    told = {
        "date": f"2013-02-{number % 28 + 1:02}",
        "origin": ("EWR", "JFK")[number % 2],
        "dest": ("LAX", "ORD", "MIA")[number % 3],
        "carrier": "UA",
        "distance": 700.0 * (1 + number % 3),
        "hour": float(number % 24),
        "minutes": 100.0 * (1 + number % 3),
    }
    return flights.Flight(**told | changed)


def test_flights_come_in_order_of_time_and_the_stream_is_the_same_each_time():
    known = flights.flights()
    assert [each.date for each in known] == sorted(each.date for each in known)
    assert flights.stream(known) == flights.stream(known)
    assert min(each.date for each in flights.stream(known)) == "2013-02-01"
    assert {each.date for each in flights.january(known, until="2013-01-15")} == {
        f"2013-01-{day:02}" for day in range(1, 16)
    }


def test_model_answers_as_it_was_learned_and_knows_no_other_airport():
    several = [flight(number) for number in range(60)]
    frame = pd.DataFrame(several)
    session = onnxruntime.InferenceSession(train.to_onnx(train.learn(frame, frame.minutes)))
    asked = flights.columns([*several[:3], flight(0, dest="HNL")])
    inputs = {
        name: np.array(column, dtype=object if name in train.NAMES else np.float32) for name, column in asked.items()
    }
    (told,) = session.run(None, inputs)
    assert told.shape == (4, 1)
    assert told[:3, 0] == pytest.approx([100, 200, 300], abs=3)
    assert np.isfinite(told[3, 0])


def test_curve_is_of_windows_that_follow_one_another():
    stream = [flight(0, date=f"2013-03-{1 + number // 100:02}") for number in range(1_200)]
    answers = [(place, 100.0 + (5.0 if place < 500 else 10.0)) for place in range(1_200)]
    days, errors = account.curve(stream, answers[::-1])
    assert errors == pytest.approx([5.0, 10.0])
    assert days == [date(2013, 3, 3), date(2013, 3, 8)]


def test_account_takes_what_the_client_says_and_keeps_what_it_does_not_understand():
    kept = account.Account()
    kept.add(json.dumps({"answers": [[1, "b", 2.0], [0, "a", 1.0]], "failed": [], "final": False}))
    kept.add("Traceback (most recent call last):")
    kept.add(json.dumps({"answers": [], "failed": ["7: refused"], "final": True}))
    assert kept.revisions() == ["a", "b"]
    assert kept.failed == ["Traceback (most recent call last):", "7: refused"]
    assert kept.is_over


def test_plot_is_drawn(tmp_path):
    stream = [flight(number) for number in range(1_100)]
    kept = account.Account(
        [account.Answer(place, "a" if place < 600 else "b", 100.0) for place in range(len(stream))], is_over=True
    )
    account.plot(tmp_path / "made" / "learning.png", stream, kept, [110.0] * len(stream))
    assert (tmp_path / "made" / "learning.png").read_bytes().startswith(b"\x89PNG")
