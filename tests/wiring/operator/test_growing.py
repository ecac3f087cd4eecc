"""The operator's asking for test sets out of outcomes beside the real ledger, which is away at first and has too few rows then."""

import asyncio
import contextlib

from leadline_operator.reconcile.gate import Grown
from leadline_operator.reconcile.plan import Grow
from leadline_operator.soundings import growing
from leadline_operator.soundings.growing import GrowingSets
from leadline_operator.soundings.ledger import Ledger

from tests.unit.ledger.ledgers import outcome
from tests.wiring.ledger.chunks import bring, chunk
from tests.wiring.ledger.parts import OPERATOR, ApiServer, here

SECONDS = 20.0
WANTED = Grow("fraud-b", 100, 5)


class Asking:
    def __init__(self, url, folder):
        token = folder / "operator-token"
        token.write_text(OPERATOR)
        self.woken = asyncio.Event()
        self.ledger = Ledger(url, token)
        self.sets = GrowingSets(self.ledger, woken=lambda *_: self.woken.set())

    async def __aenter__(self):
        self.task = asyncio.create_task(self.sets.run())
        return self

    async def __aexit__(self, *_):
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task
        await self.ledger.close()

    async def until(self, holds):
        async with asyncio.timeout(SECONDS):
            while (view := self.sets.view("shop", "fraud")) is None or not holds(view):
                self.woken.clear()
                await self.woken.wait()
        return view


async def test_a_set_is_made_once_for_each_revision_and_again_while_there_are_too_few(tmp_path, monkeypatch):
    monkeypatch.setattr(growing, "AGAIN_SECONDS", 0.02)
    api = ApiServer()
    async with here(tmp_path, api) as ledger_here, Asking(str(ledger_here.url("/")), tmp_path) as asking:
        # Of 100 a fifth is on the test side, for the entity is the prediction.
        asking.sets.want("shop", "fraud", WANTED)
        assert await asking.until(lambda _: True) == Grown("fraud-b", 0)
        await ledger_here.told(*(outcome(number) for number in range(100)))
        await bring(ledger_here, chunk(*range(100)))
        made = await asking.until(lambda view: view.rows >= 5)
        assert 5 < made.rows < 45
        status, _, _ = await ledger_here.call("HEAD", f"/v1/namespaces/shop/blobs/{made.digest}")
        assert status == 200
        # More comes, and the set of this revision stays as it is.
        await ledger_here.told(*(outcome(number) for number in range(100, 200)))
        await bring(ledger_here, chunk(*range(100, 200)))
        asking.sets.want("shop", "fraud", WANTED)
        assert asking.sets.view("shop", "fraud") == made
        asking.sets.want("shop", "fraud", None)
        asking.sets.want("shop", "fraud", WANTED)
        assert asking.sets.view("shop", "fraud") == made
        asking.sets.want("shop", "fraud", Grow("fraud-c", 100, 5))
        grown = await asking.until(lambda view: view.revision == "fraud-c")
        assert grown.rows > made.rows
        asking.sets.forget("shop", "fraud")
        assert asking.sets.view("shop", "fraud") is None
    api.close()


async def test_a_ledger_that_is_away_is_told_and_asked_again(tmp_path, monkeypatch):
    monkeypatch.setattr(growing, "TROUBLE_SECONDS", 0.02)
    api = ApiServer()
    async with here(tmp_path, api) as ledger_here, Asking(str(ledger_here.url("/")), tmp_path) as asking:
        api.unknown.add(OPERATOR)
        asking.sets.want("shop", "fraud", WANTED)
        told = await asking.until(lambda view: view.trouble)
        assert ("answers 401" in told.trouble, told.rows) == (True, 0)
        api.unknown.clear()
        ledger_here.clock.now_ms += 3_600_000
        assert await asking.until(lambda view: not view.trouble) == Grown("fraud-b", 0)
    api.close()
