"""Wires the ledger: the one place that reads the clock, draws the name of this start, and owns tasks and signals.

SIGTERM: no new connections, long polls are answered, what is under way becomes durable, then the process ends.
"""

import asyncio
import contextlib
import secrets
import signal
import time
from typing import Final

from aiohttp import web

from leadline_ledger import errors, logs, serving, sqlite, store, tokens, upkeep
from leadline_ledger.blobs import volume
from leadline_ledger.blobs.kept import Blobs
from leadline_ledger.captures.kept import Captures
from leadline_ledger.settings import Settings

_DRAIN_SECONDS: Final = 20.0
"""For calls under way at the end; the pod gets 30."""
_KEEPALIVE_SECONDS: Final = 75.0


def now_ms() -> int:
    """Return milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


async def serve(settings: Settings) -> None:
    """Run the ledger until SIGTERM or SIGINT.

    Raises:
        SettingsError: The port cannot be listened on.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    kept = _store(settings)
    model_bytes = _blobs(settings)
    captured = Captures(settings.folder, settings.blobs_uri, clock_ms=now_ms, most_bytes=settings.captures_max_bytes)
    known = tokens.Tokens(settings.api_server, settings.account_folder, monotonic=time.monotonic)
    parts = serving.Parts(
        kept, model_bytes, known, settings.operator, settings.queue_bytes, settings.requests_max, captured
    )
    runner = web.AppRunner(
        serving.application(parts),
        access_log=None,
        keepalive_timeout=_KEEPALIVE_SECONDS,
        shutdown_timeout=_DRAIN_SECONDS,
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, settings.bind or None, settings.port, backlog=1_024)
        await site.start()
    except OSError as error:
        await runner.cleanup()
        raise errors.SettingsError(
            f"LEADLINE_LEDGER_PORT: cannot listen on {settings.port}: {error.strerror}"
        ) from error
    # Listening first: a volume in trouble is told at /readyz rather than by a crash.
    tending = asyncio.create_task(_tend(kept, model_bytes, captured))
    logs.info("listening", port=settings.port, folder=settings.folder, operator=settings.operator)
    await stop.wait()
    logs.info("stopping", under_way=kept.waiting)
    kept.dismiss()
    await runner.cleanup()
    tending.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await tending
    await kept.close()
    await known.close()
    logs.info("stopped")


def _store(settings: Settings) -> store.Store:
    limits = store.Limits(settings.copies_max, settings.predictions_max, settings.database_max_bytes)
    name = secrets.token_hex(8)
    if settings.database_file is None:
        return sqlite.kept(settings.folder / "ledger.db", clock_ms=now_ms, limits=limits, name=name)
    from leadline_ledger import postgres  # noqa: PLC0415 - psycopg, which SQLite does not need

    return postgres.PostgresStore(postgres.read_dsn(settings.database_file), clock_ms=now_ms, limits=limits, name=name)


def _blobs(settings: Settings) -> Blobs:
    if settings.blobs_uri:
        from leadline_ledger.blobs import bucket  # noqa: PLC0415 - obstore, which a volume does not need

        return bucket.BucketBlobs(settings.blobs_uri, settings.folder, blob_max_bytes=settings.blob_max_bytes)
    return volume.VolumeBlobs(
        settings.folder,
        clock=lambda: now_ms() / 1_000,
        blob_max_bytes=settings.blob_max_bytes,
        blobs_max_bytes=settings.blobs_max_bytes,
        keep_days=settings.blob_keep_days,
    )


async def _tend(kept: store.Store, model_bytes: Blobs, captured: Captures) -> None:
    await kept.open()
    await model_bytes.open()
    logs.info("ready" if not kept.trouble else "not ready", head=kept.head, blob_bytes=model_bytes.held_bytes)
    await upkeep.run(kept, model_bytes, captured, clock_ms=now_ms, monotonic=time.monotonic)
