"""Entry point of `leadline-ledger`: reads the environment, runs the ledger, ends with one line on a user's mistake."""

import asyncio
import os
import sys

from leadline_ledger import app, errors, logs, settings


def main() -> None:
    """Run the ledger until SIGTERM."""
    logs.start()
    try:
        asyncio.run(app.serve(settings.read(os.environ)))
    except errors.SettingsError as error:
        logs.error("cannot start", error=error)
        sys.exit(2)


if __name__ == "__main__":
    main()
