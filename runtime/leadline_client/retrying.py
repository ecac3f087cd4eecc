"""When a request is made again: as long as there is time for it, with pauses that grow and are drawn at random.

Every request of this client may be repeated: a prediction changes nothing, and an outcome that is told again is the same. So
what decides is only whether another try can help: no answer at all, 429, 502, 503 and 504. Must not read a clock.
"""

import json
from typing import Final, NamedTuple

from leadline_client import errors, steps

TRANSIENT: Final = frozenset({429, 502, 503, 504})
"""Statuses of a server or proxy that may answer otherwise a moment later."""
_PAUSE_SECONDS_FIRST: Final = 0.1
_PAUSE_SECONDS_MAX: Final = 5.0
_SHOWN_MAX: Final = 500
"""Characters of an answer in a message."""


class Budget(NamedTuple):
    """How much one call may cost."""

    end: float
    """On the monotonic clock, in seconds: no try begins or lasts beyond."""
    tries: int = 8
    """Requests at most."""


def pause_seconds(tries: int, retry_after: float | None, draw: float) -> float:
    """Return how long to wait after so many tries.

    Args:
        tries: Made so far, from 1.
        retry_after: Seconds that the server asked for; None: it did not. It is never less than that.
        draw: A random number in [0, 1): callers that failed together do not come back together.
    """
    most = min(_PAUSE_SECONDS_MAX, _PAUSE_SECONDS_FIRST * 2.0 ** min(tries - 1, 16))
    if retry_after is not None:
        return retry_after + most * draw
    return most * (0.5 + 0.5 * draw)


def exchanged(request: steps.Request, budget: Budget, edge: steps.Edge) -> steps.Flow[steps.Response]:
    """Return the server's answer, other than one that may change by itself.

    Raises:
        Unavailable: There was none within the budget; `ModelNotReady` where the last answer was a 503 of the runtime.
    """
    tries = 0
    why = "no time was left for it"
    is_runtime = False
    while (left := budget.end - edge.monotonic()) > 0.0:
        received = yield steps.Send(request, left)
        tries += 1
        retry_after = None
        if isinstance(received, steps.Response):
            if received.status not in TRANSIENT:
                return received
            why = f"the server answered {received.status}: {said(received)}"
            is_runtime = received.status == 503 and _error_of(received) is not None
            retry_after = _retry_after(received)
        else:
            why, is_runtime = received.why, False
        pause = pause_seconds(tries, retry_after, edge.draw())
        if tries >= budget.tries or pause >= budget.end - edge.monotonic():
            break
        yield steps.Wait(pause)
    kind = errors.ModelNotReady if is_runtime else errors.Unavailable
    raise kind(f"{why} ({tries} {'try' if tries == 1 else 'tries'})")


def said(response: steps.Response) -> str:
    """Return what an answer other than 200 says: its `error`, or the beginning of what came instead."""
    error = _error_of(response)
    text = error if error is not None else response.body[: 4 * _SHOWN_MAX].decode("utf-8", "replace").strip()
    return text[:_SHOWN_MAX] or "nothing more"


def _error_of(response: steps.Response) -> str | None:
    try:
        told = json.loads(response.body)
    except ValueError:
        return None
    error = told.get("error") if isinstance(told, dict) else None
    return error if isinstance(error, str) else None


def _retry_after(response: steps.Response) -> float | None:
    """Return the seconds that the server asks for; a date, which needs a common clock, counts as none."""
    text = response.headers.get("retry-after", "").strip()
    return float(text) if text.isascii() and text.isdigit() and len(text) < 10 else None
