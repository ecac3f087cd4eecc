"""Evidence as the text of a checkpoint, and back, bit for bit.

Numbers are written exactly (hexadecimal floats inside `leadline_stats`). Decisions are not in it: the ledger keeps them for
ever and gives them back with the checkpoint. A state that this version cannot read counts as none, and the log is folded
again from its begin. Must not decide anything.
"""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any, Final

import msgspec
from leadline_stats import limits, pairs
from leadline_wire.ledger import DecisionEntry

from leadline_operator.reconcile.evidence import Compared, Evidence, Memory, Own, Terms

_VERSION: Final = 1


class UnreadableStateError(ValueError):
    """A checkpoint that this version cannot read."""


def write(evidence: Evidence) -> str:
    """Return the state of Evidence as JSON."""
    plain = {
        "version": _VERSION,
        "cursor": evidence.cursor,
        "terms": _terms(evidence.terms) if evidence.terms else None,
        "serving": evidence.serving,
        "before": evidence.before,
        "memory": {name: asdict(memory) for name, memory in evidence.memory.items()},
        "own": {name: _own(own) for name, own in evidence.own.items()},
        "fresh": {name: _own(own) for name, own in evidence.fresh.items()},
        "pairs": [[*subject, _compared(each)] for subject, each in evidence.pairs.items()],
    }
    return msgspec.json.encode(plain).decode()


def read(text: str, decisions: Iterable[DecisionEntry] = ()) -> Evidence:
    """Return the Evidence that `write` wrote, with the decisions up to its cursor.

    Raises:
        UnreadableStateError: It is of another version, or damaged.
    """
    try:
        plain = msgspec.json.decode(text)
        if plain["version"] != _VERSION:
            raise UnreadableStateError(f"evidence of version {plain['version']}, expected {_VERSION}")
        cursor = int(plain["cursor"])
        return Evidence(
            cursor=cursor,
            terms=Terms(**plain["terms"]) if plain["terms"] else None,
            serving=plain["serving"],
            before=plain["before"],
            memory={name: Memory(**memory) for name, memory in plain["memory"].items()},
            own={name: _read_own(own) for name, own in plain["own"].items()},
            fresh={name: _read_own(own) for name, own in plain["fresh"].items()},
            pairs={(subject, other): _read_compared(each) for subject, other, each in plain["pairs"]},
            decisions={entry.id: entry for entry in decisions if entry.seq <= cursor},
        )
    except (msgspec.DecodeError, ValueError, TypeError, KeyError) as error:
        raise UnreadableStateError(f"evidence cannot be read: {error}") from error


def _terms(terms: Terms) -> dict[str, Any]:
    """Return terms without what an older version would not know, where it says nothing."""
    return {name: value for name, value in asdict(terms).items() if name != "positive" or value}


def _own(own: Own) -> dict[str, Any]:
    return {
        "watch": limits.to_plain(own.watch),
        "referenceOf": own.reference_of,
        "first": own.first_ms,
        "last": own.last_ms,
        "decided": own.decided_seq,
    }


def _read_own(plain: dict[str, Any]) -> Own:
    return Own(
        watch=limits.from_plain(plain["watch"]),
        reference_of=plain["referenceOf"],
        first_ms=plain["first"],
        last_ms=plain["last"],
        decided_seq=plain["decided"],
    )


def _compared(compared: Compared) -> dict[str, Any]:
    return {
        "comparison": pairs.to_plain(compared.comparison),
        "since": compared.since_seq,
        "decided": compared.decided_seq,
    }


def _read_compared(plain: dict[str, Any]) -> Compared:
    return Compared(
        comparison=pairs.from_plain(plain["comparison"]), since_seq=plain["since"], decided_seq=plain["decided"]
    )
