"""Keep a ModelDeployment with each kind of status that a real cluster showed, as tests read them.

    kubectl get mdep -A --watch -o json | .venv/bin/python hack/statuses.py    # beside: hack/test tests/cluster

What tests/golden/statuses.jsonl holds already stays; a kind that was not seen before is added when the stream ends or SIGTERM comes.
"""

import json
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

_FILE: Final = Path(__file__).resolve().parent.parent / "tests" / "golden" / "statuses.jsonl"
_NAMESPACE: Final = re.compile(r"test-[0-9a-f]{8}")
_KINDS: Final = ("Ready", "UpToDate", "Reconciling", "Stalled", "QualityOK", "ObjectivesMet")


def objects(text: Iterator[str]) -> Iterator[dict[str, Any]]:
    """Yield the objects of a stream of JSON, one after the other without anything between."""
    decoder, rest = json.JSONDecoder(), ""
    for line in text:
        rest += line
        if line.rstrip() != "}":
            continue  # kubectl indents; an object ends where a line is only its brace
        found, end = decoder.raw_decode(rest.lstrip())
        rest = rest.lstrip()[end:]
        yield found


def kind_of(found: dict[str, Any]) -> str:
    """Return what tells one status from another: reasons, not messages or numbers."""
    status = found["status"]
    conditions = {each["type"]: each for each in status.get("conditions") or ()}
    current = status.get("observedGeneration") == found["metadata"]["generation"]
    said = [(conditions[kind]["status"], conditions[kind]["reason"]) for kind in _KINDS if kind in conditions]
    return json.dumps([current, said])


def kept(found: dict[str, Any]) -> dict[str, Any]:
    """Return what machines look at, without what differs from cluster to cluster."""
    metadata = {"name": found["metadata"]["name"], "namespace": "ml", "generation": found["metadata"]["generation"]}
    status = json.loads(_NAMESPACE.sub("ml", json.dumps(found.get("status") or {})))
    return {"apiVersion": found["apiVersion"], "kind": found["kind"], "metadata": metadata, "status": status}


def main() -> None:
    """Read the stream and write the file."""
    lines = _FILE.read_text(encoding="utf-8").splitlines() if _FILE.exists() else []
    known = {kind_of(each): each for each in map(json.loads, lines)}
    before = len(known)

    def stop(*_: object) -> None:
        raise SystemExit

    signal.signal(signal.SIGTERM, stop)
    try:
        for found in objects(iter(sys.stdin)):
            if found.get("kind") == "ModelDeployment" and found.get("status"):
                known.setdefault(kind_of(found), kept(found))
    finally:
        text = "".join(json.dumps(known[kind], sort_keys=True) + "\n" for kind in sorted(known))
        _FILE.write_text(text, encoding="utf-8")
        print(f"{len(known)} kinds of status, {len(known) - before} of them new", file=sys.stderr)


if __name__ == "__main__":
    main()
