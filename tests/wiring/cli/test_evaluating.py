"""What `leadline evaluate` measures on a laptop is what a pod reports of the same model and test set."""

from leadline_cli import evaluating
from leadline_wire import exchange

from tests.wiring.runtime.conftest import digits  # noqa: F401 - a fixture
from tests.wiring.runtime.pods import Pod


def test_pod_reports_the_same_answers(digits, tmp_path):  # noqa: F811 - the fixture
    own = evaluating.evaluate(evaluating.Options(digits.uri("good.onnx"), digits.folder / "test.parquet", "digit"))
    pod = Pod(tmp_path / "pod", digits.uri("good.onnx"), digest=digits.digest("good.onnx")).wait_ready()
    try:
        asked = exchange.TestSetRequest(run="1", uri=digits.uri("test.parquet"), digest="", truth="digit")
        told = pod.report(
            "test set", lambda report: report.test_set and report.test_set.state == "Done", test_set=asked
        )
    finally:
        pod.stop()
    assert told.test_set.answers == own.report.answers
    assert told.test_set.right == own.report.right
    assert own.report.rows == digits.test_rows
