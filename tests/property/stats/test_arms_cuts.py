"""Two arms, whatever arrives in whatever order: the cut of the stream into fetches leaves no trace."""

import itertools
import json

from hypothesis import given, settings
from hypothesis import strategies as st
from leadline_stats import arms

OUTCOMES = st.lists(st.tuples(st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1)), st.booleans()), max_size=300)


@settings(max_examples=150, deadline=None)
@given(
    outcomes=OUTCOMES,
    cuts=st.lists(st.integers(0, 300), max_size=8),
    per=st.integers(1, 4),
    is_stored=st.booleans(),
)
def test_any_partition_gives_the_same_arms_in_every_bit_and_the_same_deciding_outcome(outcomes, cuts, per, is_stored):
    begun = arms.begin(margin=0.0, alpha=0.3, per=per)
    parts, completed = begun, []
    within = sorted(cut % (len(outcomes) + 1) for cut in cuts)
    for begin, end in itertools.pairwise([0, *within, len(outcomes)]):
        part = outcomes[begin:end]
        parts, places = arms.fold(parts, [loss for loss, _ in part], [is_new for _, is_new in part])
        completed += [begin + place for place in places]
        if is_stored:
            parts = arms.from_plain(json.loads(json.dumps(arms.to_plain(parts))))
    whole, places = arms.fold(begun, [loss for loss, _ in outcomes], [is_new for _, is_new in outcomes])
    assert (parts, tuple(completed)) == (whole, places)
    assert len(completed) == whole.comparison.pairs


@settings(max_examples=100, deadline=None)
@given(outcomes=OUTCOMES, per=st.integers(1, 4))
def test_no_outcome_is_counted_twice_and_no_more_wait_than_may(outcomes, per):
    known, completed = arms.fold(
        arms.begin(margin=0.0, alpha=0.3, per=per), [loss for loss, _ in outcomes], [is_new for _, is_new in outcomes]
    )
    candidates = sum(is_new for _, is_new in outcomes)
    assert len(completed) <= min(candidates, (len(outcomes) - candidates) // per)
    assert len(set(completed)) == len(completed)
    assert max(len(known.candidate), len(known.serving)) <= arms.WAITING_MAX
    assert not (known.candidate and known.serving)
