"""gRPC on the port of REST, judged by tritonclient and by grpcio's own client, against a real pod."""

import asyncio
import queue
import subprocess
import threading
from typing import Self

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from leadline_runtime.grpc import framing, protocol

from tests.wiring.runtime import calling, pods
from tests.wiring.runtime.pods import CHANGE_SECONDS, Pod


@pytest.fixture
def client(served: Pod):
    with triton.InferenceServerClient(f"127.0.0.1:{served.public}") as client:
        yield client


@pytest.fixture
def channel(served: Pod):
    with grpc.insecure_channel(f"127.0.0.1:{served.public}") as channel:
        yield channel


def tensor(rows: list[list[float]]) -> triton.InferInput:
    given = triton.InferInput("X", [len(rows), 64], "FP32")
    given.set_data_from_numpy(np.array(rows, np.float32))
    return given


def code_of(error: pytest.ExceptionInfo[grpc.RpcError]) -> tuple[grpc.StatusCode, str]:
    return error.value.code(), error.value.details()


# As Triton's clients


def test_triton_client_learns_what_there_is(client, served):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("digits")
    assert client.is_model_ready("digits", served.revision)
    metadata = client.get_model_metadata("digits")
    assert (metadata.name, list(metadata.versions)) == ("digits", [served.revision])
    (given,) = metadata.inputs
    assert (given.name, given.datatype, list(given.shape)) == ("X", "FP32", [-1, 64])
    assert [output.name for output in metadata.outputs] == ["label", "probabilities"]
    (model,) = client.get_model_repository_index().models
    assert (model.name, model.version, model.state) == ("digits", served.revision, "READY")
    assert client.get_server_metadata().name == "leadline"
    config = client.get_model_config("digits").config
    assert (config.name, config.max_batch_size, config.backend) == ("digits", 64, "onnxruntime")
    assert (config.input[0].name, config.input[0].data_type, list(config.input[0].dims)) == ("X", 11, [64])
    assert [output.name for output in config.output] == ["label", "probabilities"]


@pytest.mark.parametrize("rows", [1, 7, 200])
def test_triton_client_predicts_what_rest_does(client, served, digits, rows):
    asked = (digits.rows * 10)[:rows]
    answer = client.infer("digits", [tensor(asked)], request_id="one")
    told = [pods.infer(served.public, row).json()["outputs"] for row in asked[:7]]
    assert answer.as_numpy("label")[:7].tolist() == [outputs[0]["data"][0] for outputs in told]
    scores = np.array([outputs[1]["data"] for outputs in told], np.float32)
    assert np.allclose(answer.as_numpy("probabilities")[:7], scores, atol=1e-6)
    assert answer.get_response().id == "one"
    assert answer.get_response().model_version == served.revision


def test_triton_client_gets_the_outputs_it_asks_for(client, digits):
    wanted = [triton.InferRequestedOutput("probabilities"), triton.InferRequestedOutput("label")]
    answer = client.infer("digits", [tensor(digits.rows[:1])], outputs=wanted)
    assert [output.name for output in answer.get_response().outputs] == ["probabilities", "label"]
    assert answer.as_numpy("label").tolist() == [digits.label]
    only = client.infer("digits", [tensor(digits.rows[:1])], outputs=wanted[:1])
    assert only.as_numpy("label") is None
    assert np.allclose(only.as_numpy("probabilities")[0], digits.scores, atol=1e-5)


