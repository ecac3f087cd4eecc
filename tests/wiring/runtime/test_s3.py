"""Models and test sets from a real S3 server (versitygw), which goes away and comes back."""

import shutil

import pytest
from leadline_wire import exchange

from tests.wiring.runtime.pods import infer
from tests.wiring.runtime.servers import S3


@pytest.fixture(scope="module")
def store(digits, tmp_path_factory):
    store = S3(tmp_path_factory.mktemp("store"))
    for name in ("good.onnx", "test.parquet"):
        (store.bucket / "digits").mkdir(exist_ok=True)
        shutil.copy(digits.folder / name, store.bucket / "digits" / name)
    store.start()
    yield store
    store.stop()


def test_model_and_test_set_come_from_s3(store, start, digits):
    pod = start("s3://models/digits/good.onnx", digest=digits.digest("good.onnx"), environment=store.credentials())
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
    pod = start(uri, environment=store.credentials(**more))
    trouble = pod.report("trouble", lambda report: report.trouble).trouble
    assert f"{trouble.reason}: {trouble.message}".startswith(told)
    assert trouble.blame == "surroundings"
    assert "wrong" not in trouble.message


def test_a_store_that_is_down_is_told_and_its_model_served_once_it_is_back(store, start, digits):
    store.stop()
    pod = start("s3://models/digits/good.onnx", digest=digits.digest("good.onnx"), environment=store.credentials())
    trouble = pod.report("trouble", lambda report: report.trouble).trouble
    assert (trouble.reason, trouble.blame) == ("ModelStoreUnreachable", "surroundings")
    store.start()
    pod.wait_ready()
    assert pod.exchange().trouble is None
