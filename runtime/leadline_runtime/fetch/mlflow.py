"""A model version of an MLflow registry: `models:/name@alias`, or `models:/name/version`.

MLFLOW_TRACKING_URI names the server; an alias is resolved to a version, the version to where its artifacts are: with the
server itself, which passes them on, or in a bucket. Only documented calls of its REST API are used.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeVar
from urllib.parse import quote, unquote, urlencode

import msgspec

from leadline_runtime.fetch import calls, folders, stores, web

T = TypeVar("T")

_URI: Final = re.compile(r"models:/(?P<name>[^/@#?]+)(@(?P<alias>[^/@]+)|/(?P<version>[0-9]+))/?")
_ARTIFACTS: Final = "mlflow-artifacts:"
_BUCKETS: Final = {"s3", "gs"}


@dataclass(frozen=True, slots=True)
class Login:
    """Where the server is and who calls, from the credentials Secret."""

    server: str = ""
    user: str = ""
    password: str = ""
    token: str = ""

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "Login":
        """Return what the environment holds."""
        return cls(
            environment.get("MLFLOW_TRACKING_URI", "").strip().rstrip("/"),
            environment.get("MLFLOW_TRACKING_USERNAME", "").strip(),
            environment.get("MLFLOW_TRACKING_PASSWORD", "").strip(),
            environment.get("MLFLOW_TRACKING_TOKEN", "").strip(),
        )

    def headers(self) -> dict[str, str]:
        """Return what authorizes; a user comes before a token, as with MLflow's own client."""
        if self.user:
            return {"authorization": calls.basic(self.user, self.password)}
        return {"authorization": f"Bearer {self.token}"} if self.token else {}


class _Version(msgspec.Struct):
    version: str | int


class _Alias(msgspec.Struct):
    model_version: _Version


class _Place(msgspec.Struct):
    artifact_uri: str


class _File(msgspec.Struct):
    path: str
    is_dir: bool = False
    file_size: int | str = 0


class _Files(msgspec.Struct):
    files: list[_File] = []


class RegisteredModel:
    """The artifacts of one model version."""

    def __init__(self, uri: str, login: Login) -> None:
        found = _URI.fullmatch(uri)
        self._shown = stores.shown(uri)
        if found is None:
            message = f"{self._shown}: expected models:/NAME@ALIAS or models:/NAME/VERSION"
            raise stores.StoreError(stores.Fault.NOT_FOUND, message)
        if not login.server.startswith(("http://", "https://")):
            message = f"{self._shown}: expected MLFLOW_TRACKING_URI=http(s)://host[:port] in the credentials Secret"
            raise stores.StoreError(stores.Fault.NOT_FOUND, message)
        self._name = unquote(found["name"])
        self._alias = unquote(found["alias"] or "")
        self._version = found["version"] or ""
        self._login = login

    async def listing(self) -> stores.Listing:
        """Ask which version it is, where its artifacts are, and which there are."""
        version = self._version
        if self._alias:
            asked = {"name": self._name, "alias": self._alias}
            version = str((await self._ask("registered-models/alias", asked, _Alias)).model_version.version)
        asked = {"name": self._name, "version": version}
        place = (await self._ask("model-versions/get-download-uri", asked, _Place)).artifact_uri
        resolved = f"mlflow version {version}"
        scheme = place.partition(":")[0]
        if scheme in _BUCKETS:
            from leadline_runtime.fetch import buckets  # noqa: PLC0415  # obstore takes 10 MB

            bucket = await buckets.source(place.rstrip("/") + "/").listing()
            return stores.Listing(bucket.entries, is_folder=True, resolved=resolved)
        if not place.startswith(_ARTIFACTS):
            message = (
                f"{self._shown}: version {version} has its artifacts at {stores.shown(place)}; expected them with the "
                "server (mlflow server --serve-artifacts), in s3:// or in gs://"
            )
            raise stores.StoreError(stores.Fault.UNUSABLE, message)
        # With or without the server's own address, after which the path begins.
        path = re.sub(r"^//[^/]*", "", place.removeprefix(_ARTIFACTS)).strip("/")
        entries = await self._walk(path, version)
        if not entries:
            raise stores.StoreError(stores.Fault.NOT_FOUND, f"{self._shown}: version {version} has no artifacts")
        return stores.Listing(tuple(entries), is_folder=True, resolved=resolved)

    async def _walk(self, root: str, version: str) -> list[stores.Entry]:
        """Return the server's files below a path."""
        found: list[stores.Entry] = []
        waiting = [root]
        while waiting and len(found) <= folders.FILES_MAX:
            folder = waiting.pop()
            for file in (await self._ask("artifacts", {"path": folder}, _Files, "mlflow-artifacts")).files:
                path = f"{folder}/{file.path}"
                if file.is_dir:
                    waiting.append(path)
                    continue
                uri = f"{self._login.server}/api/2.0/mlflow-artifacts/artifacts/{quote(path)}"
                store = web.WebStore(uri, headers=self._login.headers())
                found.append(stores.Entry(path[len(root) + 1 :], store, int(file.file_size), version))
        return found

    async def _ask(self, call: str, query: dict[str, str], kind: type[T], api: str = "mlflow") -> T:
        uri = f"{self._login.server}/api/2.0/{api}/{call}?{urlencode(query)}"
        try:
            return msgspec.json.decode(await calls.small(uri, self._login.headers()), type=kind)
        except msgspec.MsgspecError as error:
            message = f"{self._shown}: {stores.shown(uri)} answered what MLflow does not: {error}"
            raise stores.StoreError(stores.Fault.UNREACHABLE, message) from error
