"""How long the cluster suite waits for each kind of fact, in seconds. Set LEADLINE_PATIENCE to multiply them all."""

import os

_PATIENCE = float(os.environ.get("LEADLINE_PATIENCE", "1"))

POD_START = 60 * _PATIENCE
ROLLOUT = 90 * _PATIENCE
VERDICT = 60 * _PATIENCE
PUT_BACK = 20 * _PATIENCE
MESSAGE = 45 * _PATIENCE
