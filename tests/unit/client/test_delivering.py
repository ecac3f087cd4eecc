"""Outcomes through the store to the server: what each report says, what waits, and that nothing is lost wherever it ends."""

import pytest
from leadline_client import SqliteStore, StoreError, delivering, errors, steps
from leadline_client.outcomes import Fate, Outcome

from tests.unit.client.worlds import Ledger, World, receipt


@pytest.fixture
def store(tmp_path):
    made = SqliteStore(tmp_path / "s.db")
    yield made
    made.close()


@pytest.fixture
def ledger():
    return Ledger()


@pytest.fixture
def world(ledger):
    return World(server=ledger)


def of(number, truth=1, **more):
    return Outcome(receipt=receipt(number), truth=truth, **more)


def report(world, store, *given, **more):
    return world.run(delivering.report(world.way(store, **more), given, world.budget()))


def flush(world, store):
    return world.run(delivering.flush(world.way(store), world.budget()))


def fates(told):
    return [each.fate for each in told]


def test_report_is_answered_and_nothing_waits(world, store, ledger):
    assert fates(report(world, store, of(0), of(1), of(0, 2))) == [Fate.ACCEPTED, Fate.ACCEPTED, Fate.CONFLICT]
    assert fates(report(world, store, of(0))) == [Fate.DUPLICATE]
    assert store.waiting("digits") == 0
    assert len(ledger.calls) == 2


def test_outcome_is_in_the_store_before_it_is_sent(world, store, ledger):
    seen = []
    world.server = lambda request: (seen.append(store.waiting("digits")), ledger(request))[1]
    report(world, store, of(0), of(1))
    assert seen == [2]


def test_remembered_receipt_is_reported_by_its_key(world, store, ledger):
    way = world.way(store)
    world.run(delivering.remember(way, "order 1", receipt(7)))
    world.run(delivering.remember(way, "order 2", None))
    told = report(world, store, Outcome(key="order 1", truth=3), Outcome(key="order 2", truth=3))
    assert fates(told) == [Fate.ACCEPTED, Fate.NO_RECEIPT]
    assert told[0].outcome == Outcome(key="order 1", truth=3)
    assert set(ledger.told) == {(receipt(7), 0)}
    with pytest.raises(errors.UnknownKey, match="nothing is remembered under 'order 3', and 1 more"):
        report(world, store, Outcome(key="order 3", truth=1), Outcome(key="order 4", truth=1), of(9))
    assert (receipt(9), 0) not in ledger.told


def test_what_is_not_delivered_waits_and_goes_later_once(world, store, ledger):
    ledger.down = True
    told = report(world, store, of(0), of(1))
    assert fates(told) == [Fate.WAITING] * 2
    assert "the ledger does not answer" in told[0].why
    assert len(ledger.calls) == delivering.TRIES_WITH_OUTBOX, "the caller does not wait for what waits"
    flushed = flush(world, store)
    assert (flushed.waiting, flushed.counts) == (2, {})
    assert "the ledger does not answer" in flushed.why
    ledger.down = False
    assert flush(world, store) == delivering.Flushed({Fate.ACCEPTED: 2}, (), 0, "")
    assert flush(world, store) == delivering.Flushed()
    assert set(ledger.told) == {(receipt(0), 0), (receipt(1), 0)}


def test_flush_says_by_key_what_was_not_taken_and_forgets_it(world, store, ledger):
    world.run(delivering.remember(world.way(store), "order 1", receipt(0)))
    ledger.down = True
    report(world, store, Outcome(key="order 1", truth=1), of(1), of(2), Outcome(key="order 1", truth=2))
    ledger.down = False
    ledger.spoil = lambda item: {receipt(1): 410, receipt(2): 400}.get(item["receipt"])
    flushed = flush(world, store)
    assert flushed.counts == {Fate.ACCEPTED: 1, Fate.TOO_OLD: 1, Fate.REFUSED: 1, Fate.CONFLICT: 1}
    assert {(each.outcome, each.fate, each.why) for each in flushed.refused} == {
        (Outcome(key="order 1", truth=2), Fate.CONFLICT, "another answer"),
        (of(1), Fate.TOO_OLD, "410 on purpose"),
        (of(2), Fate.REFUSED, "400 on purpose"),
    }
    assert flushed.waiting == 0


