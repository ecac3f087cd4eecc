"""`leadline serve` as somebody at a laptop meets it: what is printed, what is pasted, how it ends."""

import json
import re
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from leadline_cli import snippets
from onnx import TensorProto, helper

from tests.unit.runtime import models
from tests.wiring.runtime.pods import START_SECONDS, call, eventually, free_ports

END_SECONDS = 25.0
FLOAT = TensorProto.FLOAT


class Served:
    """One command that runs."""

    def __init__(self, *arguments):
        (self.port,) = free_ports(1)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "leadline_cli.main", "serve", f"--port={self.port}", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines, self.talk = [], []
        self.threads = [
            threading.Thread(target=self._read, args=(self.process.stdout, self.lines)),
            threading.Thread(target=self._read, args=(self.process.stderr, self.talk)),
        ]
        for thread in self.threads:
            thread.start()

    def _read(self, stream, into):
        for line in stream:
            into.append(line.rstrip("\n"))

    def screen(self):
        def check():
            assert self.process.poll() is None, self.talk
            return any(line.startswith("Ctrl-C") for line in self.lines)

        eventually("the screen", check, START_SECONDS)
        return self.lines

    def end(self, number=signal.SIGINT):
        self.process.send_signal(number)
        return self.ended()

    def ended(self):
        status = self.process.wait(END_SECONDS)
        for thread in self.threads:
            thread.join(END_SECONDS)
        return status

    def close(self):
        if self.process.poll() is None:
            self.process.terminate()
        self.ended()
        self.process.stdout.close()
        self.process.stderr.close()


@pytest.fixture
def start():
    running = []

    def started(*arguments):
        running.append(Served(*arguments))
        return running[-1]

    yield started
    for each in running:
        each.close()


def pasted(lines):
    """Return what the screen says to paste into a shell."""
    begin = next(place for place, line in enumerate(lines) if line.startswith("curl"))
    return "\n".join(lines[begin : lines.index("", begin)])


def in_shell(command):
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=START_SECONDS, check=True)
    return json.loads(done.stdout)


def save(path, element, shape):
    """Write a model with two inputs, of which one is long and the other has a name that shells would read."""
    odd = "it's $HOME `\\ é"
    nodes = [helper.make_node("Identity", ["long"], ["same"]), helper.make_node("Identity", [odd], ["other"])]
    long, short = (element, ("N", *shape)), (TensorProto.STRING, ("N", 2))
    return models.save(path, nodes, {"long": long, odd: short}, {"same": long, "other": short})


def test_screen_shows_the_model_and_what_to_paste_and_ctrl_c_drains(start, tmp_path):
    path = models.classifier(tmp_path / "my model.v2.onnx")
    served = start(path)
    lines = served.screen()
    assert re.match(rf'"my-model.v2" is served from {path} \(0 kB, sha256:[0-9a-f]{{12}}…\)', lines[0])
    assert lines[1:4] == [
        "  takes  x                    FP32   [-1, 3]",
        "  gives  label                INT64  [-1]",
        "         y                    FP32   [-1, 3]",
    ]
    assert f"  address    http://127.0.0.1:{served.port}/v2/models/my-model.v2" in lines
    assert max(len(line.replace(str(tmp_path), "")) for line in lines) <= 100
    answer = in_shell(pasted(lines))
    assert answer["model_name"] == "my-model.v2"
    assert answer["outputs"][0] == {"name": "label", "datatype": "INT64", "shape": [1], "data": [0]}
    assert served.end() == 0
    assert served.talk == [
        f"  reading {path}",
        "  starting the runtime",
        "  draining: what is on its way is answered, for 20 s at most",
        "  ended",
    ]


@pytest.mark.parametrize("element", [FLOAT, TensorProto.BOOL, TensorProto.STRING])
def test_what_is_pasted_works_for_long_inputs_and_every_kind(start, tmp_path, element):
    served = start(save(tmp_path / "m.onnx", element, (3, 100)), "--name=other")
    answer = in_shell(pasted(served.screen()))
    assert answer["outputs"][0]["shape"] == [1, 3, 100]
    assert set(answer["outputs"][0]["data"]) == {{FLOAT: 0, TensorProto.BOOL: False, TensorProto.STRING: ""}[element]}
    assert answer["model_name"] == "other"


def test_python_that_is_pasted_names_the_models_own_inputs():
    inputs = [snippets.Tensor("long", "FP32", (-1, 3)), snippets.Tensor("it's", "BYTES", (-1, 2))]
    lines = snippets.python("127.0.0.1:8080", "m", inputs, [snippets.Tensor("same", "FP32", (-1, 3))])
    assert lines[2:6] == [
        'input0 = http.InferInput("long", [1, 3], "FP32")',
        "input0.set_data_from_numpy(np.zeros([1, 3], np.float32))",
        'input1 = http.InferInput("it\'s", [1, 2], "BYTES")',
        'input1.set_data_from_numpy(np.full([1, 2], "", object))',
    ]
    compile("\n".join(lines), "pasted", "exec")


