"""What becomes of an answer beside being sent: a receipt, a copy of its request, a place under the client's own id.

One `Recorder` per worker; the batches ask it with each run, and it is told what holds now by `worker.evidence`. Copies and
kept predictions are only noted here, in bounded queues: whatever they cost comes after the answers. Must not write to
connections.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final, Protocol

import numpy as np
from leadline_wire import ledger, predictions, receipts

from leadline_runtime import logs
from leadline_runtime.engine.counters import Counters
from leadline_runtime.oip.forms import Copyable
from leadline_runtime.outcomes.minting import PLACES, Minter, Rows, Stamp
from leadline_runtime.outcomes.words import Words

Array = np.ndarray[Any, np.dtype[Any]]

CLIENT_ID_CHARACTERS_MAX: Final = 256
"""Longest request id under which a prediction is kept."""
_TURNS: Final = 3
"""Of so many batches and one more, the first answer's class is counted: a sample will do."""
_TAGS: Final = "tags"
_FAILED: Final = predictions.failure("5xx").encode()


class Copier(Protocol):
    """Sends copies of requests; see `outcomes.copying`."""

    def offer(self, bodies: Sequence[Copyable], ids: Sequence[bytes], words: Sequence[bytes]) -> None:
        """Take requests that were answered, with the ids and words of the answers."""


class Capturer(Protocol):
    """Keeps inputs of answered requests; see `outcomes.capturing`."""

    def rows(self, stamp: Stamp, count: int, arrays: Mapping[str, Array], places: Sequence[int] | None) -> None:
        """Take so many requests of one row each, some of which have a receipt."""

    def is_drawn(self) -> bool:
        """Tell whether the next prediction is captured."""

    def request(self, identifier: bytes, arrays: Mapping[str, Array], rows: Sequence[int]) -> None:
        """Take a request that was drawn."""


class Recorder:
    """What holds for answers now."""

    def __init__(self, counters: Counters) -> None:
        self.words: Words | None = None
        """Of the loaded model; None: it has no prediction that can be told."""
        self.minter: Minter | None = None
        """None: answers get no receipts."""
        self.entity = ""
        """Request parameter that names the entity; empty: none."""
        self.keep: Callable[[ledger.Stored], None] | None = None
        """Takes predictions that are to be found by the client's id; None: by receipt only."""
        self.copier: Copier | None = None
        self.capturer: Capturer | None = None
        """None: no inputs are captured."""
        self._counters = counters
        self._revision = ""
        self._noted = ""
        self._turn = 0

    def sign(self, minter: Minter | None, revision: str) -> None:
        """Sign with this from now on."""
        self.minter = minter
        self._revision = revision

    def rows(self, outputs: Sequence[Array], rows: int) -> Rows | None:
        """Return receipts for a batch of answers of one row each; None where there are none to be had."""
        if self.minter is None or self.words is None:
            return None
        return self.minter.rows(self._read(self.words, outputs, rows))

    def took(
        self,
        rows: Rows,
        bodies: Sequence[Copyable] | None,
        identifiers: Mapping[int, str],
        bad: AbstractSet[int],
    ) -> None:
        """Note a batch that was answered.

        Args:
            rows: What its answers got.
            bodies: Of the requests, where they are copied; None: they are not.
            identifiers: The clients' ids, by row.
            bad: Rows whose answer was an error of the model.
        """
        if bodies is None and not bad and self.keep is None and rows.is_whole:
            self._counters.receipts += len(rows.receipts)
            self._turn = (self._turn + 1) & _TURNS
            if not self._turn:
                self._counters.count_class(self._counters.predicted, rows.words[0].decode())
            return
        copier = self.copier
        for row in bad:
            if bodies is not None:
                self.failed(bodies[row])
        given = rows.receipts
        self._counters.receipts += len(given) - (0 if rows.is_whole else given.count(None))
        self._counters.receipts -= sum(given[row] is not None for row in bad)
        self._turn = (self._turn + 1) & _TURNS
        if not self._turn and given[0] is not None and 0 not in bad:
            self._counters.count_class(self._counters.predicted, rows.words[0].decode())
        if self.keep is not None:
            for row, client_id in identifiers.items():
                if given[row] is not None and row not in bad:
                    self._keep(client_id, rows.stamp.id(row), rows.words[row].decode(), share=self._share)
        if copier is None or bodies is None:
            return
        ids = rows.stamp.ids(len(given))
        if rows.is_whole and not bad:
            copier.offer(bodies, ids, rows.words)
            return
        for row, receipt in enumerate(given):
            if receipt is not None and row not in bad:
                copier.offer((bodies[row],), (ids[row],), (rows.words[row],))

    def capture(self, rows: Rows, arrays: Mapping[str, Array], bad: AbstractSet[int]) -> None:
        """Have inputs of a batch that was answered captured, where that is wanted.

        Args:
            rows: What its answers got.
            arrays: Its inputs, rows first; they may change after this.
            bad: Rows whose answer was an error of the model.
        """
        if self.capturer is None:
            return
        given = rows.receipts
        places = None
        if bad or not rows.is_whole:
            places = [row for row, receipt in enumerate(given) if receipt is not None and row not in bad]
        self.capturer.rows(rows.stamp, len(given), arrays, places)

    def failed(self, body: Copyable) -> None:
        """Note a request that the model failed on: nobody gets a receipt, a copy shows whether others do better."""
        if body and self.copier is not None and self.minter is not None and self.minter.is_drawn():
            self.copier.offer((body,), self.minter.stamp(1).ids(1), (_FAILED,))

    def refused(self) -> None:
        """Count a request that was run and is answered 400 all the same."""
        self._counters.unanswerable += 1

    def recording(self, outputs: Sequence[Array], rows: int) -> Recording | None:
        """Return what answers the general way's questions for one batch; None where there are no receipts to be had."""
        if self.minter is None or self.words is None:
            return None
        return Recording(self, self.minter, self._read(self.words, outputs, rows))

    def copied(self, outputs: Sequence[Array], rows: int) -> list[bytes]:
        """Return the words of a batch of copies; empty where the prediction cannot be told."""
        return self._read(self.words, outputs, rows) if self.words is not None else [b""] * rows

    def _read(self, words: Words, outputs: Sequence[Array], rows: int) -> list[bytes]:
        try:
            return words.of_rows(outputs, rows)
        except (ValueError, TypeError, IndexError) as error:
            # Scores of another width than the classes, say: the answer is sent as it is, and cannot be judged.
            self.note(f"the prediction cannot be read from the outputs: {error}")
            return [b""] * rows

    @property
    def _share(self) -> int:
        return self.minter.share if self.minter is not None else receipts.WHOLE_SHARE

    def _keep(
        self,
        client_id: str,
        identifier: str,
        words: str,
        *,
        share: int,
        entity: str = "",
        tags: dict[str, str] | None = None,
    ) -> None:
        if self.keep is None:
            return
        if not 0 < len(client_id) <= CLIENT_ID_CHARACTERS_MAX:
            self._counters.kept_dropped += 1
            self.note(f"request id of {len(client_id)} characters, expected 1 to {CLIENT_ID_CHARACTERS_MAX}; not kept")
            return
        self.keep(ledger.Stored(client_id, identifier, self._revision, words, share, entity, tags or {}))

    def note(self, what: str) -> None:
        """Log what a receipt had to leave out; once for as long as it is the same."""
        if what != self._noted:
            self._noted = what
            logs.warning("receipts lack something", reason=what)