@pytest.mark.parametrize("status", [401, 403, 404, 405, 500])
def test_refusal_of_all_that_is_reported_loses_nothing(world, store, ledger, status):
    ledger.whole = status
    told = report(world, store, of(0))
    assert (fates(told), told[0].why) == ([Fate.WAITING], f"{status}: {status} on purpose")
    assert flush(world, store).waiting == 1
    ledger.whole = None
    assert flush(world, store).counts == {Fate.ACCEPTED: 1}
    ledger.whole = status
    with pytest.raises(errors.Refused, match=f"{status} on purpose"):
        report(world, None, of(1))


def test_outcome_that_spoils_a_request_holds_up_no_other(world, store, ledger):
    def server(request):
        if b"poison" in request.body:
            return steps.Response(400, {}, b'{"error": "body: expected JSON"}')
        return ledger(request)

    world.server = server
    told = report(world, store, *map(of, range(5)), of(5, "poison"), *map(of, range(6, 9)))
    assert fates(told) == [Fate.ACCEPTED] * 5 + [Fate.REFUSED] + [Fate.ACCEPTED] * 3
    assert told[5].why == "body: expected JSON"
    assert store.waiting("digits") == 0


def test_request_too_large_is_divided(world, store, ledger):
    def server(request):
        return steps.Response(413, {}, b"too much") if request.body.count(b"receipt") > 3 else ledger(request)

    world.server = server
    assert set(fates(report(world, store, *map(of, range(20))))) == {Fate.ACCEPTED}
    world.server = lambda _: steps.Response(413, {}, b"too much")
    assert fates(report(world, store, of(30))) == [Fate.REFUSED]


def test_more_than_a_request_holds_goes_in_several_and_waits_where_one_fails(world, store, ledger):
    rows = [Outcome(receipt=receipt(0, words="~".join(["i1"] * 64)), row=row, truth=1) for row in range(64)]
    given = [*map(of, range(1, 4_090)), *rows]

    def server(request):
        told = ledger(request)
        ledger.down = True
        return told

    world.server = server
    told = report(world, store, *given)
    assert fates(told) == [Fate.ACCEPTED] * 4_089 + [Fate.WAITING] * 64
    ledger.down, world.server = False, ledger
    assert flush(world, store).counts == {Fate.ACCEPTED: 64}
    assert len(ledger.calls[-1]) == 64


def test_without_an_outbox_what_is_not_delivered_is_the_callers(world, store, ledger):
    ledger.down = True
    for kept, more in ((None, {}), (store, {"is_outbox": False})):
        with pytest.raises(errors.Unavailable, match="the ledger does not answer"):
            report(world, kept, of(0), **more)
    assert store.waiting("digits") == 0
    assert len(ledger.calls) > 2 * delivering.TRIES_WITH_OUTBOX


@pytest.mark.parametrize("what", ["remember", "key", "flush"])
def test_without_a_store_what_needs_one_says_so(world, what):
    way = world.way(None)
    flow = {
        "remember": lambda: delivering.remember(way, "a", receipt()),
        "key": lambda: delivering.report(way, [Outcome(key="a", truth=1)], world.budget()),
        "flush": lambda: delivering.flush(way, world.budget()),
    }[what]
    with pytest.raises(
        errors.InputError, match=f"{what}: expected a client with a store, this one was made with store=None"
    ):
        world.run(flow())


def test_key_that_is_none_is_told(world, store):
    with pytest.raises(errors.InputError, match="key: expected a string, got 7"):
        world.run(delivering.remember(world.way(store), 7, receipt()))


