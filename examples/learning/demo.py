"""See a model decay, learn from what came true, and serve better again: `make demo-learning`.

A year of flights goes by in six minutes. Makes a cluster where none is, plays, draws examples/learning/out/learning.png, and takes
everything away again (KEEP=1 leaves it). Ends with status 0 only if all of it happened. The work is in `performance.py`.
"""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[2])  # the repository, for this file is started by its path

from examples.learning import performance  # noqa: E402 - found only now

if __name__ == "__main__":
    performance.main()
