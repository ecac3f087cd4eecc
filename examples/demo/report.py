"""What the demo says: progress, `kubectl get mdep` at each turn with a line on what is being seen, and the summary.

Keeps within 100 columns. Must not decide whether something went well.
"""

import textwrap
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

WIDTH: Final = 96
INDENT: Final = " " * 9


@dataclass
class Report:
    """Talks to the person who started the demo."""

    begin: float = field(default_factory=time.monotonic)

    def seconds(self) -> float:
        """Return the seconds since the demo began."""
        return time.monotonic() - self.begin

    def step(self, text: str) -> None:
        """Say what is done now."""
        self._say(f"{self.seconds():6.1f} s {text}", INDENT)

    def act(self, number: int, title: str) -> None:
        """Open an act."""
        print(f"\n--- act {number}: {title} {'-' * max(0, WIDTH - 12 - len(title))}", flush=True)

    def shell(self, command: str, output: str = "") -> None:
        """Show a command as a person would type it, and what it printed."""
        print(f"{INDENT}$ {command}", flush=True)
        for line in output.rstrip("\n").splitlines():
            print(f"{INDENT}{line.rstrip()}", flush=True)

    def seen(self, text: str) -> None:
        """Say what is being seen."""
        self._say(f"{self.seconds():6.1f} s > {text}", INDENT + "  ")

    def quote(self, text: str) -> None:
        """Show a message of the operator, in full."""
        print(
            textwrap.fill(
                text, WIDTH, initial_indent=f"{INDENT}| ", subsequent_indent=f"{INDENT}| ", break_on_hyphens=False
            ),
            flush=True,
        )

    def table(self, title: str, rows: Sequence[tuple[str, str]]) -> None:
        """Print the summary."""
        left = max(len(what) for what, _ in rows)
        right = max(len(figure) for _, figure in rows)
        print(f"\n--- {title} {'-' * max(0, WIDTH - 5 - len(title))}")
        for what, figure in rows:
            print(f"  {what:<{left}}  {figure:>{right}}")
        print(flush=True)

    def _say(self, text: str, indent: str) -> None:
        print(textwrap.fill(text, WIDTH, subsequent_indent=indent, break_on_hyphens=False), flush=True)
