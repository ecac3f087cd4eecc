"""The suite of `tests/unit/ledger/test_maturing.py`, on PostgreSQL."""

from tests.unit.ledger.test_maturing import *  # noqa: F403 - the same tests
