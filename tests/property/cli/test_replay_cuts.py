"""A log gives the same text wherever it was cut: into pages, fetches, files."""

import itertools

from hypothesis import given
from hypothesis import strategies as st
from leadline_cli import replays

from tests.unit.cli import replay_logs

LOG = replay_logs.withdrawn()[:820]
"""With a provisional rejection, a rollback and a withdrawal."""
WHOLE = replays.replay([LOG]).lines(exact=True)


@given(st.sets(st.integers(0, len(LOG)), max_size=12))
def test_replay_is_the_same_text_in_any_cut(cuts):
    ends = [0, *sorted(cuts), len(LOG)]
    stretches = [LOG[first:last] for first, last in itertools.pairwise(ends)]
    assert replays.replay(stretches).lines(exact=True) == WHOLE


def test_replay_is_the_same_text_entry_by_entry():
    assert replays.replay([[entry] for entry in LOG]).lines(exact=True) == WHOLE
