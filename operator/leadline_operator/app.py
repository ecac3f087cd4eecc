"""The operator's process: reads its settings, wires the parts, hosts kopf, serves health and metrics.

Everything is made here; nothing is global. The order matters: tasks that must outlive kopf's own shutdown are started
before it. A process that may no longer act ends at once.
"""

import asyncio
import base64
import contextlib
import logging
import os
import secrets
import signal
import sys
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import kopf
from leadline_api import names

from leadline_operator import serving
from leadline_operator.kube import errors
from leadline_operator.kube.access import missing_permissions
from leadline_operator.kube.api import Api
from leadline_operator.kube.events import Recorder
from leadline_operator.kube.lease import LEASE_NAME, Elector, Lost
from leadline_operator.kube.resources import MODEL_DEPLOYMENTS, SECRETS
from leadline_operator.loop import watching
from leadline_operator.loop.cache import Cache, Key
from leadline_operator.loop.executing import Executor
from leadline_operator.loop.queueing import Queue
from leadline_operator.loop.working import WORKERS, Worker
from leadline_operator.reconcile.observed import Settings
from leadline_operator.soundings import keys
from leadline_operator.soundings.calling import Caller
from leadline_operator.soundings.growing import GrowingSets
from leadline_operator.soundings.ledger import Ledger
from leadline_operator.soundings.notices import Notices
from leadline_operator.soundings.outcomes import Outcomes
from leadline_operator.soundings.sounder import Sounder

API_PAUSE_SECONDS: Final = 2.0
"""Between tries to reach the API server at start."""

log = logging.getLogger("leadline_operator")


@dataclass(frozen=True, slots=True)
class Environment:
    """What the chart gives to the process."""

    namespace: str
    pod: str
    runtime_image: str
    root_key_file: Path
    health_port: int
    ledger_url: str
    """Empty: there is no ledger, and outcomes are not taken."""
    ledger_token_file: Path
    decisions_url: str
    """Who is told of decisions; empty: nobody."""
    decisions_secret_file: Path

    @classmethod
    def read(cls) -> "Environment":
        """Return the environment's settings.

        Raises:
            SystemExit: One is missing.
        """
        image = os.environ.get("LEADLINE_RUNTIME_IMAGE", "")
        if not image:
            sys.exit("LEADLINE_RUNTIME_IMAGE is not set: expected the image of the model server")
        return cls(
            namespace=os.environ.get("LEADLINE_NAMESPACE", "leadline-system"),
            pod=os.environ.get("LEADLINE_POD_NAME", "local"),
            runtime_image=image,
            root_key_file=Path(os.environ.get("LEADLINE_ROOT_KEY_FILE", "/etc/leadline/root-key/key")),
            health_port=int(os.environ.get("LEADLINE_HEALTH_PORT", "8080")),
            ledger_url=os.environ.get("LEADLINE_LEDGER_URL", ""),
            ledger_token_file=Path(os.environ.get("LEADLINE_LEDGER_TOKEN_FILE", f"{names.LEDGER_TOKEN_DIR}/token")),
            decisions_url=os.environ.get("LEADLINE_DECISIONS_URL", ""),
            decisions_secret_file=Path(
                os.environ.get("LEADLINE_DECISIONS_SECRET_FILE", "/etc/leadline/decisions/secret")
            ),
        )