def test_triton_client_is_told_what_is_wrong(client, digits):
    given = triton.InferInput("X", [1, 3], "FP32")
    given.set_data_from_numpy(np.zeros((1, 3), np.float32))
    with pytest.raises(triton.InferenceServerException, match='input "X": expected shape') as error:
        client.infer("digits", [given])
    assert error.value.status() == "StatusCode.INVALID_ARGUMENT"
    with pytest.raises(triton.InferenceServerException, match='there is no model "other" here') as error:
        client.infer("other", [tensor(digits.rows[:1])])
    assert error.value.status() == "StatusCode.NOT_FOUND"
    with pytest.raises(triton.InferenceServerException, match='there is no version "9" here'):
        client.infer("digits", [tensor(digits.rows[:1])], model_version="9")
    with pytest.raises(triton.InferenceServerException, match="its ModelDeployment says") as error:
        client.load_model("digits")
    assert error.value.status() == "StatusCode.PERMISSION_DENIED"
    with pytest.raises(triton.InferenceServerException, match="there is no method") as error:
        client.get_inference_statistics("digits")
    assert error.value.status() == "StatusCode.UNIMPLEMENTED"


def test_triton_client_streams_in_order(client, digits):
    answers: queue.Queue = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    for number in range(50):
        client.async_stream_infer("digits", [tensor(digits.rows[:1])], request_id=str(number))
    wrong = triton.InferInput("X", [1, 1], "FP32")
    wrong.set_data_from_numpy(np.zeros((1, 1), np.float32))
    client.async_stream_infer("digits", [wrong])
    client.async_stream_infer("digits", [tensor(digits.rows[:1])], request_id="last")
    told = [answers.get(timeout=CHANGE_SECONDS) for _ in range(52)]
    client.stop_stream()
    assert [result.get_response().id for result, error in told if error is None] == [*map(str, range(50)), "last"]
    assert "expected shape" in str(told[50][1])
    assert told[51][0].as_numpy("label").tolist() == [digits.label]


async def test_triton_aio_client_predicts_and_streams(served, digits):
    async with triton_aio.InferenceServerClient(f"127.0.0.1:{served.public}") as client:
        asked = [client.infer("digits", [tensor([row])]) for row in digits.rows]
        answers = await asyncio.wait_for(asyncio.gather(*asked), CHANGE_SECONDS)
        assert answers[0].as_numpy("label").tolist() == [digits.label]

        async def requests():
            for number in range(5):
                yield {"model_name": "digits", "inputs": [tensor(digits.rows[:1])], "request_id": str(number)}

        seen = [result.get_response().id async for result, error in client.stream_infer(requests()) if error is None]
        assert seen == ["0", "1", "2", "3", "4"]


def test_triton_client_may_compress(client, digits):
    for algorithm in ("gzip", "deflate"):
        answer = client.infer("digits", [tensor(digits.rows * 5)], compression_algorithm=algorithm)
        assert answer.as_numpy("label")[0] == digits.label


# As generated code with grpcio


def test_typed_contents_are_answered_typed(channel, digits):
    answer = calling.method(channel, "ModelInfer")(calling.request(digits.rows[:2], typed=True, id="t"))
    label, scores = answer.outputs
    assert answer.id == "t"
    assert list(answer.raw_output_contents) == []
    assert label.contents.int64_contents[0] == digits.label
    assert list(label.shape) == [2]
    assert np.allclose(list(scores.contents.fp32_contents)[:10], digits.scores, atol=1e-5)


async def test_many_streams_on_one_connection_and_many_connections(served, digits):
    async def ask(count: int) -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{served.public}", options=options) as channel:
            infer = calling.method(channel, "ModelInfer")

            async def loop() -> None:
                for _ in range(50):
                    assert calling.labels(await infer(calling.request(digits.rows[:1]))) == [digits.label]

            await asyncio.gather(*(loop() for _ in range(count)))

    await asyncio.wait_for(asyncio.gather(ask(16), *(ask(1) for _ in range(16))), 6 * CHANGE_SECONDS)


def test_large_messages_go_both_ways(served, digits):
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    rows = digits.rows[:1] * 45_000  # 11.5 MB
    with grpc.insecure_channel(f"127.0.0.1:{served.public}", options=options) as channel:
        answer = calling.method(channel, "ModelInfer")(calling.request(rows), timeout=6 * CHANGE_SECONDS)
        assert calling.labels(answer) == [digits.label] * 45_000
        with pytest.raises(grpc.RpcError) as error:
            calling.method(channel, "ModelInfer")(calling.request(rows * 2), timeout=6 * CHANGE_SECONDS)
    assert code_of(error)[0] == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "message is larger than 16777216 bytes" in code_of(error)[1]


