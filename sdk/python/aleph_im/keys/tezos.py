"""Accounts and signatures of Tezos (messages §4.3)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from datetime import datetime, timezone

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature

from . import base58
from .secp256k1 import N

# Prefix of the public key: the curve, the prefix of the address, and that of signatures of this curve alone.
_KEYS = {
    bytes.fromhex("0d0f25d9"): ("ed25519", bytes.fromhex("06a19f"), bytes.fromhex("09f5cd8612")),
    bytes.fromhex("03fee256"): ("secp256k1", bytes.fromhex("06a1a1"), bytes.fromhex("0d7365133f")),
    bytes.fromhex("03b28b7f"): ("p256", bytes.fromhex("06a1a4"), bytes.fromhex("36f02c34")),
}
_ED25519 = bytes.fromhex("0d0f25d9")
_ANY_SIGNATURE = bytes.fromhex("04822b")
_SEED = bytes.fromhex("0d0f3a07")


class TezosAccount:
    """Signs with a seed of 32 bytes, as an address tz1."""

    def __init__(self, seed: bytes, chain: str = "TEZOS") -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        public = self._key.public_key().public_bytes_raw()
        self._public = _encode(_ED25519, public)
        self.chain = chain
        self.address = _address(_KEYS[_ED25519][1], public)

    def sign(self, payload: bytes) -> str:
        """Return the JSON text {"publicKey", "signature"}, both in base58 with a checksum."""
        signature = _encode(_ANY_SIGNATURE, self._key.sign(_blake2b(payload)))
        return json.dumps({"publicKey": self._public, "signature": signature}, separators=(",", ":"))

    def __repr__(self) -> str:
        return f"<{self.chain} account {self.address}>"


def secret_of(text: str) -> bytes:
    """Return the seed in a text edsk… as wallets show it; anything else is a ValueError, which shows nothing of it."""
    try:
        return _decode(text, (_SEED,))[1]
    except ValueError:
        raise ValueError("the secret key is not edsk and a seed") from None


def verify(sender: str, payload: bytes, signature: str, time: datetime) -> bool:
    """Report whether sender signed payload, in a message of the given time."""
    try:
        members = json.loads(signature)
        prefix, public = _decode(members["publicKey"], _KEYS)
        curve, address, own = _KEYS[prefix]
        _, raw = _decode(members["signature"], (own, _ANY_SIGNATURE))
        if _address(address, public) != sender or len(raw) != 64:
            return False
        signed = _signed_bytes(payload, members.get("signingType", "raw"), members.get("dAppUrl", "aleph.im"), time)
        _check(curve, public, raw, _blake2b(signed))
    except (ValueError, KeyError, TypeError, AttributeError, InvalidSignature, RecursionError):
        return False
    return True


def _signed_bytes(payload: bytes, kind: str, url: str, time: datetime) -> bytes:
    """Return what a wallet signs for a payload. The length is the decimal text of twice the bytes, as wallets were taught."""
    if kind == "raw":
        return payload
    if kind != "micheline":
        raise ValueError(f"unknown signingType {kind!r}")
    when = time.astimezone(timezone.utc)
    stamp = when.strftime("%Y-%m-%dT%H:%M:%S.") + f"{when.microsecond // 1000:03}Z"
    text = f"Tezos Signed Message: {url} {stamp} ".encode() + payload
    return b"\x05\x01\x00" + str(2 * len(text)).encode() + text


def _check(curve: str, public: bytes, signature: bytes, digest: bytes) -> None:
    if curve == "ed25519":
        Ed25519PublicKey.from_public_bytes(public).verify(signature, digest)
        return
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    if curve == "secp256k1" and s > N // 2:
        raise ValueError("s is high")
    kind: ec.EllipticCurve = ec.SECP256K1() if curve == "secp256k1" else ec.SECP256R1()
    key = ec.EllipticCurvePublicKey.from_encoded_point(kind, public)
    key.verify(encode_dss_signature(r, s), digest, ec.ECDSA(Prehashed(hashes.SHA256())))


def _address(prefix: bytes, public: bytes) -> str:
    return _encode(prefix, hashlib.blake2b(public, digest_size=20).digest())


def _blake2b(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=32).digest()


def _encode(prefix: bytes, data: bytes) -> str:
    whole = prefix + data
    return base58.encode(whole + _checksum(whole))


def _decode(text: str, prefixes: Iterable[bytes]) -> tuple[bytes, bytes]:
    """Return the prefix, one of the given ones, and the bytes after it."""
    raw = base58.decode(text)
    if _checksum(raw[:-4]) != raw[-4:]:
        raise ValueError("the checksum is wrong")
    for prefix in prefixes:
        if raw.startswith(prefix):
            return prefix, raw[len(prefix) : -4]
    raise ValueError("the prefix is unknown")


def _checksum(data: bytes) -> bytes:
    return hashlib.sha256(hashlib.sha256(data).digest()).digest()[:4]
