"""Configuration files of containerd, CNI, kubelet and the API server's audit log.

Each function returns the text of one file. Addresses come from `network`, folders from `layout`.
"""

import json
from pathlib import Path
from typing import Final

from localkind import layout, network

AUDIT_POLICY: Final = """\
apiVersion: audit.k8s.io/v1
kind: Policy
# One line per finished request, without bodies. The cluster's own components are left out, and so is what kubectl and
# clients read about the API itself: what stays is what operators, tests and people do.
omitStages: [RequestReceived, ResponseStarted, Panic]
rules:
- level: None
  users:
  - system:apiserver
  - system:kube-controller-manager
  - system:kube-scheduler
  - system:kube-proxy
- level: None
  userGroups: [system:nodes, "system:serviceaccounts:kube-system"]
- level: None
  nonResourceURLs: ["*"]
- level: Metadata
"""


def containerd(places: layout.Layout, *, sandbox_image: str) -> str:
    """Return containerd's configuration: all state below the run folder, a socket of its own."""
    run = places.run
    return f"""\
version = 2
root = "{run}/containerd"
state = "{run}/containerd-state"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs"]
[grpc]
address = "{places.containerd_socket}"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{sandbox_image}"
# A host may lack CAP_SYS_RESOURCE; without this, every sandbox then fails with
# "can't get final child's PID from pipe: EOF".
restrict_oom_score_adj = true
# Network namespaces are mounts; here they are found and unmounted with the rest.
netns_mounts_under_state_dir = true
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{cni_plugins()}"
conf_dir = "{run}/cni"
"""


def cni_plugins() -> str:
    """Return the folder of the CNI plugins: Debian's, or the usual one elsewhere."""
    return next((place for place in ("/usr/lib/cni", "/opt/cni/bin") if Path(place, "bridge").exists()), "")


def cni(places: layout.Layout) -> str:
    """Return the pod network: one bridge, routes to the cluster's own addresses only."""
    bridge = {
        "type": "bridge",
        "bridge": network.BRIDGE,
        "isGateway": True,
        "ipMasq": False,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "dataDir": str(places.run / "cni-addresses"),
            "ranges": [[{"subnet": network.NODE_POD_RANGE}]],
            "routes": [{"dst": network.ALL_RANGES}],
        },
    }
    return json.dumps({"cniVersion": "1.0.0", "name": network.CNI_NETWORK, "plugins": [bridge]}, indent=1)


def kubelet(places: layout.Layout) -> str:
    """Return kubelet's configuration (YAML, of which JSON is a part)."""
    socket = f"unix://{places.containerd_socket}"
    return json.dumps(
        {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": network.NODE_ADDRESS,
            "healthzBindAddress": network.NODE_ADDRESS,
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": f"{places.pki}/ca.crt"},
            },
            "authorization": {"mode": "Webhook"},
            "containerRuntimeEndpoint": socket,
            "imageServiceEndpoint": socket,
            "clusterDNS": [network.DNS_SERVICE_ADDRESS],
            "clusterDomain": "cluster.local",
            "resolvConf": f"{places.run}/resolv.conf",
            # The host may have cgroup v1 or both; may swap; and its memory is not ours to reserve.
            "failCgroupV1": False,
            "cgroupDriver": "cgroupfs",
            "failSwapOn": False,
            "enforceNodeAllocatable": [],
            "oomScoreAdj": 0,
            "makeIPTablesUtilChains": False,
            # Images are only ever loaded, never pulled again: nothing may delete them.
            "imageGCHighThresholdPercent": 100,
            "evictionHard": {"nodefs.available": "1%", "imagefs.available": "1%"},
            "maxPods": 250,
            "podsPerCore": 0,
            # Tests wait for what kubelet sees: look often, and never queue.
            "syncFrequency": "10s",
            "serializeImagePulls": False,
            "kubeAPIQPS": 200,
            "kubeAPIBurst": 400,
            "eventRecordQPS": 0,
            "podLogsDir": f"{places.run}/pod-logs",
            "volumePluginDir": f"{places.run}/volume-plugins",
        },
        indent=1,
    )
