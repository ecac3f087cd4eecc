"""Outcomes to the server, through the store: what is not delivered waits there, whatever happens to this process.

With an outbox an outcome is in the store before it is sent, and is forgotten once the server has said what became of it. A process
that dies in between leaves it there, to be sent again later: told again is the same. What is on its way is held for its sender
until a time; then others may take it. Must not do I/O.
"""

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from leadline_client import errors, reporting, retrying, steps
from leadline_client.outcomes import Fate, Outcome, Reported
from leadline_client.reporting import Item
from leadline_client.store import Store, Waiting

TRIES_WITH_OUTBOX: Final = 2
"""What fails twice waits in the store, and its caller does not."""
_MARGIN_SECONDS: Final = 30.0
"""Beyond its budget a sender has that long to tell the store how it went."""
UNKNOWN_ID_SECONDS: Final = 600.0
"""The prediction of an id may come to the ledger after its outcome, where the ledger was away; then it is not there."""
_UNKNOWN_AGAIN_SECONDS: Final = 5.0
_UNKNOWN_TRIES: Final = 4
_DIVIDED: Final = frozenset({400, 413, 422})
"""The whole request was too large, or one outcome in it spoiled it: its halves go alone, so that none holds up the others."""
_REFUSED_SHOWN_MAX: Final = 1_000


@dataclass(frozen=True, slots=True)
class Flushed:
    """What became of what waited."""

    counts: Mapping[Fate, int] = field(default_factory=dict)
    """Outcomes the server has spoken of."""
    refused: tuple[Reported, ...] = ()
    """Those that it did not take: `CONFLICT`, `TOO_OLD` and `REFUSED`; the first 1,000."""
    waiting: int = 0
    """Outcomes that wait still."""
    why: str = ""
    """Why they do."""


class Way(NamedTuple):
    """Where outcomes go."""

    model: str
    store: Store | None
    """None: keys cannot be used, and what is not delivered is the caller's to report again."""
    is_outbox: bool
    edge: steps.Edge

    def needed(self, what: str) -> Store:
        """Return the store.

        Raises:
            InputError: There is none.
        """
        if self.store is None:
            raise errors.InputError(f"{what}: expected a client with a store, this one was made with store=None")
        return self.store


def remember(way: Way, key: str, receipt: str | None) -> steps.Flow[None]:
    """Keep a receipt under a key; None: the prediction has none, and its outcome will be `NO_RECEIPT`."""
    store = way.needed("remember")
    if not (isinstance(key, str) and key):
        raise errors.InputError(f"key: expected a string, got {key!r}")
    token, now = receipt or "", way.edge.wall()
    prediction_id = reporting.prediction_id_of(token)
    yield steps.Do(lambda: store.remember(way.model, key, token, prediction_id=prediction_id, now=now))


def report(way: Way, given: Sequence[Outcome], budget: retrying.Budget) -> steps.Flow[list[Reported]]:
    """Return what became of checked outcomes, in their order.

    Raises:
        UnknownKey: Nothing was remembered under a key; nothing was sent.
        Refused: The server takes no outcomes, or none so; without an outbox. With one they wait.
        Unavailable: The same for what may change by itself.
        StoreError: The store cannot be used; nothing was sent.
    """
    kept = yield from _recalled(way, given)
    fates: dict[int, Reported] = {}
    items: list[tuple[int, Item]] = []
    for place, outcome in enumerate(given):
        made = reporting.item_of(outcome, kept.get(outcome.key) if outcome.key is not None else None)
        if isinstance(made, Reported):
            fates[place] = made
        else:
            items.append((place, made))
    places = {id(item): place for place, item in items}
    batches = reporting.batches(item for _, item in items)
    numbers: dict[int, int] = {}
    if items and way.is_outbox:
        numbers = yield from _put(way, [item for batch in batches for item in batch], budget)
        if numbers:
            budget = retrying.Budget(budget.end, min(budget.tries, TRIES_WITH_OUTBOX))
    trouble: errors.ClientError | None = None
    for batch in batches:
        if trouble is None:
            try:
                told = yield from _delivered(batch, budget, way.edge)
            except (errors.Refused, errors.Unavailable) as error:
                if not numbers:
                    raise
                trouble = error
            else:
                told = yield from _settled(way, batch, told, numbers, {})
        if trouble is not None:
            told = [Reported(item.outcome, Fate.WAITING, str(trouble)) for item in batch]
            yield from _hold(way, [numbers[id(item)] for item in batch], way.edge.wall())
        fates |= {places[id(item)]: each for item, each in zip(batch, told, strict=True)}
    return [fates[place] for place in range(len(given))]


