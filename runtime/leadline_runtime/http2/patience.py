"""How much a connection may ask of us that brings nobody an answer.

Pings, settings, resets, window updates and empty frames cost their sender little and us some work. They are paid from
one purse per connection: time and honest work fill it, and a client that empties it is told to calm down (RFC 9113,
10.5). So a flood is bounded by its proportion to real requests, and not by a guess of what is usual.
"""

from __future__ import annotations

from typing import Final

FULL: Final = 4_000
PER_TICK: Final = 1_000
"""What half a second brings."""
ANSWER: Final = 20
"""What a request that was answered brings: a client may ping and adjust its windows around each, and give up another."""
SENT: Final = 4
"""What a full DATA frame of ours brings: the client has to make room for the next."""

SMALL: Final = 1
"""PING, WINDOW_UPDATE, PRIORITY, unknown kinds, and DATA of a few bytes with more to come."""
LARGE: Final = 20
"""SETTINGS, a small piece of a header block, and a stream that is reset or refused: work was done for nothing."""
SMALL_BYTES: Final = 256
"""DATA below, with more to come, is paid for like PING: its frame costs us more than its bytes are worth."""
