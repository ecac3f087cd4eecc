"""The model server: a supervisor that fetches, reports and restarts, and one worker that answers.

Way of a model: `supervisor.model` fetches and checks it, `worker.app` loads it, `web` and `oip` bring requests to
`engine.batching`. Never imports kopf, kubernetes or the operator.

The same engine without a server: `from leadline_runtime import Model`. It is imported when it is first asked for, so that
the supervisor, which must stay small, does not pay for it.
"""

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from leadline_runtime.library import InputError, Model, ModelError, RunError

__all__ = ["VERSION", "InputError", "Model", "ModelError", "RunError"]

VERSION: Final = "0.1.0"
"""Of the runtime, as it reports itself; the same as the distribution's."""


def __getattr__(name: str) -> Any:
    """Import the library when one of its names is asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from leadline_runtime import library  # noqa: PLC0415 - numpy and onnxruntime, 100 MB

    return getattr(library, name)
