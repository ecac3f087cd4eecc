"""Whose a token is, and what RBAC allows its owner: the API server says so (TokenReview, SubjectAccessReview).

Whose it is, is remembered for a short time. The ledger's own service account asks. Where the API server cannot be asked nobody is refused for good: the call is
answered 503 and told again. Tokens are remembered by their SHA-256 only. Who may do what is in `serving.edge`.
"""

import asyncio
import hashlib
import ssl
from collections import Counter, OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import aiohttp
import msgspec
from leadline_wire import ledger

from leadline_ledger import errors

GOOD_SECONDS: Final = 60.0
"""A token that was taken back is good for so long at most."""
BAD_SECONDS: Final = 5.0
REMEMBERED_MAX: Final = 4_096
_ACCOUNT_SECONDS: Final = 60.0
"""The kubelet renews the ledger's own token in its file; it is read again this often."""
_REVIEW_SECONDS: Final = 5.0
_REVIEWS_MAX: Final = 32
"""At the same time; the others wait."""
_TOKEN_CHARACTERS_MAX: Final = 16_384
_PATH: Final = "/apis/authentication.k8s.io/v1/tokenreviews"
_ACCESS_PATH: Final = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
_GROUP: Final = "leadline.dev"


class User(msgspec.Struct, frozen=True):
    """Whose a token is, as the API server says."""

    username: str = ""
    uid: str = ""
    groups: list[str] = []
    extra: dict[str, list[str]] = {}


class _Status(msgspec.Struct):
    authenticated: bool = False
    audiences: list[str] = []
    user: User = User()


class _Review(msgspec.Struct):
    status: _Status = msgspec.field(default_factory=_Status)


class _Access(msgspec.Struct):
    allowed: bool = False


class _AccessReview(msgspec.Struct):
    status: _Access = msgspec.field(default_factory=_Access)