@pytest.mark.parametrize("element", [FLOAT, TensorProto.INT64, TensorProto.STRING, TensorProto.FLOAT16])
def test_python_that_is_pasted_is_answered(start, tmp_path, element):
    lines = start(save(tmp_path / "m.onnx", element, (2, 3))).screen()
    begin = next(place for place, line in enumerate(lines) if line.startswith("import numpy"))
    code = "\n".join(lines[begin : lines.index("", begin)])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=START_SECONDS, check=True
    )
    assert done.stdout.startswith("[[[")
    assert done.stdout.count("[") == 4


def test_folder_is_served_with_all_its_files(start, tmp_path):
    folder = tmp_path / "net"
    folder.mkdir()
    models.identity(folder / "model.onnx")
    (folder / "labels.txt").write_text("none")
    served = start(folder)
    lines = served.screen()
    assert lines[0].startswith(f'"net" is served from {folder} ')
    assert in_shell(pasted(lines))["outputs"][0]["data"] == [0, 0, 0]


def test_terminal_that_is_closed_ends_it_as_well(start, tmp_path):
    served = start(models.identity(tmp_path / "m.onnx"))
    served.screen()
    runtime = children(served.process.pid)
    assert len(runtime) == 1
    assert served.end(signal.SIGHUP) == 0
    eventually("end of the runtime", lambda: not Path(f"/proc/{runtime[0]}").exists())


def children(process):
    return Path(f"/proc/{process}/task/{process}/children").read_text().split()


def test_request_on_its_way_is_answered_before_the_end(start, tmp_path):
    """Half of a request is sent, then comes Ctrl-C, then the other half."""
    served = start(models.identity(tmp_path / "m.onnx"), "--name=m")
    served.screen()
    body = json.dumps(models.asking(models.tensor([1, 2, 3], [1, 3]))).encode()

    with socket.create_connection(("127.0.0.1", served.port), START_SECONDS) as client:
        head = f"POST /v2/models/m/infer HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode()
        client.sendall(head + body[:10])
        eventually("connection", lambda: call(served.port, "GET", "/v2/health/ready").status == 200)
        served.process.send_signal(signal.SIGINT)
        eventually("drain", lambda: any("draining" in line for line in served.talk))
        client.sendall(body[10:])
        answer = client.recv(65_536)
    assert answer.startswith(b"HTTP/1.1 200")
    assert b'"data":[1.0,2.0,3.0]' in answer
    assert served.ended() == 0


def test_model_that_is_none_ends_it_with_one_line(start, tmp_path):
    (tmp_path / "m.onnx").write_text("hello")
    served = start(tmp_path / "m.onnx")
    assert served.ended() == 1
    assert served.lines == []
    assert served.talk[-1] == (
        f"leadline serve: {tmp_path}/m.onnx: not an ONNX model: 5 bytes that begin with b'hello'; expected a file that "
        "onnx.save writes (InvalidModel)"
    )


def test_port_that_is_taken_ends_it_with_one_line_even_where_a_runtime_has_it(start, tmp_path):
    path = models.identity(tmp_path / "m.onnx")
    first = start(path)
    first.screen()
    second = start(path, f"--port={first.port}")
    assert second.ended() == 1
    assert second.talk == [f"leadline serve: port {first.port} is taken; take another one: --port {first.port + 1}"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.onnx"], "none.onnx: there is no such file (ModelNotFound)"),
        (
            ["m.onnx", "--digest=sha256:0"],
            r"m.onnx has digest sha256:[0-9a-f]{64}, expected sha256:0 \(DigestMismatch\)",
        ),
        (["m.onnx", "--name=a b"], "--name: expected letters, digits, '-', '_' and '.', got 'a b'"),
        (["m.onnx", "--host=192.0.2.1"], "--host 192.0.2.1: "),
    ],
)
def test_mistake_ends_it_with_one_line(start, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    models.identity(tmp_path / "m.onnx")
    served = start(*arguments)
    assert served.ended() == 1
    assert re.match(f"leadline serve: {message.replace('(ModelNotFound)', '.ModelNotFound.')}", served.talk[-1])
    assert "Traceback" not in "".join(served.talk)


def test_sample_of_any_length_stays_within_a_screen():
    image = snippets.Tensor("image", "FP32", (-1, 3, 224, 224))
    lines = snippets.curl("http://127.0.0.1:8080/v2/models/m/infer", [image])
    assert max(map(len, lines)) <= 112
    assert int(re.search(r"\{1\.\.(\d+)\}", lines[2])[1]) + 1 == np.prod(image.sample_shape)
