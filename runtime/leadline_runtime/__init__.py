"""The model server: a supervisor that fetches, reports and restarts, and one worker that answers.

Way of a model: `supervisor.model` fetches and checks it, `worker.app` loads it, `web` and `oip` bring requests to
`engine.batching`. Never imports kopf, kubernetes or the operator.
"""

from typing import Final

VERSION: Final = "0.1.0"
"""Of the runtime, as it reports itself; the same as the distribution's."""