def test_a_deadline_that_is_over_is_told_and_harms_nobody(channel, digits):
    infer = calling.method(channel, "ModelInfer")
    with pytest.raises(grpc.RpcError) as error:
        infer(calling.request(digits.rows[:1] * 45_000), timeout=0.001)
    assert code_of(error)[0] == grpc.StatusCode.DEADLINE_EXCEEDED
    assert calling.labels(infer(calling.request(digits.rows[:1]), timeout=CHANGE_SECONDS)) == [digits.label]


def test_calls_that_are_cancelled_harm_nobody(channel, digits):
    infer = calling.method(channel, "ModelInfer")
    for _ in range(50):
        infer.future(calling.request(digits.rows)).cancel()
    assert calling.labels(infer(calling.request(digits.rows[:1]))) == [digits.label]


def test_metadata_and_their_absence_change_nothing(channel, digits):
    infer = calling.method(channel, "ModelInfer")
    sent = [("authorization", "bearer x"), ("trace-bin", bytes(range(256))), ("many", "1"), ("many", "2")]
    answer, call = infer.with_call(calling.request(digits.rows[:1]), metadata=sent)
    assert calling.labels(answer) == [digits.label]
    assert call.code() == grpc.StatusCode.OK


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        ({"raw_input_contents": []}, "INVALID_ARGUMENT", "expected 64 elements in contents.fp32_contents, got 0"),
        ({"raw_input_contents": [b"x"]}, "INVALID_ARGUMENT", "expected 256 bytes"),
        ({"raw_input_contents": [b"x", b"y"]}, "INVALID_ARGUMENT", "expected one for each of 1 inputs, got 2"),
        ({"model_name": "other"}, "NOT_FOUND", 'there is no model "other" here; this pod serves "digits"'),
        ({"outputs": ["none"]}, "INVALID_ARGUMENT", 'expected "label", "probabilities", got "none"'),
    ],
    ids=["no tensor", "short tensor", "two tensors", "model", "output"],
)
def test_what_is_wrong_is_named(channel, digits, change, code, said):
    message = calling.request(digits.rows[:1])
    for field, value in change.items():
        if field == "outputs":
            message.outputs.add(name=value[0])
        elif isinstance(value, list):
            del message.raw_input_contents[:]
            message.raw_input_contents.extend(value)
        else:
            setattr(message, field, value)
    with pytest.raises(grpc.RpcError) as error:
        calling.method(channel, "ModelInfer")(message)
    assert code_of(error)[0].name == code
    assert said in code_of(error)[1]


def test_an_error_in_any_script_arrives_whole(channel, digits):
    message = calling.request(digits.rows[:1])
    message.model_name = "модель 100%"
    with pytest.raises(grpc.RpcError, match="модель 100%"):
        calling.method(channel, "ModelInfer")(message)


def test_bytes_that_are_no_message_are_refused(channel):
    raw = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
    with pytest.raises(grpc.RpcError) as error:
        raw(b"\xff\xff\xff")
    assert code_of(error)[0] == grpc.StatusCode.INVALID_ARGUMENT
    assert "expected an inference.ModelInferRequest" in code_of(error)[1]


def test_health_is_answered_and_watched(channel):
    check = channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=protocol.HealthRequest.SerializeToString,
        response_deserializer=protocol.HealthResponse.FromString,
    )
    serving = protocol.HealthResponse.ServingStatus.SERVING
    assert check(protocol.HealthRequest()).status == serving
    assert check(protocol.HealthRequest(service=protocol.INFERENCE)).status == serving
    with pytest.raises(grpc.RpcError) as error:
        check(protocol.HealthRequest(service="other"))
    assert code_of(error)[0] == grpc.StatusCode.NOT_FOUND
    watch = channel.unary_stream(
        "/grpc.health.v1.Health/Watch",
        request_serializer=protocol.HealthRequest.SerializeToString,
        response_deserializer=protocol.HealthResponse.FromString,
    )
    watching = watch(protocol.HealthRequest(), timeout=CHANGE_SECONDS)
    assert next(watching).status == serving
    watching.cancel()


