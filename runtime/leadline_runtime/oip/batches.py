"""The kinds of batch: rows packed into one buffer, arrays put together, and one request alone.

Each knows the callers it must answer, and asks their forms to write the answers. `engine.batching` decides when they
run. Must not check requests, and must not know how answers look.
"""

from __future__ import annotations

import enum
import functools
import struct
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Final

import numpy as np
from leadline_wire import predictions

from leadline_runtime import errors, logs
from leadline_runtime.oip import by_row, decoding, signature
from leadline_runtime.oip.forms import Array, Caller, Copyable, Form
from leadline_runtime.outcomes.minting import Rows
from leadline_runtime.outcomes.recording import Recorder
from leadline_runtime.web import responses

Run = Callable[[Mapping[str, Array]], list[Array]]

_FREE_BATCHES_MAX: Final = 4
_NOT_FINITE: Final = (
    "the model answered with a number that is not finite (NaN or infinite), which JSON cannot carry; binary tensors can"
)
_NOT_FINITE_ASKED: Final = (
    "data holds elements that are not finite (null, NaN or infinite), and so does the answer, which JSON cannot carry; "
    "ask for binary tensors"
)
_TEXT: Final = b"text/plain"
_NONE: Final[Mapping[str, int]] = {}


class Origin(enum.Enum):
    """For whom a request is answered; requests of different origins never share a batch."""

    CLIENT = "client"
    """Its answer may get a receipt."""
    ASIDE = "aside"
    """Somebody who asks this revision by itself: no receipt, for the answer is nobody's prediction."""
    COPY = "copy"
    """Another revision's pod: the answer is the prediction in words, and nothing is counted as a client's."""


_NO_WORDS: Final[Mapping[Origin, list[bytes]]] = {Origin.COPY: []}
"""Of a prediction that cannot be told; a copy is answered with nothing then."""


def held_bytes(caller: Caller, request: decoding.Request) -> int:
    """Return what a request holds in memory until it is answered: its body, or its arrays where these are larger."""
    return max(request.input_bytes, len(caller.body))


class RowLayout:
    """How one row of a model with a single packable input lies in a buffer."""

    __slots__ = ("bytes", "name", "pack_into", "pack_raw_into", "row_shape", "tensor", "width")

    def __init__(self, tensor: signature.Tensor, width: int) -> None:
        # Standard size ("<"), not native: it is as fast and refuses numbers that overflow instead of making them infinite.
        packer = struct.Struct(f"<{width}{tensor.datatype.pack}")
        self.tensor = tensor
        self.name = tensor.name
        self.width = width
        self.row_shape = tensor.row_shape
        self.bytes = packer.size
        self.pack_into: Callable[..., None] = packer.pack_into
        # A row that comes as bytes; half of what the assignment of a slice takes.
        self.pack_raw_into: Callable[[bytearray, int, bytes], None] = struct.Struct(f"{packer.size}s").pack_into


