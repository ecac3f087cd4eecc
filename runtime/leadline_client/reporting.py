"""Outcomes as they are sent, in as few requests as the server takes, and what its answer says of each. Pure.

Rows of one prediction go in one request, for the ledger counts what comes together as one outcome.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from typing import Final, NamedTuple

from leadline_wire import predictions

from leadline_client import errors, retrying, steps
from leadline_client.outcomes import ANSWERS, Fate, Outcome, Reported, Wanted

ITEMS_MAX: Final = 4_096
"""Outcomes that the server takes in one request."""
BYTES_MAX: Final = 3 << 20
"""Of the body of one request; the server takes 4 MiB, and less where names are long."""
UNSAID: Final = "accepted, or there already: this server does not say which of them"
_BY_STATUS: Final = {409: Fate.CONFLICT, 410: Fate.TOO_OLD}


class Item(NamedTuple):
    """An outcome as it is sent."""

    outcome: Outcome
    body: str
    """JSON."""
    prediction: str
    """Equal for rows of one prediction."""


def item_of(outcome: Outcome, kept: str | None) -> Item | Reported:
    """Return what is sent for an outcome, or its fate where there is nothing to send.

    Args:
        outcome: Checked.
        kept: Receipt that was remembered under its key, empty where there was none; None: it is not by key.
    """
    receipt = outcome.receipt if kept is None else kept
    if not receipt and outcome.id is None:
        return Reported(outcome, Fate.NO_RECEIPT, "the prediction came without a receipt (spec.outcomes.percent)")
    if receipt and outcome.row is not None:
        known = rows_of(receipt)
        if len(known) >= predictions.ROWS_MAX and outcome.row not in known:
            why = f"row {outcome.row} is not in the receipt, which is of a random sample of {len(known)} rows"
            return Reported(outcome, Fate.NO_RECEIPT, why)
    answers = {name: getattr(outcome, name) for name in (*ANSWERS, "row", "wanted")}
    told = {"receipt": receipt} if receipt else {"id": outcome.id}
    told |= {name: value for name, value in answers.items() if value is not None}
    body = json.dumps(told, separators=(",", ":"), ensure_ascii=False)
    return Item(outcome, body, str(receipt or outcome.id))


def rows_of(receipt: str) -> frozenset[int]:
    """Return the rows that a receipt is of; none of what is no receipt, which the server says better."""
    parts = receipt.rsplit(".", 2)
    try:
        return frozenset(predictions.split(parts[-2])) if len(parts) == 3 else frozenset()
    except predictions.BadWordError:
        return frozenset()


def prediction_id_of(receipt: str) -> str:
    """Return the id of the prediction that a receipt is of; empty of what is no receipt."""
    parts = receipt.rsplit(".", 3)
    return parts[1] if len(parts) == 4 else ""


def batches(items: Iterable[Item]) -> list[list[Item]]:
    """Return items in the requests that they go in, rows of one prediction side by side in one.

    Predictions are in the order in which they come first. Only one whose rows no request holds is divided.
    """
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(item.prediction, []).append(item)
    found: list[list[Item]] = []
    count = size = 0
    for group in groups.values():
        group_size = sum(len(item.body.encode()) + 1 for item in group)
        fits = count + len(group) <= ITEMS_MAX and size + group_size <= BYTES_MAX
        if found and fits:
            found[-1] += group
            count, size = count + len(group), size + group_size
            continue
        pieces = list(_pieces(group)) if len(group) > ITEMS_MAX or group_size > BYTES_MAX else [group]
        found += pieces
        count, size = len(pieces[-1]), sum(len(item.body.encode()) + 1 for item in pieces[-1])
    return [list(batch) for batch in found]


def _pieces(group: Sequence[Item]) -> Iterable[list[Item]]:
    piece: list[Item] = []
    size = 0
    for item in group:
        length = len(item.body.encode()) + 1
        if piece and (len(piece) == ITEMS_MAX or size + length > BYTES_MAX):
            yield piece
            piece, size = [], 0
        piece.append(item)
        size += length
    yield piece


def halves(batch: Sequence[Item]) -> list[list[Item]]:
    """Return a request's items in two, between two predictions where there are two."""
    middle = len(batch) // 2
    cuts = [place for place in range(1, len(batch)) if batch[place].prediction != batch[place - 1].prediction]
    cut = min(cuts, key=lambda place: abs(place - middle)) if cuts else middle
    return [list(batch[:cut]), list(batch[cut:])]


def request(batch: Sequence[Item]) -> steps.Request:
    """Return the request that reports these: always a list, so that what is refused as a whole is told from a refused item."""
    body = f"[{','.join(item.body for item in batch)}]".encode()
    return steps.Request("POST", "/outcomes", body, {"content-type": "application/json"})


def read(batch: Sequence[Item], response: steps.Response) -> list[Reported]:
    """Return what became of each, from an answer 200 or 207.

    Raises:
        Unavailable: That is no such answer.
    """
    try:
        told = json.loads(response.body)
        refused = {each["index"]: each for each in told.get("refused", ())}
        late, repeated = set(told.get("late", ())), set(told.get("repeated", ()))
        accepted, duplicates = told["accepted"], told["duplicates"]
        if accepted + duplicates + len(refused) != len(batch):
            raise ValueError(f"it is of {accepted + duplicates + len(refused)} outcomes of {len(batch)}")  # noqa: TRY301 - said in one place
        is_mixed = accepted > 0 and len(repeated) != duplicates
        unsaid = UNSAID if is_mixed else ""
        found = []
        for place, item in enumerate(batch):
            if place in refused:
                status, why = int(refused[place]["status"]), str(refused[place]["error"])
                found.append(Reported(item.outcome, _BY_STATUS.get(status, Fate.REFUSED), why, status))
            elif place in repeated or not accepted:
                found.append(Reported(item.outcome, Fate.DUPLICATE, "", response.status))
            elif place in late:
                found.append(Reported(item.outcome, Fate.NOT_JUDGED, str(told.get("note", "")), response.status))
            else:
                found.append(Reported(item.outcome, Fate.ACCEPTED, unsaid, response.status))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise errors.Unavailable(f"the server's answer cannot be read: {error!r}") from error
    return found


def read_wanted(response: steps.Response) -> list[Wanted]:
    """Return what is wanted; of a 404, nothing.

    Raises:
        Refused: Another status.
        Unavailable: The answer cannot be read.
    """
    if response.status == 404:
        return []
    if response.status != 200:
        raise errors.Refused(response.status, retrying.said(response))
    names = {each.name for each in fields(Wanted)} - {"key"}
    try:
        listed = json.loads(response.body)["wanted"]
        return [Wanted(**{name: each[name] for name in names if name in each}) for each in listed]
    except (ValueError, KeyError, TypeError) as error:
        raise errors.Unavailable(f"the server's answer cannot be read: {error!r}") from error


def with_key(wanted: Wanted, key: str | None) -> Wanted:
    """Return the same with the key under which its receipt is kept."""
    return replace(wanted, key=key)
