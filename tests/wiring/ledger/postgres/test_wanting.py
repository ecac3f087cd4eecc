"""The suite of `tests/unit/ledger/test_wanting.py`, on PostgreSQL."""

from tests.unit.ledger.test_wanting import *  # noqa: F403 - the same tests
