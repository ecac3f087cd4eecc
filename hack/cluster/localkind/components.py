"""Command lines of the node's processes, in the order in which they start.

Everything listens on the node's own address, so that no port of the host is taken; etcd listens on a socket file,
out of reach of pods.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from localkind import layout, network

_AUDIT_MEGABYTES: Final = "200"


@dataclass(frozen=True, slots=True)
class Component:
    """One process of the node."""

    name: str
    command: tuple[str, ...]


def containerd(places: layout.Layout) -> Component:
    """Return the container runtime."""
    return Component("containerd", ("containerd", "--config", f"{places.run}/containerd.toml"))


def etcd(places: layout.Layout, hyperkube: Path) -> Component:
    """Return the store; it may lose its last writes in a crash of the machine, which the cluster does not survive."""
    clients, peers = f"unix://{places.run}/etcd.sock:0", f"unix://{places.run}/etcd-peer.sock:0"
    return _of(
        hyperkube,
        "etcd",
        data_dir=f"{places.run}/etcd",
        listen_client_urls=clients,
        advertise_client_urls=clients,
        listen_peer_urls=peers,
        initial_advertise_peer_urls=peers,
        initial_cluster=f"default={peers}",
        unsafe_no_fsync=True,
        log_level="warn",
    )


def apiserver(places: layout.Layout, hyperkube: Path) -> Component:
    """Return the API server, with Pod Security admission (on by default) and an audit log."""
    pki = places.pki
    return _of(
        hyperkube,
        "kube-apiserver",
        etcd_servers=f"unix://{places.run}/etcd.sock:0",
        bind_address=network.NODE_ADDRESS,
        advertise_address=network.NODE_ADDRESS,
        secure_port=network.API_PORT,
        service_cluster_ip_range=network.SERVICE_RANGE,
        tls_cert_file=pki / "apiserver.crt",
        tls_private_key_file=pki / "apiserver.key",
        client_ca_file=pki / "ca.crt",
        kubelet_client_certificate=pki / "admin.crt",
        kubelet_client_key=pki / "admin.key",
        kubelet_preferred_address_types="InternalIP",
        service_account_issuer="https://kubernetes.default.svc.cluster.local",
        service_account_key_file=pki / "sa.pub",
        service_account_signing_key_file=pki / "sa.key",
        authorization_mode="Node,RBAC",
        enable_admission_plugins="NodeRestriction",
        allow_privileged=True,
        audit_policy_file=places.run / "audit-policy.yaml",
        audit_log_path=places.audit_log,
        audit_log_maxsize=_AUDIT_MEGABYTES,
        audit_log_maxbackup=1,
    )


def controllers(places: layout.Layout, hyperkube: Path) -> list[Component]:
    """Return the controllers and the scheduler."""
    return [
        _of(
            hyperkube,
            "kube-controller-manager",
            kubeconfig=places.pki / "controller-manager.kubeconfig",
            bind_address=network.NODE_ADDRESS,
            root_ca_file=places.pki / "ca.crt",
            service_account_private_key_file=places.pki / "sa.key",
            use_service_account_credentials=True,
            allocate_node_cidrs=True,
            cluster_cidr=network.POD_RANGE,
            node_cidr_mask_size=network.NODE_POD_RANGE.partition("/")[2],
            service_cluster_ip_range=network.SERVICE_RANGE,
            flex_volume_plugin_dir=places.run / "volume-plugins",
            kube_api_qps=200,
            kube_api_burst=400,
            leader_elect=False,
        ),
        _of(
            hyperkube,
            "kube-scheduler",
            kubeconfig=places.pki / "scheduler.kubeconfig",
            bind_address=network.NODE_ADDRESS,
            leader_elect=False,
        ),
    ]


def node(places: layout.Layout, hyperkube: Path, name: str) -> list[Component]:
    """Return what runs pods and routes Services."""
    return [
        _of(
            hyperkube,
            "kubelet",
            config=places.run / "kubelet.yaml",
            kubeconfig=places.pki / "kubelet.kubeconfig",
            hostname_override=name,
            node_ip=network.NODE_ADDRESS,
            root_dir=places.run / "kubelet",
            cert_dir=places.run / "kubelet-pki",
        ),
        _of(
            hyperkube,
            "kube-proxy",
            kubeconfig=places.pki / "proxy.kubeconfig",
            hostname_override=name,
            proxy_mode="iptables",
            cluster_cidr=network.POD_RANGE,
            healthz_bind_address=network.NODE_ADDRESS,
            metrics_bind_address=network.NODE_ADDRESS,
            # The host's connection tracking is not ours to change, and a switch of traffic should be seen at once.
            conntrack_max_per_core=0,
            conntrack_tcp_timeout_established="0s",
            conntrack_tcp_timeout_close_wait="0s",
            iptables_localhost_nodeports=False,
            iptables_min_sync_period="100ms",
        ),
    ]


def _of(hyperkube: Path, name: str, **options: object) -> Component:
    flags = (
        f"--{key.replace('_', '-')}={str(value).lower() if isinstance(value, bool) else value}"
        for key, value in options.items()
    )
    return Component(name, (str(hyperkube), name, *flags))
