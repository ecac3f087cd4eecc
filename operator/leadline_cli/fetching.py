"""Reach the ledger of a cluster through kubectl as the user has it, and get the log of one ModelDeployment.

A token that kubectl makes for the operator's service account, a port-forward to the ledger, and its log page by page. The
forward is a child of ours and ends with us, whatever happens in between. Every wait is bounded. Next step: `replaying`; of
outcomes as a table `exporting`.

Must not keep the token, and must not change anything in the cluster.
"""

import contextlib
import http.client
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Final
from urllib.parse import quote

import msgspec
from leadline_wire.ledger import AUDIENCE, LOG_LIMIT_MAX, PORT, Entry, LedgerError, Log

from leadline_cli import errors

KUBECTL_SECONDS: Final = 30.0
"""For one answer of kubectl: a token, or a forward that stands."""
CALL_SECONDS: Final = 30.0
"""For one page of the log."""
END_SECONDS: Final = 5.0
"""For the forward to end when asked to; then it is killed."""
_SERVICE: Final = "svc/leadline-ledger"
_BLOCK_BYTES: Final = 256 << 10
_NOT_TRUSTED: Final = "--system-namespace and --service-account name the operator that the ledger trusts"
_HINTS: Final = {401: _NOT_TRUSTED, 403: _NOT_TRUSTED}
_FORWARDS: Final = re.compile(rb"Forwarding from 127\.0\.0\.1:(\d+) ")


@dataclass(frozen=True, slots=True)
class Install:
    """Where Leadline is installed in the cluster."""

    namespace: str = "leadline-system"
    service_account: str = "leadline"
    """Of the operator: the ledger shows it all namespaces."""


@dataclass(frozen=True, slots=True)
class Account:
    """A service account that the ledger is asked as."""

    namespace: str
    name: str


class Reached:
    """The ledger behind a forwarded port."""

    def __init__(self, connection: http.client.HTTPConnection, token: str, said: IO[bytes], install: Install) -> None:
        """Set up; `said` is what kubectl complains of."""
        self._connection = connection
        self._headers = {"authorization": f"Bearer {token}"}
        self._said = said
        self._install = install

    def ask(
        self, path: str, model: str, hints: Mapping[int, str] | None = None, *, body: bytes | None = None
    ) -> http.client.HTTPResponse:
        """Return the ledger's answer; its body has to be read by `blocks` before the next one is asked for.

        Args:
            path: With its query.
            model: Whom the message of an error names.
            hints: What to do, by the status of an error.
            body: What is brought, by POST; None: it is only asked for, by GET.

        Raises:
            Refused: There is none, or it is an error; the message says of which model, and why.
        """
        with self._errors():
            self._connection.request("GET" if body is None else "POST", path, body, headers=self._headers)
            answer = self._connection.getresponse()
            if answer.status == http.HTTPStatus.OK:
                return answer
            told = answer.read()
        hint = {**_HINTS, **(hints or {})}.get(answer.status)
        said = f"{_error(told)}; {hint}" if hint else _error(told)
        raise errors.Refused(f"{model}: the ledger answers {answer.status}: {said}")

    def blocks(self, answer: http.client.HTTPResponse) -> Iterator[bytes]:
        """Yield the body of an answer, piece by piece.

        Raises:
            Refused: It is not whole.
        """
        while True:
            with self._errors():
                block = answer.read(_BLOCK_BYTES)
            if not block:
                return
            yield block

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, http.client.HTTPException) as error:
            raise errors.Refused(
                f"ledger {_SERVICE} in {self._install.namespace}: {type(error).__name__}: {error}{_because(self._said)}"
            ) from error


@contextlib.contextmanager
def reached(install: Install, account: Account | None = None) -> Iterator[Reached]:
    """Reach the ledger of a cluster for as long as this is open.

    Args:
        install: Where it is.
        account: As whom; None: as the operator.

    Raises:
        Refused: kubectl or the cluster does not let us; the message says which, and why.
    """
    kubectl = os.environ.get("KUBECTL") or "kubectl"
    command = shutil.which(kubectl)
    if command is None:
        raise errors.Refused(f"{kubectl}: No such command; install kubectl, name it in KUBECTL, or give replay a file")
    token = _token(command, account or Account(install.namespace, install.service_account))
    with (
        _forward(command, install) as (port, said),
        contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=CALL_SECONDS)) as connection,
    ):
        yield Reached(connection, token, said, install)


def path_of(namespace: str, name: str) -> str:
    """Return the path of a ModelDeployment in the ledger."""
    return f"/v1/namespaces/{quote(namespace, safe='')}/models/{quote(name, safe='')}"


