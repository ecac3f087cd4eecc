"""Entry point of `leadline-ledger`: reads the environment, runs the ledger, ends with one line on a user's mistake."""

import asyncio
import gc
import os
import sys
from typing import Final

from leadline_ledger import app, errors, logs, settings

_YOUNG_OBJECTS: Final = 50_000
"""Between two looks for cycles: an intake is thousands of objects in none, all gone with its commit."""


def main() -> None:
    """Run the ledger until SIGTERM."""
    logs.start()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, 20, 20)
    try:
        asyncio.run(app.serve(settings.read(os.environ)))
    except errors.SettingsError as error:
        logs.error("cannot start", error=error)
        sys.exit(2)


if __name__ == "__main__":
    main()
