"""Reads docs/invalid-specs.md: every heading has a manifest and the message it gets."""

import re
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "invalid-specs.md"
_CASE = re.compile(
    r"^## (?P<title>[^\n]+)\n(?:(?!^## ).)*?```yaml\n(?P<manifest>.*?)```\n+```text\n(?P<message>.*?)```",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Case:
    title: str
    manifest: str
    message: str


def cases() -> list[Case]:
    """Return every case of the page; one that lacks its manifest or message is an error."""
    page = PAGE.read_text(encoding="utf-8")
    found = [Case(match["title"], match["manifest"], match["message"].strip()) for match in _CASE.finditer(page)]
    headings = re.findall(r"^## (.+)$", page, re.MULTILINE)
    if [case.title for case in found] != headings:
        raise ValueError(f"{PAGE}: a heading without a yaml and a text block")
    return found
