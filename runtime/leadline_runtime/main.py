"""Entry point of `leadline-runtime`: reads the environment, runs the supervisor, ends with one line on a user's mistake."""

import os
import sys

import uvloop

from leadline_runtime import errors, logs, settings
from leadline_runtime.supervisor import app


def main() -> None:
    """Run one pod's runtime until SIGTERM."""
    logs.start("supervisor")
    try:
        config = settings.read(os.environ)
        logs.adjust(config.log_level, config.log_format)
        uvloop.run(app.supervise(config))
    except errors.SettingsError as error:
        logs.error("cannot start", error=error)
        sys.exit(2)


if __name__ == "__main__":
    main()
