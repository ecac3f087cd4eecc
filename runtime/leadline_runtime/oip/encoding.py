"""From a model's outputs to whole HTTP answers.

An answer is a template made once (names, datatypes, shapes, model and revision) with one text per output filled in.
The texts of all rows of a batch come from one call of orjson, cut between the rows. Must not know connections.
"""

from typing import Any, Final

import numpy as np
import orjson

from leadline_runtime.oip import datatypes, signature
from leadline_runtime.outcomes.minting import Rows
from leadline_runtime.web import responses

Array = np.ndarray[Any, np.dtype[Any]]
Texts = list[list[bytes]]
"""For each output, for each row, the elements as JSON without brackets."""

_N: Final = ord("n")
"""In a row of numbers only null has it: what orjson writes for a number that is not finite."""
_NUMPY: Final = orjson.OPT_SERIALIZE_NUMPY
_dumps = orjson.dumps
_TEMPLATES_MAX: Final = 64
"""Templates kept; a model with free lengths could have any number of shapes."""


class Template:
    """The answer of one shape; `whole % (length, *texts)` is head and body.

    With a receipt the first text is the receipt, after the id; `signed` has it in a header, too, as its first text.
    """

    __slots__ = ("empty_bytes", "signed", "whole")

    def __init__(self, body: bytes, texts: int) -> None:
        self.empty_bytes = len(body % ((b"",) * texts))
        """Length of the body before texts are filled in."""
        self.whole = responses.JSON_HEAD + body
        self.signed = responses.RECEIPT_HEAD + body


