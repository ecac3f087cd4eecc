"""The acts in which true answers come back.

Pairs on the same inputs condemn a worse model, a limit alone does where nothing can be compared, and everything is
recomputed from the ledger's log afterwards. Neither ModelDeployment has a test set. A client asks each row once per revision, in a fixed order, and reports what is
true; see `reporter.py`.
"""

import asyncio
import sys
from pathlib import Path
from string import Template
from typing import Final, NamedTuple

import msgspec
from leadline_operator.reconcile.evidence import Evidence, fold
from leadline_wire.ledger import Entry, PairEntry

from examples.demo import clients, reading, stage
from examples.demo.acts import ROLLOUT_LIMIT_SECONDS, SETTLE_LINES, Play
from examples.demo.clients import CONNECTIONS, Client
from examples.demo.commands import DemoError, run
from examples.demo.reading import Object

VERDICT_LIMIT_SECONDS: Final = 90.0
COMPARED: Final = 400
"""Pairs that the successor is watched for."""
QUIET_SECONDS: Final = 15.0
"""For which nothing may take turns after the limit alone has sent the traffic back."""


class Deciding(NamedTuple):
    """The outcome at which a comparison was decided."""

    id: str
    """Of its prediction."""
    number: int
    """Among the pairs, from 1 on."""


class Condemned(NamedTuple):
    """How a worse model was found out."""

    seconds: float
    """From the acknowledgement of the outcome that decided to the model's last answer."""
    number: int
    """Of the deciding pair."""
    message: str
    answers: int
    """That the worse model gave in all."""
    revision: str
    """That was found out."""
    acknowledged: float
    """When the outcome that decided was acknowledged, in seconds since the epoch."""


async def apply(play: Play, name: str, model: str, *, last_good: str) -> int:
    """Apply a ModelDeployment that is judged by outcomes; return the generation of its spec."""
    manifest = Template((clients.HERE / "outcomes.yaml").read_text(encoding="utf-8"))
    play.stage.report.shell(f"kubectl apply ... # {name}, RollingUpdate: s3://models/{stage.model_key(model)}")
    text = manifest.substitute(NAME=name, MODEL=model, LAST_GOOD=last_good)
    return int((await play.stage.kubectl.apply(text))["metadata"]["generation"])


async def serving(play: Play, name: str, generation: int) -> str:
    """Wait until what was applied serves; return the revision."""

    def holds(each: Object) -> bool:
        return (
            reading.is_seen(each, generation)
            and reading.is_true(each, "UpToDate")
            and reading.serves(each, reading.desired(each))
        )

    each, _ = await play.watched.until(name, holds, limit_seconds=ROLLOUT_LIMIT_SECONDS, what="Ready and UpToDate")
    return reading.desired(each)


async def ask(play: Play, name: str, *, connections: int = CONNECTIONS) -> Client:
    """Start the client that asks a model and reports what is true."""
    url = play.watched.objects[name]["status"]["url"]
    play.clients[name] = client = Client(play.stage.kubectl, name)
    await client.start(url, image=play.stage.images.runtime, reports=True, connections=connections)
    return client


async def reported(client: Client, wanted: int) -> None:
    """Wait until so many true answers were acknowledged."""
    await client.until(
        lambda account: account.accepted >= wanted,
        limit_seconds=VERDICT_LIMIT_SECONDS,
        what=f"{wanted} outcomes acknowledged (errors: {client.account.report_errors})",
    )


async def _rolled_back(play: Play, name: str, generation: int, good: str) -> Object:
    each, _ = await play.watched.until(
        name,
        lambda found: reading.is_refused(found, generation, "RolledBack") and reading.serves(found, good),
        limit_seconds=VERDICT_LIMIT_SECONDS + ROLLOUT_LIMIT_SECONDS,
        what=f"RolledBack, with {good} serving",
    )
    return each


async def pairs(play: Play) -> None:
    """Act 6: true answers come back; pairs on the same inputs condemn the worse model, and acquit the successor."""
    name, report = "digits-outcomes", play.stage.report
    report.act(6, "true answers come back; no test set is there to warn")
    good = await serving(play, name, await apply(play, name, "good", last_good="Same"))
    client = await ask(play, name)
    await reported(client, 60)
    await play.turn(
        f"{good} serves; its predictions carry receipts, and {client.account.accepted} true answers came back"
    )

    found = await condemned(play, name, good, client)
    play.findings.outcome_seconds = found.seconds
    await play.turn(
        f"copies of its requests went to {good}, and pair {found.number} decided: traffic is back, the last answer of the "
        f"worse model came {found.seconds:.2f} s after that outcome was acknowledged",
        quote=found.message,
    )

    generation = await apply(play, name, "successor", last_good="Same")
    successor = await serving(play, name, generation)
    before = client.account.accepted
    await reported(client, before + COMPARED)
    each, _ = await play.watched.until(
        name,
        lambda found: reading.serves(found, successor) and (found["status"]["quality"][0].get("pairs") or 0) > 0,
        limit_seconds=VERDICT_LIMIT_SECONDS,
        what="pairs of the successor",
    )
    entry = each["status"]["quality"][0]
    await play.turn(
        f"the successor is compared on the same inputs and stays: {entry['verdict']}, {play.tally()}",
        quote=entry["message"],
    )


