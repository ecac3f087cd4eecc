"""Everything that stands before the first act, and is taken away after the last: cluster, chart, namespace, model store.

What was there before stays: a cluster or a chart that this run did not make is not removed.
"""

import asyncio
import sys
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Any, Final, cast

import obstore
import yaml
from obstore.store import S3Store

from examples.demo import clients
from examples.demo.commands import ROOT, CommandError, Kubectl, Tools, run
from examples.demo.report import Report

NAMESPACE: Final = "demo"
RUNS_ANNOTATION: Final = "demo.leadline.dev/runs"
"""On the namespace `default`: how often the demo was played on this cluster."""
SYSTEM: Final = "leadline-system"
RELEASE: Final = "leadline"
MODELS: Final = ROOT / "examples" / "digits" / "out"
TRUTH: Final = "digit"
BUCKET: Final = "models"
TEST_SET_KEY: Final = "digits/testset.parquet"


def model_key(model: str) -> str:
    """Return where a model is in the bucket."""
    return f"digits/{model}/model.onnx"


@dataclass(frozen=True)
class Images:
    """Names of the images in the cluster, in the order in which they are loaded."""

    operator: str
    runtime: str
    s3: str


@dataclass
class Stage:
    """What the acts play on."""

    tools: Tools
    report: Report
    keep: bool
    home: str = NAMESPACE
    """Of its namespace."""
    kubectl: Kubectl = field(init=False)
    images: Images = field(init=False)
    made_cluster: bool = False
    made_chart: bool = False

    def __post_init__(self) -> None:
        self.kubectl = Kubectl(self.tools.kubectl, self.home)

    @property
    def namespace(self) -> str:
        """Where the demo plays."""
        return self.kubectl.namespace

    async def set_up(self) -> None:
        """Make everything ready for the first act."""
        training = asyncio.create_task(self.train())
        try:
            await self._cluster()
            await asyncio.gather(self._chart(), self._namespace())
            await training
        finally:
            training.cancel()
        await self.store()
        await self.furnish()

    async def train(self) -> None:
        """Train, convert and check the three models, and measure them on rows that they never saw."""
        for line in (await run(sys.executable, "examples/digits/train.py", limit_seconds=300)).splitlines():
            if not line.startswith(" "):
                self.report.step(f"trained {line}")

    async def _cluster(self) -> None:
        tools = self.tools
        there = (await run(tools.kind, "get", "clusters", limit_seconds=30)).split()
        if tools.cluster in there:
            self.report.step(f"cluster {tools.cluster!r} is there")
            await run(tools.kind, "export", "kubeconfig", "--name", tools.cluster, limit_seconds=30)
        else:
            self.report.step(f"making cluster {tools.cluster!r}")
            await run(tools.kind, "create", "cluster", "--name", tools.cluster, limit_seconds=600)
            self.made_cluster = True
        self.report.step("loading the images of operator, runtime and S3 server")
        provide = Path(tools.kind).with_name("provide")
        loaded = await run(str(provide), "load", "--name", tools.cluster, limit_seconds=1800)
        self.images = Images(*loaded.split())

    async def _chart(self) -> None:
        """Install the chart, or bring an installed one to these images."""
        tools = self.tools
        try:
            await run(tools.helm, "status", RELEASE, "-n", SYSTEM)
        except CommandError:
            self.made_chart = True
        self.report.step(f"helm upgrade --install {RELEASE} charts/leadline -n {SYSTEM}")
        await run(
            tools.helm, "upgrade", "--install", RELEASE, "charts/leadline", "-n", SYSTEM, "--create-namespace",
            "--set", f"operator.image={self.images.operator}", "--set", f"runtime.image={self.images.runtime}",
            "--wait", "--timeout", "3m", limit_seconds=200,
        )  # fmt: skip
        self.report.step("the operator is ready")

    async def _namespace(self) -> None:
        """Make a namespace that the ledger knows nothing of, for it remembers who was rejected in the last one."""
        kubectl = Kubectl(self.tools.kubectl, "default")
        counted = (await kubectl.get("namespace", "default"))["metadata"].get("annotations") or {}
        number = int(counted.get(RUNS_ANNOTATION, "0")) + 1
        await kubectl("annotate", "namespace", "default", f"{RUNS_ANNOTATION}={number}", "--overwrite")
        for old in (self.home, f"{self.home}-{number - 1}"):
            await kubectl("delete", "namespace", old, "--ignore-not-found", "--timeout=90s", limit_seconds=100)
        if number > 1:
            self.kubectl.namespace = f"{self.home}-{number}"
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        await self.kubectl.apply(
            yaml.safe_dump(
                {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace, "labels": labels}}
            )
        )

    async def _remove_namespace(self) -> None:
        await self.kubectl(
            "delete", "namespace", self.namespace, "--ignore-not-found", "--timeout=90s", limit_seconds=100
        )

    async def store(self) -> None:
        """Start the S3 server."""
        manifest = Template((clients.HERE / "store.yaml").read_text(encoding="utf-8"))
        await self.kubectl.apply(manifest.substitute(S3_IMAGE=self.images.s3))
        await self.kubectl("rollout", "status", "deployment/model-store", "--timeout=90s", limit_seconds=100)

    async def furnish(self) -> None:
        """Upload the models and the test set, and prepare the clients."""
        sent = {model_key(model): MODELS / model / "model.onnx" for model in ("good", "worse", "successor")}
        test_set = MODELS / "good" / "testset.parquet"
        await self.upload(
            {key: path.read_bytes() for key, path in sent.items()} | {TEST_SET_KEY: test_set.read_bytes()}
        )
        await clients.prepare(self.kubectl, test_set, truth=TRUTH)
        self.report.step(f"uploaded three models and a test set to s3://{BUCKET}/digits/, an S3 server in the cluster")

    async def upload(self, objects: dict[str, bytes]) -> None:
        """Put objects into the store, through a forwarded port, as the Secret in store.yaml allows."""
        documents = yaml.safe_load_all((clients.HERE / "store.yaml").read_text(encoding="utf-8"))
        secret = next(each["stringData"] for each in documents if each["kind"] == "Secret")
        async with self.kubectl.forwarded("service/model-store", 80) as address:
            store = S3Store(
                BUCKET,
                endpoint=f"http://{address}",
                region=secret["AWS_REGION"],
                access_key_id=secret["AWS_ACCESS_KEY_ID"],
                secret_access_key=secret["AWS_SECRET_ACCESS_KEY"],
                virtual_hosted_style_request=False,
                client_options=cast("Any", {"allow_http": True, "timeout": "20s"}),
            )
            async with asyncio.timeout(60):
                for key, body in objects.items():
                    await obstore.put_async(store, key, body)

    async def tear_down(self) -> None:
        """Take away what this run made; with `keep`, nothing."""
        if self.keep:
            self.report.step(f"KEEP=1: namespace {self.namespace}, chart and cluster stay; make cluster-down ends them")
            return
        if self.made_cluster:
            self.report.step(f"deleting cluster {self.tools.cluster!r}")
            await run(self.tools.kind, "delete", "cluster", "--name", self.tools.cluster, limit_seconds=120)
            return
        self.report.step(f"removing namespace {self.namespace}" + (" and the chart" if self.made_chart else ""))
        await self._remove_namespace()
        if self.made_chart:
            await run(
                self.tools.helm, "uninstall", RELEASE, "-n", SYSTEM, "--wait", "--timeout", "1m", limit_seconds=70
            )
