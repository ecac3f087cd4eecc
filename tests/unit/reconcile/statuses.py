"""ModelDeployments as an API server would give them, one in each state that a machine may ask about.

Made by the operator's own decisions in the worlds of this folder; what machines should make of each stands beside it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from leadline_api import names
from leadline_wire.exchange import Trouble

from tests.unit.reconcile.outcomes_world import an_outcomes_world
from tests.unit.reconcile.world import Model, World, a_world, uri


@dataclass(frozen=True)
class Told:
    """A ModelDeployment, and what machines should make of it."""

    make: Callable[[], World]
    argo: str
    """Argo CD's word for its health."""
    kstatus: str
    """kstatus' word: of Flux, Helm 4, kpt."""
    said: str
    """Part of the message."""

    def object(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        world = self.make()
        return {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "metadata": {"name": "digits", "namespace": "ml", "generation": world.generation},
            "spec": world.spec,
            "status": world.status,
        }


def settled(world: World) -> World:
    world.settle()
    return world


def changed(world: World, model: str, **spec: Any) -> World:
    world.settle()
    world.ask_for(model=uri(model), **spec).settle()
    return world


def _new() -> World:
    return a_world()


def _not_looked_at_yet() -> World:
    world = settled(a_world())
    return world.ask_for(model=uri("honest"))


def _first_pass() -> World:
    world = a_world()
    world.step()
    return world


def _blocked(seconds: float, *, first: bool) -> World:
    world = a_world()
    name = "good" if first else "honest"
    world.models[uri(name)].trouble = Trouble("ModelStoreUnreachable", "no answer", "surroundings")
    world.settle()
    if not first:
        world.ask_for(model=uri(name)).settle()
    world.now += seconds
    world.settle()
    return world


def _rolled_back() -> World:
    return changed(a_world(strategy="RollingUpdate"), "worse")


def _handing_over() -> World:
    """The traffic has just gone back, and no pod has acknowledged it yet."""
    world = settled(a_world(strategy="RollingUpdate"))
    world.ask_for(model=uri("worse"))
    for _ in range(60):
        world.step()
        world.now += 0.1
        reconciling = next(each for each in world.status["conditions"] if each["type"] == "Reconciling")
        if len(world.served) == 3 and reconciling["status"] == "True":
            return world
    raise AssertionError(world.status)


def _paused() -> World:
    return changed(a_world(), "honest", rollout={"strategy": "BlueGreen", "paused": True})


def _shadowing() -> World:
    return changed(an_outcomes_world(strategy="BlueGreen", shadow={"percent": 100, "for": "10m"}), "honest")


def _undecided() -> World:
    world = an_outcomes_world(strategy="BlueGreen", shadow={"percent": 100, "for": "2m"}, onUndecided="Hold")
    changed(world, "honest").pass_time(130)
    return world


def _by_command() -> World:
    world = changed(a_world(), "honest")
    world.now += 1
    world.action = f"rollback@{datetime.fromtimestamp(world.now, UTC).isoformat()}"
    return settled(world)


def _degraded_with_no_way_back() -> World:
    world = settled(a_world(strategy="RollingUpdate"))
    world.models[uri("good")].wrong = range(300)
    world.pass_time(15)
    return world


def _crept() -> World:
    losing = {f"m{number}": Model(range(15 + 18 * number), f"sha256:{number:064x}") for number in range(6)}
    world = settled(a_world(floor=None, **losing))
    for name in losing:
        world.ask_for(model=uri(name)).settle()
    return world


def _no_pods() -> World:
    world = settled(a_world())
    world.starts_pods = False
    world.pods.clear()
    return settled(world)


def _scaled_to_zero() -> World:
    world = settled(a_world())
    world.ask_for(runtime={"replicas": 0}).settle()
    return world


def _conflict() -> World:
    world = settled(a_world())
    world.conflicts = ("Service digits exists and is not ours",)
    return settled(world)


STATES = {
    "no status yet": Told(_new, "Progressing", "InProgress", ""),
    "a spec that nobody has looked at": Told(_not_looked_at_yet, "Progressing", "InProgress", ""),
    "the first pass": Told(_first_pass, "Progressing", "InProgress", "Fetching"),
    "serves as desired": Told(lambda: settled(a_world()), "Healthy", "Current", ""),
    "a new revision serves": Told(lambda: changed(a_world(), "honest"), "Healthy", "Current", ""),
    "first model cannot be had yet": Told(lambda: _blocked(1, first=True), "Progressing", "InProgress", "no answer"),
    "first model cannot be had": Told(lambda: _blocked(700, first=True), "Degraded", "Failed", "no answer"),
    "candidate cannot be had yet": Told(lambda: _blocked(1, first=False), "Progressing", "InProgress", "no answer"),
    "candidate cannot be had": Told(lambda: _blocked(700, first=False), "Degraded", "Failed", "no answer"),
    "candidate rejected by the test set": Told(lambda: changed(a_world(), "worse"), "Degraded", "Failed", "rejected"),
    "rollback under way": Told(_handing_over, "Progressing", "InProgress", "Switching"),
    "rolled back": Told(_rolled_back, "Degraded", "Failed", "rejected"),
    "rolled back by command": Told(_by_command, "Degraded", "Failed", "RolledBackByCommand"),
    "paused": Told(_paused, "Suspended", "InProgress", "Paused"),
    "compared on copies": Told(_shadowing, "Progressing", "InProgress", "Shadowing"),
    "undecided": Told(_undecided, "Degraded", "Failed", "promote@<now>"),
    "worse, with nowhere to go back to": Told(_degraded_with_no_way_back, "Healthy", "Current", ""),
    "many small losses": Told(_crept, "Healthy", "Current", "QualityCreep"),
    "no pod is ready": Told(_no_pods, "Degraded", "InProgress", "No pod"),
    "scaled to zero": Told(_scaled_to_zero, "Suspended", "InProgress", "replicas is 0"),
    "a foreign object has the name": Told(_conflict, "Degraded", "Failed", "is not ours"),
}
