"""A world whose predictions get answers: a ledger's log beside the objects, as the real one would hold it.

Each question is a row of the test set's numbering; the models answer it as `Model.wrong` says. What the serving pods
were told to copy is answered by the other revision, too.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from leadline_api import names
from leadline_operator.reconcile import evidence_state, records
from leadline_operator.reconcile.evidence import Evidence, fold
from leadline_operator.reconcile.observed import LedgerView, Observed
from leadline_operator.reconcile.plan import Plan, Replace
from leadline_operator.reconcile.reconciler import reconcile
from leadline_wire.ledger import DecisionEntry, Entry, OutcomeEntry, PairEntry

from tests.unit.reconcile.world import ROWS, World, a_world, uri

MODEL = "ml/digits"


@dataclass
class OutcomesWorld(World):
    """A World with a ledger."""

    log: list[Entry] = field(default_factory=list)
    evidence: Evidence = field(default_factory=Evidence)
    trouble: str = ""
    is_read: bool = True
    """Whether the operator has read the ledger since its start."""
    answers_since: float = 0.0
    asked: int = 0
    sources: list[str] = field(default_factory=lambda: [""])
    """Who reports, in turn."""
    is_cut_after: str = ""
    """The pass that gives this revision the traffic ends there, once, as when the operator is killed."""

    def observe(self) -> Observed:
        observed = super().observe()
        settings = dataclasses.replace(observed.settings, ledger_url="http://ledger")
        view = LedgerView(self.evidence, self.trouble, self.answers_since) if self.is_read else None
        return dataclasses.replace(observed, settings=settings, ledger=view)

    def step(self) -> Plan:
        if self.is_cut_after:
            gains = [each for each in reconcile(self.observe(), self.now).writes if self._gives_the_traffic(each)]
            if gains:
                self.write(gains[0])
                self.is_cut_after = ""
                self.now += 1
        plan = super().step()
        if self.is_read and not self.trouble:
            known = {each.id for each in self.log if isinstance(each, DecisionEntry)}
            for told in plan.told:
                if told.id not in known:
                    self.append(
                        DecisionEntry(
                            self._seq(), MODEL, told.id, told.kind, told.revision, told.at_ms, told.other, told.data
                        )
                    )
        return plan

    def _gives_the_traffic(self, write: Any) -> bool:
        if not isinstance(write, Replace) or write.manifest["metadata"]["name"] != self.is_cut_after:
            return False
        if write.manifest["kind"] != "ControllerRevision":
            return False
        record = records.read(write.manifest["metadata"]["annotations"][names.RECORD_ANNOTATION])
        return record.served_until is None and record.serving_since != self.record(self.is_cut_after).serving_since

    def append(self, *entries: Entry) -> None:
        """Add entries to the log, and fold them."""
        self.log += entries
        self.evidence = fold(self.evidence, entries)

    def ask(self, count: int, *, each_seconds: float = 0.1, step_every: int = 10, serving: str = "") -> None:
        """Ask so many questions, with an answer to each; the operator looks after every `step_every`.

        With `serving` it ends when that model serves, or fails.
        """
        for number in range(count):
            if serving and self.selected == self.revision(uri(serving)):
                self.settle()
                return
            row = self.asked * 7919 % ROWS
            self.asked += 1
            self._answer(row)
            self.now += each_seconds
            if number % step_every == 0:
                self.step()
        self.settle()
        assert not serving or self.selected == self.revision(uri(serving)), f"{serving} does not serve: {self.status}"

    def restart(self) -> None:
        """Do what a new operator does: read the checkpoint, then the rest of the log."""
        decisions = [each for each in self.log if isinstance(each, DecisionEntry)]
        cut = self.evidence.cursor
        self.evidence = evidence_state.read(evidence_state.write(self.evidence), decisions)
        assert self.evidence.cursor == cut
        self.status = {"observedGeneration": -1}

    def _answerer(self) -> str:
        """Return who answers: whoever serves, or a canary in its place, evenly spread."""
        told = [told for revision, told in self.pods.values() if told is not None and revision == self.selected]
        for split in told[0].splits if told else ():
            if self.asked * split.share // 1_000_000 != (self.asked - 1) * split.share // 1_000_000:
                return split.revision
        return self.selected

    def _answer(self, row: int) -> None:
        serving = self._answerer()
        came = round(self.now * 1000)
        said = "i0" if row in self._model(serving).wrong else "i1"
        identifier, source = f"{self.asked:032x}", self.sources[self.asked % len(self.sources)]
        new: list[Entry] = [
            OutcomeEntry(self._seq(), MODEL, identifier, 0, serving, said, came, truth="i1", source=source)
        ]
        copied_to = {
            copy.revision
            for revision, told in self.pods.values()
            if told is not None and revision == serving
            for copy in told.copies
        }
        for other in sorted(copied_to):
            if any(revision == other for revision, _ in self.pods.values()):
                answer = "i0" if row in self._model(other).wrong else "i1"
                seq = self._seq() + len(new)
                new.append(
                    PairEntry(seq, MODEL, identifier, 0, serving, said, other, answer, came, truth="i1", source=source)
                )
        self.append(*new)

    def _seq(self) -> int:
        return self.log[-1].seq + 1 if self.log else 1


def an_outcomes_world(
    *, strategy: str = "RollingUpdate", quality: dict[str, Any] | None = None, **rollout: Any
) -> OutcomesWorld:
    """Return a world without a test set, judged by outcomes."""
    plain = a_world(strategy=strategy, tested=False)
    metric = {"name": "accuracy", "metric": "accuracy", "margin": "0.02"}
    spec = {
        **plain.spec,
        "rollout": {"strategy": strategy, **rollout},
        "quality": {"metrics": [metric], **(quality or {})},
        "outcomes": {"maturity": "0s"},
    }
    return OutcomesWorld(spec, plain.models)
