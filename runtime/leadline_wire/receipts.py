"""Receipts: signed tokens that come back with a prediction, so that its true answer can be reported later.

    1.<key>.<revision>.<share>.<entity>.<tags>.<id>.<predictions>.<mac>

key: 8 hexadecimal digits that name the key. revision: whose prediction it is. share: probability, in millionths, with
which this prediction got a receipt. entity: 16 hexadecimal digits, a keyed hash of the entity, or empty. tags: up to 4
pairs as base64url of JSON, or empty. id: a UUIDv7 as 32 hexadecimal digits; its first 12 are the time in milliseconds.
predictions: words as in `predictions`. mac: keyed BLAKE2s of all that stands before its dot, 16 bytes in hexadecimal.

The form is frozen; a new one gets another number. It is readable on purpose: a receipt hides nothing from whoever got
the prediction, and proves everything to whoever has the key. The hot path of the runtime puts receipts together by
itself (`prefix`, `signer`); this module is what both it and the tests hold on to.

Must not read the clock and must not draw random numbers.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from leadline_wire import predictions

VERSION: Final = "1"
HEADER: Final = "leadline-receipt"
"""Response header for one row; the response parameter `receipt` is always there."""
BYTES_MAX: Final = 16_384
TAGS_MAX: Final = 4
TAG_CHARACTERS_MAX: Final = 64
WHOLE_SHARE: Final = 1_000_000
MAC_BYTES: Final = 16
ENTITY_BYTES: Final = 8


class BadReceiptError(ValueError):
    """A token that is no receipt of ours; the message says why, and nothing of the key."""


@dataclass(frozen=True, slots=True)
class Key:
    """One key that signs receipts of one ModelDeployment."""

    id: str
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a receipt says."""

    revision: str
    id: str
    predictions: Mapping[int, str]
    """Words by row number."""
    share: int = WHOLE_SHARE
    """In millionths."""
    entity: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def predicted_at_ms(self) -> int:
        """When the prediction was made, in milliseconds since the epoch."""
        return int(self.id[:12], 16)


def key_of(exchange_key: bytes, rotation: int = 0) -> Key:
    """Return the receipt key of a rotation, derived from the key in the ModelDeployment's Secret.

    So that no key has to travel: the exchange only says which rotation signs now.
    """
    secret = hashlib.blake2s(b"receipts %d" % rotation, key=exchange_key[:32], person=b"leadline").digest()
    return Key(hashlib.blake2s(secret, digest_size=4, person=b"leadlkid").hexdigest(), secret)


def entity_hash(key: Key, entity: str) -> str:
    """Return the keyed hash by which outcomes of one entity are found to be of one."""
    return hashlib.blake2s(entity.encode(), digest_size=ENTITY_BYTES, key=key.secret, person=b"leadlent").hexdigest()


def prefix(key: Key, revision: str, *, share: int = WHOLE_SHARE, entity: str = "", tags: str = "") -> str:
    """Return what stands before the id; `tags` as `encoded_tags` makes them."""
    return f"{VERSION}.{key.id}.{revision}.{share}.{entity}.{tags}."


def signer(key: Key, begin: bytes = b"") -> hashlib.blake2s:
    """Return a hash that has taken in the key and the begin of a receipt; copy it for each receipt that begins so."""
    return hashlib.blake2s(begin, digest_size=MAC_BYTES, key=key.secret)


def encoded_tags(tags: Mapping[str, str]) -> str:
    """Return tags as a receipt holds them.

    Raises:
        BadReceiptError: There are more than 4, or one is too long.
    """
    if len(tags) > TAGS_MAX:
        raise BadReceiptError(f"{len(tags)} tags, expected at most {TAGS_MAX}")
    for name, value in tags.items():
        if not 0 < len(name) <= TAG_CHARACTERS_MAX or len(value) > TAG_CHARACTERS_MAX:
            raise BadReceiptError(f"tag {name[:80]!r}: expected at most {TAG_CHARACTERS_MAX} characters each side")
    if not tags:
        return ""
    return base64.urlsafe_b64encode(json.dumps(dict(tags), separators=(",", ":")).encode()).decode().rstrip("=")


def mint(key: Key, receipt: Receipt) -> str:
    """Return the token of a receipt."""
    begin = prefix(key, receipt.revision, share=receipt.share, entity=receipt.entity, tags=encoded_tags(receipt.tags))
    text = f"{begin}{receipt.id}.{predictions.joined(receipt.predictions)}"
    return f"{text}.{signer(key, text.encode()).hexdigest()}"


def verify(token: str, keys: Mapping[str, Key]) -> Receipt:
    """Return what a token says, after its signature was checked.

    Args:
        token: As it came from the client.
        keys: The keys that may have signed it, by id.

    Raises:
        BadReceiptError: It is no receipt, of another version, of an unknown key, or forged.
    """
    if len(token) > BYTES_MAX:
        raise BadReceiptError(f"not a receipt: {len(token)} characters, expected at most {BYTES_MAX}")
    if not token.isascii():
        raise BadReceiptError("not a receipt: expected ASCII")
    parts = token.split(".")
    if parts[0] != VERSION or len(parts) < 9:
        raise BadReceiptError(f"not a receipt: expected 9 parts that begin with {VERSION}")
    # Only the name of a revision may hold dots.
    key_id, revision = parts[1], ".".join(parts[2:-6])
    share, entity, tags, identifier, words, mac = parts[-6:]
    key = keys.get(key_id)
    if key is None:
        raise BadReceiptError("receipt of another ModelDeployment, or signed with a key that is no longer kept")
    if not hmac.compare_digest(signer(key, token.rpartition(".")[0].encode()).hexdigest(), mac):
        raise BadReceiptError("receipt with a wrong signature: it was changed, or is not ours")
    try:
        found = json.loads(base64.urlsafe_b64decode(tags + "=" * (-len(tags) % 4))) if tags else {}
        return Receipt(revision, identifier, predictions.split(words), int(share), entity, found)
    except ValueError as error:
        raise BadReceiptError("receipt with a right signature that cannot be read: made by another version") from error
