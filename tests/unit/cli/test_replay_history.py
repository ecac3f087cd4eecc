"""What `leadline replay` finds in a table of past predictions: who may say what, at which row, and what follows.

The deciding rows are held against the engine itself, fed by hand. Not covered: how files are read, see
`test_replay_tables`.
"""

from itertools import pairwise

import numpy as np
import pytest
from leadline_cli import history_replay, main
from leadline_cli.history_files import Columns
from leadline_cli.history_replay import Options
from leadline_stats import betting, budgets, deviations, intervals, pairs, references, window_rules
from leadline_stats.verdicts import Name
from sklearn import datasets, linear_model, svm

from tests.unit.cli import histories_of

SHARES = budgets.shares(0.01)


@pytest.fixture
def replayed(tmp_path):
    """A replay of rows, by options."""

    def replay(rows, *extra: str, columns: Columns | None = None, **options):
        path = histories_of.write(tmp_path / "history.csv", rows, (*histories_of.HEADER, *extra))
        return history_replay.replay(path, columns or Columns(), Options(**options))

    return replay


def losses(rows, revision: str) -> list[int]:
    return [int(row[2] != row[3]) for row in rows if row[1] == revision]


def limit_after(before: list[int]) -> references.Reference:
    right = len(before) - sum(before)
    return references.of_answers(right, len(before), margin=0.02, alpha=SHARES.fixed_limit)


def test_worse_revision_is_found_by_the_limit_of_the_one_before_at_the_row_that_the_engine_says(replayed):
    rows = histories_of.stream(("v1", 2000, 0.95), ("v2", 1000, 0.8))
    reference = limit_after(losses(rows, "v1"))
    monitor = betting.begin(limit=reference.tolerated_loss, alpha=reference.alpha)
    expected = betting.fold(monitor, losses(rows, "v2")).crossed_at
    first, second = replayed(rows).lives
    assert (first.found, first.verdict.name) == (None, Name.HEALTHY)
    assert (second.found.row, second.found.outcome) == (2000 + expected, expected)
    assert (second.verdict.name, second.verdict.provisional) == (Name.DEGRADED, True)
    assert second.would.startswith("rolled back to v1, provisionally")


def test_same_inputs_condemn_a_worse_revision_at_the_pair_that_the_engine_says(replayed):
    rows = histories_of.both(600, {"v1": 0.95, "v2": 0.8})
    comparison = pairs.begin(margin=0.02, alpha=SHARES.comparison)
    expected = pairs.fold(comparison, losses(rows, "v2"), losses(rows, "v1")).worse.crossed_at
    _, second = replayed(rows, "id").lives
    assert (second.pairs, second.found.row, second.would) == (600, 2 * expected, "rolled back to v1")
    assert (second.verdict.name, second.verdict.provisional) == (Name.DEGRADED, False)


def test_equal_revision_on_the_same_inputs_stays(replayed):
    found = replayed(histories_of.both(1500, {"v1": 0.95, "v2": 0.95}), "id").lives
    assert [life.found for life in found] == [None, None]


def test_drop_long_after_the_switch_says_decayed_and_goes_back_only_on_fresh_inputs(replayed):
    rows = histories_of.stream(("v1", 1000, 0.95), ("v2", 3000, 0.95), ("v2", 1000, 0.8))
    second = replayed(rows).lives[1]
    assert (second.verdict.name, second.verdict.provisional) == (Name.DECAYED, False)
    assert second.found.outcome > 3000
    assert "only if v1 is better" in second.would
    assert replayed(rows, on_decay="Alert").lives[1].would == "an alert (onDecay: Alert)"


def test_only_revision_that_drops_is_an_alert_for_there_is_none_to_go_back_to(replayed):
    (only,) = replayed(histories_of.stream(("v1", 1000, 0.95), ("v1", 1000, 0.8))).lives
    assert (only.verdict.name, only.before) == (Name.DECAYED, "")
    assert only.would.startswith("an alert: there is no revision")


def test_alerts_are_what_the_options_ask_for(replayed):
    rows = histories_of.stream(("v1", 2000, 0.95), ("v2", 1000, 0.8))
    assert replayed(rows, on_degraded="Alert").lives[1].would == "an alert (onDegraded: Alert)"


