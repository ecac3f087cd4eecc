"""Write the image of one static binary as an OCI archive, which containerd, buildah and kind all read.

Such an image needs no builder: it is one layer with a few files. The same input gives the same bytes.
"""

import gzip
import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True, slots=True)
class ScratchImage:
    """What goes into an image that has no base."""

    name: str
    files: Mapping[str, Path]
    """Path inside the image (no leading slash) -> file that is copied there, executable."""
    entrypoint: Sequence[str]
    user: str = "65532:65532"


def write(image: ScratchImage, path: Path) -> None:
    """Write the archive; a file of that name appears only when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    layer = _layer(image.files)
    packed = gzip.compress(layer, compresslevel=1, mtime=0)
    config = _json(
        {
            "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
            "os": "linux",
            "config": {"Entrypoint": list(image.entrypoint), "User": image.user, "Env": ["PATH=/"]},
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
        }
    )
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": _descriptor("application/vnd.oci.image.config.v1+json", config),
            "layers": [_descriptor("application/vnd.oci.image.layer.v1.tar+gzip", packed)],
        }
    )
    # containerd names the image by its own annotation; the other is what buildah and skopeo read.
    names = {"io.containerd.image.name": image.name, "org.opencontainers.image.ref.name": image.name}
    entry = {**_descriptor("application/vnd.oci.image.manifest.v1+json", manifest), "annotations": names}
    # Docker's own list of the same blobs, for engines that do not read the OCI one.
    docker = {"Config": _blob_path(config), "RepoTags": [image.name], "Layers": [_blob_path(packed)]}
    members = {
        "oci-layout": _json({"imageLayoutVersion": "1.0.0"}),
        "index.json": _json({"schemaVersion": 2, "manifests": [entry]}),
        "manifest.json": _json([docker]),
        **{_blob_path(blob): blob for blob in (packed, config, manifest)},
    }
    unfinished = path.with_suffix(".unfinished")
    with tarfile.open(unfinished, "w") as archive:
        for name, content in members.items():
            _add(archive, name, content, 0o644)
    unfinished.rename(path)


def _layer(files: Mapping[str, Path]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as layer:
        temporary = tarfile.TarInfo("tmp")
        temporary.type, temporary.mode = tarfile.DIRTYPE, 0o1777
        layer.addfile(temporary)
        for name, path in files.items():
            _add(layer, name, path.read_bytes(), 0o755)
    return packed.getvalue()


def _add(archive: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), mode
    archive.addfile(member, io.BytesIO(content))


def _descriptor(media_type: str, blob: bytes) -> dict[str, object]:
    return {"mediaType": media_type, "digest": _digest(blob), "size": len(blob)}


def _blob_path(blob: bytes) -> str:
    return "blobs/sha256/" + _digest(blob).removeprefix("sha256:")


def _digest(blob: bytes) -> str:
    return "sha256:" + hashlib.sha256(blob).hexdigest()


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True).encode()
