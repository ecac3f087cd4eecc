"""Create and delete the one local cluster: a real Kubernetes node of processes on this machine.

All of its state is in the run folder, so whatever a crash, a kill or a reboot left behind is found and removed there,
by delete and before each create. The steps are in `create` in their order; the parts are in the other modules.
"""

import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from localkind import (
    addons,
    apiserver,
    binaries,
    certificates,
    cgroups,
    components,
    containers,
    errors,
    host,
    kubeconfigs,
    layout,
    locking,
    mounts,
    network,
    packages,
    processes,
    scratch_images,
    settings,
    talk,
    volumes,
)

_START_SECONDS: Final = 120.0
"""For each of: containerd, API server, node, DNS. Each takes a few seconds on two idle cores."""

_SOCKET_PATH_BYTES: Final = 107
"""Linux's limit on the path of a socket."""


@dataclass(frozen=True, slots=True)
class State:
    """What is known of the cluster in the run folder."""

    name: str
    running: bool
    """Each of its processes runs. With one gone, it counts as none and the next create replaces it."""
    dead: tuple[str, ...] = ()


def state(places: layout.Layout) -> State | None:
    """Return the cluster of the run folder, None where there is none."""
    try:
        name = json.loads((places.run / "cluster.json").read_text())["name"]
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    records = processes.recorded(places.processes)
    dead = tuple(record.name for record in records if not processes.is_running(record))
    return State(name, running=bool(records) and not dead and (places.run / "ready").exists(), dead=dead)


def node_name(name: str) -> str:
    """Return the name of the node, as kind names it."""
    return f"{name}-control-plane"


def kubeconfig(places: layout.Layout, name: str) -> str:
    """Return the administrator's kubeconfig."""
    ca, certificate, key = ((places.pki / file).read_bytes() for file in ("ca.crt", "admin.crt", "admin.key"))
    return kubeconfigs.render(name, ca=ca, certificate=certificate, key=key)


def create(places: layout.Layout, name: str) -> None:
    """Create the cluster and wait until its node and its DNS are ready; one that runs is left as it is.

    Raises:
        NeedsUser: Another cluster runs, or something is missing on this machine.
        Broken: A part does not start.
    """
    _check_machine(places)
    with locking.held(places.lock):
        found = state(places)
        if found and found.running:
            if found.name == name:
                talk.say(f"cluster {name!r} runs already")
                return
            raise errors.NeedsUser(
                f"cluster {found.name!r} runs, and there is one local cluster at a time; "
                f"use it, or end it: kind delete cluster --name {found.name}"
            )
        if places.run.exists():
            why = f"{', '.join(found.dead)} ended" if found and found.dead else "its start or end was cut short"
            talk.say(f"removing what is left of an earlier cluster: {why}")
            _remove(places)
        if cgroups.present():
            raise errors.NeedsUser("another kubelet seems to run on this machine: /sys/fs/cgroup has kubepods already")
        parts = _Parts(
            binaries.binary(places, "hyperkube"),
            pause=scratch_images.image(places, "pause"),
            dns=scratch_images.image(places, "coredns"),
        )
        try:
            _start(places, name, parts)
        except BaseException:
            talk.say(f"the cluster did not come up; its logs stay in {places.logs} until the next create or delete")
            _stop(places)
            raise


def delete(places: layout.Layout) -> None:
    """Stop all processes and remove everything the cluster left on this machine."""
    with locking.held(places.lock):
        _remove(places)


def _check_machine(places: layout.Layout) -> None:
    if len(str(places.run / "etcd-peer.sock:0")) > _SOCKET_PATH_BYTES:
        raise errors.NeedsUser(
            f"{places.cache}: the path is too long for sockets below it; name a shorter one in LEADLINE_CACHE"
        )
    missing = packages.missing_for_cluster()
    if missing:
        raise errors.NeedsUser(f"missing on this machine: {', '.join(missing)}; apt-get install {' '.join(missing)}")


@dataclass(frozen=True, slots=True)
class _Parts:
    """What has to be built before anything starts."""

    hyperkube: Path
    pause: scratch_images.Archive
    dns: scratch_images.Archive


