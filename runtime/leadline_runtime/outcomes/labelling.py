"""Labelled rows that wait in the ledger, answered by this model and by another revision, at low priority.

Each row is answered when no request waits, a copy of it by the other revision on its own port, and both answers go to the
ledger with the truth in one call, which counts the row once whoever brings it. Killed at any point, the next one begins
where the ledger stands. A row that the other revision could not be asked for waits: trouble is no evidence. One that cannot
be an input of this model, or is a row of the test set, is refused, and says nothing of anybody.

Must not stand in a request's way, and must not decide who is compared.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
import numpy as np
import orjson
from leadline_wire import exchange, ledger, predictions

from leadline_runtime import errors, logs, settings
from leadline_runtime.engine.batching import Batcher
from leadline_runtime.engine.session import Model
from leadline_runtime.oip import by_row, datatypes
from leadline_runtime.outcomes.intake import target_of
from leadline_runtime.outcomes.words import Words
from leadline_runtime.testset import fitting, orders, rows, scoring, sources
from leadline_runtime.worker.links import Answer, Job, Link, Target, connect
from leadline_runtime.worker.pool import Pool

Array = np.ndarray[Any, np.dtype[Any]]

PAUSE_SECONDS: Final = 1.0
"""Until the ledger is asked again, where nothing waits or something is in the way; doubled up to the longest."""
_PAUSE_SECONDS_MAX: Final = 15.0
_LEDGER_SECONDS: Final = 10.0
_CONNECT_SECONDS: Final = 2.0
SILENCE_SECONDS: Final = 10.0
"""Another revision that was reached and has not answered a row for so long has failed on it."""
_BUSY_PAUSE: Final = 4.0
"""Pause after a row while requests come, as a multiple of its time."""
_NOT_READY: Final = frozenset({429, 503})


class _NotNowError(Exception):
    """Something is in the way; the rows wait."""


class _Asking:
    """One connection to the other revision, one row at a time; what a `Link` tells goes into a future."""

    def __init__(self, loop: asyncio.AbstractEventLoop, copy: exchange.Copy, path: str) -> None:
        host = f"[{copy.host}]" if ":" in copy.host else copy.host
        self._loop = loop
        self._target = Target(copy.revision, copy.host, copy.port)
        self._head = f"POST {path} HTTP/1.1\r\nhost: {host}:{copy.port}\r\n{exchange.COPY_HEADER}: 1\r\n"
        self._link: Link[int] | None = None
        self._answered: asyncio.Future[Answer | None] | None = None

    def opened(self, link: Link[int]) -> None:
        """Take the connection."""
        self._link = link

    def finished(self, link: Link[int], job: int, answer: Answer, *, reusable: bool) -> None:  # noqa: ARG002  # as links call it
        """Take an answer."""
        self._tell(answer)
        if not reusable:
            link.close()

    def lost(self, link: Link[int], jobs: Sequence[int], *, answered: bool) -> None:  # noqa: ARG002  # as links call it
        """Note that the connection ended."""
        if self._link is link:
            self._link = None
        if jobs:
            self._tell(None)

    def close(self) -> None:
        """Cut the connection."""
        if self._link is not None:
            self._link.close()

    async def ask(self, body: bytes) -> str:
        """Return the words that the other revision answers with; empty: its prediction cannot be told.

        Raises:
            _NotNowError: It was not reached, or is not ready.
        """
        if self._link is None:
            try:
                await connect(self._loop, lambda: Link[int](self, self._target), self._target, seconds=_CONNECT_SECONDS)
            except (OSError, TimeoutError) as error:
                raise _NotNowError(f"{self._target.name} is not reached: {error or 'timeout'}") from error
        link = self._link
        if link is None:
            raise _NotNowError(f"{self._target.name} closed the connection")
        answered = self._answered = self._loop.create_future()
        link.send(0, f"{self._head}content-length: {len(body)}\r\n\r\n".encode() + body)
        try:
            async with asyncio.timeout(SILENCE_SECONDS):
                answer = await answered
        except TimeoutError:
            link.close()
            return predictions.failure("timeout")
        if answer is None:
            raise _NotNowError(f"{self._target.name} closed the connection")
        if answer.status in _NOT_READY:
            raise _NotNowError(f"{self._target.name} answers {answer.status}")
        if answer.status != 200:
            return predictions.failure("5xx" if answer.status >= 500 else "4xx")
        return str(answer.body, "latin-1")

    def _tell(self, answer: Answer | None) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_result(answer)


@dataclass(frozen=True, slots=True)
class _Work:
    """With what rows are answered."""

    asking: _Asking | None
    other: str
    """Revision that is asked; empty: none is."""
    words: Words
    outcomes: exchange.OutcomeSettings
    batcher: Batcher


class Labelling:
    """Answers labelled rows for as long as it is told to."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, config: settings.Settings, token: Callable[[], bytes], path: str
    ) -> None:
        """Set up.

        Args:
            loop: Of the worker.
            config: Names the revision and the model.
            token: Returns the bearer token for the ledger.
            path: Of the ModelDeployment in the ledger.
        """
        self.batcher: Batcher | None = None
        """None: the model is not loaded yet."""
        self._loop = loop
        self._revision = config.revision
        self._test_set = orders.columns_folder(config.data_dir)
        self._infer = f"/v2/models/{config.model_name}/infer"
        self._token = token
        self._path = path
        self._base = self._host = ""
        self._pool = Pool("ledger", loop, links_max=1, queue_max=1, make=Link[Job])
        self._task: asyncio.Task[None] | None = None
        self._told: tuple[exchange.LabelsRequest, exchange.OutcomeSettings] | None = None
        self._known: tuple[object, frozenset[bytes]] = (None, frozenset())

    def aim(
        self,
        wanted: exchange.LabelsRequest | None,
        words: Words | None,
        outcomes: exchange.OutcomeSettings | None,
    ) -> None:
        """Answer what waits from now on, or, with None, nothing more."""
        told = (wanted, outcomes) if wanted is not None and outcomes is not None and words is not None else None
        is_lost = told is not None and (self._task is None or self._task.done())
        if told == self._told and not is_lost:
            return
        self._told = told
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if wanted is None or outcomes is None or words is None or self.batcher is None:
            return
        target = target_of(outcomes.ledger)
        parts = urlsplit(outcomes.ledger)
        self._base, self._host = parts.path.rstrip("/"), parts.netloc.rpartition("@")[2]
        self._pool.aim(target)
        self._task = self._loop.create_task(self._run(wanted.other, words, outcomes, self.batcher))

    def close(self) -> None:
        """End what is under way."""
        if self._task is not None:
            self._task.cancel()
        self._pool.close()

    async def _run(
        self, other: exchange.Copy | None, words: Words, outcomes: exchange.OutcomeSettings, batcher: Batcher
    ) -> None:
        asking = _Asking(self._loop, other, self._infer) if other is not None else None
        work = _Work(asking, other.revision if other is not None else "", words, outcomes, batcher)
        pause, noted = PAUSE_SECONDS, ""
        try:
            while True:
                try:
                    if await self._page(work):
                        pause, noted = PAUSE_SECONDS, ""
                        continue
                except _NotNowError as error:
                    if str(error) != noted:
                        noted = str(error)
                        logs.warning("labelled rows wait", reason=noted)
                    pause = min(_PAUSE_SECONDS_MAX, 2 * pause)
                except Exception:  # noqa: BLE001  # a defect here must not end the worker, which serves
                    logs.error("answering labelled rows failed", exc_info=True)
                    pause = _PAUSE_SECONDS_MAX
                await asyncio.sleep(pause)
        finally:
            if asking is not None:
                asking.close()

    async def _page(self, work: _Work) -> int:
        """Answer the oldest rows that wait; return how many there were."""
        body = await self._call("GET", f"/labels/waiting?limit={ledger.LABELS_PAGE}", b"")
        try:
            found = msgspec.json.decode(body, type=ledger.LabelsWaiting).rows
        except msgspec.MsgspecError as error:
            raise _NotNowError(f"the ledger's answer cannot be read: {errors.shorten(str(error), 200)}") from error
        if not found:
            return 0
        known = await self._test_rows(work.batcher.model)
        done: list[ledger.Labelled] = []
        in_the_way: _NotNowError | None = None
        for label in found:
            accepted, began = work.batcher.accepted, self._loop.time()
            try:
                done.append(await self._answered(label, work, known))
            except _NotNowError as error:
                in_the_way = error
                break
            is_busy = work.batcher.accepted != accepted
            await asyncio.sleep(_BUSY_PAUSE * (self._loop.time() - began) if is_busy else 0)
        if done:  # what both have answered is not answered anew because of a row that waits
            await self._call("POST", "/intake", msgspec.json.encode(ledger.Intake(labelled=done)))
        if in_the_way is not None:
            raise in_the_way
        logs.info("labelled rows answered", rows=len(done), other=work.other)
        return len(done)

    async def _answered(self, label: ledger.Label, work: _Work, known: frozenset[bytes]) -> ledger.Labelled:
        model, words = work.batcher.model, work.words
        try:
            arrays, truth = _fitted(label, model, words, work.outcomes.output)
        except _RefusedError as error:
            return ledger.Labelled(label.id, refused=str(error))
        if known and _hash(arrays.values()) in known:
            return ledger.Labelled(label.id, refused="a row of the test set, which every revision has answered already")
        own = await _own(work.batcher, arrays, words)
        if not own:
            return ledger.Labelled(label.id, refused="the prediction of the model cannot be told from its answer")
        if predictions.is_failure(own) and _has_gaps(arrays):
            return ledger.Labelled(label.id, refused="has missing values, and the model has no finite answer to it")
        copied = None
        if work.asking is not None:
            said = await work.asking.ask(_request(model, arrays))
            if said:
                copied = ledger.Copied(label.id, self._revision, work.other, own, said, work.outcomes.max_age_ms)
        outcome = ledger.Outcome(
            row=0,
            id=label.id,
            revision=self._revision,
            prediction=own,
            tags=ledger.LABEL_TAG,
            truth=truth,
            max_age_ms=work.outcomes.max_age_ms,
        )
        return ledger.Labelled(label.id, outcome, copied)

    async def _call(self, method: str, path: str, body: bytes) -> bytes:
        """Return what the ledger answers.

        Raises:
            _NotNowError: It does not, or with an error.
        """
        if self._pool.target is None:
            raise _NotNowError("this pod knows no ledger")
        token = self._token()
        lines = [
            f"{method} {self._base}{self._path}{path} HTTP/1.1",
            f"host: {self._host}",
            "content-type: application/json",
            f"content-length: {len(body)}",
            *([f"authorization: Bearer {token.decode('latin-1')}"] if token else []),
        ]
        told: asyncio.Future[Answer | None] = self._loop.create_future()

        def done(answer: Answer | None) -> None:
            if not told.done():
                told.set_result(answer)

        request = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body
        if not self._pool.send(Job(request, self._loop.time() + _LEDGER_SECONDS, done)):
            raise _NotNowError("a call of the ledger is under way")
        answer = await told
        if answer is None:
            raise _NotNowError(f"the ledger does not answer: {self._pool.unreachable or 'no answer in time'}")
        if answer.status != 200:
            said = errors.shorten(answer.body[:300].decode("utf-8", "replace"), 300)
            raise _NotNowError(f"the ledger answers {answer.status}: {said}")
        return answer.body

    async def _test_rows(self, model: Model) -> frozenset[bytes]:
        """Return the hashes of the test set's rows, as this model takes them; none where there never was one here."""
        folder = self._test_set
        try:
            # The last file that its reader writes. Without it there is no test set, or its next version is on its way.
            mark = (folder / orders.input_file(len(model.signature.inputs) - 1)).stat().st_mtime_ns
            if self._known[0] != mark:
                self._known = (mark, await asyncio.to_thread(_hashes, folder, model))
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:
            raise _NotNowError(f"the test set's rows cannot be read yet: {error}") from error
        return self._known[1]