class Encoder:
    """Encodes the answers of one model."""

    def __init__(self, model: signature.Signature, name: str, revision: str) -> None:
        self._outputs = model.outputs
        self._floats = [output.datatype.kind is datatypes.Kind.FLOAT for output in model.outputs]
        self._has_text = any(output.datatype.kind is datatypes.Kind.TEXT for output in model.outputs)
        self._inner: list[tuple[int, ...]] | None = None
        self._start = b'{"model_name":%b,"model_version":%b' % (_escaped(name), _escaped(revision))
        self._templates: dict[tuple[Any, ...], Template] = {}
        self._row_template = self._receipt_template = Template(b"", 0)

    def row_answers(self, arrays: list[Array], rows: int, given: Rows | None = None) -> list[bytes] | None:
        """Return each row's whole answer, the usual way; None where `row_texts` must look closer.

        Args:
            arrays: The outputs; the first dimension of each is `rows`.
            rows: Rows of the batch.
            given: The rows' receipts; None: no row has one.
        """
        if self._has_text:
            return None
        columns: list[Any] = []
        inner: list[tuple[int, ...]] = []
        for array in arrays:
            inner.append(array.shape[1:])
            if array.ndim == 2:
                text, between = _dumps(array, option=_NUMPY)[2:-2], b"],["
            elif array.ndim == 1:
                text, between = _dumps(array, option=_NUMPY)[1:-1], b","
            else:
                return None
            if _N in text:
                return None
            columns.append(text.split(between) if rows > 1 else (text,))
        if inner != self._inner:
            self._inner = inner
            shapes = [(1, *shape) for shape in inner]
            self._row_template = self.template(shapes)
            self._receipt_template = self.template(shapes, with_receipt=True)
        if given is not None:
            return self._signed_answers(columns, given)
        whole, empty = self._row_template.whole, self._row_template.empty_bytes
        if len(columns) == 2:
            return [whole % (empty + len(one) + len(two), one, two) for one, two in zip(*columns, strict=True)]
        return [whole % (empty + sum(map(len, parts)), *parts) for parts in zip(*columns, strict=True)]

    def _signed_answers(self, columns: list[Any], given: Rows) -> list[bytes]:
        signed, empty = self._receipt_template.signed, self._receipt_template.empty_bytes
        receipts: list[Any] = given.receipts
        if not given.is_whole:
            plain = self._row_template
            return [
                plain.whole % (plain.empty_bytes + sum(map(len, parts)), *parts)
                if receipt is None
                else signed % (receipt, empty + len(receipt) + sum(map(len, parts)), receipt, *parts)
                for receipt, *parts in zip(receipts, *columns, strict=True)
            ]
        if len(columns) == 2:
            return [
                signed % (receipt, empty + len(receipt) + len(one) + len(two), receipt, one, two)
                for receipt, one, two in zip(receipts, *columns, strict=True)
            ]
        return [
            signed % (receipt, empty + len(receipt) + sum(map(len, parts)), receipt, *parts)
            for receipt, *parts in zip(receipts, *columns, strict=True)
        ]

    def row_texts(self, arrays: list[Array], rows: int) -> tuple[Texts, set[int]]:
        """Return each row's texts, and the rows that hold a number that JSON cannot carry (NaN, infinite).

        Args:
            arrays: The outputs; the first dimension of each is `rows`.
            rows: Rows of the batch.
        """
        texts = [_texts_of_rows(array, rows) for array in arrays]
        bad = {
            row
            for is_float, column in zip(self._floats, texts, strict=True)
            for row, text in enumerate(column)
            if is_float and _N in text
        }
        return texts, bad

    def whole_texts(self, arrays: list[Array]) -> tuple[list[bytes], bool]:
        """Return the texts of outputs that have no rows, and whether all numbers are finite."""
        texts = [_texts_of_rows(np.ascontiguousarray(array).reshape(1, -1), 1)[0] for array in arrays]
        finite = all(not is_float or _N not in text for is_float, text in zip(self._floats, texts, strict=True))
        return texts, finite

    def template(
        self,
        shapes: list[tuple[int, ...]],
        *,
        places: tuple[int, ...] | None = None,
        with_id: bool = False,
        with_receipt: bool = False,
    ) -> Template:
        """Return the template for these output shapes.

        Args:
            shapes: One per output of the model.
            places: Outputs asked for; None: all.
            with_id: The first text is the request's id.
            with_receipt: The first text, or the one after the id, is the receipt.
        """
        key = (*shapes, places, with_id, with_receipt)
        template = self._templates.get(key)
        if template is None:
            if len(self._templates) >= _TEMPLATES_MAX:
                self._templates.clear()
            template = self._templates[key] = self._make(shapes, places, with_id=with_id, with_receipt=with_receipt)
        return template

    def _make(
        self, shapes: list[tuple[int, ...]], places: tuple[int, ...] | None, *, with_id: bool, with_receipt: bool
    ) -> Template:
        chosen = range(len(self._outputs)) if places is None else places
        outputs = b",".join(
            b'{"name":%b,"datatype":"%b","shape":%b,"data":[%%b]}'
            % (
                _escaped(self._outputs[place].name),
                self._outputs[place].datatype.name.encode(),
                orjson.dumps(shapes[place]),
            )
            for place in chosen
        )
        identifier = b',"id":%b' if with_id else b""
        receipt = b',"parameters":{"receipt":"%b"}' if with_receipt else b""
        body = b'%b%b%b,"outputs":[%b]}' % (self._start, identifier, receipt, outputs)
        return Template(body, len(chosen) + with_id + with_receipt)


def _escaped(text: str) -> bytes:
    """Return a string as JSON inside a template of `%`."""
    return orjson.dumps(text).replace(b"%", b"%%")


def _texts_of_rows(array: Array, rows: int) -> list[bytes]:
    if array.dtype == object:
        return [orjson.dumps(row)[1:-1] for row in array.reshape(rows, -1).tolist()]
    if array.ndim == 1:
        return orjson.dumps(array, option=_NUMPY)[1:-1].split(b",")
    if array.ndim > 2:
        array = array.reshape(rows, -1)
    return orjson.dumps(array, option=_NUMPY)[2:-2].split(b"],[")
