"""From a model's outputs to whole HTTP answers in JSON; and the forms of one model, made once each.

An answer is a template made once (names, datatypes, shapes, model and revision) with one text per output filled in.
The texts of all rows of a batch come from one call of orjson, cut between the rows. Must not know who asks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final

import orjson

from leadline_runtime.oip import binary_encoding, compression, datatypes, forms, signature, texts
from leadline_runtime.oip.forms import Array, Caller, Copyable, Form
from leadline_runtime.outcomes.minting import Rows
from leadline_runtime.web import responses

_N: Final = ord("n")
"""In a row of numbers only null has it: what orjson writes for a number that is not finite."""
_NUMPY: Final = orjson.OPT_SERIALIZE_NUMPY
_NO_ROWS: Final[frozenset[int]] = frozenset()
_dumps = orjson.dumps
_TEMPLATES_MAX: Final = 64
"""Templates kept; a model with free lengths could have any number of shapes."""
_FORMS_MAX: Final = 256
"""Forms kept; clients of a model with many outputs could ask for them in any order."""


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


class JsonForm:
    """Answers as JSON, with some of the outputs or all."""

    protocol = "rest_json"

    def __init__(self, outputs: Sequence[signature.Tensor], places: tuple[int, ...] | None, start: bytes) -> None:
        self._places = places
        self._outputs = outputs if places is None else [outputs[place] for place in places]
        self._floats = [output.datatype.kind is datatypes.Kind.FLOAT for output in self._outputs]
        self._has_text = any(output.datatype.kind is datatypes.Kind.TEXT for output in self._outputs)
        self._start = start
        self._inner: list[tuple[int, ...]] | None = None
        self._templates: dict[tuple[Any, ...], Template] = {}
        self._row_template = self._receipt_template = Template(b"", 0)

    def copyable(self, caller: Caller) -> Copyable:
        """Return the request as another revision is asked it."""
        return forms.copyable(caller)

    def rows(
        self, outputs: Sequence[Array], count: int, given: Rows | None, identifiers: Mapping[int, str]
    ) -> tuple[Sequence[bytes], AbstractSet[int]]:
        """Return each row's whole answer, and the rows with a number that JSON cannot carry (NaN, infinite)."""
        if self._places is not None:
            outputs = [outputs[place] for place in self._places]
        if self._has_text:
            return self._each(outputs, count, given, identifiers)
        columns: list[Any] = []
        inner: list[tuple[int, ...]] = []
        for array in outputs:
            inner.append(array.shape[1:])
            if array.ndim == 2:
                text, between = _dumps(array, option=_NUMPY)[2:-2], b"],["
            elif array.ndim == 1:
                text, between = _dumps(array, option=_NUMPY)[1:-1], b","
            else:
                return self._each(outputs, count, given, identifiers)
            if _N in text:
                return self._each(outputs, count, given, identifiers)
            columns.append(text.split(between) if count > 1 else (text,))
        if identifiers:
            return self._named([(1, *shape) for shape in inner], columns, given, identifiers), _NO_ROWS
        if inner != self._inner:
            self._inner = inner
            shapes = [(1, *shape) for shape in inner]
            self._row_template = self._template(shapes)
            self._receipt_template = self._template(shapes, with_receipt=True)
        if given is not None:
            return self._signed(columns, given), _NO_ROWS
        whole, empty = self._row_template.whole, self._row_template.empty_bytes
        if len(columns) == 2:
            return [
                whole % (empty + len(one) + len(two), one, two) for one, two in zip(*columns, strict=True)
            ], _NO_ROWS
        return [whole % (empty + sum(map(len, parts)), *parts) for parts in zip(*columns, strict=True)], _NO_ROWS

    def whole(
        self, outputs: Sequence[Array], identifier: str | None, receipt: Callable[[], bytes], *, is_row: bool
    ) -> bytes | None:
        """Return the whole answer; None where a number is not finite."""
        if self._places is not None:
            outputs = [outputs[place] for place in self._places]
        parts = [texts.of_array(array) for array in outputs]
        if any(is_float and _N in text for is_float, text in zip(self._floats, parts, strict=True)):
            return None
        return self._filled([array.shape for array in outputs], parts, identifier, receipt(), is_row=is_row)

    def _signed(self, columns: list[Any], given: Rows) -> list[bytes]:
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

    def _each(
        self, outputs: Sequence[Array], count: int, given: Rows | None, identifiers: Mapping[int, str]
    ) -> tuple[list[bytes], set[int]]:
        """Answer row by row."""
        columns = [texts.of_rows(array, count) for array in outputs]
        bad = {
            row
            for is_float, column in zip(self._floats, columns, strict=True)
            for row, text in enumerate(column)
            if is_float and _N in text
        }
        shapes = [(1, *array.shape[1:]) for array in outputs]
        return self._named(shapes, columns, given, identifiers), bad

    def _named(
        self,
        shapes: list[tuple[int, ...]],
        columns: Sequence[Sequence[bytes]],
        given: Rows | None,
        identifiers: Mapping[int, str],
    ) -> list[bytes]:
        """Return answers some of which give an id back."""
        receipts: Sequence[bytes | None] = given.receipts if given is not None else [None] * len(columns[0])
        return [
            self._filled(shapes, parts, identifiers.get(row), receipt or b"", is_row=True)
            for row, (receipt, parts) in enumerate(zip(receipts, zip(*columns, strict=True), strict=True))
        ]

    def _filled(
        self,
        shapes: list[tuple[int, ...]],
        parts: Sequence[bytes],
        identifier: str | None,
        receipt: bytes,
        *,
        is_row: bool,
    ) -> bytes:
        has_id = identifier is not None
        template = self._template(shapes, with_id=has_id, with_receipt=bool(receipt))
        if receipt:
            parts = [receipt, *parts]
        if has_id:
            parts = [_dumps(identifier), *parts]
        length = template.empty_bytes + sum(map(len, parts))
        if receipt and is_row:
            return template.signed % (receipt, length, *parts)
        return template.whole % (length, *parts)

    def _template(
        self, shapes: list[tuple[int, ...]], *, with_id: bool = False, with_receipt: bool = False
    ) -> Template:
        key = (*shapes, with_id, with_receipt)
        template = self._templates.get(key)
        if template is None:
            if len(self._templates) >= _TEMPLATES_MAX:
                self._templates.clear()
            template = self._templates[key] = self._make(shapes, with_id=with_id, with_receipt=with_receipt)
        return template

    def _make(self, shapes: list[tuple[int, ...]], *, with_id: bool, with_receipt: bool) -> Template:
        outputs = b",".join(
            b'{"name":%b,"datatype":"%b","shape":%b,"data":[%%b]}'
            % (texts.escaped(output.name), output.datatype.name.encode(), orjson.dumps(shape))
            for output, shape in zip(self._outputs, shapes, strict=True)
        )
        identifier = b',"id":%b' if with_id else b""
        receipt = b',"parameters":{"receipt":"%b"}' if with_receipt else b""
        body = b'%b%b%b,"outputs":[%b]}' % (self._start, identifier, receipt, outputs)
        return Template(body, len(self._outputs) + with_id + with_receipt)