class RowBatch:
    """Requests of one row each, packed into one buffer as they are read, whatever form their answers will have."""

    __slots__ = (
        "_free",
        "_input",
        "_recorder",
        "_usual",
        "_views",
        "buffer",
        "callers",
        "created",
        "identifiers",
        "origin",
        "raw_rows",
        "rows",
    )

    input_bytes: Final = 0
    """Its buffer is counted by rows."""

    def __init__(self, layout: RowLayout, max_rows: int, usual: Form, recorder: Recorder, free: list[RowBatch]) -> None:
        self.buffer = bytearray(layout.bytes * max_rows)
        self.rows = 0
        self.created = 0.0
        self.callers: list[Caller] = []
        self.identifiers: dict[int, str] = {}
        """By row; most requests have none."""
        self.raw_rows: dict[Form, list[int]] = {}
        """Rows that came as raw tensors, by the form of their answers; the others came as JSON and get the usual one."""
        self.origin = Origin.CLIENT
        self._usual = usual
        self._recorder = recorder
        self._input = layout.name
        self._free = free
        array = np.frombuffer(self.buffer, layout.tensor.datatype.numpy).reshape(max_rows, *layout.row_shape)
        self._views = [array[:rows] for rows in range(max_rows + 1)]

    @property
    def requests(self) -> int:
        """How many requests there are."""
        return self.rows

    @property
    def is_counted(self) -> bool:
        """Tell whether its requests are clients'."""
        return self.origin is not Origin.COPY

    def protocols(self) -> Mapping[str, int]:
        """Return how many requests are answered otherwise than as JSON."""
        return Counter({form.protocol: len(rows) for form, rows in self.raw_rows.items()}) if self.raw_rows else _NONE

    def run(self, model: Run) -> list[Array]:
        """Run the packed rows, without a copy."""
        rows = self.rows
        outputs = model({self._input: self._views[rows]})
        for array in outputs:
            if len(array) != rows:
                raise by_row.RowsError(rows, outputs)
        return outputs

    def finish(self, outputs: list[Array]) -> int:
        """Answer each row; return how many could not be."""
        recorder, callers = self._recorder, self.callers
        given = recorder.rows(outputs, self.rows) if self.origin is Origin.CLIENT else None
        if self.raw_rows:
            answers, bad = self._answers_by_form(outputs, given)
        else:
            answers, bad = self._usual.rows(outputs, self.rows, given, self.identifiers)
        if self.origin is Origin.COPY:
            answers = [responses.content(word, _TEXT) for word in recorder.copied(outputs, self.rows)]
        copied: list[Copyable] | None = None
        if given is not None and recorder.copier is not None:
            # An answered caller has dropped its own.
            copied = self._copyable() if self.raw_rows else [caller.body for caller in callers]
        failures = 0
        if bad:
            failures = self._answer_but(bad, answers, copied)
        else:
            for caller, answer in zip(callers, answers, strict=True):
                caller.answer(answer)
        if given is not None:
            recorder.took(given, copied, self.identifiers, bad)
            recorder.capture(given, {self._input: self._views[self.rows]}, bad)
        return failures

    def apart(self, error: Exception) -> Sequence[ArrayBatch]:
        """Return each row as a batch of its own; its arrays are parts of this one's buffer."""
        if self.rows == 1 and not isinstance(error, by_row.RowsError):
            return ()
        forms_ = {row: form for form, rows in self.raw_rows.items() for row in rows}
        asked = self._views[self.rows]
        return [
            _alone(
                ArrayBatch(self._recorder, self.origin, (), 1),
                caller,
                decoding.Request({self._input: asked[row : row + 1]}, 1, self.identifiers.get(row)),
                forms_.get(row, self._usual),
            )
            for row, caller in enumerate(self.callers)
        ]

    def _answer_but(self, bad: AbstractSet[int], answers: Sequence[bytes], copied: list[Copyable] | None) -> int:
        """Answer the rows that can be, refuse the others; return how many the model is to blame for."""
        failures = 0
        asked = self._views[self.rows]
        for row, caller in enumerate(self.callers):
            if row not in bad:
                caller.answer(answers[row])
            elif _is_finite(asked[row]):
                failures += 1
                caller.refuse(500, _NOT_FINITE)
            else:
                _refuse_asked(self._recorder, self.origin, caller)
                if copied is not None:
                    copied[row] = b""
        return failures

    def fail(self, error: Exception) -> int:
        """Answer all with 500."""
        _log_failure(error)
        for caller, copyable in zip(self.callers, self._copyable(), strict=True):
            _refuse_failed(self._recorder, self.origin, caller, copyable, _failed(error))
        return self.rows

    def turn_away(self, status: int, message: str) -> None:
        """Refuse all without a run."""
        for caller in self.callers:
            caller.refuse(status, message)

    def release(self) -> None:
        """Empty the batch and give it back."""
        self.callers = []
        self.identifiers = {}
        self.raw_rows = {}
        self.rows = 0
        if len(self._free) < _FREE_BATCHES_MAX:
            self._free.append(self)

    def _answers_by_form(self, outputs: list[Array], given: Rows | None) -> tuple[Sequence[bytes], AbstractSet[int]]:
        """Return answers and failed rows, each form asked for its own."""
        count = self.rows
        groups = dict(self.raw_rows)
        if len(groups) == 1:
            ((form, rows),) = groups.items()
            if len(rows) == count:
                return form.rows(outputs, count, given, self.identifiers)
        taken = {row for rows in groups.values() for row in rows}
        if len(taken) < count:
            rest = [row for row in range(count) if row not in taken]
            groups[self._usual] = rest + groups.get(self._usual, [])
        answers, bad = [b""] * count, set()
        for form, rows in groups.items():
            part = [array[rows] for array in outputs]
            identifiers = {place: self.identifiers[row] for place, row in enumerate(rows) if row in self.identifiers}
            told, failed = form.rows(part, len(rows), given.part(rows) if given is not None else None, identifiers)
            for place, row in enumerate(rows):
                answers[row] = told[place]
            bad |= {rows[place] for place in failed}
        return answers, bad

    def _copyable(self) -> list[Copyable]:
        """Return the requests as they can be copied."""
        copyable: list[Copyable] = [caller.body for caller in self.callers]
        for form, rows in self.raw_rows.items():
            for row in rows:
                copyable[row] = form.copyable(self.callers[row])
        return copyable


