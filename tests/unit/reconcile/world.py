"""A world that follows Plans: what the API server, the kubelet and the runtimes would make of them.

Only for decisions: it keeps objects as they were written, starts pods at once, and lets each pod answer as its model
would. What a real API server adds is tested on a cluster.
"""

import copy
import itertools
import pickle
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from leadline_api import names
from leadline_api.spec import ModelDeploymentSpec
from leadline_operator.reconcile import records
from leadline_operator.reconcile.gate import Grown
from leadline_operator.reconcile.observed import Observed, Pod, Revision, Settings
from leadline_operator.reconcile.plan import Create, Delete, Event, Plan, Replace, Sounding
from leadline_operator.reconcile.reconciler import reconcile
from leadline_operator.specs import revisions, services
from leadline_operator.specs.metadata import Owner
from leadline_wire.exchange import ExchangeReport, OutcomesReport, TestSetReport, Trouble

ROWS = 1000


def copied(value: Any) -> Any:
    """Return a deep copy; five times as fast as copy.deepcopy."""
    return pickle.loads(pickle.dumps(value))


TEST_SET = {"uri": "s3://models/testset.parquet", "truth": "digit", "interval": "10s"}


@dataclass
class Model:
    """What is behind a URI."""

    wrong: range = range(20)
    """Rows of the test set that it answers wrong."""
    digest: str = "sha256:" + "a" * 64
    trouble: Trouble | None = None
    test_trouble: Trouble | None = None
    signature: Literal["", "Verified", "Vouched"] = ""
    requests: int = 0
    """That each pod has answered; none with a receipt."""
    told: OutcomesReport | None = None
    """What each pod says of outcomes."""

    def right(self) -> bytes:
        bits = np.ones(ROWS, dtype=bool)
        bits[list(self.wrong)] = False
        return np.packbits(bits).tobytes()


GOOD, WORSE, HONEST = (
    Model(range(15)),
    Model(range(10, 130), "sha256:" + "b" * 64),
    Model(range(20, 40), "sha256:" + "c" * 64),
)


