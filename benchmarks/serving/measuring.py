"""The run: all servers of one model at a time, in interleaved rounds; what fails is noted and the rest goes on.

Figures are kept by round, for machines drift and only shares within a round carry over. Must not summarise.
"""

import contextlib
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from . import contenders, environments, generators, models, places, summary
from .generators import Load

RAW = "onnxruntime"
"""The raw loop's name among the servers."""
TROUBLES_MAX = 2
"""Failed measurements after which a server is asked the same no more."""
IDLE_SECONDS = 2.0
AWAKE_SECONDS = 0.3
REASON_MAX = 240
STEADY_RATE_MAX = 15_000
"""Of the client at a steady rate: near 25,000 requests a second it waits for itself."""


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    rounds: int = 5
    """Of the cells that the summary needs."""
    more_rounds: int = 3
    """Of all others."""
    seconds: int = 2
    names: tuple[str, ...] = tuple(contenders.BY_NAME)
    models: tuple[str, ...] = models.NAMES


@dataclass(frozen=True)
class Cell:
    """What is measured side by side."""

    model: str
    load: Load
    only: tuple[str, ...] = ()
    """Who alone; empty: all that speak the protocol."""
    headline: bool = False
    half_load: bool = False


def cells() -> list[Cell]:
    """Return all cells, in the order in which they are measured."""
    found = []
    for protocol in ("json", "binary", "grpc"):
        found += [
            Cell("small", Load(protocol, 1, 16), headline=True, half_load=True),
            Cell("small", Load(protocol, 1, 64), headline=protocol != "grpc"),
            Cell("small", Load(protocol, 32, 16)),
            Cell("trees", Load(protocol, 1, 16), half_load=protocol == "json"),
            Cell("trees", Load(protocol, 32, 16)),
            Cell("compute", Load(protocol, 1, 16), headline=protocol == "binary", half_load=protocol == "json"),
        ]
    return found


# Whose figures the summary needs; the rest is measured in fewer rounds.
HEADLINERS = {
    "json": ("echo", "leadline", "mlserver", "kserve", "mosec"),
    "binary": ("echo", "leadline"),
    "grpc": ("leadline", "grpcaio"),
}


@dataclass
class Found:
    """What a run found, as it goes into the file."""

    measurements: list[dict] = field(default_factory=list)
    latencies: list[dict] = field(default_factory=list)
    memory: list[dict] = field(default_factory=list)
    raw: list[dict] = field(default_factory=list)
    idle: list[dict] = field(default_factory=list)
    failures: list[dict] = field(default_factory=list)


