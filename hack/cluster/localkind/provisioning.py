"""The commands beside kind: build what demo and tests need, load it, and say where it is.

`main` serves `../provide`: `build WHAT...` prints a path or image name per line, `load WHAT...` brings images into the
running cluster, `env` prints what there is as shell exports.
"""

import argparse
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from localkind import binaries, engine, errors, layout, product_images, scratch_images

KIND: Final = layout.SOURCES / "kind"
CLUSTER: Final = "leadline"
"""Name of the cluster that Makefile, tests and demo share."""

_IMAGES: Final = ("operator", "runtime", "s3")
_COMMANDS: Final = ("helm", "hyperkube", "coredns", "versitygw")


def main(argv: Sequence[str]) -> int:
    """Run one command; returns the exit status."""
    try:
        options = _parser().parse_args(argv)
        places = layout.default()
        if options.verb == "build":
            for what in options.what:
                print(image(places, what).name if what in _IMAGES else binaries.binary(places, what), flush=True)
        elif options.verb == "load":
            for what in options.what or _IMAGES:
                load(places, what, options.name)
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


def image(places: layout.Layout, what: str) -> scratch_images.Archive:
    """Return an image by its short name; build it where the cache lacks it."""
    return scratch_images.s3(places) if what == "s3" else product_images.image(places, product_images.PRODUCTS[what])


def load(places: layout.Layout, what: str, cluster: str) -> None:
    """Build an image where needed and load it into the running cluster.

    Raises:
        Broken: kind does not load it.
    """
    archive = image(places, what)
    # The real kind loads archives, too; the local one finds the archive by the image's name and skips a loaded one.
    real = engine.kind_for_docker(KIND)
    command = ["load", "image-archive", str(archive.path)] if real else ["load", "docker-image", archive.name]
    if subprocess.run([str(KIND), *command, "--name", cluster], check=False).returncode != 0:
        raise errors.Broken(f"{archive.name}: kind did not load it into cluster {cluster!r}")
    print(archive.name, flush=True)


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
    }
    if not engine.kind_for_docker(KIND):
        found["LEADLINE_AUDIT_LOG"] = places.audit_log
    return {name: str(value) for name, value in found.items()}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="provide", description="Build and load what demo and tests need.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="COMMAND")
    build = verbs.add_parser("build", help="build images and commands; prints each one's name or path")
    build.add_argument("what", nargs="+", choices=[*_IMAGES, *_COMMANDS])
    loading = verbs.add_parser("load", help="build images where needed and load them into the running cluster")
    loading.add_argument("what", nargs="*", choices=[*_IMAGES, []], metavar="{operator,runtime,s3}")
    loading.add_argument("--name", default=CLUSTER, help="name of the cluster")
    verbs.add_parser("env", help="print variables as shell exports")
    return parser