def test_store_without_room_does_not_stop_reports_that_can_be_delivered(world, ledger, tmp_path):
    store = SqliteStore(tmp_path / "small.db", waiting_max=1)
    assert fates(report(world, store, of(0), of(1))) == [Fate.ACCEPTED] * 2
    ledger.down = True
    with pytest.raises(errors.Unavailable):
        report(world, store, of(2), of(3))
    store.close()


def test_store_that_fails_is_told_and_nothing_is_sent(world, ledger, tmp_path):
    with pytest.raises(StoreError):
        report(world, SqliteStore(tmp_path / "no" / "s.db"), of(0))
    assert ledger.calls == []


def test_id_that_is_not_known_yet_is_asked_for_again(world, store, ledger):
    calls = []

    def late(item):
        calls.append(item)
        return 404 if len(calls) < 3 else None

    ledger.spoil = late
    (told,) = report(world, store, Outcome(id="order 1", truth=1))
    assert (told.fate, len(world.waits), sum(world.waits) < 1) == (Fate.ACCEPTED, 2, True)


def test_id_that_is_never_known_waits_for_a_while_and_is_then_refused(world, store, ledger):
    ledger.spoil = lambda item: 404 if item.get("id") == "order 1" else None
    told = report(world, store, Outcome(id="order 1", truth=1), Outcome(id="order 2", truth=1))
    assert fates(told) == [Fate.WAITING, Fate.ACCEPTED]
    assert flush(world, store) == delivering.Flushed({}, (), 1, "")
    world.now += delivering.UNKNOWN_ID_SECONDS
    flushed = flush(world, store)
    assert (flushed.counts, flushed.waiting) == ({Fate.REFUSED: 1}, 0)
    assert fates(report(world, None, Outcome(id="order 1", truth=1))) == [Fate.REFUSED]


def test_each_id_that_is_not_known_has_its_own_time(world, store, ledger):
    ledger.spoil = lambda item: 404
    report(world, store, Outcome(id="order 1", truth=1))
    world.now += delivering.UNKNOWN_ID_SECONDS - 1
    report(world, store, Outcome(id="order 2", truth=1))
    world.now += 10
    flushed = flush(world, store)
    assert ([each.outcome.id for each in flushed.refused], flushed.waiting) == (["order 1"], 1)


def test_two_flushes_at_once_send_nothing_twice(world, store, ledger):
    ledger.down = True
    report(world, store, *map(of, range(10)))
    ledger.down = False
    inner = []

    def server(request):
        if not inner:
            inner.append(None)
            inner[0] = flush(World(server=ledger), store)
        return ledger(request)

    world.server = server
    assert flush(world, store).counts == {Fate.ACCEPTED: 10}
    assert inner[0].counts == {}
    assert len(ledger.calls) == delivering.TRIES_WITH_OUTBOX + 1


@pytest.mark.parametrize("steps_done", range(12))
@pytest.mark.parametrize("what", ["report", "flush"])
def test_process_that_ends_after_any_step_loses_nothing(world, store, ledger, what, steps_done):
    """A flow that is never resumed is a process that was killed: what was answered is in the ledger, or still waits."""
    given = list(map(of, range(3)))
    if what == "flush":
        ledger.down = True
        report(world, store, *given)
        ledger.down = False
    flow = delivering.report(world.way(store), given, world.budget()) if what == "report" else None
    flow = flow or delivering.flush(world.way(store), world.budget())
    result, was_put = None, what == "flush"
    for _ in range(steps_done):
        try:
            step = flow.send(result)
        except StopIteration:
            break
        if isinstance(step, steps.Send):
            result = ledger(step.request)
        elif isinstance(step, steps.Do):
            result = step.call()
            was_put = True
    world.now += 3_600
    flush(world, store)
    expected = {(receipt(number), 0) for number in range(3)} if was_put else set()
    assert set(ledger.told) == expected
    assert store.waiting("digits") == 0
