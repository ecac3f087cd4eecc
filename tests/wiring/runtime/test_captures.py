"""From a request to a file of its inputs and into an export: a real pod, a real ledger, each in its own process."""

import json

import msgspec
import pyarrow as pa
import pyarrow.parquet
import pytest
from leadline_wire import captures, exchange, receipts
from leadline_wire.exchange import LEDGER_SCHEME, CaptureSettings, OutcomeSettings

from tests.wiring.ledger.parts import ApiServer, Process
from tests.wiring.runtime.pods import KEY, Pod, call, eventually, infer

TOKEN = "system:serviceaccount:ml:default"


@pytest.fixture
def ledger_process(tmp_path):
    folder = tmp_path / "ledger" / "volume"
    folder.mkdir(parents=True)
    api = ApiServer()
    made = Process(folder, api).start()
    yield made
    made.end()
    api.close()


@pytest.fixture
def pod(tmp_path, digits):
    token = tmp_path / "token"
    token.write_text(TOKEN)
    made = Pod(
        tmp_path / "pod",
        digits.uri("good.onnx"),
        digest=digits.digest("good.onnx"),
        environment={"LEADLINE_LEDGER_TOKEN_FILE": str(token)},
        workers=2,
    )
    yield made.wait_ready()
    made.stop()


def test_inputs_of_predictions_are_in_files_by_receipt_and_come_with_their_outcomes(pod, digits, ledger_process):
    url = f"http://127.0.0.1:{ledger_process.port}"
    capture = CaptureSettings(share=1_000_000, gather_ms=100)
    pod.exchange(outcomes=OutcomeSettings(ledger=url, capture=capture))
    answers = {}

    def asked():
        number = len(answers)
        answer = infer(pod.public, digits.rows[number % len(digits.rows)])
        token = answer.headers["leadline-receipt"]
        if token:
            answers[token.split(".")[6]] = digits.rows[number % len(digits.rows)], token
        return len(answers) >= 40

    eventually("answers with receipts", asked)
    counted = eventually(
        "captured", lambda: (told := pod.metrics()).get("leadline_captured_rows_total", 0) >= 39 and told
    )
    assert counted["leadline_captured_rows_dropped_total"] == 0
    files = list((ledger_process.folder / "captures" / "ml" / "digits").rglob("*.parquet"))
    table = pa.concat_tables([pyarrow.parquet.read_table(path) for path in files])
    assert table.schema.field("X").type.value_type == pa.float32()
    found = {row["prediction_id"]: (row["row"], row["X"]) for row in table.to_pylist()}
    captured = found.keys() & answers.keys()
    assert len(captured) >= 39, "one worker may have heard of capturing after its first answer"
    assert {key: found[key] for key in captured} == {
        key: (0, pa.array(answers[key][0], pa.float32()).to_pylist()) for key in captured
    }
    for _, token in answers.values():
        item = json.dumps({"receipt": token, "truth": 1}).encode()
        assert call(pod.public, "POST", "/v2/models/digits/outcomes", item).status == 200
    path = "/v1/namespaces/ml/models/digits/outcomes?format=ndjson&inputs=true"
    status, body = ledger_process.call("GET", path, token=TOKEN)
    rows = {row["prediction_id"]: row["input.X"] for row in map(json.loads, body.splitlines())}
    assert (status, rows.keys()) == (200, answers.keys())
    assert {key: rows[key] for key in captured} == {key: found[key][1] for key in captured}
    # And a test set is made of them, which the pod fetches with its own token.
    status, body = ledger_process.call("POST", "/v1/namespaces/ml/models/digits/test-set?test_percent=100", token=TOKEN)
    grown = msgspec.json.decode(body, type=captures.GrownSet)
    assert status == 200
    assert len(captured) <= grown.rows <= len(answers)  # the last of them may have come since
    request = exchange.TestSetRequest(
        f"{LEDGER_SCHEME}{grown.digest}", captures.GROWN_TRUTH, "o.a0", digest=grown.digest
    )
    report = pod.report(
        "test set answered",
        lambda report: report.test_set and report.test_set.state in ("Done", "Failed"),
        outcomes=OutcomeSettings(ledger=url, capture=capture),
        test_set=request,
    ).test_set
    ones = {key for key, (_, token) in answers.items() if token.split(".")[7] == "i1"}
    assert (report.state, report.rows, report.digest) == ("Done", grown.rows, grown.digest)
    assert len(ones & captured) <= int.from_bytes(report.right, "big").bit_count() <= len(ones)


def test_when_capturing_ends_nothing_more_is_brought(pod, digits, ledger_process):
    url = f"http://127.0.0.1:{ledger_process.port}"
    capture = CaptureSettings(share=1_000_000, gather_ms=50)
    pod.exchange(outcomes=OutcomeSettings(ledger=url, capture=capture))

    def captured():
        infer(pod.public, digits.rows[0])
        return pod.metrics().get("leadline_captured_rows_total", 0) > 0

    eventually("captured", captured)
    pod.exchange(outcomes=OutcomeSettings(ledger=url, rotation=1))
    keys = {key.id: key for key in [receipts.key_of(KEY, 1)]}

    def is_told():
        return infer(pod.public, digits.rows[0]).headers["leadline-receipt"].split(".")[1] in keys

    # Both workers have heard of it once a run of answers is signed by the new key.
    eventually("both know", lambda: all(is_told() for _ in range(20)))
    before = pod.metrics()
    for _ in range(20):
        infer(pod.public, digits.rows[0])
    after = pod.metrics()
    names = ("leadline_captured_rows_total", "leadline_captured_rows_dropped_total")
    assert sum(before[name] for name in names) == sum(after[name] for name in names)