def flush(way: Way, budget: retrying.Budget) -> steps.Flow[Flushed]:
    """Send what waits, oldest first, until nothing does that others do not hold, or the server does not take it."""
    store = way.needed("flush")
    counts: dict[Fate, int] = {}
    refused: list[Reported] = []
    why = ""
    while not why:
        now = way.edge.wall()
        until = now + max(0.0, budget.end - way.edge.monotonic()) + _MARGIN_SECONDS
        take = functools.partial(store.take, way.model, limit=reporting.ITEMS_MAX, now=now, until=until)
        taken: list[Waiting] = yield steps.Do(take)
        if not taken:
            break
        items = [_item_of(each) for each in taken]
        numbers = {id(item): each.number for item, each in zip(items, taken, strict=True)}
        put_at = {each.number: each.put_at for each in taken}
        for batch in reporting.batches(items):
            if not why:
                try:
                    told = yield from _delivered(batch, budget, way.edge)
                except (errors.Refused, errors.Unavailable) as error:
                    why = str(error)
                else:
                    told = yield from _settled(way, batch, told, numbers, put_at)
                    for each in told:
                        counts[each.fate] = counts.get(each.fate, 0) + (each.fate is not Fate.WAITING)
                    refused += [each for each in told if each.fate in _NOT_TAKEN]
            if why:
                yield from _hold(way, [numbers[id(item)] for item in batch], way.edge.wall())
    waiting = yield steps.Do(lambda: store.waiting(way.model))
    found = {fate: count for fate, count in counts.items() if count}
    return Flushed(found, tuple(refused[:_REFUSED_SHOWN_MAX]), waiting, why)


_NOT_TAKEN: Final = frozenset({Fate.CONFLICT, Fate.TOO_OLD, Fate.REFUSED})


def _recalled(way: Way, given: Sequence[Outcome]) -> steps.Flow[dict[str, str]]:
    keys = list(dict.fromkeys(outcome.key for outcome in given if outcome.key is not None))
    if not keys:
        return {}
    store = way.needed("key")
    kept: dict[str, str] = yield steps.Do(lambda: store.recall(way.model, keys))
    unknown = [key for key in keys if key not in kept]
    if unknown:
        more = f", and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise errors.UnknownKey(f"key: nothing is remembered under {unknown[0]!r}{more}")
    return kept


def _put(way: Way, items: Sequence[Item], budget: retrying.Budget) -> steps.Flow[dict[int, int]]:
    """Keep items before they are sent; return their numbers, none where the store has no room."""
    store = way.needed("outbox")
    now = way.edge.wall()
    until = now + max(0.0, budget.end - way.edge.monotonic()) + _MARGIN_SECONDS
    texts = [(item.prediction, json.dumps({"item": item.body, "key": item.outcome.key})) for item in items]
    try:
        numbers = yield steps.Do(lambda: store.put(way.model, texts, now=now, until=until))
    except errors.StoreFull:
        return {}
    return {id(item): number for item, number in zip(items, numbers, strict=True)}


def _item_of(waiting: Waiting) -> Item:
    told = json.loads(waiting.text)
    body = json.loads(told["item"])
    if told["key"] is not None:
        body = {name: value for name, value in body.items() if name not in ("receipt", "id")} | {"key": told["key"]}
    return Item(Outcome(**body), told["item"], waiting.prediction)


def _delivered(batch: Sequence[Item], budget: retrying.Budget, edge: steps.Edge) -> steps.Flow[list[Reported]]:
    """Return what the server says of each; of ids that it does not know yet, asked some times."""
    response = yield from retrying.exchanged(reporting.request(batch), budget, edge)
    if response.status in _DIVIDED:
        if len(batch) == 1:
            return [Reported(batch[0].outcome, Fate.REFUSED, retrying.said(response), response.status)]
        found = []
        for half in reporting.halves(batch):
            found += yield from _delivered(half, budget, edge)
        return found
    if response.status not in (200, 207):
        raise errors.Refused(response.status, retrying.said(response))
    told = reporting.read(batch, response)
    for tries in range(1, _UNKNOWN_TRIES):
        places = [place for place, each in enumerate(told) if each.status == 404]
        pause = retrying.pause_seconds(tries, None, edge.draw())
        if not places or pause >= budget.end - edge.monotonic():
            break
        yield steps.Wait(pause)
        unknown = [batch[place] for place in places]
        response = yield from retrying.exchanged(reporting.request(unknown), budget, edge)
        if response.status not in (200, 207):
            break
        for place, each in zip(places, reporting.read(unknown, response), strict=True):
            told[place] = each
    return told


def _settled(
    way: Way, batch: Sequence[Item], told: Sequence[Reported], numbers: Mapping[int, int], put_at: Mapping[int, float]
) -> steps.Flow[list[Reported]]:
    """Forget what the server has spoken of; an id that it does not know is asked for again, for a while.

    Args:
        way: Where outcomes go.
        batch: What was sent.
        told: What the server said of each.
        numbers: The store's, by the identity of the item; none where nothing was put.
        put_at: When each was put, by number; one that is not in it, just now.
    """
    if not numbers:
        return list(told)
    now = way.edge.wall()
    done, later, found = [], [], []
    for item, each in zip(batch, told, strict=True):
        number = numbers[id(item)]
        if each.status == 404 and now - put_at.get(number, now) < UNKNOWN_ID_SECONDS:
            later.append(number)
            found.append(Reported(each.outcome, Fate.WAITING, each.why, each.status))
        else:
            done.append(number)
            found.append(each)
    store = way.needed("outbox")
    yield steps.Do(lambda: store.done(done))
    if later:
        yield from _hold(way, later, now + _UNKNOWN_AGAIN_SECONDS)
    return found


def _hold(way: Way, numbers: Sequence[int], until: float) -> steps.Flow[None]:
    store = way.needed("outbox")
    yield steps.Do(lambda: store.hold(numbers, until=until))
