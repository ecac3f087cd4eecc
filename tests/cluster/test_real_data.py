"""Real data sets beside the digits: a binary one watched by F1 of a class, a regression watched by MAE.

Good models serve, worse ones are caught by the true answers that come back, honest successors are kept. Rows are unseen ones
in a fixed order, and none is asked twice while two revisions are compared.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import pyarrow.parquet
import pytest
from leadline_wire.ledger import Log, PairEntry

from tests.cluster import limits
from tests.cluster.conftest import ROOT
from tests.cluster.feeding import Fed, feed
from tests.cluster.support import Place, condition, is_up_to_date
from tests.cluster.test_outcomes import ledger_says, replay

ERROR = {"name": "error", "metric": "mae", "relativeMargin": "10%"}
TUMOURS = [
    {"name": "accuracy", "metric": "accuracy", "margin": "0.02"},
    {"name": "malignant-f1", "metric": "f1", "positive": "0", "margin": "0.02"},
    {"name": "malignant-auc", "metric": "auc", "positive": "0", "margin": "0.02"},
]


@dataclass
class Rows:
    """Unseen rows and their truths."""

    rows: list[list[float]]
    truths: list[Any]


@pytest.fixture(scope="module")
def unseen(store, tmp_path_factory) -> dict[str, Rows]:
    """Package the models of both sets, put them into the store, and return the rows that they have not seen."""
    folder = tmp_path_factory.mktemp("metrics")
    command = [sys.executable, str(ROOT / "examples" / "metrics" / "train.py"), "--out", str(folder)]
    done = subprocess.run(command, text=True, capture_output=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    store.put(
        {f"{path.parent.parent.name}/{path.parent.name}.onnx": path.read_bytes() for path in folder.rglob("*.onnx")}
    )
    found = {}
    for name, column in (("tumours", "measures"), ("lives", "country")):
        table = pyarrow.parquet.read_table(folder / name / "good" / "testset.parquet")
        (truth,) = set(table.column_names) - {column}
        found[name] = Rows(table[column].to_pylist(), table[truth].to_pylist())
    return found


def serving(place: Place, name: str, model: str, metrics: list[dict[str, Any]]) -> str:
    """Apply a model and wait until it serves."""
    spec = {
        "rollout": {"strategy": "RollingUpdate"},
        "quality": {"metrics": metrics},
        "outcomes": {"maturity": "0s"},
    }
    place.apply(place.model_deployment(name, model=f"{name}/{model}", **spec))
    status = place.until(
        lambda each: is_up_to_date(each) and condition(each, "Reconciling")[0] == "False",
        within=limits.ROLLOUT,
        name=name,
    )
    return str(status["servingRevision"])


def pairs_of(place: Place, name: str, revision: str) -> int:
    """Return how many inputs judged a revision."""
    path = f"/v1/namespaces/{place.namespace}/models/{name}/log?after=0&limit=10000"
    log = ledger_says(place, path, Log).entries
    return sum(isinstance(each, PairEntry) and revision in (each.revision, each.other) for each in log)


@dataclass(frozen=True)
class Life:
    """What a ModelDeployment goes through."""

    name: str
    input_name: str
    metrics: list[dict[str, Any]]
    first: range
    """Rows that the first model answers; 500 of errors make a scale."""
    bad: range
    """Rows that the worse one is asked, at most."""
    last: range
    """Rows that the successor answers."""


LIVES_OF = [
    Life("tumours", "measures", TUMOURS, range(30), range(30, 419), range(419)),
    Life("lives", "country", [ERROR], range(520), range(520, 1_304), range(1_304)),
]


@pytest.mark.parametrize("life", LIVES_OF, ids=lambda life: life.name)
def test_good_successor_is_kept_and_a_worse_model_is_caught(place, unseen, life):
    name, metrics = life.name, life.metrics

    def ask(rows: range) -> Fed:
        return feed(place, unseen[name], rows, name=name, input_name=life.input_name)

    good = serving(place, name, "good", metrics)
    assert ask(life.first).failed == []
    worse = serving(place, name, "worse", metrics)
    fed = ask(life.bad)
    place.until_condition("Stalled", "True", "RolledBack", within=limits.VERDICT, name=name)
    status = place.until(
        lambda each: each["servingRevision"] == good and condition(each, "Reconciling")[0] == "False",
        within=limits.ROLLOUT,
        name=name,
    )
    assert fed.failed == []
    assert [(each["revision"], each["reason"]) for each in status["rejected"]] == [(worse, "Degraded")]
    said = status["rejected"][0]["message"]
    assert said.startswith(tuple(each["name"] for each in metrics))
    successor = serving(place, name, "successor", metrics)
    kept = ask(life.last)
    assert (kept.failed, set(kept.seen)) == ([], {successor})
    status = place.status(name)
    assert status["servingRevision"] == successor
    assert [each["name"] for each in status["quality"]] == [each["name"] for each in metrics]
    told = replay(place, name)
    assert told.returncode == 0, told.stdout + told.stderr
    print(json.dumps({name: {"pairs": pairs_of(place, name, worse), "said": said, "quality": status["quality"]}}))
