"""Entries of outcomes: one that is known in all, and any."""

from hypothesis import strategies as st
from leadline_wire import predictions
from leadline_wire.ledger import OutcomeEntry

ID = "019abd265f8071a28c93b07f11d40000"
PREDICTED_AT = "2025-11-25T22:33:20.000Z"
NAMES = st.text(st.characters(codec="utf-8"), max_size=20)
IDS = st.integers(0, 2**128 - 1).map(lambda number: f"{number:032x}")
WORDS = (
    (st.integers() | NAMES).map(predictions.of_class)
    | st.floats().map(predictions.of_value)
    | st.floats(0, 1).map(predictions.of_score)
    | st.sampled_from(["x5xx", "xtimeout", "", "i", "s!", "v00", "nonsense"])
)


def entry(**more):
    known = {
        "seq": 7,
        "model": "shop/fraud",
        "id": ID,
        "row": 0,
        "revision": "fraud-a",
        "prediction": predictions.of_class(1),
        "came_at_ms": 1_800_000_000_001,
        "truth": predictions.of_class(1),
    }
    return OutcomeEntry(**(known | more))


ENTRIES = st.builds(
    entry,
    id=IDS,
    row=st.integers(0, 2**31 - 1),
    prediction=WORDS,
    truth=WORDS,
    correct=st.none() | st.booleans(),
    score=st.none() | st.floats(0, 1),
    came_at_ms=st.integers(0, 2**48),
    entity=NAMES,
    client_id=NAMES,
    tags=st.dictionaries(NAMES, NAMES, max_size=4),
    wanted=NAMES,
)
