"""The operator's reader of the ledger beside the real ledger in its own process: kills, cuts, checkpoints, decisions.

Not covered: what follows from the evidence (tests/unit/reconcile), and the API server (tests/cluster).
"""

import asyncio
import contextlib
import urllib.request
import uuid

import msgspec
import pytest
from leadline_operator.reconcile import evidence_state, terms
from leadline_operator.reconcile.evidence import Evidence, fold
from leadline_operator.reconcile.terms import Terms
from leadline_operator.soundings import outcomes as reading
from leadline_operator.soundings.ledger import Ledger
from leadline_operator.soundings.outcomes import Outcomes
from leadline_wire import ledger

from tests.wiring.ledger.parts import OPERATOR, ApiServer, Process

SECONDS = 40.0
LABELLER = "jo@example.com"
TERMS = Terms("key", "accuracy", graded=False, margin=0.02, comparison_alpha=0.004, limit_alpha=0.004)


@pytest.fixture
def process(tmp_path):
    api, folder = ApiServer(), tmp_path / "volume"
    folder.mkdir()
    api.allowed = {(LABELLER, "create", "modeldeployments/labels", "shop")}
    made = Process(folder, api).start()
    yield made
    made.end()
    api.close()


class Reader:
    """One life of the operator's reader."""

    def __init__(self, process, folder):
        token = folder / "token"
        token.write_text(OPERATOR)
        self.woken = asyncio.Event()
        self.ledger = Ledger(f"http://127.0.0.1:{process.port}", token)
        self.outcomes = Outcomes(self.ledger, woken=lambda *_: self.woken.set(), now=lambda: 0.0)
        self.task = asyncio.create_task(self.outcomes.run())

    async def until(self, holds):
        async with asyncio.timeout(SECONDS):
            while (view := self.outcomes.view("shop", "fraud")) is None or not holds(view):
                self.woken.clear()
                await self.woken.wait()
        return view

    async def end(self):
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task
        await self.ledger.close()


@pytest.fixture
async def readers(process, tmp_path):
    made = []

    def make():
        made.append(Reader(process, tmp_path))
        return made[-1]

    yield make
    for each in made:
        await each.end()


def report(process, count, *, revision="new", wrong_each=2):
    """Report outcomes with copies that the old revision answered right."""
    outcomes, copies = [], []
    for number in range(count):
        identifier = uuid.uuid4().hex
        identifier = f"{0x19ABD265F80 + number:012x}7{identifier[13:]}"
        said = "i0" if number % wrong_each == 0 else "i1"
        outcomes.append(
            ledger.Outcome(
                0, id=identifier, revision=revision, prediction=said, truth="i1", max_age_ms=3_000_000_000_000
            )
        )
        copies.append(ledger.Copied(identifier, revision, "old", said, "i1", max_age_ms=3_000_000_000_000))
    status, body = process.call(
        "POST", "/v1/namespaces/shop/models/fraud/intake", ledger.Intake(outcomes=outcomes, copies=copies)
    )
    assert status == 200, body
    assert set(msgspec.json.decode(body, type=ledger.IntakeAnswer).fates) == {"Accepted"}


def decision(number, kind="Terms", revision=""):
    return ledger.Decision(f"d{number}", kind, revision, 0, data=terms.data_of((TERMS,)) if kind == "Terms" else {})


async def test_decisions_are_told_once_and_outcomes_are_folded_as_they_come(process, readers):
    reader = readers()
    await reader.until(lambda view: not view.trouble)
    told = (decision(0), decision(1, "Promoted", "old"), decision(2, "Promoted", "new"))
    for _ in range(3):
        reader.outcomes.announce("shop", "fraud", told)
    await reader.until(lambda view: len(view.evidence.decisions) == 3)
    report(process, 40)
    view = await reader.until(lambda view: ("new", "old") in view.evidence.first.pairs)
    assert view.evidence.first.pairs["new", "old"].comparison.pairs == 40
    assert view.evidence.first.own["new"].outcomes == 40
    assert [each.id for each in process.log() if isinstance(each, ledger.DecisionEntry)] == ["d0", "d1", "d2"]