def fetch(namespace: str, name: str, install: Install) -> list[Entry]:
    """Return the log of a ModelDeployment, up to what was newest when it began.

    Raises:
        Refused: kubectl, the cluster or the ledger does not give it; the message says which, and why.
    """
    with reached(install) as ledger:
        return _pages(ledger, namespace, name)


def _token(kubectl: str, account: Account) -> str:
    asked = ["create", "token", account.name, "-n", account.namespace, "--audience", AUDIENCE]
    try:
        done = subprocess.run(
            [kubectl, *asked],
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            stdin=subprocess.DEVNULL,
            timeout=KUBECTL_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise errors.Refused(f"kubectl {' '.join(asked)}: no answer within {KUBECTL_SECONDS:g} s") from error
    except OSError as error:
        raise errors.Refused(f"{kubectl}: {error.strerror}") from error
    if done.returncode != 0 or not done.stdout.strip():
        raise errors.Refused(f"kubectl {' '.join(asked)}: {_line(done.stderr) or f'exit status {done.returncode}'}")
    return done.stdout.strip()


@contextlib.contextmanager
def _forward(kubectl: str, install: Install) -> Iterator[tuple[int, IO[bytes]]]:
    """Forward a free local port to the ledger; yields the port and what kubectl complains of."""
    asked = ["port-forward", "-n", install.namespace, "--address", "127.0.0.1", _SERVICE, f":{PORT}"]
    with tempfile.TemporaryFile() as said, _signals_as_exits():
        try:
            child = subprocess.Popen([kubectl, *asked], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said)
        except OSError as error:
            raise errors.Refused(f"{kubectl}: {error.strerror}") from error
        try:
            assert child.stdout is not None
            yield _port(child.stdout, said, " ".join(asked)), said
        finally:
            _end(child)


def _port(stdout: IO[bytes], said: IO[bytes], asked: str) -> int:
    """Return the local port, once kubectl says that it forwards it."""
    until = time.monotonic() + KUBECTL_SECONDS
    heard = b""
    while (left := until - time.monotonic()) > 0:
        if not select.select([stdout], [], [], left)[0]:
            break
        more = os.read(stdout.fileno(), 4_096)
        if not more:
            raise errors.Refused(f"kubectl {asked}: {_complaint(said) or 'ended without a word'}")
        heard = (heard + more)[-65_536:]
        found = _FORWARDS.search(heard)
        if found:
            return int(found[1])
    raise errors.Refused(f"kubectl {asked}: does not forward within {KUBECTL_SECONDS:g} s{_because(said)}")


def _end(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    if child.stdout is not None:
        child.stdout.close()


@contextlib.contextmanager
def _signals_as_exits() -> Iterator[None]:
    """Turn signals that would end this process at once into exits, which leave no child behind."""

    def leave(number: int, _: types.FrameType | None) -> None:
        sys.exit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _pages(ledger: Reached, namespace: str, name: str) -> list[Entry]:
    """Return all pages; what comes in meanwhile is not waited for, so it ends on a busy ledger, too."""
    entries: list[Entry] = []
    path, model = f"{path_of(namespace, name)}/log", f"{namespace}/{name}"
    after, head = 0, None
    while head is None or after < head:
        answer = ledger.ask(f"{path}?after={after}&limit={LOG_LIMIT_MAX}", model)
        page = _page(b"".join(ledger.blocks(answer)), model)
        head = page.head if head is None else head
        if not page.entries:
            break
        if page.entries[0].seq <= after:
            raise errors.Refused(f"ledger: answers entry {page.entries[0].seq} to a question for those after {after}")
        entries += page.entries
        after = page.entries[-1].seq
    if not entries:
        raise errors.Refused(
            f"{namespace}/{name}: the ledger knows no such ModelDeployment; kubectl get mdep -n {namespace} lists those "
            "there are, and only one with spec.outcomes has a log"
        )
    return entries


def _page(body: bytes, model: str) -> Log:
    try:
        return msgspec.json.decode(body, type=Log)
    except msgspec.DecodeError as error:
        raise errors.Refused(f"{model}: what answers is no ledger, or of another version: {error}") from error


def _error(body: bytes) -> str:
    """Return what an answer says that is none."""
    try:
        return msgspec.json.decode(body, type=LedgerError).error[:500]
    except msgspec.DecodeError:
        return body[:200].decode(errors="replace")


def _because(said: IO[bytes]) -> str:
    complaint = _complaint(said)
    return f"; kubectl says: {complaint}" if complaint else ""


def _complaint(said: IO[bytes]) -> str:
    # The child writes through the same offset: read from the begin without moving it.
    return _line(os.pread(said.fileno(), 65_536, 0).decode(errors="replace"))


def _line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:500] if lines else ""
