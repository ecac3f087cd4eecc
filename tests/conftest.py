"""What all suites share."""

import asyncio
import os
from collections.abc import Iterator

import hypothesis
import pytest

# Elsewhere each run looks at other examples; what CI says must depend on the change alone. Nothing here is timed: how long
# an example takes says how busy the machine is.
hypothesis.settings.register_profile("ci", derandomize=True, deadline=None)
hypothesis.settings.register_profile("local", deadline=None)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "local")


@pytest.fixture(scope="session", autouse=True)
def _main_thread_loop() -> Iterator[None]:
    """Own the loop that pytest-asyncio would make on the side and never close, which is a warning and so an error."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    loop.close()