def _start(places: layout.Layout, name: str, parts: _Parts) -> None:
    hyperkube = parts.hyperkube
    started = time.monotonic()
    places.run.mkdir(parents=True)
    (places.run / "cluster.json").write_text(json.dumps({"name": name}))
    host.remember(places.run / "host.json")
    network.prepare()
    host.set_up()
    certificates.make(
        places.pki, node=node_name(name), addresses=("127.0.0.1", network.NODE_ADDRESS, network.API_SERVICE_ADDRESS)
    )
    _write_settings(places, parts.pause.name)

    _run(places, components.containerd(places), components.etcd(places, hyperkube))
    _run(places, components.apiserver(places, hyperkube))
    apiserver.wait_until(lambda: containers.is_up(places), "containerd answers", _START_SECONDS, places.logs)
    for image in (parts.pause, parts.dns):
        containers.load(places, image.path)
    administrator = apiserver.Administrator(places.pki)
    apiserver.wait_until(
        lambda: administrator.call("GET", "/readyz")[0] == 200, "the API server is ready", _START_SECONDS, places.logs
    )
    talk.say("API server is ready")
    _run(places, *components.controllers(places, hyperkube), *components.node(places, hyperkube, node_name(name)))
    addons.apply_dns(administrator, parts.dns.name)
    volumes.apply_volumes(administrator, places.volumes)
    apiserver.wait_until(
        lambda: _node_is_ready(administrator, node_name(name)), "the node is Ready", _START_SECONDS, places.logs
    )
    talk.say(f"node {node_name(name)} is Ready")
    apiserver.wait_until(lambda: addons.dns_is_ready(administrator), "DNS answers", _START_SECONDS, places.logs)
    (places.run / "ready").touch()
    talk.say(f"cluster {name!r} is up, {time.monotonic() - started:.1f} s after its processes began to start")


def _write_settings(places: layout.Layout, sandbox_image: str) -> None:
    for component in ("controller-manager", "scheduler", "proxy", "kubelet"):
        path = places.pki / f"{component}.kubeconfig"
        path.write_text(kubeconfigs.component(places.pki, component))
    (places.run / "cni").mkdir()
    (places.run / "cni" / "10-leadline.conflist").write_text(settings.cni(places))
    (places.run / "containerd.toml").write_text(settings.containerd(places, sandbox_image=sandbox_image))
    (places.run / "kubelet.yaml").write_text(settings.kubelet(places))
    (places.run / "audit-policy.yaml").write_text(settings.AUDIT_POLICY)
    # Pods that ask for the host's DNS get none: they reach nothing outside of the cluster.
    (places.run / "resolv.conf").touch()


def _run(places: layout.Layout, *wanted: components.Component) -> None:
    for component in wanted:
        processes.start(places.processes, places.logs, component.name, component.command, cwd=places.run)


def _node_is_ready(administrator: apiserver.Administrator, name: str) -> bool:
    found = administrator.get(f"/api/v1/nodes/{name}") or {}
    conditions = found.get("status", {}).get("conditions", ())
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def _stop(places: layout.Layout) -> None:
    records = {record.name: record for record in processes.recorded(places.processes)}
    # Nothing may start containers again, then containers, then what they need, the API server and its store last.
    node = [records.pop(name) for name in ("kubelet", "kube-proxy") if name in records]
    processes.stop(node, grace_seconds=5)
    containers.stop_all(places)
    store = [records.pop(name) for name in ("etcd",) if name in records]
    processes.stop(records.values(), grace_seconds=3)
    processes.stop(store, grace_seconds=3)
    mounts.unmount_below(places.run)
    network.remove()
    host.restore(places.run / "host.json", places.run)
    cgroups.remove()


def _remove(places: layout.Layout) -> None:
    if not places.run.exists():
        return
    _stop(places)
    kubeconfigs.forget(places.kubeconfig)
    left = mounts.mounted_below(Path("/proc/self/mountinfo").read_text(), places.run)
    if left:
        raise errors.Broken(f"{left[0]} is still mounted; {places.run} stays until it is not")
    shutil.rmtree(places.run)
