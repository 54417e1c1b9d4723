"""Accounts and signatures of Solana and Eclipse (messages §4.2)."""

from __future__ import annotations

import json

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from ..errors import SigningError
from . import base58


class SolanaAccount:
    """Signs with a seed of 32 bytes."""

    def __init__(self, seed: bytes, chain: str = "SOL") -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.chain = chain
        self.address = base58.encode(self._key.public_key().public_bytes_raw())

    def sign(self, payload: bytes) -> str:
        """Return the JSON text {"signature", "publicKey"}, both in base58."""
        members = {"signature": base58.encode(self._key.sign(payload)), "publicKey": self.address}
        return json.dumps(members, separators=(",", ":"))

    def __repr__(self) -> str:
        return f"<{self.chain} account {self.address}>"


def secret_of(key: bytes | str) -> bytes:
    """Return the seed in what wallets call a secret key: a seed, or seed and public key; hexadecimal, base58 or a JSON list."""
    raw = key if isinstance(key, bytes) else _decoded(key.strip())
    if len(raw) not in (32, 64):
        raise SigningError(f"a secret key of Solana is 32 or 64 bytes; this has {len(raw)}")
    seed = raw[:32]
    if len(raw) == 64 and Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw() != raw[32:]:
        raise SigningError("the two halves of this secret key do not belong together")
    return seed


def _decoded(text: str) -> bytes:
    try:
        if text.startswith("["):
            return bytes(json.loads(text))
        digits = text.removeprefix("0x")
        if len(digits) in (64, 128) and all(c in "0123456789abcdefABCDEF" for c in digits):
            return bytes.fromhex(digits)
        return base58.decode(text)
    except (ValueError, TypeError) as wrong:
        raise SigningError("a secret key of Solana is hexadecimal, base58 or a JSON list; this is something else") from wrong


def verify(sender: str, payload: bytes, signature: str) -> bool:
    """Report whether sender signed payload."""
    try:
        members = json.loads(signature)
        if members.get("version", 1) != 1 or members["publicKey"] != sender:
            return False
        key = Ed25519PublicKey.from_public_bytes(base58.decode(sender))
        key.verify(base58.decode(members["signature"]), payload)
    except (ValueError, KeyError, TypeError, AttributeError, InvalidSignature, RecursionError):
        return False
    return True
