"""HTTP/2 as h2spec judges it: all of its 145 cases, and its strict one, against real sockets.

h2spec is named by LEADLINE_H2SPEC, or `hack/cluster/provide` builds it (seconds, once).
"""

import asyncio
import os
import socket
import subprocess
import threading
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvloop
from leadline_runtime.grpc import calls, service
from leadline_runtime.oip import routes
from leadline_runtime.web import server

from tests.wiring.runtime.pods import Pod

BUILD_SECONDS = 600
RUN_SECONDS = 120
CASES = 146
PREFACE = "Sends invalid connection preface"


@pytest.fixture(scope="module")
def h2spec() -> str:
    named = os.environ.get("LEADLINE_H2SPEC")
    if named and Path(named).exists():
        return named
    provide = Path(__file__).parents[3] / "hack" / "cluster" / "provide"
    built = subprocess.run(
        [str(provide), "build", "h2spec"], check=True, stdout=subprocess.PIPE, text=True, timeout=BUILD_SECONDS
    )
    return built.stdout.strip()


@pytest.fixture
def http2_alone() -> Iterator[int]:
    """A port of ours that takes HTTP/2 only."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    listener.setblocking(False)
    loop = uvloop.new_event_loop()

    async def serve() -> None:
        answering = service.Service("digits", "digits-1")
        port = calls.Port(answering.handle, answering.receivers, loop.time)
        rest = routes.Routes("digits", "digits-1")
        serving = server.Server(rest.handle, server.Limits(), now=loop.time())
        serving.connection = lambda: port.protocol(serving)  # type: ignore[assignment, method-assign, return-value]
        await serving.listen(listener)

    loop.run_until_complete(serve())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield listener.getsockname()[1]
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.run_until_complete(asyncio.sleep(0))


def failures(h2spec: str, port: int, folder: Path) -> list[str]:
    """Run all cases; return those that failed."""
    report = folder / "report.xml"
    subprocess.run(
        [h2spec, "--strict", "--port", str(port), "--host", "127.0.0.1", "--junit-report", str(report)],
        check=False,
        stdout=subprocess.DEVNULL,
        timeout=RUN_SECONDS,
    )
    cases = list(ET.parse(report).getroot().iter("testcase"))
    assert len(cases) == CASES
    return [f"{case.get('package')}: {case.get('classname')}" for case in cases if len(case)]


def test_every_case_passes_on_a_port_of_its_own(h2spec, http2_alone, tmp_path):
    assert failures(h2spec, http2_alone, tmp_path) == []


def test_every_case_of_http2_passes_on_the_port_that_both_protocols_share(h2spec, served: Pod, tmp_path):
    """What begins with neither a preface nor a request is answered 400 in HTTP/1.1, where h2spec expects silence."""
    failed = failures(h2spec, served.public, tmp_path)
    assert [name.partition(": ")[2] for name in failed] == [PREFACE]