def main() -> None:
    """Run the operator, or `create-root-key NAME`, which the chart's Job calls once."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    for name in ("kopf.objects", "kopf.activities", "kopf._core", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)
    if sys.argv[1:2] == ["create-root-key"] and len(sys.argv) == 3:
        sys.exit(asyncio.run(create_root_key(sys.argv[2])))
    if sys.argv[1:]:
        sys.exit(f"usage: leadline-operator [create-root-key NAME], got {' '.join(sys.argv[1:])}")
    sys.exit(asyncio.run(run(Environment.read())))


async def create_root_key(name: str) -> int:
    """Create the Secret with the root key, unless it exists; return the exit status."""
    namespace = os.environ.get("LEADLINE_NAMESPACE", "leadline-system")
    api = await Api.connect()
    body = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app.kubernetes.io/managed-by": "leadline"}},
        "type": "Opaque",
        "data": {"key": base64.b64encode(secrets.token_bytes(keys.KEY_BYTES)).decode()},
    }
    try:
        await api.create(SECRETS, namespace, body)
        log.info("created Secret %s/%s", namespace, name)
    except errors.AlreadyExists:
        log.info("Secret %s/%s exists and is kept", namespace, name)
    except errors.ApiError as error:
        log.error("Secret %s/%s: %s", namespace, name, error)  # noqa: TRY400 - the message says all
        return 1
    finally:
        await api.close()
    return 0


async def run(environment: Environment) -> int:
    """Run until a signal comes or the Lease is lost; return the exit status."""
    try:
        root_key = keys.read_root_key(environment.root_key_file)
    except keys.BadRootKeyError as error:
        log.error("%s", error)  # noqa: TRY400 - the message says all
        return 1
    api = await Api.connect()
    health = serving.Health(clock=time.monotonic)
    runner = await serving.start(health, port=environment.health_port)
    try:
        if not await _can_start(api, namespace=environment.namespace):
            return 1
        return await _lead(environment, api, root_key, health)
    finally:
        await runner.cleanup()
        await api.close()


async def _can_start(api: Api, *, namespace: str) -> bool:
    """Look for the CRD and for permissions, for kopf would wait for both without a word."""
    while True:
        try:
            await api.list_all(MODEL_DEPLOYMENTS)
            missing = await missing_permissions(api, namespace=namespace)
            break
        except errors.NotFound:
            log.error("the CRD modeldeployments.leadline.dev is not installed: kubectl apply -f crds/, or helm install")  # noqa: TRY400
            return False
        except (errors.Unreachable, errors.Busy) as error:
            # To end would only make the kubelet wait longer and longer before it starts us again.
            log.warning("%s; trying again in %.0f s", error, API_PAUSE_SECONDS)
            await asyncio.sleep(API_PAUSE_SECONDS)
        except errors.ApiError as error:
            log.error("%s", error)  # noqa: TRY400 - the message says all
            return False
    for permission in missing:
        log.error("the service account may not %s: see charts/leadline/templates/rbac.yaml", permission)
    return not missing


async def _lead(environment: Environment, api: Api, root_key: bytes, health: serving.Health) -> int:
    elector = Elector(
        api,
        namespace=environment.namespace,
        name=LEASE_NAME,
        pod=environment.pod,
        identity=f"{environment.pod}_{secrets.token_hex(4)}",
        now=lambda: datetime.fromtimestamp(time.time(), UTC),  # noqa: TID251 - the rim
    )
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    health.waiting_for_lease = True
    if not await _or_stop(elector.acquire(), stop):
        return 0
    health.waiting_for_lease = False

    cache, queue = Cache(), Queue()
    caller = Caller()

    def settings_of(key: Key) -> Settings:
        secret = keys.exchange_key(root_key, key.namespace, key.name)
        return Settings(environment.runtime_image, secret, ledger_url=environment.ledger_url)

    sounder = Sounder(
        caller,
        secret_of=lambda key: keys.exchange_key(root_key, *key),  # type: ignore[misc]
        epoch=lambda: elector.epoch,
        outrun=elector.outrun,
        woken=queue.add,  # type: ignore[arg-type]
    )
    clock = time.time  # noqa: TID251 - the one place that reads the clock
    ledger = Ledger(environment.ledger_url, environment.ledger_token_file) if environment.ledger_url else None
    outcomes = Outcomes(ledger, woken=lambda *key: queue.add(Key(*key)), now=clock) if ledger is not None else None
    growing = GrowingSets(ledger, woken=lambda *key: queue.add(Key(*key))) if ledger is not None else None
    notices = Notices(environment.decisions_url, environment.decisions_secret_file, now=clock, registry=health.registry)
    executor = Executor(api, cache, Recorder(api, instance=environment.pod), now=clock)
    try:
        await watching.sweep(api, cache, queue)
    except errors.ApiError as error:
        log.error("%s", error)  # noqa: TRY400 - the message says all
        return 1
    health.watch(queue=queue, sounder=sounder)
    log.info("leading, %d ModelDeployments", len(cache.keys()))
    worker = Worker(
        queue=queue,
        cache=cache,
        executor=executor,
        sounder=sounder,
        settings_of=settings_of,
        now=clock,
        outcomes=outcomes,
        notices=notices,
        growing=growing,
    )
    tasks = [
        asyncio.create_task(elector.hold(), name="lease"),
        asyncio.create_task(sounder.run(), name="sounder"),
        asyncio.create_task(queue.run_due_times(), name="due times"),
        asyncio.create_task(watching.keep_sweeping(api, cache, queue), name="sweeper"),
        asyncio.create_task(health.run(), name="health"),
        asyncio.create_task(notices.run(), name="notices"),
        *(asyncio.create_task(worker.run(), name=f"worker {number}") for number in range(WORKERS)),
    ]
    if outcomes is not None:
        tasks.append(asyncio.create_task(outcomes.run(), name="outcomes"))
    if growing is not None:
        tasks.append(asyncio.create_task(growing.run(), name="test sets from outcomes"))
    hosting = asyncio.create_task(
        kopf.operator(
            registry=watching.registry(cache, queue, seen=health.seen),
            settings=watching.settings(),
            clusterwide=True,
            # Left to itself, kopf asks for the user's name, and the image's user has none.
            identity=environment.pod,  # type: ignore[arg-type]
            stop_flag=stop,
            ready_flag=health.watching,
        ),
        name="kopf",
    )
    done, _ = await asyncio.wait([*tasks, hosting], return_when=asyncio.FIRST_COMPLETED)
    ended = next(iter(done))
    # Signals are kopf's once it runs: it ends without an error when one comes, and only then.
    if ended is not hosting or hosting.cancelled() or hosting.exception() is not None:
        cause = ended.exception() if not ended.cancelled() else None
        log.error("task %s ended: %s", ended.get_name(), cause, exc_info=None if isinstance(cause, Lost) else cause)
        # Nothing may act any more, not even what would clean up.
        logging.shutdown()
        os._exit(1)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await elector.release()
    await caller.close()
    if ledger is not None:
        await ledger.close()
    log.info("stopped")
    return 0


async def _or_stop(work: Coroutine[Any, Any, None], stop: asyncio.Event) -> bool:
    """Await some work; return False where the stop came first."""
    task, stopped = asyncio.create_task(work), asyncio.create_task(stop.wait())
    done, pending = await asyncio.wait([task, stopped], return_when=asyncio.FIRST_COMPLETED)
    for each in pending:
        each.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await each
    if task in done:
        task.result()
        return True
    return False


if __name__ == "__main__":
    main()
