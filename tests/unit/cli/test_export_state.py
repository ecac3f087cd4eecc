"""Where an export goes on: what is found after a kill at each place between a whole file and its name."""

import pytest
from leadline_cli import errors, export_state
from leadline_cli.export_state import Pending, State

BEGIN = State("shop/fraud", "both", 20)


@pytest.fixture
def state(tmp_path):
    return tmp_path / "state.json"


def written(path, state):
    """Write a state as a call did that was killed then."""
    export_state._write(path, state)


def found(path):
    with export_state.held(path, BEGIN) as held:
        return held.state


def pending(folder):
    temporary, final = folder / ".leadline-export-1", folder / "fraud-5.parquet"
    return temporary, final, State("shop/fraud", "both", 20, 3, "a", Pending(str(temporary), str(final), 5, "b"))


AFTER = State("shop/fraud", "both", 20, 5, "b")


def test_state_that_is_not_there_is_a_beginning_and_is_not_written(state):
    assert found(state) == BEGIN
    assert not state.exists()


def test_file_gets_its_name_and_the_cursor_moves(state, tmp_path):
    temporary, final = tmp_path / "t", tmp_path / "f"
    temporary.write_text("rows")
    with export_state.held(state, BEGIN) as held:
        held.add(temporary, final, cursor=5, timeline="b")
        assert held.state == AFTER
    assert (found(state), final.read_text(), temporary.exists()) == (AFTER, "rows", False)


def test_call_that_was_killed_before_the_name_is_finished(state, tmp_path):
    temporary, final, left = pending(tmp_path)
    temporary.write_text("rows")
    written(state, left)
    assert found(state) == AFTER
    assert (final.read_text(), temporary.exists()) == ("rows", False)
    assert found(state) == AFTER


def test_call_that_was_killed_after_the_name_is_finished(state, tmp_path):
    _, final, left = pending(tmp_path)
    final.write_text("rows")
    written(state, left)
    assert (found(state), final.read_text()) == (AFTER, "rows")


def test_file_that_was_taken_away_after_it_got_its_name_is_not_exported_again(state, tmp_path):
    _, final, left = pending(tmp_path)
    written(state, left)
    assert (found(state), final.exists()) == (AFTER, False)


def test_kill_while_the_state_is_written_leaves_the_one_before(state):
    written(state, AFTER)
    state.with_name(".state.json.part").write_text('{"model": "sh')
    assert found(state) == AFTER


def test_state_is_one_calls_at_a_time(state):
    with export_state.held(state, BEGIN), pytest.raises(errors.Refused, match="another export with it is running"):
        found(state)
    assert found(state) == BEGIN


def test_file_that_cannot_get_its_name_is_kept_for_the_next_call(state, tmp_path):
    temporary = tmp_path / "t"
    temporary.write_text("rows")
    final = tmp_path / "later" / "f"
    with export_state.held(state, BEGIN) as held, pytest.raises(errors.Refused, match="No such file or directory"):
        held.add(temporary, final, cursor=5, timeline="b")
    assert temporary.exists()
    final.parent.mkdir()
    assert (found(state), final.read_text()) == (AFTER, "rows")
