"""Receipts on the hot path: put together from pieces that a batch shares.

The id of a prediction is a UUIDv7 that ends in a counter; the random bits before it are drawn once per millisecond, and
what stands before the counter is hashed once: with usual names that is more than one block of the hash, so that an answer
costs one block, one copy and two small joins. What comes out is what `leadline_wire.receipts.mint` makes of the same receipt, and the tests hold both against each other. Must
not know connections.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from leadline_wire import predictions, receipts

PLACES: Final = 4_096
"""Predictions that may share time and random bits; a batch never has more requests than this."""
_PLACES: Final = [b"%04x" % place for place in range(PLACES)]
_DOTTED: Final = [place + b"." for place in _PLACES]
_VARIANT: Final = 0b10 << 46
_LOW: Final = (1 << 46) - 1
_random = random.random
_bits = random.getrandbits


class Stamp:
    """Where the ids of one batch begin."""

    __slots__ = ("first", "head")

    def __init__(self, head: bytes, first: int) -> None:
        self.head = head
        self.first = first

    def id(self, place: int) -> str:
        """Return the id of the prediction at this place of the batch, 32 hexadecimal digits."""
        return (self.head + _PLACES[self.first + place]).decode()

    def ids(self, count: int) -> list[bytes]:
        """Return the ids of the first so many."""
        head = self.head
        return [head + place for place in _PLACES[self.first : self.first + count]]


class Rows:
    """What a batch of answers of one row each got."""

    __slots__ = ("is_whole", "receipts", "stamp", "words")

    def __init__(self, stamp: Stamp, words: list[bytes], receipts: list[bytes | None], *, is_whole: bool) -> None:
        self.stamp = stamp
        self.words = words
        self.receipts = receipts
        """None for those that get none."""
        self.is_whole = is_whole
        """Every answer has one."""

    def part(self, rows: Sequence[int]) -> Rows:
        """Return what these rows of the batch got, in this order; ids are asked of the whole."""
        receipts = [self.receipts[row] for row in rows]
        return Rows(self.stamp, [self.words[row] for row in rows], receipts, is_whole=self.is_whole)


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
        self._head_ms = -1
        self._head = self._begin = b""
        self._started = receipts.signer(key)
        self._next = 0

    def stamp(self, requests: int) -> Stamp:
        """Return where the ids of a new batch of so many requests begin."""
        now_ms = self._now_ms()
        first = self._next
        if now_ms != self._head_ms or first + requests > PLACES:
            bits = _bits(58)
            self._head_ms = now_ms
            self._head = b"%012x7%03x%012x" % (now_ms, bits >> 46, _VARIANT | bits & _LOW)
            self._begin = self._prefix + self._head
            self._started = receipts.signer(self._key, self._begin)
            first = 0
        self._next = first + requests
        return Stamp(self._head, first)

    def entity_hash(self, entity: str) -> str:
        """Return the keyed hash of an entity; empty if there is none."""
        return receipts.entity_hash(self._entity_key, entity) if entity else ""

    def is_drawn(self) -> bool:
        """Tell whether the next prediction gets a receipt."""
        return self.share >= receipts.WHOLE_SHARE or _random() < self._fraction

    def rows(self, words: list[bytes]) -> Rows:
        """Return what a batch of answers of one row each gets."""
        stamp = self.stamp(len(words))
        begin = self._begin
        start, join = self._started.copy, b"".join
        places = _DOTTED[stamp.first : stamp.first + len(words)]
        minted: list[bytes | None] = []
        take = minted.append
        is_whole = self.share >= receipts.WHOLE_SHARE
        if is_whole and b"" not in words:
            for place, word in zip(places, words, strict=True):
                rest = place + word
                signed = start()
                signed.update(rest)
                take(join((begin, rest, b".", signed.hexdigest().encode())))
            return Rows(stamp, words, minted, is_whole=True)
        for place, word in zip(places, words, strict=True):
            if not word or not (is_whole or _random() < self._fraction):
                take(None)
                continue
            rest = place + word
            signed = start()
            signed.update(rest)
            take(join((begin, rest, b".", signed.hexdigest().encode())))
        return Rows(stamp, words, minted, is_whole=False)

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
