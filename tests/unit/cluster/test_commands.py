"""The commands as people and pytest-kind call them, in a cache of their own and without a cluster."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parents[3] / "hack" / "cluster"
LIMIT_SECONDS = 60


@pytest.fixture
def run(tmp_path):
    """Run a command of hack/cluster; no Docker is on its PATH."""
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": str(tmp_path),
        "LEADLINE_CACHE": str(tmp_path / "c"),
    }

    def call(*command):
        done = subprocess.run(
            [HERE / command[0], *command[1:]],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=LIMIT_SECONDS,
        )
        return done.returncode, done.stdout, done.stderr

    call.environment = environment
    return call


pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the local cluster is for root")


def test_no_cluster_is_said_on_stderr_only(run):
    assert run("kind", "get", "clusters") == (0, "", "No kind clusters found.\n")


def test_deleting_what_is_not_there_is_fine(run):
    assert run("kind", "delete", "cluster", "--name", "leadline") == (0, "", "")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("export", "kubeconfig", "--name", "leadline"), "kind: no cluster 'leadline' runs here; kind create cluster"),
        (("load", "docker-image", "x:1", "--name", "leadline"), "kind: no cluster 'leadline' runs here"),
        (("create", "cluster", "--kubeconfig", "/etc/hostname"), "kind: /etc/hostname: expected no file or one that"),
        (("create", "node"), "kind: argument WHAT: invalid choice: 'node'"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_status_1(run, command, said):
    status, output, talk = run("kind", *command)
    assert (status, output) == (1, "")
    assert talk.startswith(said)
    assert talk.count("\n") == 1


def test_command_that_runs_alone_gives_its_status(run):
    assert run("provide", "alone", "sh", "-c", "echo done; exit 5") == (5, "done\n", "")


def test_command_that_runs_alone_is_told_to_end(run):
    waits = "trap 'echo told; exit 3' TERM; echo up; while :; do sleep 0.05; done"
    command = [HERE / "provide", "alone", "sh", "-c", waits]
    with subprocess.Popen(command, env=run.environment, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout.readline() == "up\n"
        running.send_signal(signal.SIGTERM)
        assert running.communicate(timeout=LIMIT_SECONDS)[0] == "told\n"
    assert running.returncode == 3
