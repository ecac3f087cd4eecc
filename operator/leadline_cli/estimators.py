"""Read a trained classifier from a skops file: data, from which no code runs.

Next step: `conversion`. Must not open a pickle, whatever the file is called.
"""

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import skops.io
from skops.io.exceptions import UntrustedTypesFoundException

from leadline_cli import errors

_PICKLE_STARTS = (b"\x80", b"(", b"c", b"]", b"}", b"x", b"\x1f\x8b", b"BZ", b"\xfd7")
"""First bytes of a pickle, by protocol, or of one that joblib compressed."""


def load(path: Path, *, trusted: Sequence[str] = ()) -> Any:
    """Return the estimator in a skops file.

    Args:
        path: The file.
        trusted: Names of types that may be built although skops does not know them to be harmless.

    Raises:
        Refused: There is no such file, it is a pickle or something else, or it holds other types.
    """
    save = f"save the model as data: skops.io.dump(model, {str(path.with_suffix('.skops'))!r})"
    try:
        start = path.read_bytes()[:2]
    except OSError as error:
        raise errors.Refused(f"{path}: {error.strerror}") from error
    if not zipfile.is_zipfile(path):
        if start.startswith(_PICKLE_STARTS):
            raise errors.Refused(f"{path}: is a pickle, and opening one runs whatever code is in it; {save}")
        raise errors.Refused(f"{path}: is no skops file; {save}")
    try:
        unknown = [name for name in skops.io.get_untrusted_types(file=path) if name not in trusted]
        if unknown:
            allow = " ".join(f"--trust {name}" for name in unknown)
            raise errors.Refused(
                f"{path}: holds types that skops does not know to be harmless: {', '.join(unknown)}; if you trust "
                f"where the file comes from, allow them by name: {allow}"
            )
        return skops.io.load(path, trusted=list(trusted))
    except (KeyError, ValueError, TypeError, AttributeError, UntrustedTypesFoundException) as error:
        raise errors.Refused(f"{path}: is no skops file that this version reads ({error}); {save}") from error
