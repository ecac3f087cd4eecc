"""Workers: take a key, gather, decide, carry out, and say when to come back."""

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from leadline_api import names

from leadline_operator.kube import errors
from leadline_operator.loop import gathering
from leadline_operator.loop.cache import Cache, Key
from leadline_operator.loop.executing import Executor, Gone
from leadline_operator.loop.queueing import Queue
from leadline_operator.reconcile import objectives
from leadline_operator.reconcile.observed import Existing, Settings
from leadline_operator.reconcile.plan import Plan
from leadline_operator.reconcile.reconciler import reconcile, refuse
from leadline_operator.reconcile.service_levels import ServiceLevel
from leadline_operator.soundings.growing import GrowingSets
from leadline_operator.soundings.notices import Notices
from leadline_operator.soundings.outcomes import Outcomes
from leadline_operator.soundings.sounder import Sounder

WORKERS: Final = 8
CONFLICT_SECONDS: Final = 5.0
"""Between looks at an object that is in our way."""

log = logging.getLogger(__name__)


class Worker:
    """Works off the queue; several of it share everything."""

    def __init__(
        self,
        *,
        queue: Queue,
        cache: Cache,
        executor: Executor,
        sounder: Sounder,
        settings_of: Callable[[Key], Settings],
        now: Callable[[], float],
        outcomes: Outcomes | None = None,
        notices: Notices | None = None,
        growing: GrowingSets | None = None,
    ) -> None:
        self._queue, self._cache, self._executor, self._sounder = queue, cache, executor, sounder
        self._settings_of, self._now = settings_of, now
        self._outcomes, self._notices, self._growing = outcomes, notices, growing
        self._service_levels: dict[Key, dict[str, ServiceLevel]] = {}
        """What was counted since the records were written; what is lost here the pods' counters still hold."""

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            key = await self._queue.take()
            try:
                await self._pass(key)
                self._queue.forgive(key)
            except (errors.Conflict, errors.NotFound) as error:
                log.info("%s/%s: somebody was faster, looking again: %s", key.namespace, key.name, error)
                self._queue.add_failed(key)
            except errors.ApiError as error:
                pause = self._queue.add_failed(key)
                log.warning("%s/%s: %s; next try in %.1f s", key.namespace, key.name, error, pause)
            except Exception:
                pause = self._queue.add_failed(key)
                log.exception("%s/%s: a bug of ours; next try in %.1f s", key.namespace, key.name, pause)
            finally:
                self._queue.done(key)

    async def _pass(self, key: Key) -> None:
        try:
            observed = gathering.observed(
                self._cache,
                key,
                settings=self._settings_of(key),
                report_of=self._sounder.report,
                ledger=self._outcomes.view(key.namespace, key.name) if self._outcomes is not None else None,
                grown=self._growing.view(key.namespace, key.name) if self._growing is not None else None,
                conflicts=self._executor.conflicts(key),
                refusal=self._executor.refusal(key),
            )
        except gathering.InvalidSpec as error:
            # The pods are addressed as before: what serves goes on.
            await self._carry_out(key, error.existing, refuse(error.existing, error.problem, self._now()))
            return
        if observed is None:
            self._sounder.address(key, ())
            self._service_levels.pop(key, None)
            if self._cache.get(names.KIND, key) is None:
                self._executor.forget(key)
                if self._outcomes is not None:
                    self._outcomes.forget(key.namespace, key.name)
                if self._growing is not None:
                    self._growing.forget(key.namespace, key.name)
            return
        now = self._now()
        levels = objectives.seen(observed, self._service_levels.get(key, {}), now)
        if levels:
            self._service_levels[key] = levels
        else:
            self._service_levels.pop(key, None)
        plan = reconcile(replace(observed, service_levels=levels), now)
        self._sounder.address(key, plan.soundings)
        if self._growing is not None:
            self._growing.want(key.namespace, key.name, plan.grow)
        await self._carry_out(key, observed, plan)

    async def _carry_out(self, key: Key, existing: Existing, plan: Plan) -> None:
        try:
            wrote = await self._executor.execute(key, existing, plan)
        except Gone:
            return  # and nothing is told of what was not done
        if self._outcomes is not None:
            self._outcomes.announce(key.namespace, key.name, plan.told)
        if self._notices is not None:
            self._notices.tell(existing.owner, plan.notices)
        if wrote:
            self._queue.add(key)  # until a pass finds nothing to do
        owed = self._executor.is_owed_a_status(key)
        if owed is not None:
            self._queue.add_after(key, owed)
        if plan.wake_after_seconds is not None:
            self._queue.add_after(key, plan.wake_after_seconds)
        if self._executor.conflicts(key):
            self._queue.add_after(key, CONFLICT_SECONDS)
