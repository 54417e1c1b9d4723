"""Accounts and signatures of Ethereum and the chains that sign as it does (messages §4.1)."""

from __future__ import annotations

from functools import lru_cache

from .keccak import keccak256
from .secp256k1 import Point, SecretKey, recover


class EthereumAccount:
    """Signs with a secret key of 32 bytes."""

    def __init__(self, key: bytes, chain: str = "ETH") -> None:
        self._key = SecretKey(key)
        self.chain = chain
        self.address = address_of(self._key.public)

    def sign(self, payload: bytes) -> str:
        """Return "0x" and 65 bytes in hexadecimal, as wallets answer personal_sign."""
        r, s, recovery = self._key.sign(_digest(payload))
        return f"0x{r:064x}{s:064x}{27 + recovery:02x}"

    def sign_transaction(self, unsigned: bytes) -> tuple[int, int, int]:
        """Return r, s and the parity for the type and the unsigned fields of a transaction."""
        return self._key.sign(keccak256(unsigned))

    def __repr__(self) -> str:
        return f"<{self.chain} account {self.address}>"


def address_of(public: Point) -> str:
    """Return the address of a public key, with the capitals of EIP-55."""
    digits = _digits_of(public)
    check = keccak256(digits.encode()).hex()
    return "0x" + "".join(c.upper() if int(k, 16) >= 8 else c for c, k in zip(digits, check, strict=False))


def verify(sender: str, payload: bytes, signature: str) -> bool:
    """Report whether sender signed payload."""
    digits = signature.removeprefix("0x")
    try:
        raw = bytes.fromhex(digits.zfill(len(digits) + len(digits) % 2))
    except ValueError:
        return False
    if len(raw) != 65:
        return False
    v = raw[64]
    if v in (0, 1):
        recovery = v
    elif v in (27, 28):
        recovery = v - 27
    elif v >= 35:
        recovery = (v - 35) % 2
    else:
        return False
    public = recover(_digest(payload), int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:64], "big"), recovery)
    return public is not None and "0x" + _digits_of(public) == sender.lower()


@lru_cache(maxsize=4096)
def _digits_of(public: Point) -> str:
    return keccak256(public[0].to_bytes(32, "big") + public[1].to_bytes(32, "big"))[12:].hex()


def _digest(payload: bytes) -> bytes:
    return keccak256(b"\x19Ethereum Signed Message:\n" + str(len(payload)).encode() + payload)
