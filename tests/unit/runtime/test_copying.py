"""Copies of requests: what is sent where, what an answer says of whom, and what is never held against a target."""

import asyncio
import json
import random

import msgspec
import pytest
from leadline_runtime.outcomes import copying
from leadline_wire import ledger
from leadline_wire.exchange import Copy

from tests.unit.runtime import models
from tests.unit.runtime.models import Served, asking, tensor
from tests.unit.runtime.test_binary import floats, raw
from tests.unit.runtime.wires import answers, request

LIMIT_SECONDS = 10.0


def reply(body=b"i1", status=b"200 OK"):
    return b"HTTP/1.1 %b\r\ncontent-type: text/plain\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body)


class Target:
    """Another revision's own port: reads pipelined requests and answers as the test says."""

    def __init__(self, *answer):
        (self.answer,) = answer or (reply(),)
        self.asked = []
        self.connections = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.server = None
        self.writers = []
        self.ended = 0

    async def start(self, revision="m-2", share=1_000_000):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        return Copy(revision, "127.0.0.1", self.server.sockets[0].getsockname()[1], share)

    async def serve(self, reader, writer):
        self.connections += 1
        self.writers.append(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0])
                asked = head + await reader.readexactly(length)
                self.asked.append(asked)
                await self.gate.wait()
                if self.answer is None:
                    break
                writer.write(self.answer(asked) if callable(self.answer) else self.answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()
        self.ended += 1

    def stop(self):
        self.gate.set()
        self.server.close()
        for writer in self.writers:
            writer.close()


@pytest.fixture
async def copying_(tmp_path):
    """A served model whose requests are copied."""
    served = Served(models.classifier(tmp_path / "m.onnx")).sign()
    pairs: list[ledger.Copied] = []

    def on_pairs(told):
        pairs.extend(msgspec.json.decode(pair, type=ledger.Copied) for pair in told)

    targets = []
    copier = copying.Copier(asyncio.get_running_loop(), served.counters, "m-1", "/v2/models/m/infer", on_pairs)
    served.recorder.copier = copier
    served.pairs, served.copier, served.copies = pairs, copier, served.counters.copies

    async def to(*made, share=1_000_000):
        targets.extend(made)
        copier.aim([await target.start(f"m-{number}", share) for number, target in enumerate(made, 2)])
        await eventually(lambda: all(target.connections == copying.LINKS for target in made))
        return served

    served.to = to
    yield served
    copier.close()
    for target in targets:
        target.stop()
    await asyncio.sleep(0.01)


async def eventually(check):
    async with asyncio.timeout(LIMIT_SECONDS):
        while not (found := check()):
            await asyncio.sleep(0.001)
    return found


def row(place, **more):
    return asking(tensor([float(number == place) for number in range(3)], [1, 3]), **more)


def send(served, *bodies):
    sent = [served.send(request("/v2/models/m/infer", json.dumps(body).encode())) for body in bodies]
    served.loop.run()
    return [answers(transport.sent)[0] for transport in sent]


async def test_a_copy_is_the_body_as_it_came_and_both_predictions_become_a_pair(copying_):
    target = Target(reply(b"i2"))
    served = await copying_.to(target)
    (answer,) = send(served, row(1))
    (pair,) = await eventually(lambda: served.pairs)
    receipt = json.loads(answer.body)["parameters"]["receipt"].split(".")
    assert pair == ledger.Copied(receipt[6], "m-1", "m-2", "i1", "i2")
    (asked,) = target.asked
    assert asked.startswith(b"POST /v2/models/m/infer HTTP/1.1\r\nhost: 127.0.0.1:")
    assert b"\r\nleadline-copy: 1\r\n" in asked
    assert json.loads(asked.partition(b"\r\n\r\n")[2]) == row(1)
    assert served.copies == {"Answered": 1}


async def test_a_copy_of_a_binary_request_can_be_read_by_another_revision(copying_):
    served = await copying_.to(Target(lambda asked: bytes(served_alone.send(asked, own=True).sent)))
    served_alone = Served(None, model=served.model).sign()
    take = served_alone.inference.infer_own

    def answer_at_once(caller):
        take(caller)
        served_alone.loop.run()

    served_alone.own.app = answer_at_once
    header = json.dumps(asking(raw(24, [2, 3]))).encode()
    head = f"host: x\r\ninference-header-content-length: {len(header)}\r\n"
    served.send(request("/v2/models/m/infer", header + floats(0, 1, 0, 0, 0, 1), head=head))
    served.loop.run()
    await eventually(lambda: served.pairs)
    (pair,) = served.pairs
    assert (pair.predictions, pair.other_predictions) == ("i1~i2", "i1~i2")


async def test_all_copies_of_one_turn_go_in_order_over_one_connection(copying_):
    target = Target()
    served = await copying_.to(target)
    target.gate.clear()
    send(served, *[row(number % 3, id=f"{number}") for number in range(8)])
    await eventually(lambda: target.asked)
    target.gate.set()
    await eventually(lambda: len(served.pairs) == 8)
    ids = [json.loads(asked.partition(b"\r\n\r\n")[2])["id"] for asked in target.asked]
    assert ids == [f"{number}" for number in range(8)]
    assert [pair.predictions for pair in served.pairs] == [f"i{number % 3}" for number in range(8)]


async def test_each_target_gets_its_own_copy(copying_):
    targets = [Target(reply(b"i1")), Target(reply(b"i2"))]
    served = await copying_.to(*targets)
    send(served, row(1))
    await eventually(lambda: len(served.pairs) == 2)
    assert {(pair.other, pair.other_predictions) for pair in served.pairs} == {("m-2", "i1"), ("m-3", "i2")}


async def test_several_rows_are_compared_row_by_row(copying_):
    served = await copying_.to(Target(reply(b"i0~i2")))
    send(served, asking(tensor([1.0, 0, 0, 0, 1, 0], [2, 3])))
    (pair,) = await eventually(lambda: served.pairs)
    assert (pair.predictions, pair.other_predictions) == ("i0~i1", "i0~i2")


async def test_a_share_of_the_requests_is_copied(copying_, monkeypatch):
    served = await copying_.to(Target(), share=250_000)
    monkeypatch.setattr(random, "random", random.Random(7).random)
    for _ in range(200):
        send(served, row(1))
        await asyncio.sleep(0)
    await eventually(lambda: served.copies.get("Answered", 0) > 30)
    assert sum(served.copies.values()) < 75, "binomial(200, 1/4) with a fixed seed"


async def test_only_what_got_a_receipt_is_copied(copying_):
    target = Target()
    served = await copying_.to(target)
    served.recorder.minter.is_drawn = lambda: False
    served.recorder.minter.share = 0
    served.recorder.minter._fraction = 0.0
    send(served, row(1), asking(tensor([1.0, 0, 0, 0, 1, 0], [2, 3])))
    assert served.ask(row(1), own=True, head="leadline-copy: 1\r\n").body == b"i1"
    await asyncio.sleep(0.05)
    assert target.asked == [], "nor is a copy copied onward"


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (reply(b"{}", b"500 Internal Server Error"), "x5xx"),
        (reply(b"{}", b"400 Bad Request"), "x4xx"),
        (reply(b"", b"503 Service Unavailable"), None),
        (reply(b"", b"429 Too Many Requests"), None),
        (reply(b""), None),
        (reply(b'i1","id":"'), None),
        (reply(b"i1" * (1 << 20)), None),
        (None, None),
        (b"rubbish\r\n\r\n", None),
    ],
    ids=["500", "400", "503", "429", "no prediction", "no word", "endless", "closes", "no HTTP"],
)
async def test_a_targets_error_is_evidence_and_what_may_be_our_fault_is_none(copying_, answer, word):
    served = await copying_.to(Target(answer))
    send(served, row(1))
    await eventually(lambda: served.copies)
    assert [pair.other_predictions for pair in served.pairs] == ([word] if word else [])
    assert served.copies == {"Failed" if word else "Unanswered": 1}


