"""Is each acknowledged outcome there once, and is the evidence what follows from them, whatever is killed meanwhile?

Twenty clients report 200,000 outcomes, and copies of half of the predictions, to real `leadline-ledger` processes: in random
order, a tenth of the calls told again later, some cut off after they were sent. Meanwhile a ledger is killed at random moments, 50
times in all; on PostgreSQL there are two ledgers, and each tenth kill is the server's. A follower stands for the operator: it
reads the log by long poll, folds it, keeps checkpoints in the ledger, and is killed as often, to begin anew from the last of them.
At the end the log is read once more from the beginning.

A third run goes through two real `leadline-runtime` processes (once_through_runtimes.py): predictions get receipts, and outcomes are
reported by them at whichever pod; ledger and pods are killed.

  lost, double   acknowledged outcomes and pairs that are not in the log, or more than once
  differing      characters in which the follower's evidence differs from that of the whole log, folded at once

`make bench-exactly-once`; in its full size it writes benchmarks/results/exactly_once.json. Figures other than 0 end it with status 1.
"""

import argparse
import contextlib
import http.client
import itertools
import json
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
from leadline_operator.reconcile import evidence_state
from leadline_operator.reconcile.evidence import Evidence, fold
from leadline_operator.reconcile.terms import Terms, data_of
from leadline_wire import ledger

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the repository, beside the folder of this file, which is started by its path

from serving import page, places  # noqa: E402 - found only now

from tests.wiring.ledger.parts import MODEL, OPERATOR, RUNTIME, ApiServer, Process  # noqa: E402
from tests.wiring.ledger.postgres.server import Server  # noqa: E402

KINDS = "sqlite,postgres,runtimes"
CLIENTS = 20
CALL_OUTCOMES = 40
TOLD_AGAIN = 0.1
CUT_OFF = 0.02
TERMS = Terms("bench", "accuracy", graded=False, margin=0.02, comparison_alpha=0.004, limit_alpha=0.004)
_NAME = MODEL.removeprefix("/v1/namespaces/").replace("/models/", "/")


