"""Execution providers: what the setting may say, and that one which is not there is an error with what there is."""

import onnxruntime
import pytest
from leadline_runtime import errors
from leadline_runtime.engine import providers, session

from tests.unit.runtime import models

CUDA = providers.Provider("CUDAExecutionProvider", (("device_id", "0"), ("arena_extend_strategy", "kSameAsRequested")))


def test_nothing_said_is_the_cpu():
    assert providers.of({}) == providers.of({providers.VARIABLE: " "}) == (providers.CPU,)


def test_order_and_options_are_read():
    text = "CUDAExecutionProvider:device_id=0:arena_extend_strategy=kSameAsRequested, CPUExecutionProvider"
    assert providers.of({providers.VARIABLE: text}) == (CUDA, providers.CPU)


@pytest.mark.parametrize(
    "text", ["cuda", "CUDAExecutionProvider:device_id", "CUDAExecutionProvider;x", ",", "CPUExecutionProvider:a=b,c"]
)
def test_a_slip_names_the_variable_and_what_was_expected(text):
    with pytest.raises(errors.SettingsError, match="LEADLINE_EXECUTION_PROVIDERS: expected names with options such as"):
        providers.of({providers.VARIABLE: text})


def test_a_provider_comes_once():
    with pytest.raises(errors.SettingsError, match="each execution provider once"):
        providers.of({providers.VARIABLE: "CPUExecutionProvider,CPUExecutionProvider"})


def test_a_model_says_what_runs_it(tmp_path, monkeypatch):
    monkeypatch.setenv(providers.VARIABLE, "CPUExecutionProvider:use_arena=1")
    model = session.load(models.identity(tmp_path / "m.onnx"), threads=1, max_rows=4)
    assert model.info("").providers == ["CPUExecutionProvider"]


def test_a_provider_that_the_installed_onnxruntime_lacks_is_blocked_with_what_it_has(tmp_path, monkeypatch):
    monkeypatch.setenv(providers.VARIABLE, "TensorrtExecutionProvider,CPUExecutionProvider")
    with pytest.raises(errors.BlockedError) as raised:
        session.load(models.identity(tmp_path / "m.onnx"), threads=1, max_rows=4)
    trouble = raised.value.trouble
    assert (trouble.reason, trouble.blame) == ("ExecutionProviderMissing", "surroundings")
    assert "asks for TensorrtExecutionProvider; onnxruntime" in trouble.message
    assert all(name in trouble.message for name in onnxruntime.get_available_providers())


def test_one_that_onnxruntime_left_out_is_no_silent_cpu():
    with pytest.raises(errors.BlockedError, match="CUDAExecutionProvider did not start"):
        providers.check_started((CUDA, providers.CPU), ["CPUExecutionProvider"])
