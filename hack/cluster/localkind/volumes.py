"""Persistent volumes: folders of this machine, made before anybody asks, since nothing here provisions any.

A claim that is deleted leaves its volume as it is; all end with the cluster.
"""

from pathlib import Path
from typing import Final

from localkind import apiserver

VOLUMES: Final = 8
_CLASS: Final = {"name": "standard", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}


def apply_volumes(administrator: apiserver.Administrator, folder: Path) -> None:
    """Create the default storage class and its volumes below a folder."""
    administrator.apply(
        "/apis/storage.k8s.io/v1/storageclasses",
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": _CLASS,
            "provisioner": "kubernetes.io/no-provisioner",
            "reclaimPolicy": "Retain",
        },
    )
    for number in range(VOLUMES):
        path = folder / str(number)
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(0o777)  # a pod's fsGroup does not reach a folder of the host
        administrator.apply(
            "/api/v1/persistentvolumes",
            {
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {"name": f"standard-{number}"},
                "spec": {
                    "storageClassName": _CLASS["name"],
                    "capacity": {"storage": "100Gi"},
                    "accessModes": ["ReadWriteOnce"],
                    "persistentVolumeReclaimPolicy": "Retain",
                    "hostPath": {"path": str(path), "type": "Directory"},
                },
            },
        )
