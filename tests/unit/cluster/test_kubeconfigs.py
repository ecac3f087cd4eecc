"""A kubeconfig that somebody else made is never changed."""

import pytest
from localkind import commands, errors, kubeconfigs

OURS = kubeconfigs.render("leadline", ca=b"ca", certificate=b"certificate", key=b"key")
FOREIGN = """\
apiVersion: v1
kind: Config
clusters: [{name: production, cluster: {server: "https://production.example:6443"}}]
"""
MERGED = OURS.replace("clusters:\n", "clusters:\n- name: production\n  cluster: {server: https://production.example}\n")


@pytest.mark.parametrize("text", [OURS, "", " \n", OURS.replace("server: ", '"server": "').replace(":6443", ':6443"')])
def test_own_or_empty_file_is_ours(text):
    assert kubeconfigs.is_ours(text)


@pytest.mark.parametrize("text", [FOREIGN, MERGED, "no yaml at all", '{"clusters": []}'])
def test_any_other_file_is_not_ours(text):
    assert not kubeconfigs.is_ours(text)


@pytest.mark.parametrize("text", [FOREIGN, MERGED])
def test_foreign_file_is_refused_and_left_as_it_is(tmp_path, text):
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(errors.NeedsUser, match=rf"^{path}: expected no file or one that this command made"):
        kubeconfigs.write(path, OURS)
    kubeconfigs.forget(path)
    assert path.read_text() == text


def test_folder_and_device_are_refused(tmp_path):
    with pytest.raises(errors.NeedsUser):
        kubeconfigs.check(tmp_path)
    with pytest.raises(errors.NeedsUser):
        kubeconfigs.check(kubeconfigs.Path("/dev/null"))


def test_own_file_is_written_for_its_owner_only_and_forgotten(tmp_path):
    path = tmp_path / "new" / "config"
    kubeconfigs.write(path, OURS)
    kubeconfigs.write(path, OURS)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["config"]
    kubeconfigs.forget(path)
    assert not path.exists()


@pytest.mark.parametrize(
    ("named", "environment", "expected"),
    [
        ("/a", {"KUBECONFIG": "/b"}, "/a"),
        (None, {"KUBECONFIG": "/b:/c"}, "/b"),
        (None, {"KUBECONFIG": ""}, "/own"),
        (None, {"HOME": "/root"}, "/own"),
    ],
    ids=["named", "environment", "empty environment", "nothing named"],
)
def test_target_is_what_was_named_and_else_our_own(named, environment, expected):
    own = kubeconfigs.Path("/own")
    assert commands.kubeconfig_target(named, environment, own) == kubeconfigs.Path(expected)