class Recording:
    """The answers of one batch, the general way."""

    def __init__(self, recorder: Recorder, minter: Minter, words: list[bytes]) -> None:
        self._recorder = recorder
        self._minter = minter
        self._words = words
        self._stamp = minter.stamp(min(len(words), PLACES))
        self._minted = ""
        """Words of the answer whose receipt was the last; empty: it got none."""

    def receipt(
        self,
        place: int,
        rows: range,
        body: Copyable,
        client_id: str | None,
        parameters: Mapping[str, Any] | None,
    ) -> bytes:
        """Note one answer and return its receipt; empty if it gets none.

        Args:
            place: Of the request in the batch.
            rows: Of the batch that are this answer's.
            body: The request's.
            client_id: None: none.
            parameters: The request's own.
        """
        self._minted = ""
        recorder = self._recorder
        words = self._words[rows.start : rows.stop]
        entity, tags = self._labels(parameters) if parameters else ("", {})
        encoded = receipts.encoded_tags(tags) if tags else ""
        minted = self._minter.answer(self._stamp, place, words, entity=entity, tags=encoded)
        if minted is None:
            return b""
        self._minted = minted.words
        counters = recorder._counters  # noqa: SLF001  # one thing in two classes
        counters.receipts += 1
        counters.count_class(counters.predicted, words[0].decode())
        identifier = self._stamp.id(place)
        if client_id is not None:
            hashed = self._minter.entity_hash(entity)
            recorder._keep(  # noqa: SLF001  # as above
                client_id, identifier, minted.words, share=minted.share, entity=hashed, tags=tags
            )
        if recorder.copier is not None and len(words) <= predictions.ROWS_MAX and all(words):
            recorder.copier.offer((body,), (identifier.encode(),), (b"~".join(words),))
        return minted.receipt

    def capture(self, place: int, arrays: Mapping[str, Array]) -> None:
        """Have the inputs of the answer whose receipt was the last captured, where that is wanted and it got one.

        Args:
            place: Of the request in the batch.
            arrays: Its inputs, rows first.
        """
        capturer = self._recorder.capturer
        if capturer is not None and self._minted and capturer.is_drawn():
            capturer.request(self._stamp.id(place).encode(), arrays, sorted(predictions.split(self._minted)))

    def _labels(self, parameters: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
        """Return entity and tags of a request. What cannot be taken is left out: measuring must not fail a prediction."""
        recorder = self._recorder
        entity: Any = parameters.get(recorder.entity) if recorder.entity else None
        if isinstance(entity, int) and not isinstance(entity, bool):
            entity = str(entity)
        if entity is not None and not isinstance(entity, str):
            recorder.note(f"parameters.{recorder.entity}: expected a string or a whole number")
            entity = None
        tags = parameters.get(_TAGS)
        if tags is None:
            return entity or "", {}
        if not isinstance(tags, dict) or not all(isinstance(value, str) for value in tags.values()):
            recorder.note("parameters.tags: expected an object of strings")
            return entity or "", {}
        try:
            receipts.encoded_tags(tags)
        except receipts.BadReceiptError as error:
            recorder.note(f"parameters.tags: {error}")
            return entity or "", {}
        return entity or "", tags
