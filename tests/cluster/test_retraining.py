"""Training anew on a real cluster: a Job reads what was learned, brings a better model, and it serves or is proposed.

Which runs begin when, and what is made of their products: tests/unit/reconcile/test_retraining.
"""

import base64
import hashlib
import hmac
import json
import os
from typing import Any

import pytest

from tests.cluster import limits
from tests.cluster.conftest import ROOT, SYSTEM, helm, helm_install
from tests.cluster.feeding import feed
from tests.cluster.support import STORE_URL, Place, condition, is_up_to_date, wait
from tests.cluster.test_main_job import QUALITY
from tests.cluster.test_outcomes import replay
from tests.cluster.test_rules import kill_operator

KEY = bytes(range(32))
TRAIN = """
import hashlib, json, os, urllib.request
import obstore
from obstore.store import S3Store
with open(os.environ["LEADLINE_LEDGER_TOKEN_FILE"]) as file:
    token = file.read()
request = urllib.request.Request(os.environ["LEADLINE_OUTCOMES_URL"] + "&format=ndjson&after=0")
request.add_header("authorization", "Bearer " + token)
with urllib.request.urlopen(request, timeout=30) as answer:
    outcomes = [json.loads(line) for line in answer.read().splitlines()]
assert outcomes and {each["split"] for each in outcomes} == {"train"}, outcomes[:2]
right = sum(each["correct"] for each in outcomes)
print("serving", os.environ["LEADLINE_SERVING_REVISION"], "was right", right, "of", len(outcomes))
model = bytes(obstore.get(S3Store("models"), os.environ["BETTER"] + ".onnx").bytes())
obstore.put(S3Store("models"), os.environ["LEADLINE_NAMESPACE"] + "/model.onnx", model)
product = {
    "uri": "s3://models/" + os.environ["LEADLINE_NAMESPACE"] + "/model.onnx",
    "digest": "sha256:" + hashlib.sha256(model).hexdigest(),
    "metrics": {"outcomes": len(outcomes)},
}
with open("/dev/termination-log", "w") as file:
    json.dump(product, file)
"""
LISTEN = """
import http.server
class Listener(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        said = {name: self.headers["webhook-" + name] for name in ("id", "timestamp", "signature")}
        print("SEEN", __import__("json").dumps([said, body]), flush=True)
        self.send_response(204)
        self.end_headers()
http.server.HTTPServer(("", 8080), Listener).serve_forever()
"""


def deployed(place: Place, digits: Any, *, better: str, mode: str, command: str = TRAIN) -> dict[str, Any]:
    """Have the worse model serve and learn that it is often wrong, with training anew after 100 outcomes."""
    retrain = {
        "when": {"newOutcomes": 100},
        "mode": mode,
        "retries": 0,
        "jobTemplate": {
            "image": os.environ["LEADLINE_RUNTIME_IMAGE"],
            "command": ["python3", "-c", command],
            "env": [{"name": "BETTER", "value": better}],
            "envFrom": [{"secretRef": {"name": "store"}}],
        },
    }
    metrics = [{"name": "accuracy", "metric": "accuracy", "margin": "0.02"}]
    manifest = place.model_deployment(
        model="worse", quality={**QUALITY, "metrics": metrics}, outcomes={"maturity": "0s"}, retrain=retrain
    )
    place.apply(manifest)
    place.until(
        lambda each: is_up_to_date(each) and condition(each, "Reconciling")[0] == "False", within=limits.ROLLOUT
    )
    assert feed(place, digits, range(120)).failed == []
    return manifest


