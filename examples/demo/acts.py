"""The five acts of the demo: what is applied, what must then be seen, and what is measured.

Each act asks the API server and the models' URLs only, as any user could; what is not seen in time is a `DemoError`.
The figures that they measure are kept in `Findings` for the summary.
"""

import asyncio
from dataclasses import dataclass, field
from string import Template
from typing import Final

from examples.demo import clients, reading, stage
from examples.demo.clients import Client
from examples.demo.commands import DemoError
from examples.demo.reading import Object
from examples.demo.watching import Watched

INTERVAL_SECONDS: Final = 5.0
"""`spec.quality.testSet.interval` in digits.yaml."""
ROLLOUT_LIMIT_SECONDS: Final = 120.0
"""For fetching, starting, testing and switching; on a busy machine a pod alone may take half a minute."""
ANSWERS_LIMIT_SECONDS: Final = 30.0
SETTLE_LINES: Final = 3
"""Lines of a client's account (one a second) to wait for before a thing counts as not happening any more."""
STRATEGIES: Final = {"digits": "BlueGreen", "digits-rolling": "RollingUpdate"}


@dataclass
class Findings:
    """What was measured and must hold to the end."""

    refused: str = ""
    """The worse model's revision under BlueGreen."""
    demoted: str = ""
    """The worse model's revision under RollingUpdate."""
    decided_at: float = 0.0
    """When the report came that decided the rollback, in seconds since the epoch, by the operator's clock."""
    outcome_seconds: float = 0.0
    """From the acknowledgement of the outcome that decided by pairs to the worse model's last answer."""
    completed_at: float = 0.0
    """When the ModelDeployment was first seen to say that the rollback is complete."""


@dataclass
class Play:
    """The stage, what is watched, and who asks."""

    stage: stage.Stage
    watched: Watched
    findings: Findings = field(default_factory=Findings)
    clients: dict[str, Client] = field(default_factory=dict)

    async def apply(self, name: str, model: str) -> int:
        """Apply a ModelDeployment with one of the models; return the generation of its spec."""
        manifest = Template((clients.HERE / "digits.yaml").read_text(encoding="utf-8"))
        self.stage.report.shell(f"kubectl apply ... # {name}, {STRATEGIES[name]}: s3://models/{stage.model_key(model)}")
        text = manifest.substitute(NAME=name, MODEL=model, STRATEGY=STRATEGIES[name])
        return int((await self.stage.kubectl.apply(text))["metadata"]["generation"])

    async def turn(self, seen: str, *, quote: str = "") -> None:
        """Show the ModelDeployments and say what is being seen."""
        self.stage.report.shell(f"kubectl get mdep -n {self.stage.namespace}", await self.stage.kubectl("get", "mdep"))
        if quote:
            self.stage.report.quote(quote)
        self.stage.report.seen(seen)

    async def serving(self, name: str, generation: int) -> str:
        """Wait until what was applied serves and its quality is measured; return the revision."""

        def holds(each: Object) -> bool:
            fine = reading.is_true(each, "UpToDate") and reading.is_true(each, "QualityOK")
            return reading.is_seen(each, generation) and fine and reading.serves(each, reading.desired(each))

        each, _ = await self.watched.until(
            name, holds, limit_seconds=ROLLOUT_LIMIT_SECONDS, what="Ready, UpToDate and QualityOK"
        )
        return reading.desired(each)

    async def ask(self, name: str) -> None:
        """Start the client of a model."""
        url = self.watched.objects[name]["status"]["url"]
        self.clients[name] = client = Client(self.stage.kubectl, name)
        await client.start(url, image=self.stage.images.runtime)

    async def answers(self, name: str, revision: str, *, more: int = 30) -> None:
        """Wait for some more answers of a revision."""
        client = self.clients[name]
        wanted = client.account.answers_by(revision) + more
        await client.until(
            lambda account: account.answers_by(revision) >= wanted,
            limit_seconds=ANSWERS_LIMIT_SECONDS,
            what=f"{more} more answers by {revision}",
        )

    async def events(self, revision: str) -> list[str]:
        """Return the Events that name a revision, oldest first."""
        listed = await self.stage.kubectl.get("events")
        named = [each for each in listed["items"] if revision in each.get("message", "") and _is_ours(each)]
        named.sort(key=lambda each: int(each["metadata"]["resourceVersion"]))
        return [f"{each['reason']}: {each['message']}" for each in named]

    def tally(self) -> str:
        """Say how many requests there were, and how many failed."""
        accounts = [client.account for client in self.clients.values()]
        return f"{sum(each.sent for each in accounts)} requests, {sum(each.failed for each in accounts)} failed"


