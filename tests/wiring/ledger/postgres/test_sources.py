"""The suite of `tests/unit/ledger/test_sources.py`, on PostgreSQL."""

from tests.unit.ledger.test_sources import *  # noqa: F403 - the same tests