class Run:
    """One run over all models."""

    def __init__(self, plan: Plan, folder: Path, cores: list[int]) -> None:
        self._plan, self._folder, self._cores = plan, folder, cores
        self._begun = time.monotonic()
        self._not_here: dict[str, str] = {}
        self._restless: set[str] = set()
        self._troubles: Counter[tuple[str, str, int]] = Counter()
        self.found = Found()

    def all(self) -> Found:
        """Measure everything."""
        for name in self._plan.names:
            peer = contenders.BY_NAME[name].peer
            if peer:
                self._install(name, peer)
        for name in self._plan.models:
            self._one_model(models.load(name, self._folder))
        return self.found

    def _install(self, name: str, peer: str) -> None:
        try:
            environments.python(peer, places.PEERS / f"{peer}.txt")
        except environments.InstallError as error:
            self._not_here[name] = str(error)
            self._failed("", name, "does not install here", error)

    def _one_model(self, model: models.Model) -> None:
        running: dict[str, contenders.Running] = {}
        try:
            for name in self._plan.names:
                if name not in self._not_here:
                    folder = self._folder / model.name / name
                    self._say(f"{model.name}: starting {name}")
                    running[name] = contenders.Running(contenders.BY_NAME[name], model, folder, self._cores[0])
            for name, each in list(running.items()):
                try:
                    each.wait()
                except contenders.StartError as error:
                    self._failed(model.name, name, "does not start", error)
                    running.pop(name).server.stop()
            mine = [cell for cell in cells() if cell.model == model.name]
            sizes = self._checked(mine, running)
            self._rounds(model, mine, running, sizes)
            self._half_loads(model, [cell for cell in mine if cell.half_load], running, sizes)
            for name, each in running.items():
                size = model.path.stat().st_size / 1e6
                self.found.memory.append(
                    {"model": model.name, "server": name, "model_mb": size, **each.server.memory()}
                )
        finally:
            for each in running.values():
                each.server.stop()

    def _checked(self, mine: list[Cell], running) -> dict[tuple[str, str, int], int]:
        """Check the answers of all; return answers' sizes by server, protocol and rows, of those that are right."""
        sizes = {}
        for name, each in running.items():
            for protocol, rows in dict.fromkeys((cell.load.protocol, cell.load.rows) for cell in mine):
                if protocol in each.contender.protocols:
                    try:
                        sizes[name, protocol, rows] = each.check(protocol, rows)
                    except contenders.StartError as error:
                        self._failed(each.model.name, name, f"{protocol}, {rows} rows", error)
        return sizes

    def _rounds(self, model, mine, running, sizes) -> None:
        self._warm(mine, running, sizes)
        self._idle(model, running)
        for number in range(self._plan.rounds):
            for batch in (1, model.max_rows) if number < self._plan.more_rounds or model.name == "compute" else (1,):
                self._raw(model, min(batch, len(model.rows)), number)
            for cell in mine:
                if number >= self._plan.more_rounds and not cell.headline:
                    continue
                takes_part = [
                    name
                    for name in running
                    if (name, cell.load.protocol, cell.load.rows) in sizes
                    and (number < self._plan.more_rounds or name in HEADLINERS[cell.load.protocol])
                ]
                # Another order in each round, so that nobody always comes after the same.
                shift = number % max(1, len(takes_part))
                for name in takes_part[shift:] + takes_part[:shift]:
                    self._measure(cell, running[name], number, sizes)

    def _warm(self, mine, running, sizes) -> None:
        """Load each server for a second in each protocol, unmeasured."""
        for name, each in running.items():
            for protocol in each.contender.protocols:
                load = next((c.load for c in mine if (name, c.load.protocol, c.load.rows) in sizes), None)
                if load and load.protocol == protocol:
                    self._throughput(each, load, sizes, 1)

    def _seconds(self, model: str, protocol: str = "binary") -> int:
        """Return how long to measure: longer where answers are few and the summary needs them."""
        return self._plan.seconds * (2 if (model, protocol) == ("compute", "binary") else 1)

    def _idle(self, model, running) -> None:
        """Note what each server takes while nobody asks, for all others are there while one is measured."""
        before = {name: each.server.cpu_seconds() for name, each in running.items()}
        time.sleep(IDLE_SECONDS)
        shares = {name: (each.server.cpu_seconds() - before[name]) / IDLE_SECONDS for name, each in running.items()}
        self.found.idle.append({"model": model.name, "cpu_shares": shares})
        self._say(f"{model.name}: idle, all servers take {100 * sum(shares.values()):.1f} % of the core")
        self._restless = {name for name, share in shares.items() if share > summary.IDLE_SHARE_MAX}
        for name in self._restless:
            self._say(
                f"{model.name}: {name} takes {100 * shares[name]:.1f} % of it and is paused while others are measured"
            )
            running[name].server.pause()

    @contextlib.contextmanager
    def _awake(self, running: contenders.Running) -> Iterator[None]:
        """Have a server that is paused go on for as long as it is measured."""
        if running.contender.name not in self._restless:
            yield
            return
        running.server.go_on()
        time.sleep(AWAKE_SECONDS)
        try:
            yield
        finally:
            running.server.pause()

    def _measure(self, cell: Cell, running: contenders.Running, number: int, sizes) -> None:
        found = self._throughput(running, cell.load, sizes, self._seconds(cell.model, cell.load.protocol))
        if found is None:
            return
        rate, cpu = found
        name = running.contender.name
        self.found.measurements.append(
            {
                "model": cell.model,
                **asdict(cell.load),
                "server": name,
                "round": number + 1,
                "requests_per_second": rate,
                "cpu_microseconds": 1e6 * cpu,
            }
        )
        what = f"{cell.model:<8}{cell.load.protocol:<7}{cell.load.rows:>3} rows {cell.load.connections:>3} conn."
        of = self._plan.rounds if cell.headline else self._plan.more_rounds
        self._say(f"{what}  round {number + 1}/{of}  {name:<10}{rate:>10,.0f} req/s {1e6 * cpu:>10,.1f} CPU us")

    def _throughput(self, running, load: Load, sizes, seconds: int) -> tuple[float, float] | None:
        name = running.contender.name
        key = (name, load.protocol, load.rows)
        if key not in sizes:
            return None
        try:
            with self._awake(running):
                return generators.throughput(
                    running, load, answer_bytes=sizes[key], seconds=seconds, core=self._cores[1], folder=self._folder
                )
        except generators.LoadError as error:
            what = f"{load.protocol}, {load.rows} rows, {load.connections} connections"
            died = f"; it ended: {running.server.last_words()}" if running.server.ended() else ""
            self._failed(running.model.name, name, what, f"{error}{died}")
            self._troubles[key] += 1
            if died or self._troubles[key] == TROUBLES_MAX:
                del sizes[key]
            return None

    def _half_loads(self, model, mine: list[Cell], running, sizes) -> None:
        for cell in mine:
            for name, each in running.items():
                # The echo is asked at the rate of the one that is compared with it, to show what the client itself takes.
                rate = self._usual_rate(model, "leadline" if name == "echo" else name, cell.load) / 2
                rate = min(rate, STEADY_RATE_MAX)
                if not rate or (name, cell.load.protocol, cell.load.rows) not in sizes:
                    continue
                seconds = self._plan.seconds * (2 if rate < 1_000 else 1)
                try:
                    with self._awake(each):
                        found = generators.half_load(
                            each, cell.load, rate=rate, seconds=seconds, core=self._cores[1], folder=self._folder
                        )
                except generators.LoadError as error:
                    self._failed(model.name, name, f"half load, {cell.load.protocol}", error)
                    continue
                self.found.latencies.append({"model": model.name, **asdict(cell.load), "server": name, **found})
                said = f"p50 {found['p50_ms']:.2f} ms, p99 {found['p99_ms']:.2f} ms"
                self._say(f"{model.name:<8}{cell.load.protocol:<7} half load {rate:>8,.0f} req/s  {name:<10} {said}")

    def _usual_rate(self, model, server: str, load: Load) -> float:
        """Return the median of the rates found so far; 0 where there is none."""
        wanted = {"model": model.name, "server": server, **asdict(load)}
        rates = [
            found["requests_per_second"]
            for found in self.found.measurements
            if all(found[key] == value for key, value in wanted.items())
        ]
        return statistics.median(rates) if rates else 0.0

    def _raw(self, model, rows: int, number: int) -> None:
        rate = generators.raw_loop(model, rows, self._seconds(model.name), self._cores[0], self._folder)
        self.found.raw.append({"model": model.name, "rows": rows, "round": number + 1, "runs_per_second": rate})
        self._say(f"{model.name:<8}{RAW} loop, {rows} rows a run  round {number + 1}  {rate:,.0f} runs/s")

    def _failed(self, model: str, server: str, what: str, error: Exception | str) -> None:
        reason = " ".join(str(error).split())[:REASON_MAX]
        self.found.failures.append({"model": model, "server": server, "what": what, "reason": reason})
        self._say(f"{model} {server}: {what}: {reason}")

    def _say(self, text: str) -> None:
        passed = int(time.monotonic() - self._begun)
        print(f"{passed // 60:>3}:{passed % 60:02}  {text}", file=sys.stderr, flush=True)