@dataclass
class World:
    """One ModelDeployment and all that hangs on it."""

    spec: dict[str, Any]
    models: dict[str, Model]
    now: float = 1_800_000_000.0
    generation: int = 1
    action: str = ""
    status: dict[str, Any] = field(default_factory=lambda: {"observedGeneration": -1})
    objects: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    pods: dict[str, tuple[str, Sounding | None]] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    served: list[str] = field(default_factory=list)
    """Each revision that the Service selected, in order."""
    starts_pods: bool = True
    conflicts: tuple[str, ...] = ()
    grown: Grown | None = None
    _numbers: Any = field(default_factory=itertools.count)
    _ready: set[str] = field(default_factory=set)

    owner = Owner("ml", "digits", "uid-1")

    def observe(self) -> Observed:
        spec = ModelDeploymentSpec.model_validate(self.spec)
        stored = [
            revisions.stored(copied(each)) for (kind, _), each in self.objects.items() if kind == "ControllerRevision"
        ]
        return Observed(
            owner=self.owner,
            generation=self.generation,
            created_at=1_799_999_999.0,
            action=self.action,
            spec=spec,
            status=copied(self.status),
            settings=Settings("runtime:1", b"k" * 32),
            revisions=tuple(
                Revision(each, records.read(each.record)) for each in sorted(stored, key=lambda each: each.number)
            ),
            deployments=self._of("Deployment"),
            services=self._of("Service"),
            autoscalers=self._of("HorizontalPodAutoscaler"),
            disruption_budgets=self._of("PodDisruptionBudget"),
            pods=tuple(self._pod(name, *each) for name, each in sorted(self.pods.items())),
            conflicts=self.conflicts,
            grown=self.grown,
        )

    def _of(self, wanted: str) -> dict[str, Any]:
        return {name: copied(each) for (kind, name), each in self.objects.items() if kind == wanted}

    def step(self) -> Plan:
        """Decide once and carry the Plan out."""
        plan = reconcile(self.observe(), self.now)
        for write in plan.writes:
            self.write(write)
        self.status = plan.status or self.status
        self.events += [*plan.events, *plan.status_events]
        for sounding in plan.soundings:
            if sounding.pod in self.pods:
                self.pods[sounding.pod] = (sounding.revision, sounding)
        self._run_pods()
        selected = self.selected
        if selected and (not self.served or self.served[-1] != selected):
            self.served.append(selected)
        return plan

    def write(self, write: Any) -> None:
        if isinstance(write, Create):
            kind, name = write.manifest["kind"], write.manifest["metadata"]["name"]
            if (kind, name) in self.objects:
                assert write.quiet, f"{kind} {name} is created twice"
                return
            made = copied(write.manifest)
            made["metadata"] |= {"uid": f"uid-{next(self._numbers)}", "resourceVersion": str(next(self._numbers))}
            if kind == "Service":
                made["spec"] |= {"clusterIP": f"198.19.0.{next(self._numbers) % 250}", "ipFamilies": ["IPv4"]}
            self.objects[kind, name] = made
        elif isinstance(write, Replace):
            kind, name = write.manifest["kind"], write.manifest["metadata"]["name"]
            live = self.objects[kind, name]["metadata"]
            assert write.manifest["metadata"]["uid"] == live["uid"]
            assert write.manifest["metadata"]["resourceVersion"] == live["resourceVersion"]
            made = copied(write.manifest)
            made["metadata"]["resourceVersion"] = str(next(self._numbers))
            self.objects[kind, name] = made
        elif write.kind == "Pod":
            assert write.uid == f"uid-{write.name}"
            del self.pods[write.name]
        else:
            gone = self.objects.pop((write.kind, write.name))["metadata"]
            assert (gone["uid"], gone["resourceVersion"]) == (write.uid, write.resource_version)

    def write_late(self, writes: Iterable[Any]) -> None:
        """Do what the API server does with the writes of somebody whose picture is old: the first conflict ends them."""
        for write in writes:
            if isinstance(write, Create):
                kind, name = write.manifest["kind"], write.manifest["metadata"]["name"]
                if (kind, name) not in self.objects:
                    self.write(write)
                continue
            kind, name, uid, version = (
                (write.kind, write.name, write.uid, write.resource_version)
                if isinstance(write, Delete)
                else (
                    write.manifest["kind"],
                    write.manifest["metadata"]["name"],
                    write.manifest["metadata"]["uid"],
                    write.manifest["metadata"]["resourceVersion"],
                )
            )
            live = self.objects.get((kind, name), {}).get("metadata", {})
            is_same = live.get("uid") == uid and live.get("resourceVersion") == version
            if is_same:
                self.write(write)
            elif isinstance(write, Replace):
                return

    def settle(self, limit: int = 60) -> Plan:
        """Step until nothing is left to do; the time moves on by a tenth of a second a step."""
        for _ in range(limit):
            plan = self.step()
            self.now += 0.1
            again = reconcile(self.observe(), self.now)
            loud = [each for each in again.writes if not (isinstance(each, Create) and each.quiet)]
            if not loud and again.status is None and again.soundings == plan.soundings:
                return again
        raise AssertionError(f"not settled after {limit} steps; status: {self.status}")

    def pass_time(self, seconds: float) -> None:
        """Let time pass, looking as often as a Plan says."""
        end = self.now + seconds
        while self.now < end:
            self.settle()
            self.now = min(end, self.now + 1.0)
        self.settle()

    def ask_for(self, **spec: Any) -> "World":
        """Change the spec as a user does; `model` may be just its URI."""
        for name, value in spec.items():
            self.spec[name] = {"uri": value} if name == "model" and isinstance(value, str) else value
        self.generation += 1
        return self

    @property
    def selected(self) -> str:
        service = self.objects.get(("Service", "digits"))
        return services.selected_revision(service) if service else ""

    def revision(self, uri: str) -> str:
        return revisions.name_of("digits", ModelDeploymentSpec.model_validate({"model": {"uri": uri}}))

    def condition(self, kind: str) -> tuple[str, str]:
        found = next(each for each in self.status["conditions"] if each["type"] == kind)
        return found["status"], found["reason"]

    def record(self, name: str) -> records.Record:
        return records.read(
            self.objects["ControllerRevision", name]["metadata"]["annotations"][names.RECORD_ANNOTATION]
        )

    def _run_pods(self) -> None:
        for name in [name for name, (revision, _) in self.pods.items() if ("Deployment", revision) not in self.objects]:
            del self.pods[name]
        for (kind, revision), live in self.objects.items():
            if kind != "Deployment" or not self.starts_pods:
                continue
            mine = sorted(name for name, (owner, _) in self.pods.items() if owner == revision)
            wanted = live["spec"]["replicas"]
            for name in mine[wanted:]:
                del self.pods[name]
            for _ in range(wanted - len(mine)):
                self.pods[f"{revision}-{next(self._numbers):05}"] = (revision, None)

    def _model(self, revision: str) -> Model:
        return self.models[self.objects["ControllerRevision", revision]["data"]["inputs"]["uri"]]

    def _pod(self, name: str, revision: str, told: Sounding | None) -> Pod:
        model = self._model(revision)
        report = self._report(name, revision, told, model) if told else None
        if report is not None:
            (self._ready.add if report.phase == "Ready" else self._ready.discard)(name)
        ready = name in self._ready  # by the kubelet, who asks the pod whether or not an operator does
        return Pod(name, f"uid-{name}", "198.18.0.9", revision, ready, False, ("", ""), report, f"{revision}-6f5b8c")

    def _report(self, name: str, revision: str, told: Sounding, model: Model) -> ExchangeReport:
        trouble, phase, test = model.trouble, "Ready", None
        if told.digest and told.digest != model.digest:
            trouble = Trouble("DigestMismatch", "other bytes", "model")
        if trouble is not None:
            phase = "Failed" if trouble.blame == "model" else "Fetching"
        elif not told.digest:
            phase = "Waiting"
        elif told.test_set is not None and model.test_trouble is not None:
            test = TestSetReport(run=told.test_set.run, state="Failed", trouble=model.test_trouble)
        elif told.test_set is not None:
            test = TestSetReport(
                run=told.test_set.run,
                state="Done",
                digest=told.test_set.digest or "sha256:" + "d" * 64,
                rows=ROWS,
                right=model.right(),
                answers="x",
            )
        return ExchangeReport(
            nonce="",
            pod_uid=f"uid-{name}",
            revision=revision,
            epoch=1,
            role=told.role,
            phase=phase,
            forwarding=told.role == "standby",
            signature=model.signature,
            digest="" if trouble is not None and trouble.blame == "surroundings" else model.digest,
            test_set=test,
            trouble=trouble,
            split_share=sum(split.share for split in told.splits) if told.role == "serving" else 0,
            requests=model.requests,
            outcomes=model.told,
        )


