"""Floods of HTTP/2 against a real pod, while other clients call it: the flood is ended, the others notice nothing.

What each limit is and that it holds to the frame: tests/unit/runtime/test_http2_attacks.py.
"""

import contextlib
import socket
import struct
from pathlib import Path

import pytest
from leadline_runtime.http2 import frames

from tests.wiring.runtime import calling
from tests.wiring.runtime.pods import CHANGE_SECONDS, eventually

ATTACKERS = 5
GROWTH_BYTES = 64 << 20
BEGIN = frames.PREFACE + frames.settings({}) + frames.SETTINGS_ACK
HEAD = b"\x83\x86\x84\x41\x01x"  # POST / of host x


def begun(number, flags=frames.END_HEADERS):
    return frames.frame(frames.HEADERS, flags, number, HEAD)


FLOODS = {
    "rapid reset": b"".join(begun(n) + frames.reset(n, frames.CANCEL) for n in range(1, 40_001, 2)),
    "made resets": b"".join(begun(n) + frames.window_update(n, 0) for n in range(1, 40_001, 2)),
    "pings": frames.frame(frames.PING, 0, 0, bytes(8)) * 50_000,
    "settings": frames.settings({frames.INITIAL_WINDOW_SIZE: 1}) * 20_000,
    "empty data": begun(1) + frames.frame(frames.DATA, 0, 1) * 100_000,
    "continuations": begun(1, 0) + frames.frame(frames.CONTINUATION, 0, 1, b"\0\1a\1b") * 50_000,
    "header bomb": frames.frame(
        frames.HEADERS, frames.END_HEADERS, 1, HEAD + b"\x40\x01a\x7f\x81\x1e" + b"x" * 4_000 + b"\xbe" * 12_000
    ),
    "windows": frames.window_update(0, 1) * 50_000,
}


def resident_bytes(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1_024


def ended_with(port, flood):
    """Send a flood to its end or ours; return the code of the GOAWAY that answers it."""
    with socket.create_connection(("127.0.0.1", port), timeout=CHANGE_SECONDS) as attacker:
        received = b""
        with contextlib.suppress(OSError):
            attacker.sendall(BEGIN + flood)
        with contextlib.suppress(ConnectionResetError):
            while data := attacker.recv(1 << 16):
                received += data
    at, code = 0, None
    while len(received) - at >= 9:
        high, low, kind, _, _ = struct.unpack_from(">BHBBI", received, at)
        if kind == frames.GOAWAY:
            code = int.from_bytes(received[at + 13 : at + 17], "big")
        at += 9 + (high << 16 | low)
    return code


@pytest.mark.parametrize("name", FLOODS)
def test_floods_are_ended_and_others_notice_nothing(served, digits, name):
    pid = served.worker_pid()
    before = resident_bytes(pid)
    with calling.Clients(served.public, digits.rows[0], count=2) as clients:
        eventually("served", lambda: clients.seen)
        codes = {ended_with(served.public, FLOODS[name]) for _ in range(ATTACKERS)}
        seen = len(clients.seen)
        eventually("still served", lambda: len(clients.seen) > seen + 10)
    assert codes == {frames.ENHANCE_YOUR_CALM}
    assert clients.failures == []
    assert served.worker_pid() == pid
    assert resident_bytes(pid) - before < GROWTH_BYTES


def test_connections_that_stall_are_ended_in_bounded_memory(served, digits):
    """Half a preface, half a frame, half a body: each is ended by the same clock as over HTTP/1.1 (a second here)."""
    pid = served.worker_pid()
    before = resident_bytes(pid)
    halves = [frames.PREFACE[:12], BEGIN + b"\0\0", BEGIN + begun(1, 0), frames.PREFACE]
    stalled = []
    try:
        for number in range(400):
            stalled.append(socket.create_connection(("127.0.0.1", served.public), timeout=CHANGE_SECONDS))
            stalled[-1].sendall(halves[number % len(halves)])
        with calling.Clients(served.public, digits.rows[0], count=2) as clients:
            eventually("served", lambda: len(clients.seen) > 20)
            assert resident_bytes(pid) - before < GROWTH_BYTES
            for each in stalled:
                while each.recv(1 << 16):
                    pass
        assert clients.failures == []
    finally:
        for each in stalled:
            each.close()
