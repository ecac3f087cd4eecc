"""Has the ledger make test sets out of outcomes, one after the other, and keeps what it answered.

What is wanted is said anew with each pass; one that was made stays for as long as the same revision is to be tested by it, so
that all its pods answer the same rows. Must not decide when one is needed: see `reconcile.growing`.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from leadline_operator.reconcile.gate import Grown
from leadline_operator.reconcile.plan import Grow
from leadline_operator.soundings.ledger import Ledger, LedgerRefusedError, LedgerUnreachableError

AGAIN_SECONDS: Final = 600.0
"""Until one with too few rows is asked for again."""
TROUBLE_SECONDS: Final = 15.0

log = logging.getLogger(__name__)

_Key = tuple[str, str]


class GrowingSets:
    """The test sets of all ModelDeployments that have theirs out of outcomes.

    Args:
        ledger: The ledger's API.
        woken: Called with namespace and name when there is an answer.
    """

    def __init__(self, ledger: Ledger, *, woken: Callable[[str, str], None]) -> None:
        self._ledger, self._woken = ledger, woken
        self._wanted: dict[_Key, Grow] = {}
        self._made: dict[_Key, tuple[Grow, Grown]] = {}
        self._due: dict[_Key, float] = {}
        """When each is asked for, on the loop's clock; none: it has what it wants."""
        self._news = asyncio.Event()

    def want(self, namespace: str, name: str, grow: Grow | None) -> None:
        """Say what is wanted from now on; None: nothing."""
        key = (namespace, name)
        if grow is None:
            self._wanted.pop(key, None)
            self._due.pop(key, None)
        elif self._wanted.get(key) != grow:
            self._wanted[key] = grow
            made = self._made.get(key)
            if made is None or made[0] != grow:
                self._due[key] = asyncio.get_running_loop().time()
                self._news.set()

    def forget(self, namespace: str, name: str) -> None:
        """Drop what is remembered of a ModelDeployment that is gone."""
        self.want(namespace, name, None)
        self._made.pop((namespace, name), None)

    def view(self, namespace: str, name: str) -> Grown | None:
        """Return the newest that was made; None: none yet."""
        made = self._made.get((namespace, name))
        return None if made is None else made[1]

    async def run(self) -> None:
        """Ask until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            self._news.clear()
            key = min(self._due, key=self._due.__getitem__, default=None)
            pause = None if key is None else self._due[key] - loop.time()
            if key is None or (pause is not None and pause > 0):
                try:
                    async with asyncio.timeout(pause):
                        await self._news.wait()
                except TimeoutError:
                    pass
                continue
            await self._ask(key, self._wanted[key])

    async def _ask(self, key: _Key, grow: Grow) -> None:
        now = asyncio.get_running_loop().time
        try:
            found = await self._ledger.test_set(*key, size=grow.size)
            grown = Grown(grow.revision, found.rows, found.digest)
            again = AGAIN_SECONDS if found.rows < grow.least else None
            log.info("%s/%s: test set of %d outcomes for %s", *key, found.rows, grow.revision)
        except (LedgerUnreachableError, LedgerRefusedError) as error:
            grown, again = Grown(grow.revision, trouble=str(error)), TROUBLE_SECONDS
        if self._wanted.get(key) != grow:
            return  # another one is wanted by now
        if again is None:
            self._due.pop(key, None)
        else:
            self._due[key] = now() + again
        before = self._made.get(key)
        self._made[key] = (grow, grown)
        if before is None or before[1] != grown:
            self._woken(*key)