class Run:
    """One run on one kind of store."""

    def __init__(self, ledgers: list[Process], server: Server | None, *, outcomes: int, kills: int, seed: int) -> None:
        self.ledgers = ledgers
        self.server = server
        self.outcomes = outcomes
        self.kills = kills
        self.random = random.Random(seed)
        self.begun_ms = time.time_ns() // 1_000_000
        self.acknowledged = 0
        self.killed = 0
        self.follower_starts = 0
        self.evidence = Evidence()
        self._lock = threading.Condition()
        self._done = threading.Event()
        self._follower_dies = threading.Event()

    def go(self) -> dict[str, float]:
        """Run it; return the figures."""
        decision = ledger.Decision("terms", "Terms", "", self.begun_ms, data=data_of((TERMS,)))
        promoted = ledger.Decision("promoted", "Promoted", "digits-a", self.begun_ms)
        for each in (decision, promoted):
            self._until_200("POST", f"{MODEL}/decisions", each, token=OPERATOR)
        begun = time.monotonic()
        threads = [threading.Thread(target=self.client, args=(me,), daemon=True) for me in range(CLIENTS)]
        follower = threading.Thread(target=self._follow, daemon=True)
        for thread in (*threads, follower):
            thread.start()
        self._kill_now_and_then()
        for thread in threads:
            thread.join()
        elapsed = time.monotonic() - begun
        entries = self._whole_log()
        self._done.set()
        follower.join(120)
        outcomes = [(each.id, each.row) for each in entries if isinstance(each, ledger.OutcomeEntry)]
        pairs = [(each.id, each.row) for each in entries if isinstance(each, ledger.PairEntry)]
        wanted, paired = self.expected()
        whole, followed = (evidence_state.write(each) for each in (fold(Evidence(), entries), self.evidence))
        return {
            "outcomes": len(wanted),
            "kills": self.kills,
            "follower_starts": self.follower_starts,
            "lost": len(wanted - set(outcomes)) + len(paired - set(pairs)),
            "double": len(outcomes) - len(set(outcomes)) + len(pairs) - len(set(pairs)),
            "differing": sum(one != other for one, other in itertools.zip_longest(whole, followed)),
            "gaps": sum(each.seq != place for place, each in enumerate(entries, 1)),
            "seconds": round(elapsed, 1),
        }

    def expected(self) -> tuple[set[tuple[str, int]], set[tuple[str, int]]]:
        """Return id and row of the outcomes, and of the pairs, that must be in the log."""
        wanted = {(identifier(self.begun_ms, number), 0) for number in range(self.outcomes)}
        return wanted, {(identifier(self.begun_ms, number), 0) for number in range(0, self.outcomes, 2)}

    def client(self, me: int) -> None:
        """Report every twentieth outcome."""
        rng = random.Random(me)
        numbers = list(range(me, self.outcomes, CLIENTS))
        rng.shuffle(numbers)
        calls = [numbers[place : place + CALL_OUTCOMES] for place in range(0, len(numbers), CALL_OUTCOMES)]
        for place, call in enumerate(calls):
            self.wait_for_kills()
            self._tell(rng, self._intake(call))
            self.acknowledge(len(call))
            if rng.random() < TOLD_AGAIN:
                self._tell(rng, self._intake(calls[rng.randrange(place + 1)]))

    def wait_for_kills(self) -> None:
        """Wait, so that no client is so far ahead that nothing would be under way when the next one is killed."""
        with self._lock:
            self._lock.wait_for(lambda: self.acknowledged < self.outcomes * (self.killed + 2) / (self.kills + 1))

    def acknowledge(self, count: int) -> None:
        """Note that so many outcomes were acknowledged."""
        with self._lock:
            self.acknowledged += count
            self._lock.notify_all()

    def _intake(self, numbers: list[int]) -> ledger.Intake:
        names = [(number, identifier(self.begun_ms, number)) for number in numbers]
        return ledger.Intake(
            outcomes=[
                ledger.Outcome(row=0, id=name, revision="digits-a", prediction="i1", truth=f"i{number % 7 > 0:d}")
                for number, name in names
            ],
            copies=[
                ledger.Copied(name, "digits-a", "digits-b", "i1", f"i{number % 3:d}")
                for number, name in names
                if number % 2 == 0
            ],
        )

    def _tell(self, rng: random.Random, intake: ledger.Intake) -> None:
        """Tell until it is acknowledged."""
        body = msgspec.json.encode(intake)
        while True:
            port = rng.choice(self.ledgers).port
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=40)
            with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException):
                connection.request("POST", f"{MODEL}/intake", body, {"authorization": f"Bearer {RUNTIME}"})
                if rng.random() < CUT_OFF:
                    continue
                answer = connection.getresponse()
                if answer.status == 200 and answer.read():
                    return

    def _kill_now_and_then(self) -> None:
        for kill in range(self.kills):
            wanted = self.outcomes * (kill + self.random.random()) / (self.kills + 1)
            self._await(wanted)
            self._follower_dies.set()
            self.kill_one(kill)
            with self._lock:
                self.killed += 1
                self._lock.notify_all()
            print(f"\r{kill + 1} of {self.kills} kills, {self.acknowledged:,} acknowledged", end="", file=sys.stderr)
        print(file=sys.stderr)

    def kill_one(self, kill: int) -> None:
        """Kill a ledger, or its database, and start it again."""
        if self.server is not None and kill % 10 == 9:
            self.server.kill()
            self.server.start()
        else:
            victim = self.random.choice(self.ledgers)
            victim.kill()
            victim.start(ready=False)

    def _await(self, acknowledged: float) -> None:
        with self._lock:
            if not self._lock.wait_for(lambda: self.acknowledged >= acknowledged, 300):
                sys.exit(f"exactly-once: {self.acknowledged:,} acknowledged, and no more for 300 s")

    def _follow(self) -> None:
        """Read and fold as the operator does; killed now and then, it knows what its checkpoint says and no more."""
        cursor, kept_at, timeline = 0, 0, ""
        self.evidence, is_new = Evidence(), True
        while True:
            is_over = self._done.is_set()
            if is_new or self._follower_dies.is_set():
                self._follower_dies.clear()
                self.follower_starts += 1
                resume = msgspec.json.decode(self._until_200("GET", "/v1/resume", token=OPERATOR), type=ledger.Resume)
                state = next((each for each in resume.models if each.model == _NAME), None)
                checkpoint = state.checkpoint if state is not None else None
                self.evidence = evidence_state.read(checkpoint.state, state.decisions) if checkpoint else Evidence()
                cursor = kept_at = checkpoint.cursor if checkpoint else 0
                timeline, is_new = resume.timeline, False
            body = self._until_200("GET", f"/v1/log?after={cursor}&wait=1&timeline={timeline}", token=OPERATOR)
            found = msgspec.json.decode(body, type=ledger.Log)
            if found.entries:
                self.evidence = fold(self.evidence, found.entries)
                cursor, timeline = found.entries[-1].seq, found.timeline
            elif is_over:
                return
            if cursor >= kept_at + 5_000:
                kept = ledger.Checkpoint(cursor, evidence_state.write(self.evidence))
                self._until_200("PUT", f"{MODEL}/checkpoint", kept, token=OPERATOR)
                kept_at = cursor

    def _whole_log(self) -> list[ledger.Entry]:
        entries: list[ledger.Entry] = []
        while True:
            after = entries[-1].seq if entries else 0
            body = self._until_200("GET", f"/v1/log?after={after}", token=OPERATOR)
            found = msgspec.json.decode(body, type=ledger.Log).entries
            if not found:
                return entries
            entries += found

    def _until_200(self, method: str, path: str, message: object = None, *, token: str) -> bytes:
        for each in itertools.cycle(self.ledgers):
            with contextlib.suppress(OSError, http.client.HTTPException):
                status, body = each.call(method, path, message, token=token)
                if status in (200, 204):
                    return bytes(body)
                if status not in (408, 503):
                    sys.exit(f"exactly-once: {method} {path} was answered {status}: {body[:300]!r}")
        raise AssertionError("cycles")


