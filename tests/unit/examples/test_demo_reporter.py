"""The demo's client that reports true answers: which rows it asks, what it reports, and what is read from its lines.

The requests themselves are test_demo_client's; the whole way is the demo's own.
"""

import asyncio
import importlib
import json
from pathlib import Path

import pytest

from examples.demo.answers import Account

FOLDER = Path(__file__).parents[3] / "examples" / "demo"


@pytest.fixture
def reporter(monkeypatch):
    """In its pod the program lies beside client.py, with nothing else."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("reporter")


def test_each_revision_is_asked_every_row_from_the_first_on(reporter):
    order = reporter.Order(["a", "b", "c"])
    questions = iter(order)
    assert [next(questions), next(questions)] == ["a", "b"]
    order.answered_by("one")
    assert [next(questions), next(questions)] == ["a", "b"]
    order.answered_by("two")
    assert next(questions) == "a"
    order.answered_by("one")
    assert next(questions) == "c", "back where it was"
    assert not order.is_used_up()
    assert next(questions) == "a"
    assert order.is_used_up()


async def test_true_answer_is_reported_with_the_receipt_until_the_rows_are_used_up(reporter):
    sent = []

    class Target:
        path = "/v2/models/digits/infer"

        async def ask_on_kept(self, body, path):
            sent.append((path, json.loads(body)))
            return b"{}"

    order = reporter.Order(["a"])
    made = reporter.Reporter(Target(), order)
    receipt = "1.k.digits-a.1000000...0123.i7.mac"
    answer = json.dumps({"parameters": {"receipt": receipt}}).encode()
    order.answered_by("digits-a")
    next(iter(order))
    async with asyncio.timeout(10):
        await made.told(reporter.client.Question(b"", 7), answer, "digits-a")
        assert sent == [("/v2/models/digits/outcomes", {"receipt": receipt, "truth": 7})]
        assert made.reports.accepted == 1
        assert list(made.reports.acknowledged) == ["0123"]
        next(iter(order))
        await made.told(reporter.client.Question(b"", 7), answer, "digits-a")
    assert len(sent) == 1


def test_account_keeps_what_the_reporter_says_of_its_reports():
    account = Account("digits")
    account.add(json.dumps({"reports": {"accepted": 2, "refused": 1, "errors": ["503"]}, "acknowledged": {"a": 1.0}}))
    account.add(json.dumps({"reports": {"accepted": 3, "refused": 1, "errors": ["503"]}, "acknowledged": {"b": 2.0}}))
    assert (account.accepted, account.refused, account.report_errors) == (3, 1, ["503"])
    assert account.acknowledged == {"a": 1.0, "b": 2.0}
    assert account.other_lines == []
