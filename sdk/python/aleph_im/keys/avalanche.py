"""Accounts and signatures of the X, P and C chains of Avalanche with addresses in bech32 (messages §4.6).

Accounts with Ethereum's addresses sign as Ethereum's do, under the chain code ETH.
"""

from __future__ import annotations

import hashlib

from . import base58, bech32
from .ripemd160 import hash160
from .secp256k1 import Point, SecretKey, compressed, recover

SECRET_PREFIX = "PrivateKey-"  # before the CB58 of a key, as wallets show it


class AvalancheAccount:
    """Signs with a secret key of 32 bytes, on chain X, P or C of the main network."""

    def __init__(self, key: bytes, subchain: str = "X") -> None:
        self._key = SecretKey(key)
        self.chain = "AVAX"
        self.address = _address(subchain, self._key.public)

    def sign(self, payload: bytes) -> str:
        """Return r, s and the recovery id in CB58."""
        r, s, recovery = self._key.sign(_digest(payload))
        raw = r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes([recovery])
        return base58.encode(raw + _checksum(raw))

    def __repr__(self) -> str:
        return f"<{self.chain} account {self.address}>"


def secret_of(text: str) -> bytes:
    """Return the key in a text as wallets show it; anything else is a ValueError, which shows nothing of it."""
    try:
        return _from_cb58(text.removeprefix(SECRET_PREFIX))
    except ValueError:
        raise ValueError(f"the secret key is not {SECRET_PREFIX} and CB58") from None


def verify(sender: str, payload: bytes, signature: str) -> bool:
    """Report whether sender signed payload."""
    subchain, dash, _ = sender.partition("-")
    try:
        raw = _from_cb58(signature)
    except ValueError:
        return False
    if not dash or len(raw) != 65:
        return False
    public = recover(_digest(payload), int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:64], "big"), raw[64])
    return public is not None and _address(subchain, public) == sender


def _address(subchain: str, public: Point) -> str:
    return f"{subchain}-{bech32.encode('avax', hash160(compressed(public)))}"


def _digest(payload: bytes) -> bytes:
    return hashlib.sha256(b"\x1aAvalanche Signed Message:\n" + len(payload).to_bytes(4, "big") + payload).digest()


def _from_cb58(text: str) -> bytes:
    raw = base58.decode(text)
    data, check = raw[:-4], raw[-4:]
    if _checksum(data) != check:
        raise ValueError("the checksum is wrong")
    return data


def _checksum(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()[-4:]
