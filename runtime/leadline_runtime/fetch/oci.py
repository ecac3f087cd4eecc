"""A model in an OCI registry: an artifact whose layers are its files, or an image of one layer.

`oci://registry/repository:tag`, or `@sha256:<hex>` for what never moves. A layer with a title is a file of that name, as
ORAS pushes it; a tar layer without one is unpacked. Registries ask for who calls by their own rules: no login, a password,
or a token for it from an address that they name; each layer's bytes are believed by their digest only.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, Literal
from urllib.parse import quote, urlsplit

import msgspec

from leadline_runtime.fetch import calls, folders, stores, web

_IMAGES: Final = {
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
}
_INDEXES: Final = {
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
}
_ACCEPT: Final = {"accept": ", ".join(sorted(_IMAGES | _INDEXES))}
_TARS: Final[Mapping[str, Literal["tar", "tar+gzip"]]] = {
    "application/vnd.oci.image.layer.v1.tar": "tar",
    "application/vnd.oci.image.layer.v1.tar+gzip": "tar+gzip",
    "application/vnd.docker.image.rootfs.diff.tar": "tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip": "tar+gzip",
    "application/vnd.cncf.model.weight.v1.tar": "tar",
    "application/vnd.cncf.model.weight.v1.tar+gzip": "tar+gzip",
}
_TITLE: Final = "org.opencontainers.image.title"
_UNPACK: Final = "io.deis.oras.content.unpack"
"""What ORAS says of a folder that it packed."""
_REFERENCE: Final = re.compile(
    r"(?P<repository>[a-z0-9]+([._/-]+[a-z0-9]+)*)"
    r"(:(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?(@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_CHALLENGE: Final = re.compile(r'([a-z]+)="([^"]*)"')
_FORM: Final = "expected oci://registry/repository:tag or oci://registry/repository@sha256:<hex>"


@dataclass(frozen=True, slots=True)
class Login:
    """Who calls, from the credentials Secret."""

    user: str = ""
    password: str = ""
    token: str = ""
    """For registries that take one as it is."""
    allow_http: bool = False

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "Login":
        """Return what the environment holds."""
        return cls(
            environment.get("OCI_USERNAME", "").strip(),
            environment.get("OCI_PASSWORD", "").strip(),
            environment.get("OCI_TOKEN", "").strip(),
            stores.allows("OCI_ALLOW_HTTP"),
        )

    def authorization(self) -> dict[str, str]:
        """Return the header of a first call."""
        return {"authorization": f"Bearer {self.token}"} if self.token else {}

    def basic(self) -> dict[str, str]:
        """Return the header with user and password."""
        return {"authorization": calls.basic(self.user, self.password)} if self.user or self.password else {}


class _Descriptor(msgspec.Struct, rename="camel"):
    digest: str
    size: int
    media_type: str = ""
    annotations: dict[str, str] = {}
    urls: list[str] = []


class _Manifest(msgspec.Struct, rename="camel"):
    media_type: str = ""
    layers: list[_Descriptor] = []


class _Token(msgspec.Struct):
    token: str = ""
    access_token: str = ""


class Artifact:
    """One artifact or image."""

    def __init__(self, uri: str, login: Login) -> None:
        parts = urlsplit(uri)
        self._shown = stores.shown(uri)
        found = _REFERENCE.fullmatch(parts.path.lstrip("/"))
        if found is None or not parts.netloc or "@" in parts.netloc:
            raise stores.StoreError(stores.Fault.NOT_FOUND, f"{self._shown}: {_FORM}")
        scheme = "http" if login.allow_http else "https"
        self._base = f"{scheme}://{parts.netloc}/v2/{found['repository']}"
        self._repository = found["repository"]
        self._digest = found["digest"] or ""
        self._reference = self._digest or found["tag"] or "latest"
        self._login = login

    async def listing(self) -> stores.Listing:
        """Read the manifest, and see what its layers are."""
        content, media_type, headers = await self._manifest()
        digest = folders.digest_of(content)
        if self._digest and digest != self._digest:
            raise self._error(stores.Fault.UNREACHABLE, f"the registry gave a manifest with digest {digest}")
        try:
            manifest = msgspec.json.decode(content, type=_Manifest)
        except msgspec.MsgspecError as error:
            raise self._error(stores.Fault.UNUSABLE, f"its manifest cannot be read: {error}") from error
        media_type = manifest.media_type or media_type
        if media_type in _INDEXES:
            raise self._error(
                stores.Fault.UNUSABLE, "it is an index of several manifests; name the one that is meant by its digest"
            )
        if media_type not in _IMAGES:
            raise self._error(stores.Fault.UNUSABLE, f"its manifest has media type {media_type!r}; expected {_known()}")
        entries = tuple(self._entry(layer, len(manifest.layers), headers) for layer in manifest.layers)
        if not entries:
            raise self._error(stores.Fault.UNUSABLE, "it has no layers, so it holds no file")
        is_folder = len(entries) > 1 or bool(entries[0].packed)
        return stores.Listing(entries, is_folder, resolved=f"oci manifest {digest}")

    def _entry(self, layer: _Descriptor, layers: int, headers: Mapping[str, str]) -> stores.Entry:
        kind: Literal["", "tar", "tar+gzip"] = _TARS.get(layer.media_type) or ""
        title = layer.annotations.get(_TITLE, "")
        packed: Literal["", "tar", "tar+gzip"] = kind
        if title and layer.annotations.get(_UNPACK) != "true":
            packed = ""
        elif layer.annotations.get(_UNPACK) == "true" and not kind:
            raise self._error(
                stores.Fault.UNUSABLE,
                f"layer {title!r} is to be unpacked and has media type {layer.media_type!r}; expected tar or tar+gzip",
            )
        elif not title and (layers > 1 or not (kind or _is_raw(layer.media_type))):
            raise self._error(
                stores.Fault.UNUSABLE,
                f"a layer has media type {layer.media_type!r} and no title (annotation {_TITLE}); expected files with "
                "titles as `oras push` makes them, one ONNX file, or an image of one tar or tar+gzip layer",
            )
        if layer.urls or not re.fullmatch(r"sha256:[0-9a-f]{64}", layer.digest):
            raise self._error(
                stores.Fault.UNUSABLE, f"a layer is kept elsewhere or has no SHA-256 digest: {layer.digest[:80]!r}"
            )
        uri = f"{self._base}/blobs/{layer.digest}"
        return stores.Entry(
            path=title or "layer",
            store=web.WebStore(uri, headers=headers),
            size_bytes=layer.size,
            version=layer.digest,
            digest=layer.digest,
            packed=packed,
        )

    async def _manifest(self) -> tuple[bytes, str, dict[str, str]]:
        """Return the manifest, its media type, and the headers with which the registry gave it."""
        uri = f"{self._base}/manifests/{self._reference}"
        headers = self._login.authorization()
        for is_last in (False, True):
            async with calls.got(uri, _ACCEPT | headers) as answer:
                if answer.status == HTTPStatus.UNAUTHORIZED and not is_last:
                    challenge = answer.headers.get("www-authenticate", "")
                else:
                    answer.require({HTTPStatus.OK})
                    media_type = answer.headers.get("content-type", "").partition(";")[0].strip()
                    return await answer.whole(), media_type, headers
            headers = await self._answered(challenge)
        raise AssertionError

    async def _answered(self, challenge: str) -> dict[str, str]:
        """Return the headers that a registry asks for."""
        scheme, _, rest = challenge.partition(" ")
        told = dict(_CHALLENGE.findall(rest))
        if scheme.lower() == "basic":
            if not self._login.basic():
                raise self._error(
                    stores.Fault.ACCESS_DENIED, "the registry wants a password: OCI_USERNAME and OCI_PASSWORD"
                )
            return self._login.basic()
        realm = told.get("realm", "")
        if scheme.lower() != "bearer" or not realm.startswith(("https://", "http://")):
            raise self._error(stores.Fault.ACCESS_DENIED, f"the registry asks for {scheme!r}, which is not known here")
        if realm.startswith("http://") and not self._login.allow_http:
            raise self._error(stores.Fault.ACCESS_DENIED, "the registry wants the password sent over plain http")
        scope = f"repository:{self._repository}:pull"
        query = f"service={quote(told.get('service', ''))}&scope={quote(scope)}"
        body = await calls.small(f"{realm}{'&' if '?' in realm else '?'}{query}", self._login.basic())
        try:
            token = msgspec.json.decode(body, type=_Token)
        except msgspec.MsgspecError as error:
            raise self._error(stores.Fault.UNREACHABLE, f"{stores.shown(realm)} gave no token: {error}") from error
        return {"authorization": f"Bearer {token.token or token.access_token}"}

    def _error(self, fault: stores.Fault, message: str) -> stores.StoreError:
        return stores.StoreError(fault, f"{self._shown}: {message}")


def _is_raw(media_type: str) -> bool:
    return media_type in {"application/octet-stream", "application/vnd.cncf.model.weight.v1.raw"} or (
        "onnx" in media_type and "+gzip" not in media_type and "+zstd" not in media_type
    )


def _known() -> str:
    return " or ".join(sorted(_IMAGES))
