"""What the cluster suite does over and over: kubectl, waiting for facts, asking a model, putting files into the store."""

import contextlib
import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import obstore
from leadline_api import names
from obstore.store import S3Store

from tests.cluster import limits

T = TypeVar("T")

MANIFESTS = Path(__file__).parent / "manifests"
STORE_KEYS = {"AWS_ACCESS_KEY_ID": "leadline", "AWS_SECRET_ACCESS_KEY": "leadline-secret", "AWS_REGION": "us-east-1"}
STORE_NAMESPACE = "store"
STORE_URL = f"http://store.{STORE_NAMESPACE}.svc:7070"
BUCKET = "models"

ASK = """
import json, sys, urllib.error, urllib.request
told = json.loads(sys.argv[1])
request = urllib.request.Request(told["url"], data=told["body"].encode() if told["body"] is not None else None,
                                 headers={"content-type": "application/json"})
try:
    with urllib.request.urlopen(request, timeout=10) as answer:
        print(json.dumps([answer.status, answer.read().decode()]))
except urllib.error.HTTPError as error:
    print(json.dumps([error.code, error.read().decode()]))
except OSError as error:
    print(json.dumps([0, str(error)]))
"""


@dataclass(frozen=True)
class Cluster:
    """A cluster with kubectl."""

    kubectl_path: str
    kubeconfig: str

    def kubectl(
        self, *arguments: str, input: str | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run kubectl; with `check`, a failure shows what it said."""
        command = [self.kubectl_path, "--kubeconfig", self.kubeconfig, *arguments]
        done = subprocess.run(command, input=input, text=True, capture_output=True, timeout=180, check=False)
        assert not check or done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done

    def get(self, what: str, namespace: str, *arguments: str) -> Any:
        """Return an object or a list as JSON; None where there is none."""
        done = self.kubectl("get", what, "-n", namespace, "-o", "json", *arguments, check=False)
        if done.returncode and "NotFound" in done.stderr:
            return None
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def apply(self, manifest: dict[str, Any] | str, namespace: str) -> None:
        """Apply a manifest; variables in a text come from the environment."""
        text = manifest if isinstance(manifest, str) else json.dumps(manifest)
        self.kubectl("apply", "-n", namespace, "-f", "-", input=os.path.expandvars(text))

    @contextlib.contextmanager
    def forwarded(self, what: str, namespace: str, port: int) -> Iterator[int]:
        """Reach a port inside the cluster from here."""
        command = [
            self.kubectl_path,
            "--kubeconfig",
            self.kubeconfig,
            "port-forward",
            "-n",
            namespace,
            what,
            f":{port}",
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            try:
                assert process.stdout is not None
                found = re.search(r"127\.0\.0\.1:(\d+)", process.stdout.readline())
                assert found, f"no port-forward to {what}"
                yield int(found[1])
            finally:
                process.terminate()


@dataclass
class Store:
    """The model store, from outside of the cluster."""

    cluster: Cluster

    def put(self, files: dict[str, bytes]) -> None:
        """Put files into the bucket."""
        with self._opened() as bucket:
            for name, content in files.items():
                obstore.put(bucket, name, content)

    def remove(self, names_: list[str]) -> None:
        """Take files out of the bucket."""
        with self._opened() as bucket:
            obstore.delete(bucket, names_)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[S3Store]:
        with self.cluster.forwarded("svc/store", STORE_NAMESPACE, 7070) as port:
            yield S3Store(
                BUCKET,
                endpoint=f"http://127.0.0.1:{port}",
                access_key_id=STORE_KEYS["AWS_ACCESS_KEY_ID"],
                secret_access_key=STORE_KEYS["AWS_SECRET_ACCESS_KEY"],
                region=STORE_KEYS["AWS_REGION"],
                client_options={"allow_http": True},
            )


@dataclass
class Place:
    """A namespace of a test, and what a user does in it."""

    cluster: Cluster
    namespace: str

    def model_deployment(
        self, name: str = "digits", *, model: str | dict[str, Any] = "good", **spec: Any
    ) -> dict[str, Any]:
        """Return a manifest; a model may be just the name of one in the store."""
        model = {"uri": f"s3://{BUCKET}/{model}.onnx"} if isinstance(model, str) else model
        return {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "metadata": {"name": name},
            "spec": {"model": {"credentials": {"secretName": "store"}, **model}, **spec},
        }

    def apply(self, manifest: dict[str, Any]) -> None:
        """Apply a manifest in this namespace."""
        self.cluster.apply(manifest, self.namespace)

    def status(self, name: str = "digits") -> dict[str, Any]:
        """Return the status of a ModelDeployment."""
        found: dict[str, Any] = (self.cluster.get(f"mdep/{name}", self.namespace) or {}).get("status") or {}
        return found

    def generation(self, name: str = "digits") -> int:
        """Return the generation of a ModelDeployment."""
        return int(self.cluster.get(f"mdep/{name}", self.namespace)["metadata"]["generation"])

    def until(self, is_it: Callable[[dict[str, Any]], Any], *, within: float, name: str = "digits") -> dict[str, Any]:
        """Wait until a ModelDeployment's status, seen for its newest generation, is so."""

        def current(status: dict[str, Any]) -> bool:
            return status.get("observedGeneration") == self.generation(name) and bool(is_it(status))

        return wait(lambda: self.status(name), current, within=within, explain=lambda: self.explain(name))

    def until_condition(self, kind: str, status: str, reason: str, *, within: float, name: str = "digits") -> str:
        """Wait for a condition and return its message."""
        found = self.until(lambda each: condition(each, kind)[:2] == (status, reason), within=within, name=name)
        return condition(found, kind)[2]

    def explain(self, name: str = "digits") -> str:
        """Return what a person would look at."""
        parts = [
            self.cluster.kubectl(
                "get",
                "mdep,deploy,svc,hpa,pdb,pods,controllerrevisions",
                "-n",
                self.namespace,
                "-o",
                "wide",
                check=False,
            ).stdout
        ]
        parts.append(
            self.cluster.kubectl(
                "get", "events", "-n", self.namespace, "--sort-by=.metadata.creationTimestamp", check=False
            ).stdout[-3000:]
        )
        parts.append(json.dumps(self.status(name), indent=1))
        parts.append(
            self.cluster.kubectl("logs", "-n", "leadline-system", "deploy/leadline", "--tail=40", check=False).stdout
        )
        return "\n".join([*parts, *self._of_pods()])

    def _of_pods(self) -> list[str]:
        """Return what each runtime pod logged, and what it counted of copies, outcomes and requests passed on."""
        listed = self.cluster.kubectl("get", "pods", "-n", self.namespace, "-o", "name", check=False).stdout
        found = []
        for pod in listed.split():
            found.append(
                f"{pod}: {self.cluster.kubectl('logs', '-n', self.namespace, pod, '--tail=20', check=False).stdout}"
            )
            name = pod.removeprefix("pod/")
            raw = f"/api/v1/namespaces/{self.namespace}/pods/{name}:8081/proxy/metrics"
            metrics = self.cluster.kubectl("get", "--raw", raw, check=False).stdout
            told = ("leadline_copies", "leadline_outcomes", "leadline_receipts", "leadline_forwarded", "leadline_split")
            found += [line for line in metrics.splitlines() if line.startswith(told)]
        return found

    def ask(self, path: str, body: Any = None, *, host: str = "digits") -> tuple[int, Any]:
        """Ask the model's URL from a pod; return the HTTP status and the answer."""
        text = body if isinstance(body, str) or body is None else json.dumps(body)
        told = json.dumps({"url": f"http://{host}.{self.namespace}.svc{path}", "body": text})
        done = self.cluster.kubectl("exec", "-n", STORE_NAMESPACE, "client", "--", "python3", "-c", ASK, told)
        status, answer = json.loads(done.stdout)
        with contextlib.suppress(ValueError):
            answer = json.loads(answer)
        return status, answer

    def predict(self, row: list[float], *, name: str = "digits") -> tuple[int, Any]:
        """Ask for one prediction."""
        body = {"inputs": [{"name": "image", "shape": [1, len(row)], "datatype": "FP32", "data": row}]}
        return self.ask(f"/v2/models/{name}/infer", body, host=name)

    def pods(self, revision: str) -> list[dict[str, Any]]:
        """Return the pods of a revision."""
        found: list[dict[str, Any]] = self.cluster.get(
            "pods", self.namespace, "-l", f"{names.REVISION_LABEL}={revision}"
        )["items"]
        return found

    def until_kept(self, revision: str) -> None:
        """Wait until the ledger holds the bytes of a revision that serves."""
        selected = f"{names.REVISION_LABEL}={revision}"
        wait(
            lambda: self.cluster.kubectl("logs", "-n", self.namespace, "-l", selected, "--tail=-1").stdout,
            lambda text: "model kept in the blob store" in text,
            within=limits.MESSAGE,
            explain=self.explain,
        )


def wait(look: Callable[[], T], is_it: Callable[[T], Any], *, within: float, explain: Callable[[], str]) -> T:
    """Look until it is so; at the end of the time fail with what a person would look at."""
    end = time.monotonic() + within
    while True:
        seen = look()
        if is_it(seen):
            return seen
        if time.monotonic() > end:
            raise AssertionError(f"not so within {within:.0f} s; seen last: {str(seen)[:2000]}\n{explain()}")
        time.sleep(0.2)


def condition(status: dict[str, Any], kind: str) -> tuple[str, str, str]:
    """Return status, reason and message of a condition."""
    for each in status.get("conditions") or ():
        if each["type"] == kind:
            return each["status"], each["reason"], each.get("message", "")
    return "", "", ""


def is_up_to_date(status: dict[str, Any]) -> bool:
    """Tell whether the desired revision serves and answers."""
    return condition(status, "Ready")[0] == "True" and condition(status, "UpToDate")[0] == "True"