class ArrayBatch:
    """Requests of any number of rows and inputs, with the same inner shapes."""

    __slots__ = ("_max_rows", "_recorder", "array_bytes", "created", "input_bytes", "key", "members", "origin", "rows")

    def __init__(self, recorder: Recorder, origin: Origin, key: tuple[tuple[int, ...], ...], max_rows: int) -> None:
        self.key = key
        """Inner shapes of the inputs."""
        self.rows = 0
        self.array_bytes = 0
        self.input_bytes = 0
        """The same, and where a request's body is larger than its arrays, that: it is held until the answer."""
        self.created = 0.0
        self.members: list[tuple[Caller, decoding.Request, Form]] = []
        self.origin = origin
        self._recorder = recorder
        self._max_rows = max_rows

    @property
    def requests(self) -> int:
        """How many requests there are."""
        return len(self.members)

    @property
    def is_counted(self) -> bool:
        """Tell whether its requests are clients'."""
        return self.origin is not Origin.COPY

    def protocols(self) -> Mapping[str, int]:
        """Return how many requests are answered in which protocol."""
        return Counter(form.protocol for _, _, form in self.members)

    def add(self, caller: Caller, request: decoding.Request, form: Form) -> None:
        """Let a request join."""
        self.members.append((caller, request, form))
        self.rows += request.rows
        self.array_bytes += request.input_bytes
        self.input_bytes += held_bytes(caller, request)

    def run(self, model: Run) -> list[Array]:
        """Run the requests' arrays one after the other, cut where there are more rows than one run may have."""
        names = self.members[0][1].arrays
        whole = {
            name: np.concatenate([request.arrays[name] for _, request, _ in self.members])
            if len(self.members) > 1
            else names[name]
            for name in names
        }
        if self.rows <= self._max_rows:
            outputs = model(whole)
        else:
            starts = range(0, self.rows, self._max_rows)
            parts = [model({name: array[at : at + self._max_rows] for name, array in whole.items()}) for at in starts]
            outputs = [np.concatenate(column) for column in zip(*parts, strict=True)]
        if len(self.members) > 1:
            by_row.check(outputs, self.rows)
        return outputs

    def finish(self, outputs: list[Array]) -> int:
        """Answer each request; return how many could not be."""
        recorder, origin = self._recorder, self.origin
        is_whole = by_row.holds(outputs, self.rows)
        recording = recorder.recording(outputs, self.rows) if origin is Origin.CLIENT and is_whole else None
        copied = recorder.copied(outputs, self.rows) if origin is Origin.COPY and is_whole else None
        failures = start = 0
        for place, (caller, request, form) in enumerate(self.members):
            rows = range(start, start + request.rows)
            start = rows.stop
            own = outputs if len(self.members) == 1 else [array[rows.start : rows.stop] for array in outputs]
            if recording is None:
                receipt = _no_receipt
            else:
                receipt = functools.partial(
                    recording.receipt, place, rows, form.copyable(caller), request.identifier, request.parameters
                )
            words = copied[rows.start : rows.stop] if copied is not None else _NO_WORDS.get(origin)
            if not _answer((caller, request, form), own, receipt, words, is_row=request.rows == 1):
                failures += _refuse_unfinite(recorder, origin, caller, form.copyable(caller), request)
            elif recording is not None:
                recording.capture(place, request.arrays)
        return failures

    def apart(self, error: Exception) -> Sequence[ArrayBatch]:  # noqa: ARG002  # the protocol's signature
        """Return each request as a batch of its own."""
        if len(self.members) == 1:
            return ()
        return [
            _alone(ArrayBatch(self._recorder, self.origin, self.key, self._max_rows), *each) for each in self.members
        ]

    def fail(self, error: Exception) -> int:
        """Answer all with 500."""
        _log_failure(error)
        for caller, _, form in self.members:
            _refuse_failed(self._recorder, self.origin, caller, form.copyable(caller), _failed(error))
        return len(self.members)

    def turn_away(self, status: int, message: str) -> None:
        """Refuse all without a run."""
        for caller, _, _ in self.members:
            caller.refuse(status, message)

    def release(self) -> None:
        """Do nothing: such a batch is used once."""


