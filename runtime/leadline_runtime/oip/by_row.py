"""Whether a run's outputs have a row for each of its rows: only then is it known whose each one is.

At load made-up rows show it; real ones may show otherwise, where a model drops rows or finds more. Next step: `batches` and
`testset.runner` run the rows apart. Must not run anything.
"""

from collections.abc import Sequence

from leadline_runtime.oip.forms import Array


class RowsError(ValueError):
    """There are more rows or fewer."""

    def __init__(self, rows: int, outputs: Sequence[Array]) -> None:
        super().__init__(f"it answered {rows} rows with outputs of shapes {[list(array.shape) for array in outputs]}")


def holds(outputs: Sequence[Array], rows: int) -> bool:
    """Tell whether each output has so many rows."""
    return all(array.shape[:1] == (rows,) for array in outputs)


def check(outputs: Sequence[Array], rows: int) -> None:
    """Refuse outputs that have more rows or fewer.

    Raises:
        RowsError: One has.
    """
    if not holds(outputs, rows):
        raise RowsError(rows, outputs)
