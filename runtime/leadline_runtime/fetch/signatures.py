"""Whether a key signed a model: bundles of OpenSSF model signing (`model_signing sign key`), by `cryptography` alone.

A bundle is Sigstore's JSON with a DSSE envelope, whose payload is an in-toto statement that lists each file with its
SHA-256. The package that makes them takes 95 MB and half a second to import, for this page of rules; tests judge these
rules by that package. Files are known by their digests already, so nothing is read twice. Certificates and Sigstore's
keyless signatures are not known here: they are refused.
"""

import base64
import binascii
import hashlib
from pathlib import PurePosixPath
from typing import Any, Final

import msgspec

from leadline_runtime import errors
from leadline_runtime.fetch import folders

FILE_NAME: Final = "model.sig"
"""Where the package puts a folder's signature; a single file's is beside it, with .sig added to its name."""
BYTES_MAX: Final = 16 << 20
_MEDIA_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
_STATEMENT: Final = "https://in-toto.io/Statement/v1"
_PREDICATE: Final = "https://model_signing/signature/v1.0"
_GIT: Final = (".git", ".gitattributes", ".github", ".gitignore")
"""What the package never signs."""
_HASHES: Final = {256: "SHA256", 384: "SHA384", 521: "SHA512"}
"""By the size of an elliptic curve's key."""


class _Signed(msgspec.Struct):
    sig: str


class _Envelope(msgspec.Struct, rename="camel"):
    payload: str
    payload_type: str
    signatures: list[_Signed]


class _PublicKey(msgspec.Struct):
    hint: str | None = None


class _Material(msgspec.Struct, rename="camel"):
    public_key: _PublicKey | None = None


class _Bundle(msgspec.Struct, rename="camel"):
    media_type: str
    verification_material: _Material
    dsse_envelope: _Envelope


class _Resource(msgspec.Struct):
    name: str
    algorithm: str
    digest: str


class _Serialization(msgspec.Struct):
    method: str
    hash_type: str = "sha256"
    ignore_paths: list[str] = []


class _Predicate(msgspec.Struct):
    resources: list[_Resource]
    serialization: _Serialization


class _Subject(msgspec.Struct):
    digest: dict[str, str]


class _Statement(msgspec.Struct, rename={"type": "_type", "predicate_type": "predicateType"}):
    type: str
    predicate_type: str
    subject: list[_Subject]
    predicate: _Predicate


class InvalidError(errors.LeadlineRuntimeError):
    """No signature of this key over these files; the message says why."""


class KeyUnusableError(errors.LeadlineRuntimeError):
    """The key is none that signatures can be checked with, which says nothing about the model."""


def verify(bundle: bytes, key: bytes, model: folders.Model, loaded: str) -> None:
    """Check that a key signed a model's files.

    Args:
        bundle: The signature file.
        key: The public key, PEM.
        model: All files with their digests.
        loaded: Path of the file that is to be loaded.

    Raises:
        InvalidError: It did not, or not all of them.
        KeyUnusableError: The key is none.
    """
    _compare(_statement(_payload(bundle, key)), model, loaded)


def _payload(bundle: bytes, key: bytes) -> bytes:
    """Return what the key signed."""
    try:
        read = msgspec.json.decode(bundle, type=_Bundle)
        payload = base64.b64decode(read.dsse_envelope.payload, validate=True)
        signatures = [base64.b64decode(signed.sig, validate=True) for signed in read.dsse_envelope.signatures]
    except (msgspec.MsgspecError, binascii.Error) as error:
        raise InvalidError(f"not a bundle that `model_signing sign key` writes: {error}") from error
    if read.media_type != _MEDIA_TYPE or read.dsse_envelope.payload_type != _PAYLOAD_TYPE or len(signatures) != 1:
        raise InvalidError(f"expected a bundle {_MEDIA_TYPE} with one signature over {_PAYLOAD_TYPE}")
    hint = read.verification_material.public_key.hint if read.verification_material.public_key else None
    if read.verification_material.public_key is None:
        raise InvalidError("signed with a certificate or by Sigstore; expected `model_signing sign key`")
    _check_signature(signatures[0], payload, key, hint or "")
    return payload


def _check_signature(signature: bytes, payload: bytes, key: bytes, hint: str) -> None:
    # Takes 10 MB and 50 ms: only where a signature is asked for.
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives import hashes, serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    try:
        public: Any = serialization.load_pem_public_key(key)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyUnusableError("expected a public key in PEM, `-----BEGIN PUBLIC KEY-----`") from error
    if not isinstance(public, ec.EllipticCurvePublicKey) or public.curve.key_size not in _HASHES:
        raise KeyUnusableError("expected a key of an elliptic curve P-256, P-384 or P-521")
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    authentic = b"DSSEv1 %d %b %d %b" % (len(_PAYLOAD_TYPE), _PAYLOAD_TYPE.encode(), len(payload), payload)
    try:
        public.verify(signature, authentic, ec.ECDSA(getattr(hashes, _HASHES[public.curve.key_size])()))
    except InvalidSignature as error:
        other = hint and hint != hashlib.sha256(pem).hexdigest()
        raise InvalidError("signed with another key" if other else "the signature is not of this key") from error


def _statement(payload: bytes) -> _Predicate:
    try:
        statement = msgspec.json.decode(payload, type=_Statement)
    except msgspec.MsgspecError as error:
        raise InvalidError(f"what is signed is no statement about a model: {error}") from error
    predicate = statement.predicate
    if (statement.type, statement.predicate_type) != (_STATEMENT, _PREDICATE):
        raise InvalidError(f"signed is a {statement.predicate_type}, expected {_PREDICATE}")
    if predicate.serialization.method != "files" or {each.algorithm for each in predicate.resources} != {"sha256"}:
        raise InvalidError("signed with shards or another hash than sha256; sign each file with sha256, the default")
    root = hashlib.sha256(b"".join(_hex(each.digest) for each in predicate.resources)).hexdigest()
    if [subject.digest.get("sha256") for subject in statement.subject] != [root]:
        raise InvalidError("the statement's own digest is not that of the files it lists")
    return predicate


def _hex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise InvalidError(f"a file's digest is {text[:80]!r}, expected hexadecimal digits") from error


def _compare(predicate: _Predicate, model: folders.Model, loaded: str) -> None:
    signed = {each.name: f"sha256:{each.digest}" for each in predicate.resources}
    if not model.is_folder:
        if list(signed.values()) != [model.digest]:
            raise InvalidError(f"the file has digest {model.digest}, signed is {', '.join(signed.values())[:300]}")
        return
    left_out = [PurePosixPath(path) for path in (*predicate.serialization.ignore_paths, *_GIT, FILE_NAME)]
    here = {
        file.path: file.digest
        for file in model.files
        if not any(PurePosixPath(file.path).is_relative_to(path) for path in left_out)
    }
    for path in sorted(here.keys() | signed.keys()):
        if path not in signed:
            raise InvalidError(f"{path!r} is not signed")
        if path not in here:
            raise InvalidError(f"{path!r} is signed and not there")
        if here[path] != signed[path]:
            raise InvalidError(f"{path!r} has digest {here[path]}, signed is {signed[path]}")
    if loaded not in here:
        raise InvalidError(f"{loaded!r}, which is to be loaded, is not signed")