class LoneBatch:
    """One request to a model that has no rows."""

    __slots__ = ("_caller", "_form", "_recorder", "_request", "created", "input_bytes", "origin", "rows")

    def __init__(
        self, recorder: Recorder, origin: Origin, caller: Caller, request: decoding.Request, form: Form
    ) -> None:
        self.rows = 1
        self.input_bytes = held_bytes(caller, request)
        self.created = 0.0
        self.origin = origin
        self._recorder = recorder
        self._caller = caller
        self._request = request
        self._form = form

    @property
    def requests(self) -> int:
        """One."""
        return 1

    @property
    def is_counted(self) -> bool:
        """Tell whether its request is a client's."""
        return self.origin is not Origin.COPY

    def protocols(self) -> Mapping[str, int]:
        """Return in which protocol its request is answered."""
        return {self._form.protocol: 1}

    def run(self, model: Run) -> list[Array]:
        """Run the request's arrays."""
        return model(self._request.arrays)

    def finish(self, outputs: list[Array]) -> int:
        """Answer the request; return 1 if it could not be."""
        recorder, caller, request, form = self._recorder, self._caller, self._request, self._form
        recording = recorder.recording(outputs, 1) if self.origin is Origin.CLIENT else None
        words = recorder.copied(outputs, 1) if self.origin is Origin.COPY else None
        if recording is None:
            receipt = _no_receipt
        else:
            receipt = functools.partial(
                recording.receipt, 0, range(1), form.copyable(caller), request.identifier, request.parameters
            )
        if _answer((caller, request, form), outputs, receipt, words, is_row=True):
            if recording is not None and recorder.capturer is not None:
                recording.capture(0, {name: array[np.newaxis] for name, array in request.arrays.items()})
            return 0
        return _refuse_unfinite(recorder, self.origin, caller, form.copyable(caller), request)

    def apart(self, error: Exception) -> Sequence[ArrayBatch]:  # noqa: ARG002  # the protocol's signature
        """Return nothing: it is alone."""
        return ()

    def fail(self, error: Exception) -> int:
        """Answer with 500."""
        _log_failure(error)
        copyable = self._form.copyable(self._caller)
        _refuse_failed(self._recorder, self.origin, self._caller, copyable, _failed(error))
        return 1

    def turn_away(self, status: int, message: str) -> None:
        """Refuse it without a run."""
        self._caller.refuse(status, message)

    def release(self) -> None:
        """Do nothing: such a batch is used once."""


def _alone(batch: ArrayBatch, caller: Caller, request: decoding.Request, form: Form) -> ArrayBatch:
    batch.add(caller, request, form)
    return batch


def _answer(
    member: tuple[Caller, decoding.Request, Form],
    outputs: Sequence[Array],
    receipt: Callable[[], bytes],
    words: list[bytes] | None,
    *,
    is_row: bool,
) -> bool:
    """Answer one request the general way, unless its form cannot tell the answer: return False then.

    Args:
        member: The request.
        outputs: Cut to its rows.
        receipt: Gives its receipt.
        words: What a copy is answered with; None: it is none.
        is_row: It has one row.
    """
    caller, request, form = member
    answer = form.whole(outputs, request.identifier, receipt, is_row=is_row)
    if answer is None:
        return False
    caller.answer(answer if words is None else _words_of_copy(words))
    return True


def _no_receipt() -> bytes:
    return b""


def _words_of_copy(words: list[bytes]) -> bytes:
    """Return the answer to a copy: all rows in words, or nothing where there are too many or one has none."""
    whole = len(words) <= predictions.ROWS_MAX and all(words)
    return responses.content(b"~".join(words) if whole else b"", _TEXT)


def _refuse_failed(recorder: Recorder, origin: Origin, caller: Caller, copyable: Copyable, message: str) -> None:
    """Answer what the model failed on."""
    if origin is Origin.CLIENT:
        recorder.failed(copyable)
    caller.refuse(500, message)


def _refuse_unfinite(
    recorder: Recorder, origin: Origin, caller: Caller, copyable: Copyable, request: decoding.Request
) -> int:
    """Refuse what has no answer in JSON; return 1 if the model is to blame, 0 if the request was no better."""
    if all(map(_is_finite, request.arrays.values())):
        _refuse_failed(recorder, origin, caller, copyable, _NOT_FINITE)
        return 1
    _refuse_asked(recorder, origin, caller)
    return 0


def _refuse_asked(recorder: Recorder, origin: Origin, caller: Caller) -> None:
    """Answer what had no finite answer, for it was not finite itself."""
    if origin is not Origin.COPY:
        recorder.refused()
    caller.refuse(400, _NOT_FINITE_ASKED)


def _is_finite(array: Array) -> bool:
    return array.dtype == object or bool(np.isfinite(array).all())


def _failed(error: Exception) -> str:
    return f"the model failed: {errors.shorten(str(error), 300)}"


def _log_failure(error: Exception) -> None:
    logs.error("model failed", error=errors.shorten(str(error), 500))
