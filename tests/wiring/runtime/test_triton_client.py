"""NVIDIA's client, unmodified, as a judge of our REST: every datatype both ways, options, metadata, refusals."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from onnx import TensorProto, helper
from tritonclient.utils import InferenceServerException

from tests.unit.runtime import models
from tests.wiring.runtime.pods import CHANGE_SECONDS, Pod

ARRAYS = {
    "FP16": (TensorProto.FLOAT16, np.array([[0.5, -2, 65504]], np.float16)),
    "FP32": (TensorProto.FLOAT, np.array([[0.5, -2, 1e30]], np.float32)),
    "FP64": (TensorProto.DOUBLE, np.array([[0.1, -2, 1e300]], np.float64)),
    "INT8": (TensorProto.INT8, np.array([[-128, 0, 127]], np.int8)),
    "INT16": (TensorProto.INT16, np.array([[-(2**15), 0, 2**15 - 1]], np.int16)),
    "INT32": (TensorProto.INT32, np.array([[-(2**31), 0, 2**31 - 1]], np.int32)),
    "INT64": (TensorProto.INT64, np.array([[-(2**63), 0, 2**63 - 1]], np.int64)),
    "UINT8": (TensorProto.UINT8, np.array([[0, 1, 255]], np.uint8)),
    "UINT16": (TensorProto.UINT16, np.array([[0, 1, 2**16 - 1]], np.uint16)),
    "UINT32": (TensorProto.UINT32, np.array([[0, 1, 2**32 - 1]], np.uint32)),
    "UINT64": (TensorProto.UINT64, np.array([[0, 1, 2**64 - 1]], np.uint64)),
    "BOOL": (TensorProto.BOOL, np.array([[True, False, True]])),
    "BYTES": (TensorProto.STRING, np.array([["", "a\n", "ü"]], np.object_)),
}
BF16 = np.array([[0.5, -2, 128], [np.inf, np.nan, 1e-40]], ml_dtypes.bfloat16)
NO_JSON = {"FP16"}
"""The client itself refuses it in JSON, and BF16."""


@pytest.fixture(scope="module")
def pod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pod]:
    """A pod whose model gives back a tensor of each datatype."""
    folder: Path = tmp_path_factory.mktemp("triton")
    tensors = {name: (element, ("N", 3)) for name, (element, _) in ARRAYS.items()}
    path = models.save(
        folder / "all.onnx",
        [helper.make_node("Identity", [f"in_{name}"], [f"out_{name}"]) for name in ARRAYS],
        {f"in_{name}": tensor for name, tensor in tensors.items()},
        {f"out_{name}": tensor for name, tensor in tensors.items()},
    )
    pod = Pod(folder / "pod", path.as_uri(), digest=models.digest(path))
    try:
        yield pod.wait_ready()
    finally:
        pod.stop()


@pytest.fixture
def client(pod: Pod) -> Iterator[triton.InferenceServerClient]:
    made = triton.InferenceServerClient(f"127.0.0.1:{pod.public}", concurrency=4, connection_timeout=CHANGE_SECONDS)
    yield made
    made.close()


def inputs(rows=1, *, binary=True):
    """Return all inputs as the client has them; those that it cannot say in JSON are binary always."""
    made = []
    for name, (_, array) in ARRAYS.items():
        whole = np.repeat(array, rows, axis=0)
        tensor = triton.InferInput(f"in_{name}", list(whole.shape), name)
        tensor.set_data_from_numpy(whole, binary_data=binary or name in NO_JSON)
        made.append(tensor)
    return made


def asked(*names, binary=True):
    return [triton.InferRequestedOutput(f"out_{name}", binary_data=binary or name in NO_JSON) for name in names]


def check(result, names=tuple(ARRAYS), rows=1):
    told = result.get_response()
    assert [output["name"] for output in told["outputs"]] == [f"out_{name}" for name in names]
    for name in names:
        expected = np.repeat(ARRAYS[name][1], rows, axis=0)
        array = result.as_numpy(f"out_{name}")
        if name == "BYTES" and array.dtype == np.object_:
            array = np.array(
                [[text.decode() if isinstance(text, bytes) else text for text in row] for row in array], object
            )
        assert array.dtype == expected.dtype, name
        assert np.array_equal(array, expected), name


@pytest.mark.parametrize("rows", [1, 5])
@pytest.mark.parametrize("answered_binary", [True, False])
@pytest.mark.parametrize("asked_binary", [True, False])
def test_every_datatype_goes_there_and_back(client, asked_binary, answered_binary, rows):
    outputs = asked(*ARRAYS, binary=answered_binary)
    check(client.infer("digits", inputs(rows, binary=asked_binary), outputs=outputs), rows=rows)


def test_bf16_goes_there_and_back(tmp_path, start):
    path = models.identity(tmp_path / "bf16.onnx", TensorProto.BFLOAT16)
    pod = start(path.as_uri(), digest=models.digest(path)).wait_ready()
    tensor = triton.InferInput("x", [2, 3], "BF16")
    tensor.set_data_from_numpy(BF16)
    with triton.InferenceServerClient(f"127.0.0.1:{pod.public}") as client:
        array = client.infer("digits", [tensor]).as_numpy("y")
    assert np.array_equal(array.astype(np.float32), BF16.astype(np.float32), equal_nan=True)


def test_without_requested_outputs_all_come(client):
    check(client.infer("digits", inputs()))


def test_only_the_outputs_asked_for_come_in_their_order(client):
    check(client.infer("digits", inputs(), outputs=asked("INT8", "BYTES", "FP32")), ("INT8", "BYTES", "FP32"))


def test_id_version_and_parameters(client):
    result = client.infer(
        "digits", inputs(), model_version="digits-1", request_id="r 1", parameters={"note": "x", "n": 1}
    )
    told = result.get_response()
    assert (told["id"], told["model_name"], told["model_version"]) == ("r 1", "digits", "digits-1")
    check(result)
    # The client always says these of a stateful model's sequence; here they are names like any others.
    check(client.infer("digits", inputs(), sequence_id=7, sequence_start=True, priority=1, timeout=1_000_000))


@pytest.mark.parametrize("request_coding", [None, "gzip", "deflate"])
@pytest.mark.parametrize("answer_coding", [None, "gzip", "deflate"])
@pytest.mark.parametrize("rows", [1, 50])
def test_packed_both_ways(client, request_coding, answer_coding, rows):
    result = client.infer(
        "digits",
        inputs(rows),
        request_compression_algorithm=request_coding,
        response_compression_algorithm=answer_coding,
    )
    check(result, rows=rows)


def test_many_at_once(client):
    under_way = [client.async_infer("digits", inputs(number % 3 + 1), request_id=str(number)) for number in range(40)]
    for number, pending in enumerate(under_way):
        result = pending.get_result(timeout=CHANGE_SECONDS)
        assert result.get_response()["id"] == str(number)
        check(result, rows=number % 3 + 1)


def test_health_and_metadata(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("digits")
    assert client.is_model_ready("digits", "digits-1")
    assert not client.is_model_ready("other")
    assert not client.is_model_ready("digits", "digits-2")
    server = client.get_server_metadata()
    assert {"binary_tensor_data", "model_configuration", "model_repository"} == set(server["extensions"])
    described = client.get_model_metadata("digits")
    assert described == client.get_model_metadata("digits", "digits-1")
    assert described["versions"] == ["digits-1"]
    assert [(tensor["name"], tensor["datatype"], tensor["shape"]) for tensor in described["inputs"]] == [
        (f"in_{name}", name, [-1, 3]) for name in ARRAYS
    ]


def test_config_and_repository_index(client):
    config = client.get_model_config("digits")
    assert config["max_batch_size"] == 64
    assert [(tensor["data_type"], tensor["dims"]) for tensor in config["input"]][-2:] == [
        ("TYPE_BOOL", [3]),
        ("TYPE_STRING", [3]),
    ]
    assert client.get_model_repository_index() == [
        {"name": "digits", "version": "digits-1", "state": "READY", "reason": ""}
    ]


def refused(call, *arguments, **more):
    with pytest.raises(InferenceServerException) as caught:
        call(*arguments, **more)
    return caught.value.status(), caught.value.message()


def test_what_is_not_offered_is_refused_with_the_reason(client):
    assert refused(client.load_model, "digits") == (
        "403",
        'which model "digits" is, its ModelDeployment says; change spec.model there',
    )
    assert refused(client.unload_model, "digits")[0] == "403"
    status, message = refused(client.get_inference_statistics, "digits")
    assert (status, "/metrics" in message) == ("404", True)
    classified = [triton.InferRequestedOutput("out_FP32", class_count=2)]
    status, message = refused(client.infer, "digits", inputs(), outputs=classified)
    assert (status, "classification is not offered" in message) == ("400", True)
    shared = triton.InferInput("in_FP32", [1, 3], "FP32")
    shared.set_shared_memory("region", 12)
    status, message = refused(client.infer, "digits", [shared, *inputs()[:2], *inputs()[3:]])
    assert (status, "shared memory is not offered" in message) == ("400", True)


def test_a_wrong_request_is_refused_with_what_was_expected(client):
    names = ", ".join(f'"in_{name}"' for name in ARRAYS)
    missing = ("400", f'inputs: "in_BYTES" is missing; expected {names}')
    assert refused(client.infer, "digits", inputs()[:-1]) == missing
    status, message = refused(client.infer, "digits", inputs(), model_version="2")
    assert (status, message) == ("404", 'there is no version "2" here; this pod serves "digits-1"')


async def test_the_asyncio_client_too(pod):
    async with triton_aio.InferenceServerClient(f"127.0.0.1:{pod.public}") as client:
        assert await client.is_server_ready()
        assert (await client.get_model_metadata("digits"))["platform"] == "onnxruntime_onnx"
        assert (await client.get_model_repository_index())[0]["state"] == "READY"
        results = await asyncio.gather(
            *[
                client.infer(
                    "digits",
                    inputs(rows, binary=binary),
                    outputs=asked(*ARRAYS, binary=binary),
                    request_compression_algorithm=coding,
                    response_compression_algorithm=coding,
                )
                for rows in (1, 4)
                for binary in (True, False)
                for coding in (None, "gzip", "deflate")
            ]
        )
    for number, result in enumerate(results):
        check(result, rows=1 if number < 6 else 4)
