"""The library's answers are the server's to the last bit: the same engine, the same runs."""

import functools
import http.server
import threading

import numpy as np
import pytest
import tritonclient.http as triton
from leadline_runtime import Model
from leadline_runtime.library import fetching
from leadline_runtime.library.failures import ModelError

from tests.wiring.runtime.pods import CHANGE_SECONDS, free_ports


@pytest.fixture
def store(digits):
    """The models' folder behind HTTP."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=digits.folder)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join(CHANGE_SECONDS)
    server.server_close()


def asked(port, rows, *, binary):
    """Return the server's answer as arrays; in JSON, the shortest text that gives the same 32 bits again."""
    client = triton.InferenceServerClient(f"127.0.0.1:{port}", network_timeout=CHANGE_SECONDS)
    given = triton.InferInput("X", list(rows.shape), "FP32")
    given.set_data_from_numpy(rows, binary_data=binary)
    wanted = [triton.InferRequestedOutput(name, binary_data=binary) for name in ("label", "probabilities")]
    answer = client.infer("digits", [given], outputs=wanted)
    client.close()
    return {each["name"]: answer.as_numpy(each["name"]) for each in answer.get_response()["outputs"]}


@pytest.mark.parametrize("binary", [False, True], ids=["json", "binary"])
@pytest.mark.parametrize("count", [1, 2, 64, 65, 200])
def test_answers_are_the_servers_to_the_last_bit(served, digits, count, binary):
    rows = np.random.default_rng(count).random((count, 64), dtype=np.float32)
    with Model(digits.uri("good.onnx")) as model:
        own = model.predict(rows)
    theirs = asked(served.public, rows, binary=binary)
    assert own.keys() == theirs.keys()
    for name, array in own.items():
        assert array.dtype == theirs[name].dtype
        assert array.tobytes() == theirs[name].tobytes(), name


def test_model_comes_from_a_store(digits, store, tmp_path):
    with Model(f"{store}/good.onnx", digest=digits.digest("good.onnx")) as model:
        assert model.predict([digits.rows[0]])["label"].tolist() == [digits.label]
    told = []
    fetched = fetching.fetch(f"{store}/good.onnx", tmp_path, on_progress=lambda done, total: told.append((done, total)))
    size = fetched.path.stat().st_size
    assert fetched.digest == digits.digest("good.onnx")
    assert (told[0], told[-1]) == ((0, size), (size, size))


def test_store_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(fetching, "PAUSE_SECONDS", 0.01)
    (port,) = free_ports(1)
    with pytest.raises(ModelError, match=f"ModelStoreUnreachable: GET http://127.0.0.1:{port}/m.onnx: no connection"):
        Model(f"http://127.0.0.1:{port}/m.onnx")
