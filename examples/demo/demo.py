"""See a rollout, a rejection and a rollback with your own eyes: `make demo`.

Makes a cluster where none is, plays five acts on it, prints a summary, and takes everything away again (KEEP=1 leaves it).
Ends with status 0 only if all of it happened; else with one line on what did not, after the last objects, Events and the
operator's log. The work is in `performance.py`.
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[2])  # the repository, for this file is started by its path

from examples.demo import performance  # noqa: E402 - found only now

if __name__ == "__main__":
    performance.main()