async def test_a_silent_target_times_out_once_and_what_waits_behind_is_not_held_against_it(copying_, monkeypatch):
    monkeypatch.setattr(copying, "SILENCE_SECONDS", 0.3)
    target = Target()
    served = await copying_.to(target)
    target.gate.clear()
    send(served, row(1), row(2))
    (pair,) = await eventually(lambda: served.pairs)
    assert (pair.predictions, pair.other_predictions) == ("i1", "xtimeout")
    target.gate.set()
    await eventually(lambda: len(served.pairs) == 2)
    assert served.pairs[1].other_predictions == "i1"
    await asyncio.sleep(0.05)
    assert len(served.pairs) == 2, "an answer that comes after all is passed over"


async def test_a_target_that_is_silent_for_long_is_cut_off(copying_, monkeypatch):
    monkeypatch.setattr(copying, "SILENCE_SECONDS", 0.1)
    monkeypatch.setattr(copying, "_GIVE_UP_SECONDS", 0.3)
    target = Target()
    served = await copying_.to(target)
    target.gate.clear()
    send(served, row(1), row(2))
    await eventually(lambda: served.copies.get("Unanswered"))
    assert [pair.other_predictions for pair in served.pairs] == ["xtimeout"]


async def test_nobody_at_the_target_costs_nothing_but_the_copy(copying_):
    served = copying_
    served.copier.aim([Copy("m-2", "127.0.0.1", 9)])
    (answer,) = send(served, row(1))
    assert answer.status == 200
    await eventually(lambda: served.copies.get("Dropped") == 1)
    assert served.pairs == []