class _RefusedError(Exception):
    """A row that cannot be an input of this model, or whose truth cannot be its answer; the message says why."""


def _fitted(label: ledger.Label, model: Model, words: Words, output: str) -> tuple[dict[str, Array], str]:
    """Return a row as the model takes it, and the word of its truth.

    Raises:
        _RefusedError: It does not fit.
    """
    try:
        source = rows.Row(label.inputs, label.truth)
        plan = fitting.Plan(source, [each.info() for each in model.signature.inputs], rows.TRUTH)
        plan.prepare()
        arrays = {each.name: plan.values(each.info()) for each in model.signature.inputs}
        column = plan.truths()
        if words.is_value:
            return arrays, predictions.of_value(scoring.numbers(column, "truth")[0])
        prediction = scoring.find(model, output)
        assert prediction is not None, "words are known"
        (truth,) = scoring.truths(column, "truth", prediction)
        if words.classes and truth not in words.classes:
            raise _RefusedError(f"its truth {truth!r:.80} is no class of the model")
        return arrays, predictions.of_class(truth)
    except sources.UnusableError as error:
        raise _RefusedError(str(error).replace(", row 1", "").replace(rows.TRUTH, "truth")) from error
    except errors.TroubleError as error:
        raise _RefusedError(error.trouble.message.replace(", row 1", "")) from error
    except predictions.BadWordError as error:
        raise _RefusedError(str(error)) from error


