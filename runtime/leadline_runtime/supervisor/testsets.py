"""The way of a test set into the worker: fetch, digest, columns, run; one at a time, at low priority.

What is asked for comes with each exchange; a run that is already reported is not done again. Trouble around the bytes
is retried for as long as the run is asked for, a finding about them is final for the run.
"""

import asyncio
import shutil
import sys
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Final

import msgspec
from leadline_wire import exchange

from leadline_runtime import errors, logs, messages, settings
from leadline_runtime.fetch import stores, transfer
from leadline_runtime.supervisor import blobs, fleet, keeper
from leadline_runtime.supervisor.pod import Pod
from leadline_runtime.testset import orders

LIMIT_BYTES: Final = 256 << 20
_READER: Final = "leadline_runtime.testset.columns"
_COLUMNS_SECONDS: Final = 120.0
_FILE: Final = "file"
"""Name of the test set's file here; its bytes say what it is."""
CRASHES_MAX: Final = 2
"""Workers that may end during one run before it is given up."""


class TestSets:
    """Carries out what exchanges ask for."""

    __test__ = False
    """Not a test case, whatever pytest makes of the name."""

    def __init__(self, config: settings.Settings, pod: Pod, workers: fleet.Fleet, kept: blobs.Blobs) -> None:
        self._pod = pod
        self._kept_blobs = kept
        self._workers = workers
        self._folder = config.data_dir / "testset"
        self._columns_folder = orders.columns_folder(config.data_dir)
        self._request: exchange.TestSetRequest | None = None
        self._task: asyncio.Task[None] | None = None
        self._order: messages.RunTestSet | None = None
        """What the worker was told and has not finished."""
        self._crashes = 0
        self._kept: tuple[str, str] = ("", "")
        """URI and digest of the file that is here."""
        self._read: tuple[str, str] = ("", "")
        """Digest and truth column of the columns that are written out here."""

    def take(self, request: exchange.TestSetRequest | None) -> None:
        """Take what an exchange asks for; nothing asked for leaves a run alone."""
        if request is None or self._pod.model is None or not self._pod.is_ready:
            return
        if self._request is not None and self._request.run == request.run:
            return
        self._request = request
        self._order = None
        self._crashes = 0
        if self._task is not None:
            self._task.cancel()
        self._pod.test_set = exchange.TestSetReport(run=request.run, state="Fetching")
        self._task = asyncio.get_running_loop().create_task(self._run(request, self._pod.model))

    def take_report(self, report: exchange.TestSetReport) -> None:
        """Take the worker's report."""
        if self._request is None or report.run != self._request.run:
            return
        self._pod.test_set = report
        if report.state in {"Done", "Failed"}:
            self._order = None
            right = int.from_bytes(report.right, "big").bit_count()
            logs.info("test set answered", run=report.run, state=report.state, rows=report.rows, right=right)

    def worker_loaded(self) -> None:
        """Give a new worker the run that the last one did not finish."""
        if self._order is not None:
            self._workers.send_tests(self._order)

    def worker_ended(self) -> None:
        """Note that a worker ended; a run that ends workers again and again is given up."""
        if self._order is None:
            return
        self._crashes += 1
        if self._crashes >= CRASHES_MAX:
            message = f"{self._order.uri}: the worker ended {self._crashes} times while it answered this test set"
            self._fail(self._order.run, errors.BlockedError("InvalidTestSet", message), self._order.digest)
            self._order = None

    async def _run(self, request: exchange.TestSetRequest, model: exchange.ModelInfo) -> None:
        shown = stores.shown(request.uri)
        digest = ""
        try:
            digest = await self._fetch(request)
            _check_digest(shown, digest, request.digest)
            folder = await self._columns(request, model, digest)
        except errors.TroubleError as error:
            self._fail(request.run, error, digest)
            return
        except Exception as error:  # noqa: BLE001  # a defect here must not end the supervisor
            logs.error("test set preparation failed", exc_info=True, test_set=shown)
            message = f"test set {shown}: {errors.shorten(repr(error), 300)}"
            self._fail(request.run, errors.BlockedError("InvalidTestSet", message), digest)
            return
        self._order = messages.RunTestSet(
            run=request.run,
            folder=str(folder),
            output=request.output,
            passes=max(1, min(request.passes, 10)),
            digest=digest,
            uri=shown,
            truth=request.truth,
            task=request.task,
            pace_seconds=request.pace_seconds,
        )
        self._pod.test_set = exchange.TestSetReport(run=request.run, state="Running", digest=digest)
        self._workers.send_tests(self._order)

    async def _fetch(self, request: exchange.TestSetRequest) -> str:
        path = self._folder / _FILE
        uri, digest = self._kept
        if request.digest and (uri, digest) == (request.uri, request.digest):
            # The same bytes as for the last run: a replay must not depend on the store.
            return digest
        self._kept = ("", "")
        await asyncio.to_thread(self._folder.mkdir, parents=True, exist_ok=True)

        def blocked(error: errors.BlockedError) -> None:
            self._fail(request.run, error, "")

        def progress(done: int, total: int) -> None:
            pass  # what is reported of a test set has no place for it

        of_ledger = request.uri.removeprefix(exchange.LEDGER_SCHEME) if _is_of_ledger(request.uri) else ""
        digest = await transfer.Transfer(
            request.uri,
            path,
            reasons=transfer.TEST_SET,
            limit_bytes=LIMIT_BYTES,
            on_progress=progress,
            on_trouble=blocked,
            # Of the ledger: with the pod's token, which is read anew for each try.
            store=_OfLedger(self._kept_blobs, of_ledger) if of_ledger else None,
        ).run()
        self._kept = (request.uri, digest)
        return digest

    async def _columns(self, request: exchange.TestSetRequest, model: exchange.ModelInfo, digest: str) -> Path:
        """Have the columns written out by a process of their own, once; return their folder."""
        folder = self._columns_folder
        if self._read == (digest, request.truth):
            return folder
        self._read = ("", "")
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        await asyncio.to_thread(folder.mkdir, parents=True)
        shown = stores.shown(request.uri)
        order = orders.Order(
            path=str(self._folder / _FILE),
            folder=str(folder),
            uri=shown,
            truth=request.truth,
            inputs=model.inputs,
        )
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            _READER,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(_COLUMNS_SECONDS):
                output, _ = await process.communicate(msgspec.json.encode(order))
        except TimeoutError as error:
            message = f"test set {shown}: not read within {_COLUMNS_SECONDS:g} s"
            raise errors.BlockedError("InvalidTestSet", message) from error
        finally:
            if process.returncode is None:
                process.kill()
        try:
            result = msgspec.json.decode(output, type=orders.Result)
        except msgspec.MsgspecError as error:
            cause = keeper.cause(process.returncode or 0)
            raise errors.BlockedError("InvalidTestSet", f"test set {shown}: its reader ended with {cause}") from error
        if result.trouble:
            raise errors.BlockedError("InvalidTestSet", result.trouble)
        logs.info("test set read", test_set=shown, format=result.kind, rows=result.rows)
        self._read = (digest, request.truth)
        return folder

    def _fail(self, run: str, error: errors.TroubleError, digest: str) -> None:
        trouble = error.trouble
        before = self._pod.test_set
        if before is None or before.trouble != trouble:
            logs.warning("test set not answered", run=run, reason=trouble.reason, message=trouble.message)
        self._pod.test_set = exchange.TestSetReport(run=run, state="Failed", digest=digest, trouble=trouble)


def _is_of_ledger(uri: str) -> bool:
    return uri.startswith(exchange.LEDGER_SCHEME)


class _OfLedger:
    """A blob of the ledger, asked for as whoever this pod is by then."""

    def __init__(self, kept: blobs.Blobs, digest: str) -> None:
        self._kept = kept
        self._digest = digest

    def open(self, offset: int, validator: str) -> AbstractAsyncContextManager[stores.Stream]:
        """Open the blob."""
        if not self._kept.url:
            raise stores.StoreError(stores.Fault.UNREACHABLE, "this pod knows no ledger to fetch its test set from")
        return self._kept.store(self._digest).open(offset, validator)


def _check_digest(shown: str, digest: str, expected: str) -> None:
    if expected and digest != expected:
        raise errors.BlockedError(
            "TestSetDigestMismatch",
            f"test set {shown} has digest {digest}, expected {expected}",
        )
