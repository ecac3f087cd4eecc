"""A model in a repository of the Hugging Face hub, or of a server that speaks as it does.

`hf://organisation/name@revision/path`: a file, or a folder where the path ends in / or is left out; without a revision it
is `main`. The revision's commit is asked for first and everything is fetched by it, so that a branch that moves meanwhile
gives no mixture. HF_TOKEN authorizes with the hub itself, not where it sends us for large files.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote

import msgspec

from leadline_runtime.fetch import calls, stores, web

_ENDPOINT: Final = "https://huggingface.co"
_URI: Final = re.compile(r"hf://(?P<name>[A-Za-z0-9._-]+/[A-Za-z0-9._-]+)(@(?P<revision>[^/@]+))?(/(?P<path>[^?]*))?")


@dataclass(frozen=True, slots=True)
class Login:
    """Where the hub is and who calls, from the credentials Secret."""

    endpoint: str = _ENDPOINT
    token: str = ""

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "Login":
        """Return what the environment holds."""
        return cls(
            environment.get("HF_ENDPOINT", "").strip().rstrip("/") or _ENDPOINT,
            environment.get("HF_TOKEN", "").strip(),
        )

    def headers(self) -> dict[str, str]:
        """Return what authorizes."""
        return {"authorization": f"Bearer {self.token}"} if self.token else {}


class _Sibling(msgspec.Struct):
    rfilename: str


class _Repository(msgspec.Struct):
    sha: str
    siblings: list[_Sibling] = []


class Repository:
    """A file or a folder of a repository."""

    def __init__(self, uri: str, login: Login) -> None:
        found = _URI.fullmatch(uri)
        self._shown = stores.shown(uri)
        if found is None:
            raise stores.StoreError(
                stores.Fault.NOT_FOUND, f"{self._shown}: expected hf://organisation/name@revision/path"
            )
        self._name = found["name"]
        self._revision = unquote(found["revision"] or "main")
        self._path = unquote(found["path"] or "")
        self._login = login

    async def listing(self) -> stores.Listing:
        """Ask for the commit and its files."""
        revision = quote(self._revision, safe="")
        uri = f"{self._login.endpoint}/api/models/{self._name}/revision/{revision}"
        content = await calls.small(uri, self._login.headers())
        try:
            repository = msgspec.json.decode(content, type=_Repository)
        except msgspec.MsgspecError as error:
            message = f"{self._shown}: {stores.shown(uri)} answered what the hub does not: {error}"
            raise stores.StoreError(stores.Fault.UNREACHABLE, message) from error
        files = [sibling.rfilename for sibling in repository.siblings]
        resolved = f"hf commit {repository.sha}"
        if self._path and not self._path.endswith("/"):
            if self._path not in files:
                more = "; a folder's URI ends in /" if any(name.startswith(f"{self._path}/") for name in files) else ""
                raise self._missing(repository.sha, f"has no file {self._path!r}{more}")
            return stores.Listing((self._entry(repository.sha, self._path, ""),), is_folder=False, resolved=resolved)
        below = [name for name in files if name.startswith(self._path)]
        if not below:
            raise self._missing(repository.sha, f"has no file below {self._path!r}")
        entries = tuple(self._entry(repository.sha, name, name[len(self._path) :]) for name in below)
        return stores.Listing(entries, is_folder=True, resolved=resolved)

    def _entry(self, commit: str, name: str, path: str) -> stores.Entry:
        uri = f"{self._login.endpoint}/{self._name}/resolve/{quote(commit, safe='')}/{quote(name)}"
        return stores.Entry(path, web.WebStore(uri, headers=self._login.headers()), version=commit)

    def _missing(self, commit: str, what: str) -> stores.StoreError:
        return stores.StoreError(stores.Fault.NOT_FOUND, f"{self._shown}: commit {commit[:12]} {what}")
