"""The suite of `tests/unit/ledger/test_taking.py`, on PostgreSQL."""

from tests.unit.ledger.test_taking import *  # noqa: F403 - the same tests