async def _own(batcher: Batcher, arrays: Mapping[str, Array], words: Words) -> str:
    """Return the word of this model's own answer; empty: it cannot be told."""
    signature = batcher.model.signature
    inputs: dict[str, Array] = {}
    for tensor in signature.inputs:
        array = arrays[tensor.name]
        array = array.astype(object) if tensor.datatype.kind is datatypes.Kind.TEXT else array
        inputs[tensor.name] = np.ascontiguousarray(array if tensor.shape else array[0])
    try:
        outputs = await batcher.run_aside(inputs)
        if signature.has_rows:
            by_row.check(outputs, 1)
    except Exception as error:  # noqa: BLE001  # a failed run is the model's answer to this row
        logs.warning("model failed on a labelled row", error=errors.shorten(str(error), 300))
        return predictions.failure("5xx")
    if not all(np.isfinite(array).all() for array in outputs if array.dtype.kind == "f"):
        return predictions.failure("nan")
    try:
        (word,) = words.of_rows(outputs, 1)
    except (ValueError, TypeError, IndexError):
        return ""
    return word.decode()


def _request(model: Model, arrays: Mapping[str, Array]) -> bytes:
    """Return a row as a request for a prediction."""
    inputs = []
    for tensor in model.signature.inputs:
        array = arrays[tensor.name] if tensor.shape else arrays[tensor.name][0]
        inputs.append(
            {
                "name": tensor.name,
                "shape": list(array.shape),
                "datatype": tensor.datatype.name,
                "data": array.reshape(-1).tolist(),
            }
        )
    return orjson.dumps({"inputs": inputs})


def _has_gaps(arrays: Mapping[str, Array]) -> bool:
    return any(array.dtype.kind == "f" and bool(np.isnan(array).any()) for array in arrays.values())


def _hashes(folder: Path, model: Model) -> frozenset[bytes]:
    """Return the hash of each row of a test set, from the files that its reader wrote."""
    columns = [
        np.load(folder / orders.input_file(place), mmap_mode="r", allow_pickle=False)
        for place in range(len(model.signature.inputs))
    ]
    return frozenset(_hash([column[row : row + 1] for column in columns]) for row in range(len(columns[0])))


def _hash(arrays: Any) -> bytes:
    digest = hashlib.blake2s(digest_size=16)
    for array in arrays:
        # Texts are compared as texts: how wide a column of them is hangs on the others.
        data = "\0".join(array.reshape(-1).tolist()).encode() if array.dtype.kind in "OU" else array.tobytes()
        digest.update(b"%d:%b" % (len(data), data))
    return digest.digest()