def a_world(
    *, strategy: str = "BlueGreen", replicas: int = 2, tested: bool = True, floor: str | None = "0.80", **models: Model
) -> World:
    """Return a world that asks for the good model; more models by name are at `s3://models/<name>.onnx`."""
    known = {"good": copy.copy(GOOD), "worse": copy.copy(WORSE), "honest": copy.copy(HONEST)} | models
    spec: dict[str, Any] = {
        "model": {"uri": "s3://models/good.onnx"},
        "runtime": {"replicas": replicas},
        "rollout": {"strategy": strategy},
    }
    if tested:
        metric = {"name": "accuracy", "metric": "accuracy", "margin": "0.02"} | ({"floor": floor} if floor else {})
        spec["quality"] = {"metrics": [metric], "testSet": dict(TEST_SET)}
    return World(spec, {uri(name): model for name, model in known.items()})


def uri(name: str) -> str:
    return f"s3://models/{name}.onnx"


def served(world: World) -> list[str]:
    """Return the models that got the traffic, in order."""
    known = {world.revision(each): each.removeprefix("s3://models/").removesuffix(".onnx") for each in world.models}
    return [known[each] for each in world.served]


def reasons(world: World) -> list[str]:
    """Return the reasons of all Events, in order."""
    return [str(event.reason) for event in world.events]