def _is_ours(event: Object) -> bool:
    return str(event.get("involvedObject", {}).get("kind")) == "ModelDeployment"


async def good_model(play: Play) -> None:
    """Act 1: a model, a test set, a Service: predictions; twice, for the two strategies of the acts that follow."""
    play.stage.report.act(1, "a good model, twice: one will change by BlueGreen, one by RollingUpdate")
    generations = {name: await play.apply(name, "good") for name in STRATEGIES}
    for name, generation in generations.items():
        good = await play.serving(name, generation)
        await play.ask(name)
        await play.answers(name, good)
    await play.turn(f"the good model serves; a client asks each 30 times a second: {play.tally()}")


async def worse_model_blue_green(play: Play) -> None:
    """Act 2: a worse model under BlueGreen is rejected before it gets traffic."""
    play.stage.report.act(2, "a worse model, BlueGreen: tested before it gets traffic")
    good = play.watched.objects["digits"]["status"]["servingRevision"]
    generation = await play.apply("digits", "worse")
    each, _ = await play.watched.until(
        "digits",
        lambda found: reading.is_refused(found, generation),
        limit_seconds=ROLLOUT_LIMIT_SECONDS,
        what="a rejection",
    )
    stalled = reading.condition(each, "Stalled")
    if stalled["reason"] != "TestDegraded":
        raise DemoError(f"digits: expected reason TestDegraded, got {stalled['reason']}: {stalled['message']}")
    if each["status"]["servingRevision"] != good:
        raise DemoError(f"digits: expected {good} to serve, {each['status']['servingRevision']} does")
    play.findings.refused = reading.desired(each)
    client = play.clients["digits"]
    await client.lines(SETTLE_LINES)
    answered = client.account.answers_by(play.findings.refused)
    if answered:
        raise DemoError(f"{play.findings.refused} was rejected and gave {answered} answers; expected none")
    await play.turn(
        f"rejected, {good} serves on; the worse model gave 0 answers: {play.tally()}", quote=stalled["message"]
    )


async def worse_model_rolling(play: Play) -> None:
    """Act 3: the worse model under RollingUpdate serves, is found out, and is rolled back."""
    name = "digits-rolling"
    play.stage.report.act(3, "a worse model, RollingUpdate: it serves, and is found out")
    good = play.watched.objects[name]["status"]["servingRevision"]
    generation = await play.apply(name, "worse")
    each, seen_at = await play.watched.until(
        name,
        lambda found: reading.is_refused(found, generation, "RolledBack") and reading.serves(found, good),
        limit_seconds=ROLLOUT_LIMIT_SECONDS,
        what=f"RolledBack, with {good} serving",
    )
    found, client = play.findings, play.clients[name]
    found.demoted, found.completed_at = reading.desired(each), seen_at
    revision = await play.stage.kubectl.get("controllerrevision", found.demoted)
    found.decided_at = reading.decided_at(revision)
    await client.lines(SETTLE_LINES)
    last = client.account.last_by(found.demoted)
    if last is None:
        raise DemoError(f"{found.demoted} served and gave no answer; expected some before it was rolled back")
    share = client.account.share_right(found.demoted) or 0.0
    for event in await play.events(found.demoted):
        play.stage.report.quote(f"Event {event}")
    await play.turn(
        f"the worse model gave {client.account.answers_by(found.demoted)} answers ({share:.0%} right); the last one came "
        f"{last - found.decided_at:.2f} s after the report that decided; {good} serves again: {play.tally()}"
    )


