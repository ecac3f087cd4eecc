"""What a cluster needs from inside: CoreDNS, at the address that kubelet gives to every pod."""

from typing import Final

from localkind import apiserver, network

_LABELS: Final = {"k8s-app": "kube-dns"}
_CORE: Final = "/api/v1/namespaces/kube-system"
_RBAC: Final = "/apis/rbac.authorization.k8s.io/v1"
_COREFILE: Final = """\
.:53 {
    errors
    health :8080
    ready :8181
    kubernetes cluster.local in-addr.arpa {
        pods insecure
        ttl 5
    }
    prometheus :9153
}
"""


def apply_dns(administrator: apiserver.Administrator, image: str) -> None:
    """Create CoreDNS; names outside of the cluster have no answer, since pods reach no other address either."""
    meta: dict[str, object] = {"name": "coredns", "namespace": "kube-system", "labels": _LABELS}
    rule = {"apiGroups": [""], "resources": ["endpoints", "services", "pods", "namespaces"], "verbs": ["list", "watch"]}
    slices = {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]}
    role = {"name": "system:coredns"}
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": role,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:coredns"},
        "subjects": [{"kind": "ServiceAccount", "name": "coredns", "namespace": "kube-system"}],
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "kube-dns", "namespace": "kube-system", "labels": _LABELS},
        "spec": {
            "clusterIP": network.DNS_SERVICE_ADDRESS,
            "selector": _LABELS,
            "ports": [
                {"name": "dns", "port": 53, "protocol": "UDP"},
                {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
            ],
        },
    }
    for path, manifest in (
        (f"{_CORE}/serviceaccounts", {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta}),
        (
            f"{_RBAC}/clusterroles",
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRole",
                "metadata": role,
                "rules": [rule, slices],
            },
        ),
        (f"{_RBAC}/clusterrolebindings", binding),
        (
            f"{_CORE}/configmaps",
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"Corefile": _COREFILE}},
        ),
        (f"{_CORE}/services", service),
        ("/apis/apps/v1/namespaces/kube-system/deployments", _deployment(meta, image)),
    ):
        administrator.apply(path, manifest)


def dns_is_ready(administrator: apiserver.Administrator) -> bool:
    """Tell whether DNS answers."""
    found = administrator.get("/apis/apps/v1/namespaces/kube-system/deployments/coredns")
    return bool(found and found.get("status", {}).get("availableReplicas"))


def _deployment(meta: dict[str, object], image: str) -> apiserver.Manifest:
    container = {
        "name": "coredns",
        "image": image,
        "imagePullPolicy": "Never",
        "args": ["-conf", "/etc/coredns/Corefile"],
        "ports": [{"containerPort": 53, "protocol": "UDP"}, {"containerPort": 53, "protocol": "TCP"}],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 1},
        "livenessProbe": {"httpGet": {"path": "/health", "port": 8080}, "failureThreshold": 5},
        "resources": {"requests": {"cpu": "20m", "memory": "40Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"add": ["NET_BIND_SERVICE"], "drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsUser": 0,
        },
        "volumeMounts": [{"name": "config", "mountPath": "/etc/coredns", "readOnly": True}],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": meta,
        "spec": {
            "selector": {"matchLabels": _LABELS},
            "template": {
                "metadata": {"labels": _LABELS},
                "spec": {
                    "serviceAccountName": "coredns",
                    "priorityClassName": "system-cluster-critical",
                    "dnsPolicy": "Default",
                    "containers": [container],
                    "volumes": [{"name": "config", "configMap": {"name": "coredns"}}],
                },
            },
        },
    }