def label(process, count):
    rows = b"".join(b'{"X": [%d], "label": 1}\n' % number for number in range(count))
    url = f"http://127.0.0.1:{process.port}/v1/namespaces/shop/models/fraud/labels?truth=label"
    request = urllib.request.Request(url, rows, {"authorization": f"Bearer {LABELLER}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 200


def waiting_labels(process):
    status, body = process.call("GET", "/v1/namespaces/shop/models/fraud/labels/waiting")
    assert status == 200
    return msgspec.json.decode(body, type=ledger.LabelsWaiting).rows


async def test_labelled_rows_wake_the_operator_at_once_and_are_seen_by_the_next_one_too(process, readers):
    reader = readers()
    await reader.until(lambda view: not view.trouble)
    began = asyncio.get_running_loop().time()
    await asyncio.to_thread(label, process, 3)
    view = await reader.until(lambda view: view.labels_waiting == 3)
    assert asyncio.get_running_loop().time() - began < 5.0, "not by the end of a long poll"
    assert view.evidence.decisions == {}
    second = readers()
    await second.until(lambda view: view.labels_waiting == 3)
    done = [
        ledger.Labelled(each.id, ledger.Outcome(0, id=each.id, revision="new", prediction="i1", truth="i1"))
        for each in waiting_labels(process)
    ]
    status, _ = process.call("POST", "/v1/namespaces/shop/models/fraud/intake", ledger.Intake(labelled=done))
    assert status == 200
    for each in (reader, second):
        await each.until(lambda view: view.labels_waiting == 0)


async def test_killed_ledger_is_trouble_and_no_evidence_until_it_is_back(process, readers):
    reader = readers()
    await reader.until(lambda view: not view.trouble)
    reader.outcomes.announce("shop", "fraud", (decision(0),))
    await reader.until(lambda view: bool(view.evidence.streams))
    report(process, 10)
    before = await reader.until(lambda view: "new" in view.evidence.first.own)
    process.kill()
    view = await reader.until(lambda view: view.trouble)
    assert view.evidence == before.evidence
    reader.outcomes.announce("shop", "fraud", (decision(1, "Promoted", "new"),))
    process.start()
    view = await reader.until(lambda view: not view.trouble and "d1" in view.evidence.decisions)
    assert view.evidence.first.own == before.evidence.first.own


async def test_terms_that_are_wanted_no_longer_are_not_told_when_the_ledger_is_back(process, readers):
    reader = readers()
    await reader.until(lambda view: not view.trouble)
    reader.outcomes.announce("shop", "fraud", (decision(0),))
    await reader.until(lambda view: bool(view.evidence.streams))
    process.kill()
    await reader.until(lambda view: view.trouble)
    reader.outcomes.announce("shop", "fraud", (decision(1), decision(2, "Promoted", "new")))
    reader.outcomes.announce("shop", "fraud", (decision(2, "Promoted", "new"),))
    process.start()
    view = await reader.until(lambda view: "d2" in view.evidence.decisions)
    assert list(view.evidence.decisions) == ["d0", "d2"]


async def test_next_life_goes_on_from_the_checkpoint_with_the_same_evidence(process, readers, monkeypatch):
    monkeypatch.setattr(reading, "CHECKPOINT_SECONDS", 0.1)
    first = readers()
    await first.until(lambda view: not view.trouble)
    first.outcomes.announce(
        "shop", "fraud", (decision(0), decision(1, "Promoted", "old"), decision(2, "Promoted", "new"))
    )
    await first.until(lambda view: len(view.evidence.decisions) == 3)
    report(process, 30)
    cursor = (await first.until(lambda view: ("new", "old") in view.evidence.first.pairs)).evidence.cursor

    def resume():
        status, body = process.call("GET", "/v1/resume", token=OPERATOR)
        assert status == 200
        (state,) = msgspec.json.decode(body, type=ledger.Resume).models
        return state.checkpoint

    async with asyncio.timeout(SECONDS):
        while (kept := resume()) is None or kept.cursor < cursor:
            await asyncio.sleep(0.05)
    await first.end()
    report(process, 200)
    second = readers()
    view = await second.until(lambda view: ("new", "old") in view.evidence.first.pairs)
    whole = fold(Evidence(), process.log())
    assert view.evidence == whole
    assert whole.first.pairs["new", "old"].is_worse
    assert kept.state == evidence_state.write(
        fold(Evidence(), [each for each in process.log() if each.seq <= kept.cursor])
    )
