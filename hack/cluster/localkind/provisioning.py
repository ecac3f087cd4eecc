"""The commands beside kind: build what demo and tests need, load it, and say where it is.

`main` serves `../provide`: `packages` installs what Debian has, `build WHAT...` prints a path or image name per line,
`load WHAT...` brings images into the running cluster, `env` prints what there is as shell exports.
"""

import argparse
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from localkind import (
    binaries,
    builders,
    engine,
    errors,
    layout,
    locking,
    packages,
    product_images,
    scratch_images,
    servers,
)

KIND: Final = layout.SOURCES / "kind"
CLUSTER: Final = "leadline"
"""Name of the cluster that Makefile, tests and demo share."""

_TOOL_OF_IMAGE: Final = {"s3": "versitygw", "oci-registry": "registry", "pause": "pause", "coredns": "coredns"}
_IMAGES: Final = (*product_images.PRODUCTS, *_TOOL_OF_IMAGE)
_LOADED: Final = ("operator", "runtime", "s3")
_LOADABLE: Final = (*_LOADED, "trainer")
_COMMANDS: Final = ("h2spec", "helm", "hyperkube", "kstatus")
_STORES: Final = ("versitygw", "registry", "oci-registry", "oras", "fake-gcs-server", *servers.SERVERS)
"""What tests of fetching models talk to."""
_CLUSTER: Final = ("hyperkube", "pause", "coredns")


def main(argv: Sequence[str]) -> int:
    """Run one command; returns the exit status."""
    try:
        options = _parser().parse_args(argv)
        places = layout.default()
        if options.verb == "build":
            for what in _spelled_out(options.what):
                print(built(places, what), flush=True)
        elif options.verb == "load":
            for what in options.what or _LOADED:
                if what not in _LOADABLE:
                    raise errors.NeedsUser(f"{what}: expected one of {', '.join(_LOADABLE)}")
                load(places, what, options.name)
        elif options.verb == "alone":
            return _alone(places, options.command)
        elif options.verb == "packages":
            if options.databases:
                packages.install_databases()
            else:
                packages.install()
        else:
            for name, value in variables(places).items():
                print(f"export {name}={shlex.quote(value)}")
    except errors.LocalClusterError as problem:
        print(f"provide: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("provide: interrupted", file=sys.stderr)
        return 130
    return 0


def built(places: layout.Layout, what: str) -> str:
    """Return an image's name, a command's path or the folder of a server's commands; build it where the cache lacks it."""
    if what in _IMAGES:
        return image(places, what).name
    return str(servers.build(places, what) if what in servers.SERVERS else binaries.binary(places, what))


def image(places: layout.Layout, what: str) -> scratch_images.Archive:
    """Return an image by its short name; build it where the cache lacks it, and show it to Docker where that is used."""
    product = product_images.PRODUCTS.get(what)
    found = product_images.image(places, product) if product else scratch_images.image(places, _TOOL_OF_IMAGE[what])
    if engine.docker_answers():
        builders.show_to_docker(found.name, found.path)
    return found


def load(places: layout.Layout, what: str, cluster: str) -> None:
    """Build an image where needed and load it into the running cluster.

    Raises:
        Broken: kind does not load it.
    """
    name = image(places, what).name
    if subprocess.run([str(KIND), "load", "docker-image", name, "--name", cluster], check=False).returncode != 0:
        raise errors.Broken(f"{name}: kind did not load it into cluster {cluster!r}")
    print(name, flush=True)


def variables(places: layout.Layout) -> Mapping[str, str]:
    """Return what tests and demo read: where things are. Images are named by the checkout's content, built or not."""
    own = layout.REPOSITORY / ".venv" / "bin" / "kubectl"
    found = {
        "KUBECONFIG": places.kubeconfig,
        "LEADLINE_CLUSTER_NAME": CLUSTER,
        "LEADLINE_KIND": KIND,
        "LEADLINE_KUBECTL": own if own.exists() else Path("kubectl"),
        "LEADLINE_OPERATOR_IMAGE": product_images.current_name(product_images.PRODUCTS["operator"]),
        "LEADLINE_RUNTIME_IMAGE": product_images.current_name(product_images.PRODUCTS["runtime"]),
        "LEADLINE_S3_IMAGE": scratch_images.name_of(places, "versitygw"),
        "LEADLINE_HELM": binaries.path_of(places, "helm"),
        "LEADLINE_H2SPEC": binaries.path_of(places, "h2spec"),
        "LEADLINE_KSTATUS": binaries.path_of(places, "kstatus"),
    }
    if not engine.kind_for_docker(KIND):
        found["LEADLINE_AUDIT_LOG"] = places.audit_log
    return {name: str(value) for name, value in found.items()}


def _alone(places: layout.Layout, command: Sequence[str]) -> int:
    told: list[int] = []
    with locking.held(places.stage):
        # Before the command starts, or one that comes at once would end us and not the command. Functions, for a signal
        # that is ignored stays ignored in the command.
        signal.signal(signal.SIGINT, lambda *_: None)  # an interrupt from the keyboard reaches the command anyway
        signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
        with subprocess.Popen(command) as running:
            signal.signal(signal.SIGTERM, lambda *_: running.terminate())
            if told:
                running.terminate()
            status = running.wait()
    return status if status >= 0 else 128 - status


def _spelled_out(wanted: Sequence[str]) -> list[str]:
    # What a cluster here is built from is nothing where the real kind is used.
    groups = {"cluster": () if engine.kind_for_docker(KIND) else _CLUSTER, "stores": _STORES}
    return [part for what in wanted for part in groups.get(what, (what,))]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="provide", description="Build and load what demo and tests need.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="COMMAND")
    build = verbs.add_parser("build", help="build images and commands; prints each one's name or path")
    build.add_argument("what", nargs="+", choices=["cluster", "stores", *_IMAGES, *_COMMANDS, *_STORES])
    loading = verbs.add_parser("load", help="build images where needed and load them into the running cluster")
    loading.add_argument("what", nargs="*", metavar="{operator,runtime,s3,trainer}")
    loading.add_argument("--name", default=CLUSTER, help="name of the cluster")
    alone = verbs.add_parser("alone", help="run a command once no other started so runs: there is one cluster")
    alone.add_argument("command", nargs=argparse.REMAINDER)
    installing = verbs.add_parser("packages", help="install the Debian packages that are missing, as root")
    installing.add_argument("--databases", action="store_true", help="those that tests of the ledger need instead")
    verbs.add_parser("env", help="print variables as shell exports")
    return parser