@pytest.mark.parametrize(("on_degraded", "expected"), [("Rollback", "v1"), ("Alert", "v2")])
def test_revision_after_one_that_was_rolled_back_is_held_to_the_last_good_one(replayed, on_degraded, expected):
    rows = histories_of.stream(("v1", 2000, 0.95), ("v2", 1000, 0.8), ("v3", 500, 0.95))
    third = replayed(rows, on_degraded=on_degraded).lives[2]
    assert third.before == expected
    assert third.verdict.limit == pytest.approx(limit_after(losses(rows, expected)).limit)


def test_maturity_delays_the_finding_and_what_the_limit_is_made_of(replayed):
    rows = histories_of.stream(("v1", 2000, 0.95), ("v2", 1000, 0.8))
    at_once, later = replayed(rows), replayed(rows, maturity_ms=12 * 3_600_000)
    assert later.lives[1].verdict.limit == pytest.approx(limit_after(losses(rows, "v1")[:1281]).limit)
    begin_ms = int(histories_of.BEGIN.timestamp() * 1000)
    for each, hours in ((at_once, 0), (later, 12)):
        found = each.lives[1].found
        assert found.at_ms == begin_ms + (found.row - 1) * 60_000 + hours * 3_600_000


def test_revision_that_shares_the_traffic_takes_over_with_its_first_row_and_each_row_counts_for_its_own(replayed):
    rows = histories_of.stream(("v1", 2000, 0.95), ("v2", 1000, 0.95))
    old = histories_of.stream(("v1", 1000, 0.95), seed=1)
    mixed = rows[:2000] + [
        (histories_of.when(2000 + place), *row[1:])
        for place, row in enumerate(row for two in zip(rows[2000:], old, strict=True) for row in two)
    ]
    first, second = replayed(mixed).lives
    assert (first.rows, second.rows, second.before, second.overlaps) == (3000, 1000, "v1", True)
    assert second.verdict.limit == pytest.approx(limit_after(losses(rows, "v1")).limit)


def test_later_revision_takes_over_from_the_one_that_answered_most_just_before(replayed):
    rows = histories_of.stream(("v1", 600, 0.95), ("v2", 10, 0.95), ("v1", 300, 0.95), ("v3", 100, 0.95))
    assert [life.before for life in replayed(rows).lives] == ["", "v1", "v1"]


def test_recall_counts_rows_of_the_positive_class_alone(replayed):
    rng = np.random.default_rng(3)
    rows = []
    for place in range(20_000):
        name, truth = ("v1" if place < 12_000 else "v2"), int(rng.random() < 0.1)
        right = not truth or rng.random() < (0.95 if name == "v1" else 0.6)
        rows.append((histories_of.when(place), name, truth if right else 1 - truth, truth))
    second = replayed(rows, metric="recall", positive="1.0").lives[1]
    positives = [row for row in rows if row[1] == "v2" and row[3] == 1]
    assert (second.outcomes, second.verdict.name) == (len(positives), Name.DEGRADED)
    assert rows[second.found.row - 1] == positives[second.found.outcome - 1]
    assert replayed(rows).lives[1].verdict.name is not Name.DEGRADED  # accuracy hides it


@pytest.mark.parametrize(
    ("metric", "is_about"), [("precision", lambda row: row[2]), ("f1", lambda row: row[2] or row[3])]
)
def test_precision_and_f1_count_the_rows_that_they_are_about(replayed, metric, is_about):
    rows = histories_of.stream(("v1", 3000, 0.95), ("v2", 1500, 0.8))
    second = replayed(rows, metric=metric, positive="1").lives[1]
    mine = [row for row in rows if row[1] == "v2" and is_about(row)]
    assert (second.outcomes, second.verdict.name) == (len(mine), Name.DEGRADED)
    assert rows[second.found.row - 1] == mine[second.found.outcome - 1]
    hits, wrong = sum(row[2] and row[3] for row in mine), sum(row[2] != row[3] for row in mine)
    expected = hits / len(mine) if metric == "precision" else 2 * hits / (2 * hits + wrong)
    assert second.verdict.estimate == pytest.approx(expected)
    before = [row for row in rows if row[1] == "v1" and is_about(row)]
    hits, wrong = sum(row[2] and row[3] for row in before), sum(row[2] != row[3] for row in before)
    expected = hits / len(before) if metric == "precision" else 2 * hits / (2 * hits + wrong)
    assert second.reference == pytest.approx(expected)


