"""What a node changes on the host besides its network: kernel settings and a few folders; and how that is undone."""

import json
import shutil
from pathlib import Path
from typing import Final

from localkind import processes

KERNEL_SETTINGS: Final = (
    "net/ipv4/ip_forward",
    "net/ipv4/conf/all/route_localnet",
    "net/bridge/bridge-nf-call-iptables",
    "net/bridge/bridge-nf-call-ip6tables",
    "net/netfilter/nf_conntrack_max",
    "net/netfilter/nf_conntrack_tcp_timeout_established",
    "net/netfilter/nf_conntrack_tcp_timeout_close_wait",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
)
"""What kubelet and kube-proxy set."""

FOLDERS: Final = ("/var/lib/kubelet", "/var/log/containers", "/var/lib/cni", "/opt/cni")
"""Folders that kubelet and containerd use wherever their own are; removed if they were not there before."""

_LOG_LINKS: Final = Path("/var/log/containers")


def remember(path: Path) -> None:
    """Write down how the host is before a start."""
    values = {name: _setting(name).read_text().strip() for name in KERNEL_SETTINGS if _setting(name).exists()}
    absent = [folder for folder in FOLDERS if not Path(folder).exists()]
    path.write_text(json.dumps({"boot": processes.boot_id(), "values": values, "absent": absent}))


def restore(path: Path, run: Path) -> None:
    """Put the host back to what was remembered; kernel settings only if it was not booted since.

    Args:
        path: What `remember` wrote.
        run: The run folder: links into it are removed.
    """
    for link in _LOG_LINKS.glob("*") if _LOG_LINKS.is_dir() else ():
        if link.is_symlink() and run in link.readlink().parents:
            link.unlink()
    try:
        before = json.loads(path.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return
    for folder in before["absent"]:
        shutil.rmtree(folder, ignore_errors=True)
    if before["boot"] != processes.boot_id():
        return
    for name, value in before["values"].items():
        setting = _setting(name)
        if setting.exists() and setting.read_text().strip() != value:
            setting.write_text(value)


def set_up() -> None:
    """Let the host forward between pods, and let kube-proxy's rules see what a bridge carries."""
    for name in ("net/ipv4/ip_forward", "net/bridge/bridge-nf-call-iptables"):
        if _setting(name).exists():
            _setting(name).write_text("1")


def _setting(name: str) -> Path:
    return Path("/proc/sys") / name
