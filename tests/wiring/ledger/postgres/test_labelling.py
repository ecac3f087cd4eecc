"""The suite of `tests/unit/ledger/test_labelling.py`, on PostgreSQL."""

from tests.unit.ledger.test_labelling import *  # noqa: F403 - the same tests
