"""The command line: what it prints where, and how it ends."""

import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import skops.io
from leadline_cli import logs, main, testsets
from sklearn.naive_bayes import GaussianNB

from tests.unit.cli import replay_logs


@pytest.fixture
def folder(digits, tmp_path):
    rows, truths, unseen = digits
    skops.io.dump(GaussianNB(var_smoothing=1e-3).fit(rows, truths), tmp_path / "model.skops")
    testsets.write(tmp_path / "testset.parquet", unseen)
    return tmp_path


def package(folder, *more, model="model.skops"):
    return main.main(
        [
            "package",
            str(folder / model),
            f"--test-set={folder}/testset.parquet",
            "--truth=digit",
            "--out",
            f"{folder}/out",
            *more,
        ]
    )


def test_package_writes_three_files_and_says_what_it_measured(folder, capsys):
    assert package(folder, "--name=digits") == 0
    assert sorted(path.name for path in (folder / "out").iterdir()) == [
        "model.onnx",
        "modeldeployment.yaml",
        "testset.parquet",
    ]
    said = capsys.readouterr()
    assert "accuracy    0.795 [0.744, 0.840]" in said.out
    assert "on 400 unseen rows (98 % interval)" in said.out
    assert "400 of 400 answers equal the original's" in said.out
    assert said.err.splitlines() == [
        f"  reading {folder}/model.skops",
        f"  reading {folder}/testset.parquet",
        "  converting GaussianNB(var_smoothing=0.001)",
        "  comparing 400 answers with the original's",
    ]
    assert max(len(line) for line in said.out.replace(str(folder), "").splitlines()) <= 100
    assert f"next        leadline serve {folder}/out/model.onnx" in said.out


def test_package_can_be_repeated(folder):
    assert [package(folder), package(folder)] == [0, 0]


def test_package_ends_with_one_line_and_status_one_when_it_refuses(folder, capsys):
    (folder / "model.pkl").write_bytes(pickle.dumps(GaussianNB()))
    assert package(folder, model="model.pkl") == 1
    said = capsys.readouterr()
    assert said.out == ""
    *progress, error = said.err.splitlines()
    assert error.startswith(f"leadline package: {folder}/model.pkl: is a pickle")
    assert progress == [f"  reading {folder}/model.pkl"]


def test_package_refuses_a_floor_before_it_does_any_work(folder, capsys):
    assert package(folder, "--floor=2") == 1
    assert "spec.quality.metrics[0].floor: must be a number above 0" in capsys.readouterr().err
    assert not (folder / "out").exists()


def test_usage_is_status_two_when_an_option_is_missing(capsys):
    with pytest.raises(SystemExit) as ended:
        main.main(["package", "model.skops"])
    assert ended.value.code == 2
    assert "--test-set" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["testset.parquet", "/proc/none"], ids=["a file", "nowhere"])
def test_package_says_where_it_cannot_write(folder, capsys, place):
    assert package(folder, f"--out={folder / place}") == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"leadline package: {folder / place}: cannot be written ("), error


def started(*arguments, **more):
    """Start the command as a shell does."""
    command = [sys.executable, "-m", "leadline_cli.main", *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **more)


def test_ctrl_c_ends_a_command_without_a_traceback(tmp_path):
    os.mkfifo(tmp_path / "log")
    command = started("replay", tmp_path / "log")
    with (tmp_path / "log").open("w"):  # open as soon as the command reads there, and waits for more
        command.send_signal(signal.SIGINT)
        _, said = command.communicate(timeout=60)
    assert (command.returncode, said) == (130, "leadline replay: interrupted\n")


def test_a_reader_that_has_gone_ends_a_command_without_a_word(tmp_path):
    logs.write(tmp_path / "log", replay_logs.condemned())
    reading, writing = os.pipe()
    os.close(reading)
    command = started("replay", tmp_path / "log", stdout=writing)
    os.close(writing)
    _, said = command.communicate(timeout=60)
    assert (command.returncode, said) == (1, "")


def test_a_full_disk_under_the_output_is_said_in_one_line(tmp_path):
    logs.write(tmp_path / "log", replay_logs.condemned())
    with Path("/dev/full").open("w") as full:
        command = started("replay", tmp_path / "log", stdout=full)
        _, said = command.communicate(timeout=60)
    assert (command.returncode, said) == (1, "leadline replay: standard output: No space left on device\n")


def test_package_refuses_a_task_that_the_model_contradicts(folder, capsys):
    assert package(folder, "--task=regression") == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == ("leadline package: task: GaussianNB(var_smoothing=0.001) is for classification, not for regression")


@pytest.mark.parametrize("cpus", ["0", "-1", "two"])
def test_tune_refuses_cpus_that_no_pod_can_have(capsys, cpus):
    with pytest.raises(SystemExit) as ended:
        main.main(["tune", "m.onnx", "--cpus", cpus])
    assert ended.value.code == 2
    assert f"--cpus: expected a whole number from 1, got '{cpus}'" in capsys.readouterr().err
