"""Carry this machine's pip settings (a mirror, its certificate) into an image build, as secrets that no layer keeps."""

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from localkind import layout

_CARRIED: Final = ("index-url", "extra-index-url", "trusted-host", "proxy", "default-timeout", "timeout", "retries")
_CERTIFICATE_INSIDE: Final = "/etc/ssl/certs/leadline-build.crt"
"""Where the Containerfiles mount the secret `ca.crt`."""

_LINE: Final = re.compile(r"^(?:global|install|:env:)\.([a-z-]+)=(['\"])(.*)\2$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class PipSettings:
    """What a build needs to install as this machine does."""

    config: str
    """Text of a pip.conf for inside; empty where pip's defaults do."""
    certificates: Path | None
    """CA certificates of this machine, where pip uses others than its own."""


def parse(listing: str) -> PipSettings:
    """Return the settings for a build from the output of `pip config list`; the environment's come last and win."""
    found = {name: value for name, _, value in _LINE.findall(listing)}
    lines = [f"{name} = {found[name]}" for name in _CARRIED if name in found]
    certificates = Path(found["cert"]) if "cert" in found else None
    if certificates:
        lines.append(f"cert = {_CERTIFICATE_INSIDE}")
    return PipSettings("\n".join(["[global]", *lines, ""]) if lines else "", certificates)


def of_this_machine() -> PipSettings:
    """Return the settings of the project's environment, or of the Python that runs this."""
    own = layout.REPOSITORY / ".venv" / "bin" / "python"
    python = str(own) if own.exists() else sys.executable
    listing = subprocess.run([python, "-m", "pip", "config", "list"], check=False, capture_output=True, text=True)
    return parse(listing.stdout)
