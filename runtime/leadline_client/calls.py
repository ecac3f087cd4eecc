"""What both clients share: their settings, checked, and the flow of each method."""

import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlsplit

from leadline_client import delivering, errors, outcomes, predicting, reporting, retrying, steps, store, tensors

CALLS_MAX: Final = 256
"""Calls of one client under way, with those that wait for a connection; more are `Unavailable` at once."""
WANTED_LIMIT: Final = 50
LOGGER: Final = "leadline.client"


def edge() -> steps.Edge:
    """Return the clocks and the chance of this process."""
    return steps.Edge(time.monotonic, time.time, random.random)  # noqa: TID251 - there is no app.py above a library


@dataclass(frozen=True, slots=True)
class Settings:
    """Of one client; see `sync.Client`."""

    url: str
    model: str
    timeout_seconds: float
    report_timeout_seconds: float
    connections: int
    headers: Mapping[str, str]
    flush_every_seconds: float | None

    def __post_init__(self) -> None:
        """Check.

        Raises:
            InputError: The message names the setting.
        """
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
            raise errors.InputError(f"url: expected http(s)://host[:port][/path], got {self.url!r}")
        if parts.username is not None:
            # It would be in messages and logs.
            raise errors.InputError("url: expected no user and password in it; send them with headers=")
        if not isinstance(self.model, str) or not self.model:
            raise errors.InputError(f"model: expected the ModelDeployment's name, got {self.model!r}")
        if isinstance(self.connections, bool) or not isinstance(self.connections, int) or self.connections < 1:
            raise errors.InputError(f"connections: expected a whole number from 1, got {self.connections!r}")
        for name in ("timeout_seconds", "report_timeout_seconds", "flush_every_seconds"):
            value = getattr(self, name)
            is_fit = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf")
            if not is_fit and not (name == "flush_every_seconds" and value is None):
                raise errors.InputError(f"{name}: expected a number above 0, got {value!r}")

    @property
    def base(self) -> str:
        """URL of the model."""
        return f"{self.url.rstrip('/')}/v2/models/{quote(self.model, safe='')}"


class Calls:
    """The flows of one client's methods. Nothing here does I/O."""

    def __init__(
        self,
        settings: Settings,
        kept: store.Store | None,
        *,
        outbox: bool,
        arrays: bool | None,
        world: steps.Edge,
    ) -> None:
        self.way = delivering.Way(settings.model, kept, is_outbox=outbox and kept is not None, edge=world)
        self._settings = settings
        self._arrays = arrays
        self._known = predicting.Known()
        self._unpack: Callable[[str, Sequence[int], bytes], Any] | None = None

    def predict(
        self,
        inputs: Any,
        identifier: str | None,
        tags: Mapping[str, str] | None,
        entity: Mapping[str, str | int] | None,
        wanted: Sequence[str] | None,
    ) -> steps.Flow[predicting.Answer]:
        """Return the flow of `predict`."""
        asked = predicting.Asked(inputs, identifier, tags or {}, entity or {}, wanted or ())
        if self._unpack is None:
            self._unpack = _unpack(is_wished=self._arrays)
        budget = self._budget(self._settings.timeout_seconds)
        return predicting.predict(asked, self._known, budget, self.way.edge, self._unpack)

    def remember(self, answer: predicting.Answer, key: str) -> steps.Flow[None]:
        """Return the flow of `remember`."""
        return delivering.remember(self.way, key, answer.receipt)

    def report(self, given: outcomes.Outcome) -> steps.Flow[outcomes.Reported]:
        """Return the flow of `report`."""
        (told,) = yield from self.report_many([given], [""])
        if told.fate is outcomes.Fate.REFUSED:
            raise errors.Refused(told.status, told.why)
        return told

    def report_many(
        self, given: Iterable[outcomes.Outcome | Mapping[str, Any]], places: Sequence[str] | None = None
    ) -> steps.Flow[list[outcomes.Reported]]:
        """Return the flow of `report_many`; `places` says how messages name each."""
        checked = [
            outcomes.outcome_of(each, places[place] if places is not None else f"items[{place}].")
            for place, each in enumerate(given)
        ]
        budget = self._budget(self._settings.report_timeout_seconds)
        return (yield from delivering.report(self.way, checked, budget))

    def flush(self) -> steps.Flow[delivering.Flushed]:
        """Return the flow of `flush`."""
        return delivering.flush(self.way, self._budget(self._settings.report_timeout_seconds))

    def waiting(self) -> steps.Flow[int]:
        """Return the flow of `waiting`."""
        kept = self.way.needed("waiting")
        return int((yield steps.Do(lambda: kept.waiting(self.way.model))))

    def wanted(self, limit: int) -> steps.Flow[list[outcomes.Wanted]]:
        """Return the flow of `wanted`."""
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
            raise errors.InputError(f"limit: expected a whole number from 1, got {tensors.shown(limit)}")
        budget = self._budget(self._settings.report_timeout_seconds)
        request = steps.Request("GET", f"/outcomes/wanted?limit={limit}")
        found = reporting.read_wanted((yield from retrying.exchanged(request, budget, self.way.edge)))
        kept = self.way.store
        if kept is None or not found:
            return found
        ids = [each.prediction_id for each in found]
        keys: dict[str, str] = yield steps.Do(lambda: kept.keys_of(self.way.model, ids))
        return [reporting.with_key(each, keys.get(each.prediction_id)) for each in found]

    def _budget(self, seconds: float) -> retrying.Budget:
        return retrying.Budget(self.way.edge.monotonic() + seconds)


def _unpack(*, is_wished: bool | None) -> Callable[[str, Sequence[int], bytes], Any]:
    """Return what makes outputs of raw tensors: arrays where numpy is, unless lists are wished."""
    if is_wished is not False:
        try:
            from leadline_client import arrays  # noqa: PLC0415 - numpy costs 100 ms, and is not everywhere
        except ModuleNotFoundError:
            if is_wished:
                raise
        else:
            return arrays.unpack
    return tensors.unpack