def test_reflection_tells_services_and_their_files(channel):
    for name in protocol.REFLECTION:
        ask = channel.stream_stream(
            f"/{name}/ServerReflectionInfo",
            request_serializer=protocol.ReflectionRequest.SerializeToString,
            response_deserializer=protocol.ReflectionResponse.FromString,
        )
        kind = protocol.ReflectionRequest
        listed, found, lost = ask(
            iter(
                [
                    kind(list_services=""),
                    kind(file_containing_symbol="inference.GRPCInferenceService"),
                    kind(file_containing_symbol="inference.Other"),
                ]
            ),
            timeout=CHANGE_SECONDS,
        )
        assert protocol.INFERENCE in [service.name for service in listed.list_services_response.service]
        assert b"ModelInferRequest" in found.file_descriptor_response.file_descriptor_proto[0]
        assert lost.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


# What is not gRPC


def test_rest_is_answered_over_http2_as_well(served, digits):
    body = pods.inference(digits.rows[0]).decode()
    url = f"http://127.0.0.1:{served.public}/v2/models/digits/infer"
    command = ["curl", "-s", "--http2-prior-knowledge", "-w", " %{http_version} %{http_code}", "-d", body, url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=CHANGE_SECONDS, check=True)
    assert f'"data":[{digits.label}]' in done.stdout
    assert done.stdout.endswith(" 2 200")
    done = subprocess.run([*command[:-3], "-I", f"{url}/no"], capture_output=True, text=True, timeout=10, check=True)
    assert done.stdout.startswith("HTTP/2 40")


# In the time of change


def test_a_pod_that_ends_fails_no_call(start, digits):
    """Two pods take turns on one port, as behind a Service; each is ended while clients keep calling."""
    ports = pods.free_ports(1)
    old = start(digits.uri("good.onnx"), digest=digits.digest("good.onnx"), revision="digits-1")
    old.wait_ready()
    with Relay(ports[0], old.public) as relay, calling.Clients(ports[0], digits.rows[0], count=6) as clients:
        pods.eventually("served", lambda: len(clients.seen) > 50)
        for number in (2, 3):
            new = start(digits.uri("good.onnx"), digest=digits.digest("good.onnx"), revision=f"digits-{number}")
            new.wait_ready()
            relay.target = new.public
            old.terminate()
            assert old.ended() == 0
            pods.eventually("moved", lambda name=new.revision: clients.seen[-1][1] == name)
            old = new
    assert clients.failures == []
    assert {revision for _, revision in clients.seen} == {"digits-1", "digits-2", "digits-3"}


class Relay:
    """What a Service is to its pods: new connections go to whoever is chosen now, old ones stay where they are."""

    def __init__(self, port: int, target: int) -> None:
        self.target = target
        self.port = port
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)

    def __enter__(self) -> Self:
        self.server = self.loop.run_until_complete(asyncio.start_server(self._relay, "127.0.0.1", self.port))
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        async def end() -> None:
            self.server.close()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self.loop).result(CHANGE_SECONDS)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self.target)
        await asyncio.gather(self._copy(reader, to_writer), self._copy(to_reader, writer))

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()


def test_a_message_in_its_frame_is_what_pods_of_ours_exchange(served, digits):
    body = framing.framed(calling.request(digits.rows[:1]).SerializeToString())
    answer = pods.call(served.own, "POST", "/inference.GRPCInferenceService/ModelInfer", body)
    message = protocol.InferResponse.FromString(framing.message_of(answer.body))
    assert calling.labels(message) == [digits.label]
    wrong = pods.call(served.own, "POST", "/inference.GRPCInferenceService/ModelInfer", b"\0")
    assert wrong.status == 415
