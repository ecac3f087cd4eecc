"""The cluster's addresses and what it changes in the host's network, and how that is undone.

All addresses are in 198.18.0.0/15, the range set aside for benchmarks, so no real host is ever addressed. The
node's address sits on `lo`, since a host may have no dummy device.
"""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

NODE_ADDRESS: Final = "198.18.255.1"
POD_RANGE: Final = "198.18.0.0/17"
NODE_POD_RANGE: Final = "198.18.0.0/20"
SERVICE_RANGE: Final = "198.19.0.0/16"
API_SERVICE_ADDRESS: Final = "198.19.0.1"
DNS_SERVICE_ADDRESS: Final = "198.19.0.10"
ALL_RANGES: Final = "198.18.0.0/15"
BRIDGE: Final = "leadline0"
API_PORT: Final = 6443
CNI_NETWORK: Final = "leadline-local"
CNI_RESULTS: Final = Path("/var/lib/cni/results")
"""containerd keeps the result of each CNI call here, whatever its own folders are."""

_CHAIN: Final = re.compile(r"^:(KUBE-\S+) ")
_JUMP: Final = re.compile(r"(?:^| )-[jg] KUBE-")


def prepare() -> None:
    """Give the host the node's address, and bridges that packet filters see."""
    modprobe = shutil.which("modprobe")
    if not Path("/proc/sys/net/bridge").exists() and modprobe:
        subprocess.run([modprobe, "br_netfilter"], check=False, capture_output=True)
    subprocess.run(["ip", "address", "replace", f"{NODE_ADDRESS}/32", "dev", "lo"], check=True)


def remove() -> None:
    """Take away the address, the bridge, kube-proxy's rules and CNI's results; what is not there is fine."""
    for command in (
        ["ip", "address", "delete", f"{NODE_ADDRESS}/32", "dev", "lo"],
        ["ip", "link", "delete", BRIDGE],
    ):
        subprocess.run(command, check=False, capture_output=True)
    for family in ("iptables", "ip6tables"):
        _remove_rules(family)
    for result in CNI_RESULTS.glob(f"{CNI_NETWORK}-*") if CNI_RESULTS.is_dir() else ():
        result.unlink(missing_ok=True)


def removal_script(saved_rules: str) -> str:
    """Return the input for `iptables-restore --noflush` that takes away kube-proxy's chains and nothing else.

    Args:
        saved_rules: Output of `iptables-save`.

    Returns:
        Empty where there is nothing to take away.
    """
    tables: list[str] = []
    rules: list[str] = []
    chains: list[str] = []
    for line in saved_rules.splitlines():
        if line.startswith("*"):
            rules, chains = [], []
            table = line
        elif match := _CHAIN.match(line):
            chains.append(match[1])
        elif line.startswith("-A ") and not line.startswith("-A KUBE-") and _JUMP.search(line):
            rules.append("-D " + line.removeprefix("-A "))
        elif line == "COMMIT" and chains:
            # Rules of the host's chains first, then emptied chains: no chain is deleted while one points to it.
            tables += [table, *(f":{chain} - [0:0]" for chain in chains), *rules]
            tables += [*(f"-X {chain}" for chain in chains), "COMMIT"]
    return "\n".join(tables) + "\n" if tables else ""


def _remove_rules(family: str) -> None:
    if shutil.which(f"{family}-save") is None:
        return
    saved = subprocess.run([f"{family}-save"], check=False, capture_output=True, text=True)
    script = removal_script(saved.stdout)
    if script:
        subprocess.run([f"{family}-restore", "--noflush"], check=True, input=script, text=True)
