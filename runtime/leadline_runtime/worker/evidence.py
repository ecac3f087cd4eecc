"""What becomes of answers beside being sent, as the supervisor says: the parts of `outcomes`, put together.

Settings may come before the model and the model before the settings; what holds is worked out anew with each. Must not
stand in a request's way: the request path only looks at the `Recorder`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from leadline_wire import captures, exchange

from leadline_runtime import logs, messages, settings
from leadline_runtime.engine.batching import Batcher
from leadline_runtime.engine.counters import Counters
from leadline_runtime.engine.session import Model
from leadline_runtime.oip.batches import Origin
from leadline_runtime.oip.inference import Inference
from leadline_runtime.outcomes.capturing import Capturer
from leadline_runtime.outcomes.checking import Rules
from leadline_runtime.outcomes.copying import Copier
from leadline_runtime.outcomes.intake import Intake, Token
from leadline_runtime.outcomes.labelling import Labelling
from leadline_runtime.outcomes.minting import Minter
from leadline_runtime.outcomes.recording import Recorder
from leadline_runtime.outcomes.reporting import Reporting
from leadline_runtime.outcomes.sources import Sources
from leadline_runtime.outcomes.wanting import Wanting
from leadline_runtime.outcomes.words import Words

_OFF: Final = (404, "outcomes of this model are not taken: its ModelDeployment has no spec.outcomes")
_NO_LEDGER: Final = (404, "outcomes are not taken: there is no ledger to keep them")


class Evidence:
    """One worker's receipts, outcomes and copies."""

    def __init__(
        self,
        config: settings.Settings,
        counters: Counters,
        loop: asyncio.AbstractEventLoop,
        now_ms: Callable[[], int],
    ) -> None:
        self._config = config
        self._now_ms = now_ms
        self._told: messages.SetEvidence | None = None
        self._model: Model | None = None
        self._inference: Inference | None = None
        base = f"/v1/namespaces/{config.namespace or 'default'}/models/{config.model_name}"
        token = Token(config.ledger_token_file, loop).read
        self._intake = Intake(loop, counters, token, f"{base}/intake")
        self.labelling = Labelling(loop, config, token, base)
        self.wanting = Wanting(loop, token, f"{base}/wanted", now_ms)
        self._copier = Copier(
            loop, counters, config.revision, f"/v2/models/{config.model_name}/infer", self._intake.pair
        )
        self._capturer = Capturer(loop, counters, token, f"{base}/{captures.PATH}")
        self.recorder = Recorder(counters)
        self._sources = Sources(loop, token, f"{base}/source")
        self.reporting = Reporting(self._intake, counters, now_ms, self._sources)

    def attach(self, model: Model, inference: Inference, batcher: Batcher) -> None:
        """Take the model that was loaded."""
        self.labelling.batcher = batcher
        self._model = model
        self._inference = inference
        self._apply()

    def take(self, told: messages.SetEvidence) -> None:
        """Do what the supervisor says from now on."""
        self._told = told
        self._apply()

    def close(self) -> None:
        """End everything that is under way."""
        self.reporting.close()
        self.wanting.close()
        self._copier.close()
        self._capturer.close()
        self.labelling.close()
        self._intake.close()
        self._sources.close()

    def _words(self, outcomes: exchange.OutcomeSettings | None) -> Words | None:
        assert self._model is not None
        if outcomes is None:
            words = Words(self._model)
        else:
            words = Words(self._model, outcomes.output, scores=outcomes.scores, positive=outcomes.positive)
        if words.lacks_scores:
            logs.warning(
                "cannot tell which output has the scores, or which column", positive=outcomes and outcomes.positive
            )
        return words if words.is_known else None

    def _apply(self) -> None:
        told, recorder = self._told, self.recorder
        outcomes = told.outcomes if told is not None else None
        words = self._words(outcomes) if self._model is not None else None
        recorder.words = words
        if told is None:
            return
        if self._inference is not None:
            self._inference.public_origin = Origin.ASIDE if told.is_candidate else Origin.CLIENT
        keys = {key.id: key for key in told.keys}
        if outcomes is None or not told.keys:
            recorder.sign(None, self._config.revision)
            recorder.keep = None
            self.reporting.rules = self.wanting.settings = None
            self.reporting.why_not = self.wanting.why_not = _OFF
        else:
            if words is None and self._model is not None:
                logs.warning("no receipts: cannot tell which output is the prediction", output=outcomes.output)
            minter = Minter(told.keys[-1], self._config.revision, outcomes.share, self._now_ms, entity_key=told.keys[0])
            recorder.sign(minter if outcomes.share > 0 else None, self._config.revision)
            recorder.entity = outcomes.entity
            recorder.keep = self._intake.keep if outcomes.key_by == "id" and outcomes.ledger else None
            self._intake.aim(outcomes.ledger)
            self.wanting.aim(outcomes.ledger)
            self._sources.aim(outcomes.ledger)
            self.wanting.settings = outcomes if outcomes.ledger else None
            self.wanting.key = told.keys[-1]
            self.reporting.rules = Rules(outcomes, keys, self._config.revision, words) if outcomes.ledger else None
            self.reporting.why_not = self.wanting.why_not = _NO_LEDGER
        has_ledger = outcomes is not None and bool(outcomes.ledger)
        self._copier.aim(told.copies if recorder.minter is not None and has_ledger else [])
        labels = told.labels if has_ledger and words is not None else None
        self.labelling.aim(labels, words, outcomes)
        recorder.copier = self._copier if self._copier.is_on else None
        wanted = outcomes.capture if outcomes is not None and recorder.minter is not None and has_ledger else None
        if wanted is None or self._model is None:
            self._capturer.stop()
            recorder.capturer = None
        else:
            assert outcomes is not None, "whose capture is wanted"
            inputs = self._model.signature.inputs
            recorder.capturer = self._capturer if self._capturer.aim(outcomes.ledger, wanted, inputs) else None
