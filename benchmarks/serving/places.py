"""Where things lie: results, the page, and what is kept between runs. Must not measure."""

import os
from pathlib import Path

BENCHMARKS = Path(__file__).resolve().parents[1]
ROOT = BENCHMARKS.parent
RESULTS = BENCHMARKS / "results" / "serving.json"
DECISIONS = RESULTS.with_name("decisions.json")
ROLLBACKS = RESULTS.with_name("rollback.json")
ONCE = RESULTS.with_name("exactly_once.json")
SIZE = RESULTS.with_name("ledger_size.json")
OUTCOMES = RESULTS.with_name("outcomes.json")
LEDGER = RESULTS.with_name("ledger.json")
PAGE = ROOT / "docs" / "benchmarks.md"
PEERS = BENCHMARKS / "peers"


def cache() -> Path:
    """Return what is kept between runs: `$LEADLINE_CACHE`, else `~/.cache/leadline`."""
    named = os.environ.get("LEADLINE_CACHE")
    return Path(named).resolve() if named else Path.home() / ".cache" / "leadline"