async def successor(play: Play) -> None:
    """Act 4: an honest successor, another kind of model about as good, stays."""
    play.stage.report.act(4, "an honest successor, for both")
    generations = {name: await play.apply(name, "successor") for name in STRATEGIES}
    revisions = {name: await play.serving(name, generation) for name, generation in generations.items()}

    def stays(each: Object) -> bool:
        return reading.serves(each, revisions[each["metadata"]["name"]]) and reading.is_true(each, "QualityOK")

    play.stage.report.step(f"watching it for two intervals of {INTERVAL_SECONDS:g} s")
    await asyncio.gather(
        *(
            play.watched.steady(name, stays, for_seconds=2 * INTERVAL_SECONDS + 1, what="the successor to stay")
            for name in STRATEGIES
        ),
        *(play.answers(name, revision) for name, revision in revisions.items()),
    )
    await play.turn(f"the successor stays: {play.tally()}")


async def changed_bytes(play: Play) -> None:
    """Act 5: other bytes behind the serving revision's URI move no pod, and no new pod takes them: it has the right ones from the ledger."""
    play.stage.report.act(5, "other bytes behind the serving model's URI")
    kubectl, name = play.stage.kubectl, "digits"
    serving = play.watched.objects[name]["status"]["servingRevision"]
    before = await clients.pods(kubectl, serving)
    key = stage.model_key("successor")
    await play.stage.upload({key: (stage.MODELS / "worse" / "model.onnx").read_bytes()})
    play.stage.report.step(f"s3://{stage.BUCKET}/{key} now holds the worse model")
    await asyncio.gather(
        play.watched.steady(
            name, lambda each: reading.serves(each, serving), for_seconds=2 * INTERVAL_SECONDS, what="no change"
        ),
        play.answers(name, serving),
    )
    after = await clients.pods(kubectl, serving)
    if after != before:
        raise DemoError(f"{serving}: expected its pods to stay as they were, {before}; got {after}")
    await play.turn(f"the running pods do not move, and answer as before: {play.tally()}")

    play.stage.report.shell(f"kubectl scale mdep digits -n {play.stage.namespace} --replicas=3")
    await kubectl("scale", "mdep", name, "--replicas=3")
    each, _ = await play.watched.until(
        name,
        lambda found: (
            reading.is_true(found, "Ready") and "DigestMismatch" in reading.condition(found, "Ready")["message"]
        ),
        limit_seconds=ROLLOUT_LIMIT_SECONDS,
        what="DigestMismatch in the message of Ready",
    )
    new = {pod: told for pod, told in (await clients.pods(kubectl, serving)).items() if pod not in before}
    if not new or not all(told["ready"] for told in new.values()):
        raise DemoError(f"{serving}: expected one new pod that is ready, got {new}")
    await play.turn(
        f"a new pod refuses the other bytes, and serves those that the ledger has kept: {play.tally()}",
        quote=reading.condition(each, "Ready")["message"],
    )
    await kubectl("scale", "mdep", name, "--replicas=2")
    await play.watched.until(
        name,
        lambda found: (
            reading.is_true(found, "Ready") and "DigestMismatch" not in reading.condition(found, "Ready")["message"]
        ),
        limit_seconds=ROLLOUT_LIMIT_SECONDS,
        what="Ready without DigestMismatch after scaling back",
    )
    await play.stage.upload({key: (stage.MODELS / "successor" / "model.onnx").read_bytes()})
    play.stage.report.step("scaled back to 2, and the right bytes are back")