class Tokens:
    """Asks the API server, and remembers."""

    def __init__(self, api_server: str, account: Path, *, monotonic: Callable[[], float]) -> None:
        """Set up, without a connection yet.

        Args:
            api_server: URL of the API server.
            account: Folder with `token` and, for https, `ca.crt`.
            monotonic: Seconds on a clock that never steps back.
        """
        self._url = api_server
        self._account = account
        self._monotonic = monotonic
        self._own_token = ""
        self._tls: ssl.SSLContext | bool = True
        self._account_read_at = float("-inf")
        self._session: aiohttp.ClientSession | None = None
        self._known: OrderedDict[bytes, tuple[float, User]] = OrderedDict()
        self._asking: dict[bytes, asyncio.Task[User]] = {}
        self._turns = asyncio.Semaphore(_REVIEWS_MAX)
        self.reviews: Counter[str] = Counter()
        """What the API server answered: known, unknown or unreachable; for metrics."""

    async def user_of(self, token: str, *, audience: str = ledger.AUDIENCE) -> User:
        """Return a token's owner.

        Args:
            token: As it came.
            audience: Whom it must be meant for.

        Raises:
            NoTokenError: The API server does not know the token, or it is for another audience.
            UnavailableError: The API server cannot be asked.
        """
        if not 0 < len(token) <= _TOKEN_CHARACTERS_MAX:
            raise errors.NoTokenError(f"expected a token of 1 to {_TOKEN_CHARACTERS_MAX} characters")
        key = hashlib.sha256(f"{audience} {token}".encode("utf-8", "surrogateescape")).digest()
        known = self._known.get(key)
        if known is not None and self._monotonic() < known[0]:
            user = known[1]
        else:
            task = self._asking.get(key)
            if task is None:
                # One question for all calls with the same token, and it goes on where the first caller leaves.
                task = self._asking[key] = asyncio.create_task(self._ask(key, token, audience))
                task.add_done_callback(lambda done: self._asked(key, done))
            user = await asyncio.shield(task)
        if not user.username:
            raise errors.NoTokenError(f"the API server does not know this token for the audience {audience}")
        return user

    async def close(self) -> None:
        """Close the connections."""
        for task in list(self._asking.values()):
            task.cancel()
        if self._session is not None:
            await self._session.close()

    def _asked(self, key: bytes, task: asyncio.Task[User]) -> None:
        self._asking.pop(key, None)
        if not task.cancelled():
            task.exception()  # looked at, so that nothing is logged where all callers have left

    async def _ask(self, key: bytes, token: str, audience: str) -> User:
        try:
            async with self._turns, asyncio.timeout(_REVIEW_SECONDS):
                user = await self._review(token, audience)
        except (aiohttp.ClientError, OSError, TimeoutError, msgspec.DecodeError) as error:
            self.reviews["unreachable"] += 1
            why = str(error) or type(error).__name__
            raise errors.UnavailableError(f"the API server cannot be asked whose the token is ({why})") from error
        self.reviews["known" if user.username else "unknown"] += 1
        self._known[key] = (self._monotonic() + (GOOD_SECONDS if user.username else BAD_SECONDS), user)
        self._known.move_to_end(key)
        if len(self._known) > REMEMBERED_MAX:
            self._known.popitem(last=False)
        return user

    async def allows(self, user: User, *, verb: str, namespace: str, resource: str, name: str) -> bool:
        """Tell whether RBAC allows somebody to do something; each time anew, so that a right that is taken back is gone.

        Args:
            user: Who.
            verb: Such as `create`.
            namespace: Of the object.
            resource: With its subresource, of our own group: `modeldeployments/labels`.
            name: Of the object.

        Raises:
            UnavailableError: The API server cannot be asked.
        """
        resource, _, subresource = resource.partition("/")
        spec = {
            "user": user.username,
            "uid": user.uid,
            "groups": user.groups,
            "extra": user.extra,
            "resourceAttributes": {
                "group": _GROUP,
                "version": "*",
                "resource": resource,
                "subresource": subresource,
                "verb": verb,
                "namespace": namespace,
                "name": name,
            },
        }
        body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
        try:
            async with self._turns, asyncio.timeout(_REVIEW_SECONDS):
                said = await self._posted(_ACCESS_PATH, body)
            return msgspec.json.decode(said, type=_AccessReview).status.allowed
        except (aiohttp.ClientError, OSError, TimeoutError, msgspec.DecodeError) as error:
            self.reviews["unreachable"] += 1
            why = str(error) or type(error).__name__
            raise errors.UnavailableError(
                f"the API server cannot be asked what {user.username} may do ({why})"
            ) from error

    async def _review(self, token: str, audience: str) -> User:
        """Return the token's owner; without a name: it is not known."""
        body: dict[str, Any] = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [audience]},
        }
        status = msgspec.json.decode(await self._posted(_PATH, body), type=_Review).status
        if not status.authenticated or audience not in status.audiences:
            return User()
        return status.user

    async def _posted(self, path: str, body: dict[str, Any]) -> bytes:
        """Return what the API server answers to a review."""
        await self._read_account()
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_REVIEW_SECONDS))
        headers = {"authorization": f"Bearer {self._own_token}"}
        async with self._session.post(self._url + path, json=body, headers=headers, ssl=self._tls) as answer:
            if answer.status not in (200, 201):
                if answer.status in (401, 403):
                    # Perhaps the own token was renewed just now.
                    self._account_read_at = float("-inf")
                raise aiohttp.ClientPayloadError(f"POST {path} answered {answer.status}")
            return await answer.read()

    async def _read_account(self) -> None:
        now = self._monotonic()
        if now < self._account_read_at + _ACCOUNT_SECONDS:
            return
        self._own_token, self._tls = await asyncio.to_thread(self._account_files)
        self._account_read_at = now

    def _account_files(self) -> tuple[str, ssl.SSLContext | bool]:
        token = (self._account / "token").read_text(encoding="ascii").strip()
        authority = self._account / "ca.crt"
        if not self._url.startswith("https:") or not authority.is_file():
            return token, True
        return token, ssl.create_default_context(cafile=str(authority))
