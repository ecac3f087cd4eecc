"""What can go wrong for somebody who uses the library.

LeadlineRuntimeError
+-- ModelError    the model cannot be had or loaded; `reason` is the one that a pod reports
+-- InputError    what was given is not what the model takes: a ValueError, with the server's message
+-- RunError      the model itself failed on it
"""

from leadline_runtime import errors
from leadline_runtime.fetch import transfer


class ModelError(errors.LeadlineRuntimeError):
    """The model cannot be had or loaded."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.message = message
        self.reason = reason
        """In one word, such as ModelNotFound, DigestMismatch or InvalidModel; docs/reasons.md has them all."""


class InputError(errors.LeadlineRuntimeError, ValueError):
    """What was given is not what the model takes."""


class RunError(errors.LeadlineRuntimeError):
    """The model failed on what it was given."""


def of_trouble(error: errors.TroubleError) -> ModelError:
    """Return trouble of a pod as the library says it: nothing is tried again behind a caller's back."""
    return ModelError(error.trouble.reason, error.trouble.message.removesuffix(transfer.RETRIED))