async def condemned(play: Play, name: str, good: str, client: Client) -> Condemned:
    """Switch the worse model in, and see it condemned by pairs and gone."""
    generation = await apply(play, name, "worse", last_good="Same")
    each = await _rolled_back(play, name, generation, good)
    worse = reading.desired(each)
    (rejected,) = each["status"]["rejected"]
    if (rejected["revision"], rejected["reason"]) != (worse, "Degraded"):
        raise DemoError(f"{name}: expected {worse} to be rejected as Degraded, got {rejected}")
    await client.lines(SETTLE_LINES)
    deciding = await _deciding(play, name, worse, good)
    acknowledged, last = client.account.acknowledged.get(deciding.id), client.account.last_by(worse)
    if acknowledged is None or last is None:
        raise DemoError(f"{name}: the deciding outcome {deciding.id} was not reported by the client")
    answers = client.account.answers_by(worse)
    return Condemned(last - acknowledged, deciding.number, rejected["message"], answers, worse, acknowledged)


async def limit_alone(play: Play) -> None:
    """Act 7: no last good revision is kept warm, so nothing can be compared: the fixed limit speaks, provisionally."""
    name, report = "digits-alone", play.stage.report
    report.act(7, "nothing to compare with: lastGood.replicas is 0")
    good = await serving(play, name, await apply(play, name, "good", last_good="0"))
    client = await ask(play, name)
    await reported(client, 600)
    generation = await apply(play, name, "worse", last_good="0")
    each = await _rolled_back(play, name, generation, good)
    (rejected,) = each["status"]["rejected"]
    if rejected["reason"] != "Decayed" or "provisional" not in rejected["message"]:
        raise DemoError(f"{name}: expected a provisional rejection as Decayed, got {rejected}")
    await play.watched.steady(
        name, lambda found: reading.serves(found, good), for_seconds=QUIET_SECONDS, what=f"{good} to keep serving"
    )
    await play.turn(f"{good} serves again, and nothing takes turns: {play.tally()}", quote=rejected["message"])


async def replay(play: Play) -> None:
    """Act 8: every decision, recomputed from the ledger's log."""
    play.stage.report.act(8, "every decision once more, from the ledger's log alone")
    for name in ("digits-outcomes", "digits-alone"):
        play.stage.report.shell(f"leadline replay -n {play.stage.namespace} {name}")
        text = await _leadline("replay", "-n", play.stage.namespace, name, kubectl=play.stage.tools.kubectl)
        play.stage.report.shell("", text)
    play.stage.report.seen("the log alone gives the same decisions, at the same outcomes")


async def _leadline(*arguments: str, kubectl: str) -> str:
    program = str(Path(sys.executable).with_name("leadline"))
    return await run("env", f"KUBECTL={kubectl}", program, *arguments, limit_seconds=120)


async def _deciding(play: Play, name: str, revision: str, other: str) -> Deciding:
    """Return the outcome that decided a comparison."""
    path = Path(stage.MODELS) / f"{name}.log.jsonl"
    await _leadline("replay", "-n", play.stage.namespace, name, "--save", str(path), kubectl=play.stage.tools.kubectl)
    return await asyncio.to_thread(decided_pair, path, revision, other)


def decided_pair(path: Path, revision: str, other: str) -> Deciding:
    """Return the pair at which a revision was found worse than another, from a saved log.

    Raises:
        DemoError: It was not found worse.
    """
    entries = [msgspec.json.decode(line, type=Entry) for line in path.read_bytes().splitlines()]
    compared = fold(Evidence(), entries).first.pairs.get((revision, other))
    if compared is None or not compared.is_worse:
        raise DemoError(f"{path}: {revision} was not found worse than {other}")
    deciding = next(each for each in entries if each.seq == compared.decided_seq)
    assert isinstance(deciding, PairEntry)
    assert compared.comparison.worse.crossed_at is not None
    return Deciding(deciding.id, compared.comparison.worse.crossed_at)
