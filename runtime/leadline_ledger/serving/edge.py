"""Around each call: how many may be under way, who calls and may, and what an error is over HTTP.

Everything but `/healthz`, `/readyz` and `/metrics` needs a token. A service account of a namespace is good for that
namespace, the operator's for all; what only the operator may do says so at its route.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
from aiohttp import web
from leadline_wire import ledger

from leadline_ledger import errors, logs, tokens

RETRY_AFTER_SECONDS: Final = 1
_OPEN: Final = frozenset({"/healthz", "/readyz", "/metrics"})
_ACCOUNT: Final = "system:serviceaccount:"
USER: Final = web.RequestKey("user", str)
_OWNER: Final = web.RequestKey("owner", tokens.User)
_STATUSES: Final = (
    (errors.TooLargeError, 413),
    (errors.MismatchError, 422),
    (errors.BadInputError, 400),
    (errors.NoTokenError, 401),
    (errors.ForbiddenError, 403),
    (errors.NotFoundError, 404),
    (errors.StaleError, 409),
    (errors.GoneError, 410),
    (errors.UnavailableError, 503),
    (errors.FullError, 507),
)
"""The first that fits."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Edge:
    """What all calls go through."""

    def __init__(self, known: tokens.Tokens, *, operator: str, requests_max: int) -> None:
        """Set up for one operator's service account, by its user name."""
        self._tokens = known
        self._operator = operator
        self._requests_max = requests_max
        self.under_way = 0
        self.answered: Counter[tuple[str, int]] = Counter()
        """By route and status; for metrics."""

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Count, admit, carry out, and turn errors into answers."""
        self.under_way += 1
        try:
            answer = await self._answer(request, handler)
        finally:
            self.under_way -= 1
        resource = request.match_info.route.resource
        self.answered[resource.canonical if resource else "none", answer.status] += 1
        return answer

    def require_namespace(self, request: web.Request) -> str:
        """Return the namespace of a call's path, for which its token is good.

        Raises:
            ForbiddenError: It is not.
        """
        namespace, user = request.match_info["namespace"], request[USER]
        if user != self._operator and not user.startswith(f"{_ACCOUNT}{namespace}:"):
            raise errors.ForbiddenError(f"{user} may not use namespace {namespace}")
        return namespace

    async def source_of(self, token: str) -> str:
        """Return who reports outcomes with a token; empty: the API server does not know it.

        Raises:
            UnavailableError: The API server cannot be asked.
        """
        try:
            user = (await self._tokens.user_of(token, audience=ledger.OUTCOMES_AUDIENCE)).username
        except errors.NoTokenError:
            return ""
        name = user.removeprefix(_ACCOUNT).replace(":", "/", 1) if user.startswith(_ACCOUNT) else user
        return name if len(name) <= ledger.SOURCE_CHARACTERS_MAX else ""

    def require_operator(self, request: web.Request) -> None:
        """Return where the operator calls.

        Raises:
            ForbiddenError: It is another.
        """
        if request[USER] != self._operator:
            raise errors.ForbiddenError(f"{request[USER]} may not do this, only {self._operator}")

    async def require_access(self, request: web.Request, verb: str, resource: str) -> None:
        """Return where RBAC allows the caller something with the ModelDeployment of the call's path.

        Raises:
            ForbiddenError: It does not; the message says which right is missing.
            UnavailableError: The API server cannot be asked.
        """
        namespace, name = request.match_info["namespace"], request.match_info["name"]
        if not await self._tokens.allows(request[_OWNER], verb=verb, namespace=namespace, resource=resource, name=name):
            raise errors.ForbiddenError(
                f"{request[USER]} may not {verb} {resource} of group leadline.dev in namespace {namespace}; RBAC has to "
                f"allow the verb {verb} on {resource} (the chart's ClusterRole leadline-labeller does)"
            )

    def _check_under_way(self) -> None:
        if self.under_way > self._requests_max:
            raise errors.BusyError(f"{self.under_way} calls are under way, limit {self._requests_max}")

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            if request.path not in _OPEN:
                self._check_under_way()
                request[_OWNER] = await self._tokens.user_of(_token(request))
                request[USER] = request[_OWNER].username
            return await handler(request)
        except errors.LedgerError as error:
            return _told(error)
        except web.HTTPException as error:
            # Of the router: no such path or method.
            return failure(error.status, f"{request.method} {request.path}: {error.reason}", dict(error.headers))
        except (TimeoutError, ConnectionError) as error:
            return failure(408, f"the call's body did not come: {str(error) or 'timeout'}")
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - our own defect: told as such, and the next call is carried out
            logs.error("a call ended in a defect", exc_info=error, path=request.path)
            return failure(500, "a defect of the ledger; its log has the details")


def failure(status: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    """Return an error as the wire has it."""
    kept = {name: value for name, value in (headers or {}).items() if name.lower() in ("allow", "retry-after")}
    body = msgspec.json.encode(ledger.LedgerError(message))
    return web.Response(status=status, body=body, content_type="application/json", headers=kept)


def _told(error: errors.LedgerError) -> web.Response:
    status = next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)
    headers = {"retry-after": str(RETRY_AFTER_SECONDS)} if status == 503 else None
    return failure(status, str(error), headers)


def _token(request: web.Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise errors.NoTokenError("expected the header authorization: Bearer TOKEN")
    return token.strip()
