"""What each kind command does on a machine without Docker.

`main` is the whole of `../kind`: the real kind where it can be used, else this; every failure is one line.
"""

import os
import platform
import shutil
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from localkind import (
    arguments,
    binaries,
    cluster,
    containers,
    engine,
    errors,
    kubeconfigs,
    layout,
    scratch_images,
    talk,
)


def main(own: Path, argv: Sequence[str]) -> int:
    """Run one command; returns the exit status."""
    real = engine.kind_for_docker(own)
    if real:
        os.execv(real, [str(real), *argv])
    try:
        options = arguments.parser().parse_args(argv)
        if options.action != "version":
            _check_platform()
        _ACTIONS[options.action](layout.default(), options)
    except errors.LocalClusterError as problem:
        print(f"kind: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("kind: interrupted", file=sys.stderr)
        return 130
    return 0


def kubeconfig_target(named: str | None, environment: Mapping[str, str], own: Path) -> Path:
    """Return the kubeconfig to write: as named, else $KUBECONFIG's first, else our own and never ~/.kube/config."""
    if named:
        return Path(named)
    first = environment.get("KUBECONFIG", "").partition(os.pathsep)[0]
    return Path(first) if first else own


def _check_platform() -> None:
    if sys.platform != "linux":
        raise errors.NeedsUser(f"expected Linux or a Docker engine with kind, found {platform.system()} without one")
    if os.geteuid() != 0:
        raise errors.NeedsUser("expected root or a Docker engine with kind: a node needs mounts and network devices")


def _create_cluster(places: layout.Layout, options: Namespace) -> None:
    for name in ("image", "config"):
        if getattr(options, name):
            talk.say(f"--{name} {getattr(options, name)} is ignored: the local node is what {layout.SOURCES}/go pins")
    target = kubeconfig_target(options.kubeconfig, os.environ, places.kubeconfig)
    kubeconfigs.check(target)
    cluster.create(places, options.name)
    _write_kubeconfig(places, options.name, target)


def _delete_cluster(places: layout.Layout, options: Namespace) -> None:
    found = cluster.state(places)
    if found and found.name != options.name:
        talk.say(f"cluster {options.name!r} is not there, {found.name!r} is left alone")
        return
    if places.run.exists():
        talk.say(f"deleting cluster {options.name!r}")
        cluster.delete(places)
    if options.kubeconfig:
        kubeconfigs.forget(Path(options.kubeconfig))


def _get_clusters(places: layout.Layout, _: Namespace) -> None:
    found = cluster.state(places)
    if found and found.running:
        print(found.name)
    else:
        print("No kind clusters found.", file=sys.stderr)


def _get_nodes(places: layout.Layout, options: Namespace) -> None:
    print(cluster.node_name(_running(places, options.name)))


def _get_kubeconfig(places: layout.Layout, options: Namespace) -> None:
    print(cluster.kubeconfig(places, _running(places, options.name)), end="")


def _export_kubeconfig(places: layout.Layout, options: Namespace) -> None:
    name = _running(places, options.name)
    _write_kubeconfig(places, name, kubeconfig_target(options.kubeconfig, os.environ, places.kubeconfig))


def _export_logs(places: layout.Layout, options: Namespace) -> None:
    if not places.logs.exists():
        raise errors.NeedsUser(f"no logs: {places.logs} is not there")
    shutil.copytree(places.logs, options.folder, dirs_exist_ok=True)
    if places.audit_log.exists():
        shutil.copy(places.audit_log, options.folder)
    print(options.folder)


def _load_image(places: layout.Layout, options: Namespace) -> None:
    _running(places, options.name)
    loaded = containers.image_names(places)
    for name in options.images:
        if name in loaded and ":latest" not in name:
            talk.say(f"{name} is loaded already")
            continue
        archive = scratch_images.archive_path(places, name)
        if not archive.exists():
            archive = _from_buildah(places, name)
        talk.say(f"loading {name}")
        containers.load(places, archive)


def _from_buildah(places: layout.Layout, name: str) -> Path:
    archive = places.run / "load.tar"
    archive.unlink(missing_ok=True)
    if shutil.which("buildah"):
        command = ["buildah", "push", "--storage-driver", "overlay", name, f"oci-archive:{archive}:{name}"]
        if subprocess.run(command, check=False, capture_output=True).returncode == 0:
            return archive
    raise errors.NeedsUser(f"image {name!r}: expected it in {places.images} or in buildah's storage, found neither")


def _load_archive(places: layout.Layout, options: Namespace) -> None:
    _running(places, options.name)
    for path in options.images:
        if not Path(path).is_file():
            raise errors.NeedsUser(f"{path}: expected an image archive, found no file")
        talk.say(f"loading {path}")
        containers.load(places, Path(path))


def _version(_: layout.Layout, __: Namespace) -> None:
    go_mod = (layout.SOURCES / "go" / "hyperkube" / "go.mod").read_text()
    version = binaries.module_version(go_mod, "k8s.io/kubernetes")
    print(f"leadline local cluster: Kubernetes v{version} {platform.system().lower()}/{platform.machine()}")


def _running(places: layout.Layout, name: str) -> str:
    found = cluster.state(places)
    if not (found and found.running and found.name == name):
        raise errors.NeedsUser(f"no cluster {name!r} runs here; kind create cluster --name {name}")
    return name


def _write_kubeconfig(places: layout.Layout, name: str, target: Path) -> None:
    kubeconfigs.write(target, cluster.kubeconfig(places, name))
    print(f"export KUBECONFIG={target.absolute()}")


_ACTIONS: Final[Mapping[str, Callable[[layout.Layout, Namespace], None]]] = {
    "create cluster": _create_cluster,
    "delete cluster": _delete_cluster,
    "get clusters": _get_clusters,
    "get nodes": _get_nodes,
    "get kubeconfig": _get_kubeconfig,
    "export kubeconfig": _export_kubeconfig,
    "export logs": _export_logs,
    "load docker-image": _load_image,
    "load image-archive": _load_archive,
    "version": _version,
}
