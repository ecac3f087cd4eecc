"""What the ledger does unasked: judges answers whose maturity has passed, deletes what is past its age, tries again.

One task, beside which captured inputs are looked after; each step waits for the one before. Trouble of the store is the store's to say; here it only means: try again.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from leadline_ledger import errors, logs, store
from leadline_ledger.blobs.kept import Blobs
from leadline_ledger.captures.kept import Captures

TICK_SECONDS: Final = 1.0
"""An answer is judged at most so long after its time; a database in trouble is tried again so often."""
_TIDY_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 300.0
"""Between two looks at captured inputs, each a listing."""
_STEPS: Final = 20
"""Of deleting, with each tick: more than comes in at full load. Each is a transaction, so calls get between."""


async def run(
    kept: store.Store,
    model_bytes: Blobs,
    captured: Captures,
    *,
    clock_ms: Callable[[], int],
    monotonic: Callable[[], float],
) -> None:
    """Keep the ledger in order until cancelled."""
    tidied_at = looked_at = monotonic()
    # By itself: it may read and write much, and answers are to be judged in time.
    looking: asyncio.Task[None] | None = None
    while True:
        await asyncio.sleep(TICK_SECONDS)
        try:
            if model_bytes.trouble:
                await model_bytes.open()
            if kept.trouble:
                await kept.probe()
            while kept.due_ms is not None and kept.due_ms <= clock_ms():
                if not await kept.judge():
                    break
            if monotonic() >= looked_at + _LOOK_SECONDS:
                looked_at = monotonic()
                if looking is None or looking.done():
                    looking = asyncio.create_task(_look(captured))
            if monotonic() >= tidied_at + _TIDY_SECONDS and await _tidied(kept):
                tidied_at = monotonic()
        except (errors.UnavailableError, errors.FullError):
            continue
        except Exception as error:  # noqa: BLE001 - a defect in upkeep must not end the intake
            logs.error("upkeep met a defect", exc_info=error)


async def _look(captured: Captures) -> None:
    try:
        await captured.tidy()
    except Exception as error:  # noqa: BLE001 - a defect in upkeep must not end the intake
        logs.error("upkeep of captured inputs met a defect", exc_info=error)


async def _tidied(kept: store.Store) -> bool:
    """Take some steps; tell whether nothing is left to delete."""
    for _ in range(_STEPS):
        if not await kept.tidy():
            return True
    return False
