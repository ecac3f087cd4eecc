"""Models and test sets from a real S3 server, which goes away and comes back.

The server is versitygw: named by LEADLINE_VERSITYGW, or the one that `hack/cluster/provide packages` builds.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from leadline_wire import exchange

from tests.wiring.runtime.pods import CHANGE_SECONDS, START_SECONDS, call, eventually, free_ports, infer

ACCESS, SECRET = "leadline", "leadline-secret"


def versitygw() -> str:
    named = os.environ.get("LEADLINE_VERSITYGW")
    if named:
        return named
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    built = sorted(cache.glob("leadline/bin/versitygw-*/versitygw"), key=lambda path: path.stat().st_mtime)
    if not built:
        pytest.skip("no versitygw: hack/cluster/provide packages builds it")
    return str(built[-1])


class Store:
    """An S3 server with one bucket, `models`."""

    def __init__(self, folder: Path) -> None:
        self.bucket = folder / "models"
        self.bucket.mkdir(parents=True)
        (self.port,) = free_ports(1)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(
            [
                versitygw(),
                *("--access", ACCESS, "--secret", SECRET, "--port", f"127.0.0.1:{self.port}"),
                *("posix", str(self.bucket.parent)),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        eventually("the store answers", lambda: call(self.port, "GET", "/").status, START_SECONDS)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(CHANGE_SECONDS)
            self.process = None

    def environment(self, **more: str) -> dict[str, str]:
        return {
            "AWS_ACCESS_KEY_ID": ACCESS,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ALLOW_HTTP": "true",
            **more,
        }


@pytest.fixture(scope="module")
def store(digits, tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("store"))
    for name in ("good.onnx", "test.parquet"):
        (store.bucket / "digits").mkdir(exist_ok=True)
        shutil.copy(digits.folder / name, store.bucket / "digits" / name)
    store.start()
    yield store
    store.stop()


def test_model_and_test_set_come_from_s3(store, start, digits):
    pod = start("s3://models/digits/good.onnx", digest=digits.digest("good.onnx"), environment=store.environment())
    pod.wait_ready()
    assert infer(pod.public, digits.rows[0]).status == 200
    request = exchange.TestSetRequest(uri="s3://models/digits/test.parquet", truth="digit", run="a0")
    report = pod.report(
        "answered",
        lambda report: report.test_set and report.test_set.state in {"Done", "Failed"},
        test_set=request,
    ).test_set
    assert (report.trouble, report.rows) == (None, digits.test_rows)
    denied = exchange.TestSetRequest(uri="s3://models/digits/nothing.parquet", truth="digit", run="a1")
    report = pod.report(
        "not found",
        lambda report: report.test_set.run == "a1" and report.test_set.state == "Failed",
        test_set=denied,
    ).test_set
    assert report.trouble.reason == "TestSetNotFound"


@pytest.mark.parametrize(
    ("uri", "more", "told"),
    [
        ("s3://models/digits/nothing.onnx", {}, "ModelNotFound: GET s3://models/digits/nothing.onnx"),
        ("s3://nothing/good.onnx", {}, "ModelNotFound: GET s3://nothing/good.onnx"),
        (
            "s3://models/digits/good.onnx",
            {"AWS_SECRET_ACCESS_KEY": "wrong"},
            "ModelAccessDenied: GET s3://models/digits/good.onnx answered 403",
        ),
    ],
    ids=["no such object", "no such bucket", "wrong key"],
)
def test_what_the_store_refuses_has_its_reason(store, start, uri, more, told):
    pod = start(uri, environment=store.environment(**more))
    trouble = pod.report("trouble", lambda report: report.trouble).trouble
    assert f"{trouble.reason}: {trouble.message}".startswith(told)
    assert trouble.blame == "surroundings"
    assert "wrong" not in trouble.message


def test_a_store_that_is_down_is_told_and_its_model_served_once_it_is_back(store, start, digits):
    store.stop()
    pod = start("s3://models/digits/good.onnx", digest=digits.digest("good.onnx"), environment=store.environment())
    trouble = pod.report("trouble", lambda report: report.trouble).trouble
    assert (trouble.reason, trouble.blame) == ("ModelStoreUnreachable", "surroundings")
    store.start()
    pod.wait_ready()
    assert pod.exchange().trouble is None
