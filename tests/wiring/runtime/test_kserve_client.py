"""KServe's clients, unmodified, as judges: JSON, binary and gRPC, ids, parameters, health and refusals.

Its package would start web frameworks on import, which we do not install; only the client's own modules are loaded.
"""

import importlib.util
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from google.protobuf import descriptor_pool

from tests.unit.runtime import models
from tests.wiring.runtime.pods import Pod
from tests.wiring.runtime.test_triton_client import ARRAYS, everything


@pytest.fixture(scope="module")
def kserve() -> Iterator[types.SimpleNamespace]:
    spec = importlib.util.find_spec("kserve")
    assert spec is not None
    package = types.ModuleType("kserve")
    package.__path__ = spec.submodule_search_locations
    sys.modules["kserve"] = package
    with pytest.MonkeyPatch.context() as patch:
        # Its messages are called like tritonclient's, and one pool of one process takes only one of each name.
        pool = descriptor_pool.DescriptorPool()
        patch.setattr(descriptor_pool, "Default", lambda: pool)
        client = importlib.import_module("kserve.inference_client")
    kinds = importlib.import_module("kserve.protocol.infer_type")
    yield types.SimpleNamespace(
        client=client.InferenceRESTClient,
        grpc_client=client.InferenceGRPCClient,
        config=client.RESTConfig,
        request=kinds.InferRequest,
        input=kinds.InferInput,
        output=kinds.RequestedOutput,
        error=client.httpx.HTTPStatusError,
    )
    for name in [name for name in sys.modules if name == "kserve" or name.startswith("kserve.")]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def pod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pod]:
    folder: Path = tmp_path_factory.mktemp("kserve")
    path = everything(folder)
    pod = Pod(folder / "pod", path.as_uri(), digest=models.digest(path))
    try:
        yield pod.wait_ready()
    finally:
        pod.stop()


def inputs(kserve, rows=1, *, binary=True):
    made = []
    for name, (_, array) in ARRAYS.items():
        whole = np.repeat(array, rows, axis=0)
        tensor = kserve.input(f"in_{name}", list(whole.shape), name)
        tensor.set_data_from_numpy(whole, binary_data=binary or name == "FP16")
        made.append(tensor)
    return made


def outputs(kserve, *, binary):
    return [kserve.output(f"out_{name}", parameters={"binary_data": binary or name == "FP16"}) for name in ARRAYS]


def check(response, rows=1):
    assert response.model_name == "digits"  # this client passes over the version
    assert [output.name for output in response.outputs] == [f"out_{name}" for name in ARRAYS]
    for output, (name, (_, array)) in zip(response.outputs, ARRAYS.items(), strict=True):
        expected = np.repeat(array, rows, axis=0)
        got = output.as_numpy()
        if name == "BYTES":
            got = np.array(
                [[text.decode() if isinstance(text, bytes) else text for text in row] for row in got], object
            )
        assert got.dtype == expected.dtype, name
        assert np.array_equal(got, expected), name


@pytest.mark.parametrize("rows", [1, 5])
@pytest.mark.parametrize("answered_binary", [True, False])
@pytest.mark.parametrize("asked_binary", [True, False])
async def test_every_datatype_goes_there_and_back(pod, kserve, asked_binary, answered_binary, rows):
    request = kserve.request(
        model_name="digits",
        request_id="r-1",
        parameters={"note": "x"},
        infer_inputs=inputs(kserve, rows, binary=asked_binary),
        request_outputs=outputs(kserve, binary=answered_binary),
    )
    client = kserve.client(kserve.config(protocol="v2"))
    response = await client.infer(f"http://127.0.0.1:{pod.public}", request, model_name="digits")
    await client.close()
    assert response.id == "r-1"
    check(response, rows)


@pytest.mark.parametrize("rows", [1, 5])
async def test_every_datatype_goes_there_and_back_over_grpc(pod, kserve, rows):
    request = kserve.request(model_name="digits", request_id="r-1", infer_inputs=inputs(kserve, rows))
    client = kserve.grpc_client(url=f"127.0.0.1:{pod.public}")
    assert await client.is_server_live()
    assert await client.is_server_ready()
    assert await client.is_model_ready("digits")
    response = await client.infer(request)
    assert response.id == "r-1"
    check(response, rows)
    request = kserve.request(model_name="digits", infer_inputs=inputs(kserve)[:-1])
    with pytest.raises(grpc.RpcError, match='"in_BYTES" is missing'):
        await client.infer(request)
    await client.close()


async def test_health_of_server_and_model(pod, kserve):
    client = kserve.client(kserve.config(protocol="v2"))
    base = f"http://127.0.0.1:{pod.public}"
    assert await client.is_server_live(base)
    assert await client.is_server_ready(base)
    assert await client.is_model_ready(base, "digits")
    await client.close()


async def test_a_wrong_request_is_refused_with_what_was_expected(pod, kserve):
    client = kserve.client(kserve.config(protocol="v2"))
    request = kserve.request(model_name="digits", infer_inputs=inputs(kserve)[:-1])
    with pytest.raises(kserve.error, match='"in_BYTES" is missing'):
        await client.infer(f"http://127.0.0.1:{pod.public}", request, model_name="digits")
    await client.close()