class Encoder:
    """The forms of one model's answers over REST."""

    def __init__(self, model: signature.Signature, name: str, revision: str) -> None:
        self._outputs = model.outputs
        self._start = b'{"model_name":%b,"model_version":%b' % (texts.escaped(name), texts.escaped(revision))
        self._forms: dict[tuple[tuple[int, ...] | None, frozenset[int], bytes], Form] = {}
        self.usual = JsonForm(self._outputs, None, self._start)
        """All outputs as JSON."""

    def form(self, places: tuple[int, ...] | None, binary: frozenset[int] = _NO_ROWS, coding: bytes = b"") -> Form:
        """Return the form of answers with these outputs.

        Args:
            places: Of the outputs asked for, in the order asked for; None: all.
            binary: Places of those that come as binary tensors after the JSON.
            coding: What the body is packed with; empty: it is not.
        """
        if places is None and not binary and not coding:
            return self.usual
        key = (places, binary, coding)
        form = self._forms.get(key)
        if form is None:
            if len(self._forms) >= _FORMS_MAX:
                self._forms.clear()
            form = self._forms[key] = self._make(*key)
        return form

    def _make(self, places: tuple[int, ...] | None, binary: frozenset[int], coding: bytes) -> Form:
        if coding:
            return compression.PackedForm(self.form(places, binary), coding)
        if binary:
            return binary_encoding.BinaryForm(self._outputs, places, binary, self._start)
        return JsonForm(self._outputs, places, self._start)
