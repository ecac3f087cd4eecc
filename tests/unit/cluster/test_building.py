"""What is built is named by what it is made of, and built as this machine installs."""

import json
import tarfile

import pytest
from localkind import archives, binaries, builders, cluster, engine, errors, pip_settings, product_images, toolchain

GO_MOD = "module m\n\ngo 1.26.0\n\nrequire github.com/a/b v0.1.0\n\nrequire (\n\tk8s.io/kubernetes v1.37.2\n)\n"


@pytest.mark.parametrize(("module", "version"), [("k8s.io/kubernetes", "1.37.2"), ("github.com/a/b", "0.1.0")])
def test_version_of_a_module_is_read_from_go_mod(module, version):
    assert binaries.module_version(GO_MOD, module) == version


def test_module_that_is_not_required_is_an_error():
    with pytest.raises(errors.Broken, match=r"expected a requirement of k8s\.io/api, found none"):
        binaries.module_version(GO_MOD, "k8s.io/api")


def test_linker_is_told_the_version_that_is_pinned():
    flags = binaries.linker_flags(binaries.TOOLS["hyperkube"], GO_MOD)
    assert "gitVersion=v1.37.2" in flags
    assert "gitMajor=1 " in flags
    assert flags.endswith("gitMinor=37")


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("go1.26.8", (1, 26, 8)), ("1.26.0", (1, 26, 0)), ("go1.27rc1", (1, 27, 0)), ("", ()), ("devel", ())],
)
def test_go_versions_can_be_compared(text, numbers):
    assert toolchain.parse_version(text) == numbers


def test_image_of_a_binary_is_the_same_bytes_each_time_and_names_itself(tmp_path):
    binary = tmp_path / "pause"
    binary.write_bytes(b"\x7fELF")
    image = archives.ScratchImage("localhost/pause:1", {"pause": binary}, ["/pause"])
    for name in ("one.tar", "two.tar"):
        archives.write(image, tmp_path / name)
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    with tarfile.open(tmp_path / "one.tar") as archive:
        index = json.load(archive.extractfile("index.json"))
        docker = json.load(archive.extractfile("manifest.json"))
        assert set(docker[0]["Layers"]) < set(archive.getnames())
    assert index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"] == "localhost/pause:1"
    assert docker[0]["RepoTags"] == ["localhost/pause:1"]


def test_image_name_changes_with_content_and_with_base():
    product = product_images.PRODUCTS["runtime"]
    names = {
        product_images.name_of(product, [("main.py", code)], (base,)) for code in (b"1", b"2") for base in ("a", "b")
    }
    assert len(names) == 4
    assert all(name.startswith("localhost/leadline-runtime:") for name in names)


def test_settings_of_pip_go_into_a_build_with_its_certificate_moved():
    listing = (
        ":env:.cert='/etc/ssl/own.crt'\n:env:.find-links='/opt/wheels'\n"
        "global.index-url='https://mirror.example/simple'\ninstall.retries='9'\n"
    )
    found = pip_settings.parse(listing)
    assert found.config.splitlines() == [
        "[global]",
        "index-url = https://mirror.example/simple",
        "retries = 9",
        "cert = /etc/ssl/certs/leadline-build.crt",
    ]
    assert str(found.certificates) == "/etc/ssl/own.crt"


def test_no_settings_of_pip_make_no_secrets():
    assert pip_settings.parse("") == pip_settings.PipSettings("", None)


def test_real_kind_is_the_first_that_is_not_this_command(tmp_path):
    for folder in ("own", "linked", "theirs"):
        (tmp_path / folder).mkdir()
    for folder in ("own", "theirs"):
        (tmp_path / folder / "kind").write_text("#!/bin/sh\n")
        (tmp_path / folder / "kind").chmod(0o755)
    own = tmp_path / "own" / "kind"
    (tmp_path / "linked" / "kind").symlink_to(own)
    path = f"{tmp_path}/linked:{tmp_path}/own:{tmp_path}/theirs"
    assert engine.real_kind(path, own) == tmp_path / "theirs" / "kind"
    assert engine.real_kind(str(tmp_path / "own"), own) is None


def test_no_cluster_is_known_where_the_run_folder_is_absent_or_half_written(places):
    assert cluster.state(places) is None
    places.run.mkdir(parents=True)
    (places.run / "cluster.json").write_text('{"na')
    assert cluster.state(places) is None


def test_cluster_without_processes_does_not_run(places):
    places.run.mkdir(parents=True)
    (places.run / "cluster.json").write_text('{"name": "leadline"}')
    assert cluster.state(places) == cluster.State("leadline", running=False)


def test_builder_arguments_come_in_pairs():
    assert builders.build_arguments({"BASE_IMAGE": "a"}) == ["--build-arg", "BASE_IMAGE=a"]
