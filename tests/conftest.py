"""What all suites share."""

import asyncio
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def _main_thread_loop() -> Iterator[None]:
    """Own the loop that pytest-asyncio would make on the side and never close, which is a warning and so an error."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    loop.close()
