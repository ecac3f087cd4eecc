"""The command line, as far as kind's own goes that people and pytest-kind use."""

import argparse
import re
from typing import Final, NoReturn

from localkind import errors

_UNITS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_DURATION: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise errors.NeedsUser(f"{message}; {self.prog} --help says what there is")


def parse_duration(text: str) -> float:
    """Return the seconds of a duration such as 90s, 1m30s or 0.

    Raises:
        ValueError: It is none.
    """
    if text == "0":
        return 0.0
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"expected a duration such as 90s or 2m, got {text!r}")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def parser() -> argparse.ArgumentParser:
    """Return the parser; its result has `action` (e.g. `create cluster`) and that action's options."""
    top = _Parser(prog="kind", description="kind, or a real node on this machine where there is no Docker")
    verbs = top.add_subparsers(dest="verb", required=True, metavar="COMMAND", parser_class=_Parser)
    create = _nouns(verbs, "create")
    cluster = _leaf(create, "create", "cluster")
    cluster.add_argument("--kubeconfig")
    cluster.add_argument("--wait", type=parse_duration, default=0.0, help="ignored: it always waits")
    for ignored in ("--image", "--config"):
        cluster.add_argument(ignored, help="ignored with a note: there is one kind of node")
    cluster.add_argument("--retain", action="store_true", help="ignored: logs are always kept after a failed start")
    _leaf(_nouns(verbs, "delete"), "delete", "cluster").add_argument("--kubeconfig")
    get = _nouns(verbs, "get")
    _leaf(get, "get", "clusters")
    _leaf(get, "get", "nodes")
    _leaf(get, "get", "kubeconfig").add_argument("--internal", action="store_true", help="the same address")
    export = _nouns(verbs, "export")
    _leaf(export, "export", "kubeconfig").add_argument("--kubeconfig")
    _leaf(export, "export", "logs").add_argument("folder", nargs="?", default="cluster-logs")
    load = _nouns(verbs, "load")
    _leaf(load, "load", "docker-image").add_argument("images", nargs="+", metavar="IMAGE")
    _leaf(load, "load", "image-archive").add_argument("images", nargs="+", metavar="FILE")
    version = verbs.add_parser("version")
    version.set_defaults(action="version")
    return top


def _nouns(verbs: "argparse._SubParsersAction[_Parser]", verb: str) -> "argparse._SubParsersAction[_Parser]":
    return verbs.add_parser(verb).add_subparsers(dest="noun", required=True, metavar="WHAT", parser_class=_Parser)


def _leaf(nouns: "argparse._SubParsersAction[_Parser]", verb: str, noun: str) -> _Parser:
    leaf = nouns.add_parser(noun)
    leaf.set_defaults(action=f"{verb} {noun}")
    leaf.add_argument("-n", "--name", default="kind")
    leaf.add_argument("-q", "--quiet", action="store_true", help=argparse.SUPPRESS)
    leaf.add_argument("-v", "--verbosity", default="0", help=argparse.SUPPRESS)
    return leaf
