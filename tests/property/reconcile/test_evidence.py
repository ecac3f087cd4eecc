"""Evidence is a function of the log: whatever stretches it was read in, and wherever the reader was killed."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from leadline_operator.reconcile import evidence_state, terms
from leadline_operator.reconcile.evidence import Evidence, fold
from leadline_operator.reconcile.terms import Terms
from leadline_wire import predictions
from leadline_wire.ledger import DecisionEntry, Entry, OutcomeEntry, PairEntry

MODEL = "ml/digits"
TERMS = Terms("key", "accuracy", graded=False, margin=0.02, comparison_alpha=0.004, limit_alpha=0.004)
NAMES = ("a", "b", "c")
words = st.sampled_from(["i0", "i1", "x5xx"])
OF_A_CLASS = tuple(
    replace(TERMS, metric=measure, measure=measure, positive="1") for measure in ("precision", "recall", "f1")
)
OF_SCORES = replace(TERMS, metric="auc", measure="auc", graded=True, positive="1")
OF_ERRORS = tuple(replace(TERMS, metric=measure, measure=measure, graded=True) for measure in ("mae", "rmse", "r2"))


@st.composite
def logs(draw: st.DrawFn) -> list[Entry]:
    """Draw a log: terms first, then outcomes, pairs and decisions in any order, with long runs of outcomes in between."""
    several = draw(st.sampled_from([(TERMS,), (TERMS, *OF_A_CLASS), OF_ERRORS, (TERMS, OF_SCORES)]))
    log: list[Entry] = [DecisionEntry(1, MODEL, "terms", "Terms", "", 0, data=terms.data_of(several))]
    for number in range(draw(st.integers(1, 12))):
        kind = draw(st.sampled_from(["outcomes", "pairs", "decision"]))
        revision, other = draw(st.permutations(NAMES))[:2]
        if kind == "decision":
            decided = draw(st.sampled_from(["Promoted", "RolledBack", "Retried", "Verifying", "Rejected", "Withdrawn"]))
            log.append(DecisionEntry(len(log) + 1, MODEL, f"d{number}", decided, revision, 1_000 * number, other))
            continue
        wrong_each = draw(st.integers(2, 40))
        asked = draw(st.sampled_from([0.0, 0.0, 2.5]))  # how much each answer stands for, where it was asked for
        rows = 1 if asked else draw(st.sampled_from([1, 1, 3]))  # of one request
        for place in range(draw(st.integers(1, 700)) // rows * rows):
            more = rows - 1 - place % rows
            seq, said, truth = len(log) + 1, "i0" if place % wrong_each == 0 else "i1", f"i{place % 7 != 0:d}"
            beside = draw(words) if place < 3 else "i1"
            if several == OF_ERRORS:
                truth = predictions.of_value(place % 7)
                said = predictions.of_value(place % 7 + place % 5 / 8 + 9 * (place % wrong_each == 0))
                beside = beside if beside.startswith("x") else predictions.of_value(place % 7 + 0.25)
            if OF_SCORES in several:
                said = predictions.with_score(said, place % 13 / 13)
                beside = beside if beside.startswith("x") else predictions.with_score(beside, place % 11 / 11)
            if kind == "outcomes":
                log.append(OutcomeEntry(seq, MODEL, f"{seq:032x}", 0, revision, said, 10 * seq, truth=truth, more=more))
            else:
                weight = {"agreements": asked} if asked and place % 2 else {}
                log.append(
                    PairEntry(
                        seq,
                        MODEL,
                        f"{seq:032x}",
                        0,
                        revision,
                        said,
                        other,
                        beside,
                        10 * seq,
                        truth=truth,
                        more=more,
                        **weight,
                    )
                )
    return log


@given(logs(), st.data())
def test_evidence_is_the_same_to_the_last_bit_for_any_cut_and_any_restart(
    log: list[Entry], data: st.DataObject
) -> None:
    whole = fold(Evidence(), log)
    evidence, begin = Evidence(), 0
    while begin < len(log):
        end = data.draw(st.integers(begin + 1, len(log)))
        again = min(max(0, begin - 3), evidence.cursor)  # what was folded before comes again, and what was cut off
        evidence = fold(evidence, log[again:end])
        decisions = [each for each in log if isinstance(each, DecisionEntry)]
        evidence = evidence_state.read(evidence_state.write(evidence), decisions)
        begin = end
    assert evidence == whole


def test_backlog_decides_at_the_same_outcome_as_one_by_one() -> None:
    log: list[Entry] = [DecisionEntry(1, MODEL, "terms", "Terms", "", 0, data=terms.data_of((TERMS,)))]
    for place in range(11_000):
        seq = len(log) + 1
        right = place % 20 if place < 10_000 else place % 2
        said = "i1" if right else "i0"
        log.append(
            PairEntry(seq, MODEL, f"{seq:032x}", 0, "new", said, "old", "i1" if place % 20 else "i0", 0, truth="i1")
        )
    at_once, one_by_one = fold(Evidence(), log), Evidence()
    for entry in log:
        one_by_one = fold(one_by_one, [entry])
    assert one_by_one == at_once
    assert 10_001 < at_once.first.pairs["new", "old"].decided_seq < 11_000
