"""Evidence as the text of a checkpoint, and back, bit for bit.

Numbers are written exactly (hexadecimal floats inside `leadline_stats`). Decisions are not in it: the ledger keeps them for
ever and gives them back with the checkpoint. A state that this version cannot read counts as none, and the log is folded
again from its begin. One metric that the first version knew is written as that version reads it. Must not decide anything.
"""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any, Final

import msgspec
from leadline_stats import contrasts, deviations, limits, pairs, ranking
from leadline_stats.measures import Measure
from leadline_wire.ledger import DecisionEntry

from leadline_operator.reconcile import sources, terms
from leadline_operator.reconcile.evidence import Evidence, Memory
from leadline_operator.reconcile.streams import Compared, Own, Stream, Waiting
from leadline_operator.reconcile.terms import Terms

_VERSION: Final = 2
_OF_ONE_METRIC: Final = 1
_FIRST_MEASURES: Final = (Measure.ACCURACY, Measure.RECALL, Measure.SCORE)


class UnreadableStateError(ValueError):
    """A checkpoint that this version cannot read."""


def write(evidence: Evidence) -> str:
    """Return the state of Evidence as JSON."""
    streams = tuple(evidence.streams.values())
    common = {
        "cursor": evidence.cursor,
        "serving": evidence.serving,
        "before": evidence.before,
        "memory": {name: asdict(memory) for name, memory in evidence.memory.items()},
    }
    if evidence.new_outcomes:
        common["newOutcomes"] = evidence.new_outcomes
    if len(streams) == 1 and streams[0].terms.measures in _FIRST_MEASURES:
        plain = {"version": _OF_ONE_METRIC, **common, **_stream(streams[0])}
    elif not streams:
        nothing: dict[str, Any] = {"terms": None, "own": {}, "fresh": {}, "pairs": []}
        plain = {"version": _OF_ONE_METRIC, **common, **nothing}
    else:
        plain = {"version": _VERSION, **common, "streams": [_stream(stream) for stream in streams]}
    if evidence.first.terms.weighs_sources:
        plain["tally"] = {"outcomes": dict(evidence.tally.outcomes), "pairs": dict(evidence.tally.pairs)}
        plain["without"] = {
            name: [_stream(stream) for stream in known.values()] for name, known in evidence.without.items()
        }
    return msgspec.json.encode(plain).decode()


def read(text: str, decisions: Iterable[DecisionEntry] = ()) -> Evidence:
    """Return the Evidence that `write` wrote, with the decisions up to its cursor.

    Raises:
        UnreadableStateError: It is of another version, or damaged.
    """
    try:
        plain = msgspec.json.decode(text)
        if plain["version"] not in (_OF_ONE_METRIC, _VERSION):
            raise UnreadableStateError(f"evidence of version {plain['version']}, expected at most {_VERSION}")
        cursor = int(plain["cursor"])
        of_one = [plain] if plain.get("terms") else []
        streams = [_read_stream(each) for each in plain.get("streams", of_one)]
        return Evidence(
            cursor=cursor,
            serving=plain["serving"],
            before=plain["before"],
            memory={name: Memory(**memory) for name, memory in plain["memory"].items()},
            streams={stream.terms.metric: stream for stream in streams},
            decisions={entry.id: entry for entry in decisions if entry.seq <= cursor},
            new_outcomes=int(plain.get("newOutcomes", 0)),
            without={
                name: {stream.terms.metric: stream for stream in map(_read_stream, known)}
                for name, known in plain.get("without", {}).items()
            },
            tally=sources.Tally(**plain.get("tally", {})),
        )
    except (msgspec.DecodeError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UnreadableStateError(f"evidence cannot be read: {error}") from error


def _stream(stream: Stream) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "terms": terms.plain(stream.terms),
        "own": {name: _own(own) for name, own in stream.own.items()},
        "fresh": {name: _own(own) for name, own in stream.fresh.items()},
        "pairs": [[*subject, _compared(each)] for subject, each in stream.pairs.items()],
    }
    if stream.scale is not None:
        plain["scale"] = deviations.to_plain(stream.scale)
    if stream.ranks:
        plain["ranks"] = [[*subject, ranking.to_plain(each)] for subject, each in stream.ranks.items()]
    if stream.waiting:
        plain["waiting"] = [
            [each.revision, each.error.hex(), each.truth.hex(), each.seq, each.came_ms] for each in stream.waiting
        ]
    return plain


def _read_stream(plain: dict[str, Any]) -> Stream:
    return Stream(
        terms=Terms(**plain["terms"]),
        scale=deviations.from_plain(plain["scale"]) if plain.get("scale") else None,
        waiting=tuple(
            Waiting(revision, float.fromhex(error), float.fromhex(truth), seq, came_ms)
            for revision, error, truth, seq, came_ms in plain.get("waiting", ())
        ),
        own={name: _read_own(own) for name, own in plain["own"].items()},
        fresh={name: _read_own(own) for name, own in plain["fresh"].items()},
        pairs={(subject, other): _read_compared(each) for subject, other, each in plain["pairs"]},
        ranks={(subject, other): ranking.from_plain(each) for subject, other, each in plain.get("ranks", ())},
    )


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
    comparison = compared.comparison
    if isinstance(comparison, contrasts.Contrast):
        return {
            "contrast": contrasts.to_plain(comparison),
            "since": compared.since_seq,
            "decided": compared.decided_seq,
        }
    return {"comparison": pairs.to_plain(comparison), "since": compared.since_seq, "decided": compared.decided_seq}


def _read_compared(plain: dict[str, Any]) -> Compared:
    found = contrasts.from_plain(plain["contrast"]) if "contrast" in plain else pairs.from_plain(plain["comparison"])
    return Compared(comparison=found, since_seq=plain["since"], decided_seq=plain["decided"])