def identifier(begun_ms: int, number: int) -> str:
    """Return the UUIDv7 of a prediction, some of which were made in the same millisecond."""
    return f"{begun_ms - 100_000 + number // 4:012x}7{number % 4_096:03x}8{number:015x}"


@contextlib.contextmanager
def on(kind: str, folder: Path) -> Iterator[tuple[list[Process], Server | None]]:
    """Start the ledgers of one kind, and what they need."""
    api, server = ApiServer(), Server().start() if kind == "postgres" else None
    ledgers = []
    try:
        variables = {}
        if server is not None:
            (folder / "dsn").write_text(server.database())
            variables["LEADLINE_LEDGER_DATABASE_FILE"] = str(folder / "dsn")
        for number in range(2 if server is not None else 1):
            volume = folder / str(number) / "volume"
            volume.mkdir(parents=True)
            ledgers.append(Process(volume, api, **variables).start())
        yield ledgers, server
    finally:
        for each in ledgers:
            each.end()
        api.close()
        if server is not None:
            server.leave()


def main() -> None:
    """Read the arguments and run."""
    import once_through_runtimes  # noqa: PLC0415 - which needs what is above

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--outcomes", type=int, default=200_000)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kinds", default=KINDS, help="of stores, and runtimes; the figures are kept with all")
    told = parser.parse_args()
    results = {}
    for kind in told.kinds.split(","):
        with tempfile.TemporaryDirectory(prefix="leadline-once-") as name, on(kind, Path(name)) as (ledgers, server):
            size = {"outcomes": told.outcomes, "kills": told.kills, "seed": told.seed}
            if kind == "runtimes":
                results[kind] = once_through_runtimes.go(ledgers, Path(name), **size)
            else:
                results[kind] = Run(ledgers, server, **size).go()
        print(kind, results[kind])
    if (told.outcomes, told.kills, told.kinds) == (200_000, 50, KINDS):
        places.ONCE.write_text(json.dumps(results, indent=2) + "\n")
        page.write()
    if any(each[name] for each in results.values() for name in ("lost", "double", "differing", "gaps")):
        sys.exit("exactly-once: not so")


if __name__ == "__main__":
    main()
