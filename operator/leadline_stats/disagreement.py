"""Bound what cannot be measured without true answers: two revisions differ in accuracy by no more than they disagree.

Where both give the same answer, both are right or both are wrong. So |accuracy - accuracy'| is at most the probability that
they disagree, whatever the truth is; and for a comparison only the inputs on which they disagree need true answers. Advisory:
it condemns nobody, for a revision that disagrees much may be the better one.

Must not decide anything.
"""

from leadline_stats import intervals

ALPHA = 0.01
"""Probability, at most, that the bound is ever wrong, at any look."""


def largest_difference(agreements: intervals.Summary, alpha: float = ALPHA) -> float:
    """Return a number that the difference in accuracy stays below, at any look, but with probability alpha.

    Args:
        agreements: 1 where both gave the same answer to the same input, 0 where they did not.
        alpha: In (0, 1).

    Returns:
        A number in [0, 1]; 1 where nothing is known.

    Raises:
        ValueError: alpha is not in (0, 1).
    """
    return 1 - intervals.lower_bound(agreements, alpha)
