"""What the learning demo plays on: the demo's stage, with models of flights and the trainer's image."""

import asyncio
import csv
import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Final

import numpy as np
import onnxruntime
import pandas as pd

from examples.demo.commands import run
from examples.demo.stage import Stage
from examples.learning import flights, train

HERE: Final = Path(__file__).resolve().parent
FIRST: Final = ("first", "2013-01-15")
SECOND: Final = ("january", "2013-01-31")
"""Names of the first models, and until when they learned."""


@dataclass
class Scene(Stage):
    """The stage, and what is known of the flights."""

    home: str = "learning"
    trainer: str = ""
    """Image."""
    stream: list[flights.Flight] = field(default_factory=list)
    models: dict[str, bytes] = field(default_factory=dict)

    async def train(self) -> None:
        """Train the first two models, on what January has told."""
        await asyncio.to_thread(self._learn)
        self.report.step(f"trained two models on January; {len(self.stream):,} later flights will be asked for")

    async def furnish(self) -> None:
        """Upload the models and the flights, and load the trainer's image and its programs."""
        provide = Path(self.tools.kind).with_name("provide")
        self.report.step("loading the trainer's image, which is built at the first time (two minutes)")
        loaded = await run(str(provide), "load", "trainer", "--name", self.tools.cluster, limit_seconds=1800)
        self.trainer = loaded.strip()
        told = io.StringIO()
        writer = csv.writer(told)
        writer.writerow(flights.Flight._fields)
        writer.writerows(self.stream)
        await self.upload(
            {f"flights/{name}/model.onnx": content for name, content in self.models.items()}
            | {"flights/stream.csv": told.getvalue().encode()}
        )
        programs = {name: (HERE / name).read_text(encoding="utf-8") for name in ("train.py", "stream.py")}
        await self.kubectl.apply(
            json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "learning"}, "data": programs})
        )
        self.report.step("uploaded both models and the flights")

    async def deploy(self, model: str) -> int:
        """Apply the ModelDeployment; return the generation of its spec."""
        self.report.shell(f"kubectl apply -f examples/learning/learning.yaml # s3://models/flights/{model}/model.onnx")
        text = Template((HERE / "learning.yaml").read_text(encoding="utf-8"))
        applied = await self.kubectl.apply(text.substitute(MODEL=model, TRAINER_IMAGE=self.trainer))
        return int(applied["metadata"]["generation"])

    async def ask(self, url: str) -> None:
        """Start the client."""
        text = Template((HERE / "client.yaml").read_text(encoding="utf-8"))
        await self.kubectl.apply(text.substitute(URL=url, TRAINER_IMAGE=self.trainer))
        await self.kubectl("wait", "pod/client", "--for=condition=Ready", "--timeout=60s", limit_seconds=65)

    def answers(self, model: str) -> list[float]:
        """Return what one of the first models would have said of each flight."""
        session = onnxruntime.InferenceSession(self.models[model])
        inputs = {
            name: np.array(column, dtype=object if name in train.NAMES else np.float32)
            for name, column in flights.columns(self.stream).items()
        }
        return [float(each) for each in session.run(None, inputs)[0][:, 0]]

    def _learn(self) -> None:
        known = flights.flights()
        self.stream = flights.stream(known)
        for name, until in (FIRST, SECOND):
            rows = pd.DataFrame(flights.january(known, until=until))
            self.models[name] = train.to_onnx(train.learn(rows, rows.minutes))