async def test_what_a_target_is_too_slow_for_is_dropped_and_counted(copying_):
    target = Target()
    served = await copying_.to(target)
    target.gate.clear()
    for _ in range(100):
        assert {answer.status for answer in send(served, *[row(1)] * 8)} == {200}
        await asyncio.sleep(0)
    window = copying._WINDOW_FIRST * copying.LINKS
    await eventually(lambda: served.copies.get("Dropped", 0) == 800 - window)
    target.gate.set()
    await eventually(lambda: served.copies.get("Answered") == window)


def argmax(asked):
    data = json.loads(asked.partition(b"\r\n\r\n")[2])["inputs"][0]["data"]
    return reply(b"i%d" % data.index(max(data)))


async def test_answers_belong_to_their_copies_however_many_are_dropped_between_them(copying_, monkeypatch):
    monkeypatch.setattr(copying, "_WINDOW_MAX", copying._WINDOW_FIRST)
    target = Target(argmax)
    served = await copying_.to(target)
    for round_ in range(1, 6):
        target.gate.clear()
        for turn in range(24):
            send(served, *[row((turn + number) % 3) for number in range(7)])
            await asyncio.sleep(0)
        target.gate.set()
        sent = round_ * 24 * 7
        await eventually(lambda sent=sent: sum(served.copies.values()) == sent)
        if round_ == 1:
            # Later a slow answer may have made the window smaller.
            dropped = served.copies["Dropped"]
            assert dropped == sent - copying.LINKS * copying._WINDOW_FIRST
            assert dropped % 7, "the last of a turn were dropped, not only whole turns"
    assert served.copies["Answered"] == len(served.pairs) == sent - served.copies["Dropped"]
    assert all(pair.predictions == pair.other_predictions for pair in served.pairs)


async def test_where_the_model_fails_a_copy_shows_whether_another_one_does(copying_):
    target = Target(reply(b"i2"))
    served = await copying_.to(target)
    nan = asking(tensor([1e38, 3e38, 1.0], [1, 3]))
    run = served.model.run

    def failing(arrays):
        raise RuntimeError("broken")

    object.__setattr__(served.model, "run", failing)
    assert [answer.status for answer in send(served, nan)] == [500]
    (pair,) = await eventually(lambda: served.pairs)
    assert (pair.predictions, pair.other_predictions) == ("x5xx", "i2")
    assert len(pair.id) == 32
    object.__setattr__(served.model, "run", run)


async def test_copies_end_when_there_is_nobody_to_copy_to(copying_):
    target = Target()
    served = await copying_.to(target)
    served.copier.aim([])
    assert not served.copier.is_on
    send(served, row(1))
    await eventually(lambda: target.ended == copying.LINKS)
    assert target.asked == []
