"""Servers that tests judge by are found by what they are made of; the real installs are the wiring suite's business."""

import shutil

import pytest
from localkind import layout, provisioning, servers


@pytest.mark.parametrize("name", servers.SERVERS)
def test_a_server_is_named_by_its_pinned_versions(tmp_path, monkeypatch, name):
    places = layout.Layout(tmp_path / "cache")
    shutil.copytree(servers.SOURCES / name, tmp_path / "servers" / name)
    before = servers.path_of(places, name)
    monkeypatch.setattr(servers, "SOURCES", tmp_path / "servers")
    assert servers.path_of(places, name) == before
    (pins,) = {"requirements.txt", "package-lock.json"} & {path.name for path in (servers.SOURCES / name).iterdir()}
    (servers.SOURCES / name / pins).write_text("other==1.0\n")
    assert servers.path_of(places, name) != before


@pytest.mark.parametrize("name", servers.SERVERS)
def test_every_version_is_pinned_and_no_host_is_named(name):
    for path in (servers.SOURCES / name).iterdir():
        text = path.read_text()
        if path.name == "requirements.txt":
            assert all("==" in line for line in text.splitlines())
        assert "resolved" not in text


def test_everything_that_tests_fetch_from_is_built_by_one_word():
    assert {"versitygw", "registry", "oci-registry", "oras", "fake-gcs-server", *servers.SERVERS} == set(
        provisioning._spelled_out(["stores"])
    )
