"""Receipts on the hot path: put together from pieces that a batch shares.

The id of a prediction is a UUIDv7 whose counter is the place in the batch; time and random bits are taken once per batch,
and what stands before the place is hashed once. So an answer costs one copy of a hash and two small formats; what comes
out is what `leadline_wire.receipts.mint` makes of the same receipt, and the tests hold both against each other. Must
not know connections.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final, NamedTuple

from leadline_wire import predictions, receipts

_PLACES: Final = [b"%03x" % place for place in range(4_096)]
"""The 12 bits of a UUIDv7 after its version; a batch never has more rows."""
_VARIANT: Final = 0b10 << 62
_random = random.random
_bits = random.getrandbits


class Stamp:
    """What the ids of one batch share."""

    __slots__ = ("head", "tail")

    def __init__(self, now_ms: int) -> None:
        self.head = b"%012x7" % now_ms
        self.tail = b"%016x" % (_VARIANT | _bits(62))

    def id(self, place: int) -> str:
        """Return the id of the prediction at this place, 32 hexadecimal digits."""
        return (self.head + _PLACES[place] + self.tail).decode()


class Minted(NamedTuple):
    """One answer's receipt, by the general way."""

    receipt: bytes
    words: str
    """As they stand in it."""
    share: int
    """In millionths."""


class Minter:
    """Signs with one key for one revision."""

    def __init__(
        self,
        key: receipts.Key,
        revision: str,
        share: int,
        now_ms: Callable[[], int],
        *,
        entity_key: receipts.Key | None = None,
    ) -> None:
        self.share = share
        self._key = key
        self._entity_key = entity_key or key
        """The first of all rotations: an entity's hash must not change with the signing key."""
        self._revision = revision
        self._fraction = share / receipts.WHOLE_SHARE
        self._now_ms = now_ms
        self._prefix = receipts.prefix(key, revision, share=share).encode()
        self._signer = receipts.signer(key, self._prefix)

    def stamp(self) -> Stamp:
        """Return what the ids of a new batch share."""
        return Stamp(self._now_ms())

    def entity_hash(self, entity: str) -> str:
        """Return the keyed hash of an entity; empty if there is none."""
        return receipts.entity_hash(self._entity_key, entity) if entity else ""

    def is_drawn(self) -> bool:
        """Tell whether the next prediction gets a receipt."""
        return self.share >= receipts.WHOLE_SHARE or _random() < self._fraction

    def rows(self, stamp: Stamp, words: list[bytes]) -> list[bytes | None]:
        """Return a receipt for each of a batch's answers of one row; None for those that get none."""
        head = stamp.head
        between = stamp.tail + b"."
        begin = self._prefix + head
        signer = self._signer.copy()
        signer.update(head)
        start = signer.copy
        minted: list[bytes | None] = []
        take = minted.append
        fraction = 2.0 if self.share >= receipts.WHOLE_SHARE else self._fraction
        for place, word in zip(_PLACES, words, strict=False):
            if not word or (fraction < 1.0 and _random() >= fraction):
                take(None)
                continue
            rest = place + between + word
            signed = start()
            signed.update(rest)
            take(b"%b%b.%b" % (begin, rest, signed.hexdigest().encode()))
        return minted

    def answer(
        self, stamp: Stamp, place: int, words: list[bytes], *, entity: str = "", tags: str = ""
    ) -> Minted | None:
        """Return the receipt of one answer of any number of rows; None if it gets none.

        Args:
            stamp: Of its batch.
            place: Its place in the batch.
            words: By row; empty where a row has none.
            entity: What the request says of whom it is about; hashed here.
            tags: As `receipts.encoded_tags` makes them.
        """
        usable = {row: word.decode() for row, word in enumerate(words) if word}
        if not usable or not self.is_drawn():
            return None
        most = predictions.ROWS_MAX
        hashed = self.entity_hash(entity)
        while True:
            chosen, share = usable, self.share
            if len(usable) > most:
                chosen = {row: usable[row] for row in random.sample(sorted(usable), most)}
                share = max(1, self.share * most // len(usable))
            joined = predictions.joined(chosen)
            begin = receipts.prefix(self._key, self._revision, share=share, entity=hashed, tags=tags)
            text = f"{begin}{stamp.id(place)}.{joined}".encode()
            if len(text) + 2 * receipts.MAC_BYTES < receipts.BYTES_MAX or most == 1:
                break
            most //= 2  # long class names
        signed = receipts.signer(self._key, text).hexdigest().encode()
        return Minted(b"%b.%b" % (text, signed), joined, share)
