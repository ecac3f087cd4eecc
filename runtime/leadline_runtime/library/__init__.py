"""The engine as a library: `from leadline_runtime import Model`.

A model in this process, loaded, checked and run as the server does it, with the server's own modules and messages. What
is exported here is the public interface; next step: `model`.

Must not start a server, a process or an event loop that outlives a call.
"""

from leadline_runtime.library.failures import InputError, ModelError, RunError
from leadline_runtime.library.model import Model

__all__ = ["InputError", "Model", "ModelError", "RunError"]