def errors_of(rows, revision: str) -> np.ndarray:
    return np.array([row[2] - row[3] for row in rows if row[1] == revision])


@pytest.mark.parametrize("metric", ["mae", "rmse", "r2"])
def test_values_that_are_further_off_are_found_by_the_limit_at_the_row_that_the_engine_says(replayed, metric):
    rows = histories_of.values(("v1", 2000, 5.0), ("v2", 1000, 9.0), ("v3", 1000, 5.0))
    first, second, third = replayed(rows, metric=metric).lives
    assert [life.verdict.name for life in (first, second, third)] == [Name.HEALTHY, Name.DEGRADED, Name.HEALTHY]
    assert (second.verdict.provisional, third.before) == (True, "v1")

    measure, (own, worse) = deviations.Measure(metric), (errors_of(rows, name) for name in ("v1", "v2"))
    truths = np.array([row[3] for row in rows])
    scale = deviations.of_first(measure, own[:500], truths[:500])
    known = intervals.fold(intervals.EMPTY, deviations.losses(scale, own, truths[:2000]))
    margin = deviations.tolerated(scale, known.mean, 0.02 if metric == "r2" else 0.1)
    reference = references.of_losses(known, margin=margin, alpha=SHARES.fixed_limit, graded=True)
    monitor = betting.begin(limit=reference.tolerated_loss, alpha=reference.alpha)
    expected = betting.fold(monitor, deviations.losses(scale, worse, truths[2000:3000])).crossed_at
    assert (second.found.row, second.found.outcome) == (2000 + expected, expected)


def test_values_on_the_same_inputs_condemn_the_one_that_is_further_off_and_no_other(replayed):
    worse = replayed(histories_of.both_values(1500, {"v1": 5.0, "v2": 7.0}), "id", metric="mae").lives[1]
    assert (worse.verdict.name, worse.verdict.provisional, worse.pairs > 1000) == (Name.DEGRADED, False, True)
    alike = replayed(histories_of.both_values(1500, {"v1": 5.0, "v2": 5.0}), "id", metric="mae").lives[1]
    assert alike.found is None


def test_value_that_is_infinite_is_the_largest_error(replayed):
    rows = histories_of.values(("v1", 2000, 5.0), ("v2", 1000, 5.0))
    rows = [
        (*row[:2], float("inf"), row[3]) if row[1] == "v2" and place % 5 == 0 else row for place, row in enumerate(rows)
    ]
    second = replayed(rows, metric="mae").lives[1]
    assert (second.outcomes, second.verdict.name) == (1000, Name.DEGRADED)
    assert all(moment is not None for moment in second.rules)


def test_rules_of_others_hold_errors_against_those_of_the_one_before(replayed):
    rows = histories_of.values(("v1", 2000, 5.0), ("v2", 1000, 9.0))
    own, worse = (np.abs(errors_of(rows, name)) for name in ("v1", "v2"))
    second = replayed(rows, metric="mae").lives[1]
    assert second.reference == pytest.approx(own.mean())
    windows = [worse[end - 500 : end].mean() > 1.1 * own.mean() for end in range(500, 1001, 100)]
    fails = [500 + 100 * place for place, failed in enumerate(windows) if failed]
    assert [moment.outcome for moment in second.rules[1:4]] == [fails[0], fails[3], fails[4]]


