"""Model bytes in the ledger's blob store: put there once they serve, and taken from there when their URI fails."""

import http.server
import re
import shutil
import threading

import pytest
from leadline_wire.exchange import OutcomeSettings

from tests.wiring.runtime.pods import eventually, infer


@pytest.fixture
def environment(ledgers, tmp_path):
    token = tmp_path / "token"
    token.write_text("a token")
    return {"LEADLINE_LEDGER_URL": ledgers.edge.url, "LEADLINE_LEDGER_TOKEN_FILE": str(token)}


def bytes_of(digits, name):
    return (digits.folder / name).read_bytes()


def test_a_model_that_serves_is_kept_once(start, digits, ledgers, environment):
    digest = digits.digest("good.onnx")
    start(digits.uri("good.onnx"), digest=digest, environment=environment).wait_ready()
    eventually("kept", lambda: ledgers.edge.blobs)
    assert ledgers.edge.blobs == {digest: bytes_of(digits, "good.onnx")}
    assert set(ledgers.edge.tokens) == {"Bearer a token"}
    second = start(digits.uri("good.onnx"), digest=digest, environment=environment).wait_ready()
    eventually("asked", lambda: len(ledgers.edge.tokens) == 3)
    assert second.exchange().trouble is None
    assert ledgers.edge.uploads == 1


def test_the_ledger_may_be_named_later_by_an_exchange(start, digits, ledgers):
    digest = digits.digest("good.onnx")
    pod = start(digits.uri("good.onnx"), digest=digest).wait_ready()
    pod.exchange(outcomes=OutcomeSettings(ledger=ledgers.edge.url))
    eventually("kept", lambda: digest in ledgers.edge.blobs)


def digests_of_two(message):
    return re.findall(r"sha256:[0-9a-f]{64}", message)


def test_a_model_that_is_gone_from_its_uri_comes_from_the_ledger(start, digits, ledgers, environment):
    digest = digits.digest("good.onnx")
    ledgers.edge.blobs[digest] = bytes_of(digits, "good.onnx")
    pod = start((digits.folder / "gone.onnx").as_uri(), digest=digest, environment=environment).wait_ready()
    assert infer(pod.public, digits.rows[0]).json()["outputs"][0]["data"] == [digits.label]
    assert "model fetched from the ledger's blob store instead" in pod.log.read_text()
    report = pod.exchange()
    assert (report.trouble, report.digest, report.bytes_done) == (None, digest, len(bytes_of(digits, "good.onnx")))


def test_a_model_whose_bytes_were_exchanged_comes_from_the_ledger(start, digits, ledgers, environment, tmp_path):
    digest, place = digits.digest("good.onnx"), tmp_path / "model.onnx"
    shutil.copy(digits.folder / "worse.onnx", place)
    ledgers.edge.blobs[digest] = bytes_of(digits, "good.onnx")
    pod = start(place.as_uri(), digest=digest, environment=environment).wait_ready()
    report = pod.exchange()
    assert report.digest == digest
    assert report.uri_trouble.reason == "DigestMismatch"
    assert digests_of_two(report.uri_trouble.message) == [digits.digest("worse.onnx"), digest]


def test_rejected_bytes_are_looked_at_again_when_an_exchange_names_the_ledger(start, digits, ledgers, tmp_path):
    digest, place = digits.digest("good.onnx"), tmp_path / "model.onnx"
    shutil.copy(digits.folder / "worse.onnx", place)
    pod = start(place.as_uri(), digest=digest)
    pod.report("rejected", lambda report: report.trouble and report.trouble.reason == "DigestMismatch")
    ledgers.edge.blobs[digest] = bytes_of(digits, "good.onnx")
    pod.exchange(outcomes=OutcomeSettings(ledger=ledgers.edge.url))
    pod.wait_ready()


def test_without_a_digest_to_trust_nothing_comes_from_the_ledger(start, digits, ledgers, environment):
    ledgers.edge.blobs[digits.digest("good.onnx")] = bytes_of(digits, "good.onnx")
    pod = start((digits.folder / "gone.onnx").as_uri(), environment=environment)
    pod.report("failed", lambda report: report.trouble and report.trouble.reason == "ModelNotFound")
    assert ledgers.edge.tokens == []


def test_other_bytes_from_the_ledger_are_not_used(start, digits, ledgers, environment):
    digest = digits.digest("good.onnx")
    ledgers.edge.blobs[digest] = bytes_of(digits, "worse.onnx")
    pod = start((digits.folder / "gone.onnx").as_uri(), digest=digest, environment=environment)
    eventually("refused", lambda: "blob store gave other bytes" in pod.log.read_text())
    report = pod.exchange()
    assert (report.phase, report.trouble.reason, report.digest) == ("Failed", "ModelNotFound", "")


def test_a_ledger_that_is_down_keeps_no_model_from_serving(start, digits, ledgers, environment):
    ledgers.down()
    pod = start(digits.uri("good.onnx"), digest=digits.digest("good.onnx"), environment=environment).wait_ready()
    eventually("told", lambda: "model not kept in the blob store yet" in pod.log.read_text())
    assert infer(pod.public, digits.rows[0]).status == 200
    ledgers.up()
    eventually("kept", lambda: ledgers.edge.blobs, 20.0)


class Drip:
    """An HTTP server that sends the head and some bytes of a file, and then a byte now and then, for ever."""

    def __init__(self, content, first):
        drip = self
        self.ended = threading.Event()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[:first])
                for byte in content[first:]:
                    if drip.ended.wait(0.5):
                        return
                    self.wfile.write(bytes([byte]))

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever)

    def __enter__(self):
        self.thread.start()
        return f"http://127.0.0.1:{self.server.server_port}/m.onnx"

    def __exit__(self, *_):
        self.ended.set()
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def test_a_model_whose_store_is_slow_comes_from_the_ledger(start, digits, ledgers, environment):
    digest, content = digits.digest("good.onnx"), bytes_of(digits, "good.onnx")
    ledgers.edge.blobs[digest] = content
    with Drip(content, 100) as uri:
        pod = start(uri, digest=digest, environment=environment | {"LEADLINE_LEDGER_AFTER_SECONDS": "0.5"}).wait_ready()
        report = pod.exchange()
        assert (report.trouble, report.uri_trouble.reason) == (None, "ModelStoreUnreachable")
        assert "not all bytes within 0.5 s" in report.uri_trouble.message


def test_a_slow_store_is_waited_for_where_the_ledger_has_nothing(start, digits, environment):
    content = bytes_of(digits, "good.onnx")
    with Drip(content, len(content) - 4) as uri:
        more = {"LEADLINE_LEDGER_AFTER_SECONDS": "0.2"}
        pod = start(uri, digest=digits.digest("good.onnx"), environment=environment | more).wait_ready()
        assert pod.exchange().uri_trouble is None


def test_a_try_that_takes_too_long_is_told_and_gone_on_with(start, digits):
    with Drip(bytes_of(digits, "good.onnx"), 100) as uri:
        pod = start(uri, digest=digits.digest("good.onnx"), environment={"LEADLINE_FETCH_TIMEOUT_SECONDS": "0.7"})
        trouble = pod.report("told", lambda report: report.trouble).trouble
        assert (trouble.reason, trouble.blame) == ("ModelStoreUnreachable", "surroundings")
        assert "not all bytes came within the time limit" in trouble.message
