"""Latency at a steady rate: an open loop with arrivals of a Poisson process, for p50 and p99 at half load.

Arguments: a file with the plan as JSON (`Plan`). Prints JSON. Latency counts from when a request was due, so a server that
stalls is charged for all that waited (no coordinated omission). It polls without sleeping, for timers of the usual loops
are as coarse as the latencies measured; so it needs a core of its own. Must not import more than it needs.
"""

import gc
import json
import random
import select
import socket
import sys
import time
from collections import deque
from pathlib import Path

try:
    from . import wires
except ImportError:  # run as a script
    import wires


def measure(plan: dict) -> dict[str, float]:
    """Return latencies in milliseconds.

    The plan has port, protocol, path, headers, body (a file), rate per second, seconds, connections.
    """
    body = Path(plan["body"]).read_bytes()
    kind = wires.Grpc if plan["protocol"] == "grpc" else wires.Http

    def connect() -> wires.Http | wires.Grpc:
        return kind(plan["port"], plan["path"], plan["headers"], body, 30)

    connections = [connect() for _ in range(plan["connections"])]
    for connection in connections:
        wires.ask(connection)
    chance = random.Random(11)
    now = time.perf_counter
    gc.disable()
    poll = select.epoll()
    by_number = {connection.socket.fileno(): connection for connection in connections}
    for number in by_number:
        poll.register(number, select.EPOLLIN)
    # The one that rested longest is next, for servers close connections that rest.
    idle, due_of, late = deque(connections), {}, deque()
    latencies: list[float] = []
    start = now()
    end = start + plan["seconds"]
    due = start + chance.expovariate(plan["rate"])
    offered = 0
    while True:
        time_now = now()
        while due <= time_now and due < end:
            late.append(due)
            offered += 1
            due += chance.expovariate(plan["rate"])
        while late and idle:
            connection = idle.popleft()
            due_of[connection] = late.popleft()
            connection.send()
        if time_now > end and (not due_of or time_now > end + plan["seconds"] + 5):
            break
        for number, _ in poll.poll(0):
            connection = by_number[number]
            if connection not in due_of and not connection.socket.recv(1, socket.MSG_PEEK):
                poll.unregister(number)
                connection.socket.close()
                idle.remove(connection)
                idle.append(connect())
                by_number[idle[-1].socket.fileno()] = idle[-1]
                poll.register(idle[-1].socket.fileno(), select.EPOLLIN)
            elif connection.receive() is not None:
                latencies.append(now() - due_of.pop(connection))
                idle.append(connection)
    latencies.sort()
    return {
        "offered_per_second": offered / plan["seconds"],
        "answered": len(latencies),
        "unanswered": offered - len(latencies),
        "p50_ms": 1e3 * latencies[len(latencies) // 2],
        "p99_ms": 1e3 * latencies[min(len(latencies) - 1, len(latencies) * 99 // 100)],
    }


if __name__ == "__main__":
    try:
        print(json.dumps(measure(json.loads(Path(sys.argv[1]).read_text()))))
    except (wires.WireError, OSError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
