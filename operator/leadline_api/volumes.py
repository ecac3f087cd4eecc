"""Files that each pod is given beside its model: `spec.runtime.podTemplate.volumes` and `volumeMounts`.

Of Kubernetes' kinds there are those that the restricted pod security standard knows to be harmless and a model server needs:
certificates, settings, scratch space, data on a claim.
"""

from typing import Annotated, Final, Literal

from pydantic import Field

from leadline_api import names
from leadline_api.fields import INT_OR_STRING, Part, is_quantity, name_of
from leadline_api.rules import Rule, matches

_Name = Annotated[
    str,
    Field(min_length=1, max_length=50),
    matches(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", "must be the name of a volume: a-z, 0-9 and -, such as certificates"),
]
RESERVED: Final = ("/etc/leadline", names.MODEL_DIR, names.CLAIMS_DIR, "/var/run/secrets", "/run/secrets")
"""Folders under which Kubernetes and we mount what the runtime needs."""


def _is_free(path: str) -> bool:
    return not any(path == each or path.startswith(f"{each}/") for each in RESERVED) and ".." not in path


_FREE_PLACE: Final = Rule(
    cel="!self.contains('..') && "
    + " && ".join(f"self != '{each}' && !self.startsWith('{each}/')" for each in RESERVED),
    message=f"must be a place outside of {', '.join(RESERVED)}, and without ..",
    holds=_is_free,
)


class ConfigMapFiles(Part):
    """The keys of a ConfigMap as files."""

    name: Annotated[str, Field(min_length=1, max_length=253), name_of("ConfigMap", "certificates")]
    """ConfigMap in the same namespace."""
    optional: bool | None = None
    """Whether a pod starts without it. Left out: it does not."""


class SecretFiles(Part):
    """The keys of a Secret as files."""

    secret_name: Annotated[str, Field(min_length=1, max_length=253), name_of("Secret", "certificates")]
    """Secret in the same namespace."""
    optional: bool | None = None
    """Whether a pod starts without it. Left out: it does not."""


class EmptyDir(Part):
    """Scratch space that ends with the pod."""

    medium: Literal["Memory"] | None = None
    """Memory: in memory, and counted as the container's. Left out: on the node's disk."""
    size_limit: (
        Annotated[
            str | int,
            Field(json_schema_extra=INT_OR_STRING),
            Rule(
                cel="type(self) == int ? self >= 0 : isQuantity(self) && !self.startsWith('-')",
                message="must be a quantity such as 500Mi or 1Gi",
                holds=is_quantity,
            ),
        ]
        | None
    ) = None
    """How much it may hold; a pod with more is evicted."""


class Claim(Part):
    """A volume that is there already."""

    claim_name: Annotated[str, Field(min_length=1, max_length=253), name_of("PersistentVolumeClaim", "features")]
    """PersistentVolumeClaim in the same namespace."""
    read_only: bool = False
    """Whether pods may only read it."""


class Volume(Part):
    """Files, and the name by which they are mounted."""

    name: _Name
    """Its name in volumeMounts; a pod has it with user- in front."""
    config_map: ConfigMapFiles | None = None
    """The keys of a ConfigMap as files."""
    secret: SecretFiles | None = None
    """The keys of a Secret as files."""
    empty_dir: EmptyDir | None = None
    """Scratch space that ends with the pod."""
    persistent_volume_claim: Claim | None = None
    """A volume that is there already."""


ONE_KIND: Final = Rule(
    cel=" + ".join(
        f"(has(self.{kind}) ? 1 : 0)" for kind in ("configMap", "secret", "emptyDir", "persistentVolumeClaim")
    )
    + " == 1",
    message="a volume needs one of configMap, secret, emptyDir and persistentVolumeClaim",
    holds=lambda volume: (
        sum(
            each is not None
            for each in (volume.config_map, volume.secret, volume.empty_dir, volume.persistent_volume_claim)
        )
        == 1
    ),
    shows_value=False,
)


class VolumeMount(Part):
    """Where a volume is in the runtime's container."""

    name: _Name
    """Which volume."""
    mount_path: Annotated[
        str,
        Field(min_length=2, max_length=512),
        matches(r"/[^:]+", "must be an absolute path without a colon, such as /etc/certificates"),
        _FREE_PLACE,
    ]
    """Where its files are."""
    sub_path: (
        Annotated[
            str,
            Field(min_length=1, max_length=512),
            matches(r"[^/:][^:]*", "must be a path inside the volume, such as team/ca.crt"),
        ]
        | None
    ) = None
    """The only file or folder of it that is mounted. Left out: all."""
    read_only: bool = False
    """Whether the runtime may only read it; files of ConfigMaps and Secrets are never written."""


MOUNTS_HAVE_VOLUMES: Final = Rule(
    cel="!has(self.volumeMounts) || self.volumeMounts.all(m, has(self.volumes) && self.volumes.exists(v, v.name == m.name))",
    message="each of spec.runtime.podTemplate.volumeMounts needs a volume of its name in spec.runtime.podTemplate.volumes",
    holds=lambda template: {each.name for each in template.volume_mounts} <= {each.name for each in template.volumes},
    shows_value=False,
)
