"""Signed statements in one canonical form: DSSE in a Sigstore bundle, as OpenSSF model-signing writes and checks it.

The bytes are made here instead of by `model_signing`, because a bundle needs what that library leaves open: one form only
(any other byte is an alteration), signatures normalised to low s, a subject that does not name the folder it was signed
in, and a check that runs before any general parser sees the file. `model_signing verify key` accepts the result (a test
holds that).
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from typing import Any

from trustbase import files
from trustbase.bundle.keys import PublicKey, SigningKey
from trustbase.errors import VerificationError

PAYLOAD_TYPE = "application/vnd.in-toto+json"
MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
STATEMENT = "https://in-toto.io/Statement/v1"
LARGEST = 8_000_000
# Order of the P-256 group: FIPS 186-5 / SP 800-186, section 3.2.1.3
_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_FORM = re.compile(
    rb'\{"dsseEnvelope":\{"payload":"(?P<payload>[A-Za-z0-9+/]+={0,2})","payloadType":"'
    + re.escape(PAYLOAD_TYPE.encode())
    + rb'","signatures":\[\{"keyid":"","sig":"(?P<sig>[A-Za-z0-9+/]{8,120}={0,2})"\}\]\},"mediaType":"'
    + re.escape(MEDIA_TYPE.encode())
    + rb'","verificationMaterial":\{"publicKey":\{"hint":"(?P<hint>[0-9a-f]{64})"\},"tlogEntries":\[\]\}\}'
)


def sign(statement: Mapping[str, Any], key: SigningKey) -> bytes:
    """The signed form of a statement: the same statement and key always give the same bytes.

    Source: DSSE v1 (pre-authentication encoding); RFC 6979 (deterministic ECDSA).
    """
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

    payload = files.canonical_json(statement)
    r, s = decode_dss_signature(key.key.sign(_encoding(payload), ec.ECDSA(hashes.SHA256(), deterministic_signing=True)))
    return _render(payload, encode_dss_signature(r, min(s, _ORDER - s)), key.public.fingerprint)


def open_signed(data: bytes, trusted: Mapping[str, PublicKey], *, what: str) -> tuple[dict[str, Any], PublicKey]:
    """The statement that a trusted key signed, and that key.

    Nothing is parsed but by one fixed pattern until the signature holds; then the payload must be the canonical form of
    what it says, and the whole file the canonical form of its parts.

    Raises:
        VerificationError: anything else.
    """
    match = _FORM.fullmatch(data) if len(data) <= LARGEST else None
    if match is None:
        raise VerificationError(f"{what} is not in the one form that a signature has", hint="get the bundle again from its signer")
    signer = trusted.get(match["hint"].decode("ascii"))
    if signer is None:
        raise VerificationError(
            f"{what} was made with a key that is not trusted here (fingerprint {match['hint'].decode('ascii')})",
            hint="ask the signer for the public key by another way than the bundle, then name it with --trust",
        )
    payload, signature = _decode(match["payload"], what), _decode(match["sig"], what)
    _check(payload, signature, signer, what)
    if _render(payload, signature, signer.fingerprint) != data:
        raise VerificationError(f"{what} differs from its canonical form", hint="get the bundle again from its signer")
    try:
        statement = json.loads(payload)
        canonical = files.canonical_json(statement)
    except (ValueError, RecursionError) as error:
        raise VerificationError(f"{what} holds a statement that cannot be read: {error}") from error
    if canonical != payload or not isinstance(statement, dict):
        raise VerificationError(f"{what} holds a statement that is not in canonical form")
    return statement, signer


def _check(payload: bytes, signature: bytes, signer: PublicKey, what: str) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

    try:
        r, s = decode_dss_signature(signature)
        if encode_dss_signature(r, s) != signature or s > _ORDER // 2:
            raise VerificationError(f"{what} is an altered form of a signature", hint="get the bundle again from its signer")
        signer.key.verify(signature, _encoding(payload), ec.ECDSA(hashes.SHA256()))
    except (ValueError, InvalidSignature) as error:
        raise VerificationError(
            f"{what} does not hold: it, or what it signs, was altered, or another key made it", hint="get the bundle again from its signer"
        ) from error


def _encoding(payload: bytes) -> bytes:
    """What is signed. Source: DSSE v1 protocol, "PAE"."""
    return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)


def _render(payload: bytes, signature: bytes, fingerprint: str) -> bytes:
    envelope = {
        "payload": base64.b64encode(payload).decode("ascii"),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"keyid": "", "sig": base64.b64encode(signature).decode("ascii")}],
    }
    material = {"publicKey": {"hint": fingerprint}, "tlogEntries": []}
    return files.canonical_json({"mediaType": MEDIA_TYPE, "verificationMaterial": material, "dsseEnvelope": envelope})


def _decode(text: bytes, what: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise VerificationError(f"{what} is not valid base64", hint="get the bundle again from its signer") from error