def test_job_trains_on_outcomes_and_what_it_brings_serves_while_the_spec_stays(place, digits):
    deployed(place, digits, better="good", mode="Auto")
    generation = place.generation()
    worse = place.status()["servingRevision"]
    wait(
        lambda: place.cluster.get("jobs", place.namespace)["items"], bool, within=limits.MESSAGE, explain=place.explain
    )
    kill_operator(place)  # while it trains: the next one begins no other run, and hears what came of this one
    status = place.until(lambda each: (each.get("retrain") or {}).get("phase") == "Serving", within=limits.ROLLOUT)
    good = hashlib.sha256(digits.files["good.onnx"]).hexdigest()
    assert status["retrain"]["digest"] == status["retrain"]["product"]["digest"] == f"sha256:{good}"
    assert status["servingRevision"] == status["desiredRevision"] == status["retrain"]["product"]["revision"] != worse
    assert condition(status, "UpToDate")[:2] == ("True", "ServingDesired")
    assert place.generation() == generation, "the spec is the user's"
    code, answer = place.predict(digits.rows[0])
    assert (code, answer["model_version"]) == (200, status["servingRevision"])
    assert len(place.cluster.get("jobs", place.namespace)["items"]) == 1
    log = place.cluster.kubectl("logs", "-n", place.namespace, "-l", "leadline.dev/retrain", "--tail=5").stdout
    assert f"serving {worse} was right" in log
    told = replay(place)
    assert (told.returncode, "DIFFERS" in told.stdout) == (0, False), told.stdout + told.stderr
    kill_operator(place)
    assert place.until(is_up_to_date, within=limits.MESSAGE)["servingRevision"] == status["servingRevision"]
    place.apply(place.model_deployment(model="successor", quality=QUALITY, outcomes={"maturity": "0s"}))
    after = place.until(is_up_to_date, within=limits.ROLLOUT)
    assert after["servingRevision"] not in (worse, status["servingRevision"])
    assert "retrain" not in after


def test_job_that_brings_nothing_has_failed_and_says_what_was_expected(place, digits):
    deployed(place, digits, better="good", mode="Auto", command="print('trained')")
    status = place.until(lambda each: (each.get("retrain") or {}).get("phase") == "Failed", within=limits.ROLLOUT)
    assert "/dev/termination-log: expected" in status["retrain"]["message"]
    assert condition(status, "Ready")[0] == "True"
    events = place.cluster.kubectl("get", "events", "-n", place.namespace, "-o", "jsonpath={.items[*].reason}").stdout
    assert "RetrainFailed" in events.split()


@pytest.fixture
def listener(installed, store):
    """A listener of decisions that the operator tells, and what it has seen."""
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "decisions"},
        "stringData": {"secret": "whsec_" + base64.b64encode(KEY).decode()},
    }
    installed.apply(secret, SYSTEM)
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "listener", "labels": {"app": "listener"}},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [
                {
                    "name": "listener",
                    "image": os.environ["LEADLINE_RUNTIME_IMAGE"],
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["python3", "-u", "-c", LISTEN],
                }
            ],
        },
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "listener"},
        "spec": {"selector": {"app": "listener"}, "ports": [{"port": 8080}]},
    }
    space = STORE_URL.split(".")[1]
    installed.apply(pod, space)
    installed.apply(service, space)
    url = f"http://listener.{space}.svc:8080/"
    values = ("--reuse-values", "--set", f"decisions.url={url}", "--set", "decisions.secretName=decisions")
    helm(installed, "upgrade", "leadline", str(ROOT / "charts" / "leadline"), *values, "--wait", "--timeout", "180s")

    def seen() -> list[tuple[dict[str, str], str]]:
        log = installed.kubectl("logs", "-n", space, "listener").stdout
        return [tuple(json.loads(line[5:])) for line in log.splitlines() if line.startswith("SEEN ")]

    yield seen
    helm_install(installed)
    installed.kubectl("delete", "pod/listener", "service/listener", "-n", space, "--wait=false")


def test_proposal_is_posted_with_a_signature_and_nothing_else_changes(place, digits, listener):
    deployed(place, digits, better="good", mode="Propose")
    worse = place.status()["servingRevision"]

    def proposals(found: list[tuple[dict[str, str], str]]) -> list[tuple[dict[str, str], str]]:
        return [each for each in found if json.loads(each[1])["type"] == "dev.leadline.decision.retrainproposed"]

    ((said, body), *_) = proposals(wait(listener, proposals, within=limits.ROLLOUT, explain=place.explain))
    mac = hmac.digest(KEY, f"{said['id']}.{said['timestamp']}.{body}".encode(), hashlib.sha256)
    assert said["signature"] == f"v1,{base64.b64encode(mac).decode()}"
    data = json.loads(body)["data"]
    status = place.until(lambda each: (each.get("retrain") or {}).get("phase") == "Proposed", within=limits.MESSAGE)
    assert (data["uri"], data["digest"]) == (status["retrain"]["uri"], status["retrain"]["digest"])
    assert (data["namespace"], data["name"], data["revision"]) == (place.namespace, "digits", worse)
    assert status["servingRevision"] == worse
    # What a Git change would say: it is served as it was proposed.
    place.apply(
        place.model_deployment(
            model={"uri": data["uri"], "digest": data["digest"]}, quality=QUALITY, outcomes={"maturity": "0s"}
        )
    )
    assert place.until(is_up_to_date, within=limits.ROLLOUT)["servingRevision"] != worse
