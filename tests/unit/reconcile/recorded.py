"""Statuses that a real cluster showed, and what machines should make of each by the rules of docs/gitops.md.

Recorded by hack/statuses.py. The rules stand here a second time, in a few lines, so that health script and conditions are not held
against themselves.
"""

import json
from pathlib import Path
from typing import Any

RECORDED: list[dict[str, Any]] = [
    json.loads(line) for line in (Path(__file__).parents[2] / "golden" / "statuses.jsonl").read_text().splitlines()
]


def conditions(found: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Return status and reason by type."""
    return {each["type"]: (each["status"], each["reason"]) for each in found["status"].get("conditions") or ()}


def title(found: dict[str, Any]) -> str:
    """Return what a status says, in short."""
    said = conditions(found)
    speaking = [f"{kind}={said[kind][1]}" for kind in ("Stalled", "Reconciling") if said.get(kind, ("",))[0] == "True"]
    rest = [
        f"{kind}={'/'.join(said[kind])}" for kind in ("Ready", "UpToDate", "QualityOK", "ObjectivesMet") if kind in said
    ]
    return " ".join([f"{found['metadata']['generation']}/{found['status']['observedGeneration']}", *speaking, *rest])


def expected(found: dict[str, Any]) -> tuple[str, str]:
    """Return Argo CD's word and kstatus' word."""
    said = conditions(found)
    if found["status"].get("observedGeneration") != found["metadata"]["generation"] or not said:
        return "Progressing", "InProgress"
    if said["Stalled"][0] == "True":
        return "Degraded", "Failed"
    if said["Reconciling"][0] == "True":
        return ("Suspended" if said["Reconciling"][1] == "Paused" else "Progressing"), "InProgress"
    if said["Ready"][0] == "True":
        return "Healthy", "Current"
    return ("Suspended" if said["Ready"][1] == "ScaledToZero" else "Degraded"), "InProgress"