def test_report_of_values_is_in_their_units(tmp_path, capsys):
    path = histories_of.write(tmp_path / "values.csv", histories_of.values(("v1", 2000, 5.0), ("v2", 1000, 9.0)))
    assert main.main(["replay", str(path), "--metric", "mae"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[1] == "mae, margin 10%, probability 0.01 of ever rolling back a good one"
    assert any(line.startswith("v2: Degraded, provisionally") and "above its limit" in line for line in lines)
    assert any(line.startswith("  window 500, margin 10%, one strike ") for line in lines)
    assert not any(line.startswith("to detect a drop") for line in lines)


def test_few_values_make_no_scale_and_nothing_is_said_of_them(replayed):
    (only,) = replayed(histories_of.values(("v1", 50, 5.0)), metric="rmse").lives
    assert (only.found, only.verdict.name, only.reference) == (None, Name.COLLECTING, None)


def test_one_row_of_a_request_or_entity_counts_for_each_revision(replayed):
    rows = [(*row, f"e{place % 700}") for place, row in enumerate(histories_of.stream(("v1", 1400, 0.95)))]
    (by_entity,) = replayed(rows, "customer", columns=Columns(entity="customer")).lives
    assert by_entity.outcomes == 700
    found = replayed(rows, "id")
    assert found.lives[0].outcomes == 700
    assert "700 later rows of the same id and revision are left out" in found.notes


def test_rows_of_one_id_with_two_true_answers_are_no_pair_and_are_told(replayed):
    rows = histories_of.both(600, {"v1": 0.95, "v2": 0.95})
    rows[1] = (*rows[1][:3], 1 - rows[1][3], rows[1][4])
    found = replayed(rows, "id")
    assert found.lives[1].pairs == 599
    assert any("different true answers" in note for note in found.notes)


def test_long_history_is_cut_nowhere(replayed):
    found = replayed(histories_of.both(25_000, {"v1": 0.95, "v2": 0.95}), "id")
    assert (found.lives[1].pairs, [life.outcomes for life in found.lives]) == (25_000, [25_000, 25_000])


def test_rules_of_others_fire_where_the_rules_say(replayed):
    rows = histories_of.stream(("v1", 2000, 0.95), ("v2", 1000, 0.8))
    bad, reference = losses(rows, "v2"), 1 - np.mean(losses(rows, "v1"))
    expected = [int(rule([bad], reference)[0]) for rule in window_rules.RULES.values()]
    second = replayed(rows).lives[1]
    assert [moment.outcome for moment in second.rules] == expected
    assert [moment.row for moment in second.rules] == [2000 + number for number in expected]


def test_drops_need_more_outcomes_the_smaller_they_are_and_tolerated_ones_are_never_found(replayed):
    drops = replayed(histories_of.stream(("v1", 2000, 0.95))).drops
    needed = [drop.outcomes for drop in drops]
    assert needed[0] is None
    assert all(more > less for more, less in pairwise(needed[1:]))
    assert 100 < needed[2] < 400


def test_digits_of_a_worse_model_are_found_on_the_same_inputs_and_by_the_limit_alone(replayed):
    images, truths = datasets.load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))
    images, truths = images[order], truths[order]
    good = svm.SVC().fit(images[:600], truths[:600]).predict(images[600:])
    worse = linear_model.LogisticRegression(max_iter=2000).fit(images[:100] > 7, truths[:100])
    bad = worse.predict(images[600:] > 7)
    same = [
        (histories_of.when(place), name, answers[place], truths[600 + place], f"image {place}")
        for place in range(len(good))
        for name, answers in (("svm", good), ("pixels", bad))
    ]
    _, second = replayed(same, "id").lives
    assert (second.verdict.name, second.verdict.provisional) == (Name.DEGRADED, False)
    assert second.found.outcome < 250
    split = [row[:4] for row in same if (row[1] == "svm") == (int(row[4].split()[1]) < 700)]
    _, second = replayed(split).lives
    assert (second.verdict.name, second.verdict.provisional) == (Name.DEGRADED, True)


def test_report_says_what_was_found_in_100_columns(tmp_path, capsys):
    rows = histories_of.stream(("v1", 2000, 0.95), ("v2", 1000, 0.8), ("v3", 50, 0.95))
    path = histories_of.write(tmp_path / "history.csv", rows)
    assert main.main(["replay", str(path), "--maturity", "12h"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    lines = said.out.splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[0] == "history.csv: 3,050 rows from 2026-01-01 00:00 to 2026-01-03 02:49 UTC, 3 revisions"
    assert any(line.startswith("v2: Degraded, provisionally at row 2,") for line in lines)
    assert any(line.startswith("  window 500, margin 2 points, one strike ") for line in lines)
    assert any(line.startswith("  10 points: ~") and "pairs on the same inputs" in line for line in lines)
