"""Logs that an operator made, replayed: what agrees, what differs once somebody touched them, what rules of others do.

Not covered: that the operator decides right (tests/unit/reconcile), and where logs come from (test_replay_command).
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest
from leadline_cli import agreeing, errors, logs, replays
from leadline_cli.agreeing import Row, Said
from leadline_operator.reconcile.evidence import Evidence, fold
from leadline_stats import window_rules
from leadline_wire.ledger import LABELLED, DecisionEntry, Entry, OutcomeEntry, PairEntry

from tests.unit.cli import replay_logs
from tests.unit.cli.replay_logs import without

PAGE = Path(__file__).parents[3] / "docs" / "replay.md"
LOGS: list[Callable[[], Sequence[Entry]]] = [
    replay_logs.condemned,
    replay_logs.provisional,
    replay_logs.withdrawn,
    replay_logs.moved,
    replay_logs.shadowed,
    replay_logs.commanded,
]


def said(log: Sequence[Entry]) -> list[tuple[str, str]]:
    return [(row.what, row.said.value) for row in replays.replay([log]).rows]


def test_that_somebody_brought_labelled_rows_is_no_decision():
    log = list(replay_logs.condemned())
    told = DecisionEntry(
        log[-1].seq + 1, log[-1].model, "labelled/1", LABELLED, "", 0, data={"rows": "40", "user": "jo"}
    )
    assert said([*log, told]) == said(log)
    assert fold(Evidence(), [*log, told]).decisions == fold(Evidence(), log).decisions


def only(log: Sequence[Entry], what: str) -> Row:
    (row,) = [row for row in replays.replay([log]).rows if row.what == what]
    return row


def differing(log: Sequence[Entry]) -> list[tuple[str, str]]:
    return [(row.what, row.note) for row in replays.replay([log]).rows if row.said is Said.DIFFERS]


@pytest.mark.parametrize("log", LOGS, ids=lambda log: log.__name__)
def test_log_agrees_with_itself_when_nobody_touched_it(log):
    replayed = replays.replay([log()])
    assert replayed.agrees
    assert replayed.evidence == fold(Evidence(), log())
    assert max(len(line) for line in replayed.lines()) <= 100


def test_condemned_revision_is_explained_by_its_pairs():
    assert said(replay_logs.condemned()) == [
        ("Terms", "-"),
        ("Promoted", "-"),
        ("Promoted", "-"),
        ("worse", "agrees"),
        ("Rejected", "agrees"),
        ("RolledBack", "agrees"),
        ("Promoted", "-"),
    ]
    worse = only(replay_logs.condemned(), "worse")
    assert worse.crossing is not None
    weighed = worse.crossing.weighed
    upto = fold(Evidence(), [each for each in replay_logs.condemned() if each.seq <= worse.seq])
    compared = upto.first.pairs[worse.revision, worse.other].comparison
    assert (weighed.number, weighed.number) == (compared.pairs, compared.worse.crossed_at)
    assert weighed.evidence == compared.worse.evidence >= weighed.needed
    before = fold(Evidence(), [each for each in replay_logs.condemned() if each.seq < worse.seq])
    assert before.first.pairs[worse.revision, worse.other].comparison.worse.crossed_at is None


def test_provisional_rejection_is_explained_by_the_limit_and_its_withdrawal_by_the_same_limit():
    assert said(replay_logs.withdrawn())[3:] == [
        ("below", "agrees"),
        ("Rejected", "agrees"),
        ("RolledBack", "agrees"),
        ("below too", "agrees"),
        ("below", "-"),
        ("Withdrawn", "agrees"),
        ("Promoted", "-"),
    ]


def test_verification_is_explained_by_the_limit():
    assert said(replay_logs.moved())[-2:] == [("below", "agrees"), ("Verifying", "agrees")]


def test_candidate_needs_its_rejection_though_it_never_served():
    assert said(replay_logs.shadowed())[2:] == [("worse", "agrees"), ("Rejected", "agrees")]
    log = without(replay_logs.shadowed(), "Rejected")
    assert only(log, "worse").said is Said.WAITS
    # What comes two minutes later finds a log in which still nothing was decided.
    late = msgspec.structs.replace(log[-1], seq=log[-1].seq + 1, came_at_ms=log[-1].came_at_ms + 120_000)
    assert [what for what, _ in differing([*log, late])] == ["worse"]


def test_decision_by_command_is_told_apart_from_those_by_outcomes():
    rows = replays.replay([replay_logs.commanded()]).rows
    texts = [row.text for row in rows if row.what in ("Rejected", "RolledBack", "Retried")]
    assert texts[:3] == [
        "not from outcomes: a command",
        "after entry 4, not from outcomes",
        "not from outcomes: a command",
    ]
    assert re.fullmatch(r"by entry \d+", texts[3])


def test_rejection_by_a_test_set_is_told_apart_though_its_reason_is_the_same():
    log = list(replay_logs.condemned())
    place = next(place for place, each in enumerate(log) if isinstance(each, DecisionEntry) and each.kind == "Rejected")
    said = "accuracy 0.880 [0.856, 0.901] on 1197 rows vs 0.985 of digits-a (margin 0.02, p 0.0005, limit 0.002)"
    log[place] = msgspec.structs.replace(log[place], data={**log[place].data, "message": said})
    rows = [row for row in replays.replay([log]).rows if row.what in ("Rejected", "RolledBack")]
    assert [(row.text, row.said) for row in rows] == [
        ("not from outcomes: Degraded", Said.NOTHING),
        (f"after entry {log[place].seq}, not from outcomes", Said.NOTHING),
    ]
    assert replays.replay([log]).lives[1].ours is None


def test_rejection_by_objectives_and_its_withdrawal_rest_on_nothing_that_the_log_holds():
    found = "20 % of 400 requests failed (at most 1 %): missed (evidence 330:1 of 3 slots, needs 200:1)"
    log = [
        msgspec.structs.replace(each, data={**each.data, "reason": "ObjectivesMissed", "message": found})
        if isinstance(each, DecisionEntry) and each.kind == "Rejected"
        else each
        for each in replay_logs.withdrawn()
    ]
    rows = [row for row in replays.replay([log]).rows if row.what in ("Rejected", "RolledBack", "Withdrawn")]
    assert [(row.text.partition(" 1")[0], row.said) for row in rows] == [
        ("not from outcomes: ObjectivesMissed", Said.NOTHING),
        (rows[1].text.partition(" 1")[0], Said.NOTHING),
        ("not from outcomes: ObjectivesMissed", Said.NOTHING),
    ]
    assert rows[1].text.endswith("not from outcomes")


@pytest.mark.parametrize(
    ("log", "kind", "found"),
    [
        (replay_logs.condemned, "Rejected", ["worse", "RolledBack"]),
        (replay_logs.condemned, "RolledBack", ["Promoted"]),
        (replay_logs.provisional, "Rejected", ["below", "RolledBack"]),
        (replay_logs.withdrawn, "Rejected", ["below", "RolledBack", "Withdrawn"]),
        (replay_logs.withdrawn, "RolledBack", ["Withdrawn", "Promoted"]),
        (replay_logs.withdrawn, "Withdrawn", ["below too"]),
    ],
    ids=lambda each: each if isinstance(each, str) else getattr(each, "__name__", None),
)
def test_log_differs_when_a_decision_was_removed(log, kind, found):
    assert [what for what, _ in differing(without(log(), kind))] == found


def test_log_differs_when_rejection_and_rollback_were_removed_together():
    log = without(without(replay_logs.condemned(), "Rejected"), "RolledBack")
    (entry,) = [note for what, note in differing(log) if what == "Promoted"]
    assert "a switch before it is missing" in entry


def test_log_differs_when_an_answer_before_the_deciding_one_was_changed():
    log = list(replay_logs.condemned())
    worse = only(log, "worse")
    place = next(
        place
        for place, each in enumerate(log)
        if isinstance(each, PairEntry) and each.revision == worse.revision and each.prediction == each.other_prediction
    )
    log[place] = msgspec.structs.replace(log[place], prediction="i0")  # right became wrong, and it condemns earlier
    (note,) = [note for what, note in differing(log) if what == "Rejected"]
    assert re.fullmatch(
        r"it names evidence \S+:1, needs 250:1; the entries give \S+:1, needs 250:1, at entry \d+", note
    )


def test_log_differs_when_pairs_that_condemned_were_removed():
    log = [each for each in replay_logs.condemned() if not isinstance(each, PairEntry)]
    notes = dict(differing(log))
    assert notes["Rejected"].startswith("the entries before it hold no outcome that could show digits-")
    dropped = {each.seq for each in [each for each in replay_logs.condemned() if isinstance(each, PairEntry)][::2]}
    half = [each for each in replay_logs.condemned() if each.seq not in dropped]
    assert re.search(r"give evidence \S+:1 over \d+ outcomes, needs 250:1$", dict(differing(half))["Rejected"])


def test_crossing_waits_for_its_decision_when_the_log_ends_there():
    worse = only(replay_logs.condemned(), "worse")
    log = [each for each in replay_logs.condemned() if each.seq <= worse.seq]
    row = only(log, "worse")
    assert (row.said, row.note) == (Said.WAITS, "the log ends 0.0 s after it")
    assert replays.replay([log]).agrees


def test_alert_is_no_missing_decision_when_the_spec_is_said_to_ask_for_it():
    ((what, note),) = differing(replay_logs.alerted())
    assert (what, "say --on-degraded Alert" in note) == ("worse", True)
    assert replays.replay([replay_logs.alerted()], agreeing.Alerts(on_degraded=True)).agrees


def test_rejection_of_the_serving_revision_differs_when_no_switch_follows():
    rolled_back = only(replay_logs.condemned(), "RolledBack").seq
    log = [each for each in replay_logs.condemned() if each.seq < rolled_back]
    assert replays.replay([log]).agrees
    late = next(each for each in reversed(log) if isinstance(each, OutcomeEntry))
    late = msgspec.structs.replace(late, seq=log[-1].seq + 1, came_at_ms=late.came_at_ms + 700_000)
    assert differing([*log, late]) == [("Rejected", f"{late.revision} served, and no switch follows in the log")]


@pytest.mark.parametrize("log", [replay_logs.withdrawn, replay_logs.moved], ids=lambda log: log.__name__)
def test_window_rules_fire_where_they_do_on_the_outcomes_alone(log):
    entries = log()
    second = [each for each in entries if isinstance(each, DecisionEntry) and each.kind == "Promoted"][1]
    outcomes = [each for each in entries if isinstance(each, OutcomeEntry)]
    losses = [float(each.prediction != each.truth) for each in outcomes if each.revision == second.revision]
    before = [each for each in outcomes if each.revision == second.other and each.seq < second.seq]
    reference = sum(each.prediction == each.truth for each in before) / len(before)
    life = replays.replay([entries]).lives[1]
    assert (life.revision, life.outcomes, life.is_own) == (second.revision, len(losses), False)
    assert life.reference == pytest.approx(reference)
    expected = [int(rule(np.array([losses]), reference)[0]) for rule in window_rules.RULES.values()]
    assert list(life.rules) == expected
    assert any(expected)


def test_rules_hold_a_first_revision_against_its_own_first_outcomes_and_judge_those_after_them():
    log = list(replay_logs.moved())
    first = replays.replay([log]).lives[0]
    assert (first.is_own, first.rules, first.ours) == (True, (0,) * 5, None)
    seen = 0
    for place, each in enumerate(log):
        if isinstance(each, OutcomeEntry) and each.revision == first.revision:
            seen += 1
            if seen > 200:
                log[place] = msgspec.structs.replace(each, prediction="i0")
    # Windows of 100 after the first 100: the second of them is all wrong, and the fourth failed look is at 600.
    assert replays.replay([log]).lives[0].rules[-1] == 300


def test_our_number_counts_the_same_outcomes_as_the_rules():
    log = replay_logs.condemned()
    life, worse = replays.replay([log]).lives[1], only(log, "worse")
    counted = [each for each in log if isinstance(each, OutcomeEntry) and each.revision == life.revision]
    assert life.ours == sum(each.seq <= worse.seq for each in counted) < life.outcomes


def test_scores_have_no_window_rules():
    log = [
        msgspec.structs.replace(each, data={**each.data, "graded": "True"})
        if isinstance(each, DecisionEntry) and each.kind == "Terms"
        else each
        for each in replay_logs.provisional()
    ]
    assert "window rules of others know right and wrong only" in "\n".join(replays.replay([log]).lines())


def test_log_that_lacks_its_begin_says_so():
    log = [each for each in replay_logs.condemned() if each.seq > 10]
    assert "begins with outcomes before any terms" in replays.replay([log]).lines()[1]


def test_terms_that_cannot_be_weighed_are_refused_with_the_entries():
    log = list(replay_logs.condemned())
    log[0] = msgspec.structs.replace(log[0], data={**log[0].data, "margin": "nan"})
    with pytest.raises(errors.Refused, match=r"entries? \d+.* of the log cannot be weighed: margin"):
        replays.replay([log])


def test_page_shows_what_the_command_prints(tmp_path):
    logs.write(tmp_path / "log.jsonl", replay_logs.condemned())
    printed = "\n".join(replays.replay([logs.read(tmp_path / "log.jsonl")]).lines())
    (block,) = re.findall(r"\$ leadline replay digits\.jsonl\n(.*?)\n```", PAGE.read_text("utf-8"), re.DOTALL)

    def plain(text: str) -> str:
        return re.sub(r"\b[0-9a-f]{10}\b", "REVISION", text)  # their names follow the whole pod template

    assert plain(block) == plain(printed)


def test_outcomes_that_were_asked_for_are_none_of_a_life():
    log = [
        msgspec.structs.replace(entry, wanted="other") if isinstance(entry, OutcomeEntry) and entry.seq % 2 else entry
        for entry in replay_logs.condemned()
    ]
    left = sum(isinstance(entry, OutcomeEntry) and not entry.wanted for entry in log)
    assert sum(life.outcomes for life in replays.replay([log]).lives) <= left
