"""The account of the demo's clients: what is counted, per revision and over all, and what is not taken for a snapshot.

Not covered: the client in its pod and kubectl; `make demo` itself is the test of those.
"""

import json

import pytest

from examples.demo import answers

GOOD, WORSE = "digits-aaaaaaaaaa", "digits-bbbbbbbbbb"


def told(count, right, first, last):
    return {"count": count, "right": right, "first": first, "last": last}


def mode(revisions, *, sent, failed=0, slowest=0.01, errors=()):
    return {
        "sent": sent,
        "failed": failed,
        "slowest_seconds": slowest,
        "errors": list(errors),
        "revisions": revisions,
    }


def line(at, *, final=False, **modes):
    return json.dumps({"at": at, "final": final, "modes": modes})


def account(*lines):
    result = answers.Account("digits")
    for each in lines:
        result.add(each)
    return result


def test_requests_and_failures_are_summed_over_kinds_of_client():
    seen = account(line(10.0, kept=mode({}, sent=20, failed=1, errors=["late"]), new=mode({}, sent=10, failed=2)))
    assert (seen.sent, seen.failed, seen.errors) == (30, 3, ["digits, kept: late"])


def test_answers_of_a_revision_are_summed_and_its_last_one_is_the_latest_of_all_kinds():
    kept = mode({GOOD: told(5, 5, 1.0, 9.5), WORSE: told(2, 1, 4.0, 4.5)}, sent=7)
    new = mode({GOOD: told(3, 2, 2.0, 9.75)}, sent=3)
    seen = account(line(10.0, kept=kept, new=new))
    assert (seen.answers_by(GOOD), seen.last_by(GOOD), seen.share_right(GOOD)) == (8, 9.75, 7 / 8)
    assert (seen.answers_by(WORSE), seen.last_by(WORSE), seen.share_right(WORSE)) == (2, 4.5, 0.5)


def test_a_revision_that_never_answered_has_no_last_answer_and_no_share():
    seen = account(line(10.0, kept=mode({}, sent=0)))
    assert (seen.answers_by(WORSE), seen.last_by(WORSE), seen.share_right(WORSE)) == (0, None, None)


def test_nothing_is_known_before_the_first_line():
    seen = account()
    assert (seen.sent, seen.failed, seen.slowest_seconds, seen.newest.final) == (0, 0, 0.0, False)


def test_no_answer_counts_as_after_the_moment_of_the_last_one():
    seen = account(line(5.0, kept=mode({WORSE: told(4, 4, 1.0, 4.9)}, sent=4)))
    assert seen.after(WORSE, 4.9) == 0


def test_answers_after_a_moment_are_counted_from_the_last_line_before_it():
    seen = account(
        line(3.0, kept=mode({WORSE: told(2, 2, 1.0, 2.9)}, sent=2)),
        line(4.0, kept=mode({WORSE: told(3, 3, 1.0, 3.5)}, sent=3)),
        line(5.0, kept=mode({WORSE: told(7, 7, 1.0, 4.9)}, sent=7)),
    )
    assert seen.after(WORSE, 3.4) == 5  # one of them came before 3.4 perhaps: never too few


def test_all_answers_count_as_after_a_moment_before_the_first_line():
    seen = account(line(5.0, kept=mode({WORSE: told(7, 7, 4.0, 4.9)}, sent=7)))
    assert seen.after(WORSE, 4.5) == 7


def test_a_line_that_is_read_again_counts_once():
    first = line(3.0, kept=mode({}, sent=2))
    assert len(account(first, line(4.0, kept=mode({}, sent=3)), first).snapshots) == 2


@pytest.mark.parametrize(
    "text",
    ["", "Traceback (most recent call last):", "7", "{}", '{"at": 1, "final": false, "modes": {"kept": {"sent": 1}}}'],
)
def test_a_line_that_is_no_snapshot_is_kept_apart(text):
    seen = account(text)
    assert (seen.snapshots, seen.other_lines) == ([], [text])


def test_the_last_line_says_that_it_is_the_last():
    assert account(line(3.0, final=True, kept=mode({}, sent=1))).newest.final
