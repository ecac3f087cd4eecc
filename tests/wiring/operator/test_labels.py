"""A rollback that nothing but labelled rows decided: real ledger, real runtimes, the operator's reader and its decisions.

Not covered: the API server and the kubelet, for which the world of the unit tests stands.
"""

import asyncio
import contextlib
import json
from dataclasses import dataclass
from typing import Any

import msgspec
import pyarrow.parquet as pq
from leadline_operator.reconcile import observed as seen
from leadline_operator.reconcile.evidence import Evidence, fold
from leadline_operator.soundings.ledger import Ledger
from leadline_operator.soundings.outcomes import Outcomes
from leadline_wire import ledger
from leadline_wire.exchange import Copy, LabelsRequest, OutcomeSettings

from tests.unit.reconcile.outcomes_world import OutcomesWorld, an_outcomes_world
from tests.unit.reconcile.world import uri
from tests.wiring.ledger.parts import OPERATOR, ApiServer, Process
from tests.wiring.runtime.conftest import digits, start  # noqa: F401 - fixtures
from tests.wiring.runtime.pods import call

SECONDS = 60.0
LABELLER = "system:serviceaccount:ml:labeller"
RUNTIME = "system:serviceaccount:ml:default"
PATH = "/v1/namespaces/ml/models/digits"
WEEKS_MAX = 10


@dataclass
class RealWorld(OutcomesWorld):
    """A world whose ledger is the real one, and whose pods are told as real runtimes are."""

    reader: Any = None

    def observe(self) -> seen.Observed:
        found = super().observe()
        return seen.Observed(**{**vars(found), "ledger": self.reader.outcomes.view("ml", "digits")})

    def is_found_worse(self, names: dict[str, str]) -> bool:
        found = self.reader.outcomes.view("ml", "digits").evidence.first.pairs.get((names["worse"], names["good"]))
        return found is not None and found.is_worse


class Reader:
    """One life of the operator's reader."""

    def __init__(self, url, token):
        self.ledger = Ledger(url, token)
        self.outcomes = Outcomes(self.ledger, woken=lambda *_: None, now=lambda: 0.0)
        self.task = asyncio.create_task(self.outcomes.run())

    async def end(self):
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task
        await self.ledger.close()


class Stage:
    """Everything, and one look of the operator after the other."""

    def __init__(self, world, pods, url, token):
        self.world, self.pods, self.url, self.token = world, pods, url, token
        world.reader = Reader(url, token)

    async def restart_operator(self):
        await self.world.reader.end()
        self.world.reader = Reader(self.url, self.token)
        self.world.status = {"observedGeneration": -1}

    async def until(self, what, holds):
        async with asyncio.timeout(SECONDS):
            while not holds():
                self.world.now += 0.1
                plan = self.world.step()
                self.world.reader.outcomes.announce("ml", "digits", plan.told)
                for told in plan.soundings:
                    await asyncio.to_thread(self._tell, told)
                await asyncio.sleep(0.02)

    def _tell(self, told):
        pod, labels = self.pods.get(told.revision), told.labels
        if pod is None:
            return
        if labels is not None and labels.other is not None:
            other = self.pods[labels.other.revision]
            labels = LabelsRequest(Copy(other.revision, "127.0.0.1", other.own))
        # Of what the plan says all that labelled rows hang on; forwarding has tests of its own.
        pod.exchange("serving" if told.role == "serving" else "candidate", outcomes=self.settings(told), labels=labels)

    def settings(self, told):
        return msgspec.structs.replace(told.outcomes or OutcomeSettings(), ledger=self.url)


async def test_forty_labels_a_week_roll_a_worse_revision_back_whoever_is_restarted_meanwhile(digits, start, tmp_path):  # noqa: F811, PLR0915
    api, folder = ApiServer(), tmp_path / "volume"
    folder.mkdir()
    api.allowed = {(LABELLER, verb, "modeldeployments/labels", "ml") for verb in ("create", "get")}
    process = Process(folder, api).start()
    operator_token, pod_token = tmp_path / "operator-token", tmp_path / "pod-token"
    operator_token.write_text(OPERATOR)
    pod_token.write_text(RUNTIME)
    found = pq.read_table(digits.folder / "test.parquet").to_pydict()
    rows = [{"X": x, "digit": digit} for x, digit in zip(found["X"], found["digit"], strict=True)]
    plain = an_outcomes_world()
    world = RealWorld({**plain.spec, "runtime": {"replicas": 1}}, plain.models)
    names = {name: world.revision(uri(name)) for name in ("good", "worse")}
    pods = {
        revision: start(
            digits.uri(f"{name}.onnx"),
            digest=digits.digest(f"{name}.onnx"),
            revision=revision,
            environment={"LEADLINE_LEDGER_TOKEN_FILE": str(pod_token)},
        )
        for name, revision in names.items()
    }
    for pod in pods.values():
        pod.wait_ready()

    def log():
        return [each for each in process.log() if each.model == "ml/digits"]

    def bring(week):
        body = "\n".join(map(json.dumps, rows[40 * week : 40 * week + 40])).encode()
        headers = {"authorization": f"Bearer {LABELLER}"}
        answer = call(process.port, "POST", f"{PATH}/labels?truth=digit", body, headers)
        assert answer.status == 200, answer.body

    def waiting():
        status, body = process.call("GET", f"{PATH}/labels", token=LABELLER)
        assert status == 200
        return msgspec.json.decode(body, type=ledger.LabelsState).waiting

    stage = Stage(world, pods, f"http://127.0.0.1:{process.port}", operator_token)
    try:
        await stage.until("first serves", lambda: world.selected == names["good"])
        world.ask_for(model=uri("worse"))
        await stage.until("second serves", lambda: world.selected == names["worse"])
        await stage.until("told", lambda: sum(getattr(each, "kind", "") == "Promoted" for each in log()) == 2)
        week = 0
        while world.selected == names["worse"] and week < WEEKS_MAX:
            await asyncio.to_thread(bring, week)
            await stage.until("answered", lambda: waiting() == 0)
            if week == 0:
                process.kill()
                process.start()
            await stage.restart_operator()
            await stage.until("read", lambda: (view := world.observe().ledger) is not None and not view.trouble)
            week += 1
            if world.is_found_worse(names):
                await stage.until("rolled back", lambda: world.selected == names["good"])
        assert world.selected == names["good"]
        (finding,) = world.record(names["worse"]).rejections
        assert finding.reason == "Degraded"
        entries = log()
        outcomes = [each for each in entries if isinstance(each, ledger.OutcomeEntry)]
        pairs = [each for each in entries if isinstance(each, ledger.PairEntry)]
        assert len(outcomes) == len(pairs) == 40 * week
        assert {each.tags["source"] for each in outcomes} == {"label"}
        again = fold(Evidence(), entries).first.pairs[names["worse"], names["good"]]
        assert again.is_worse
        assert again.decided_seq in {each.seq for each in pairs}
    finally:
        await world.reader.end()
        process.end()
        api.close()
