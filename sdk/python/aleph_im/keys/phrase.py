"""Keys from English recovery phrases (BIP-39) along paths (BIP-32), with the word list of mnemonic: extra phrases.

No error shows a piece of a phrase.
"""

from __future__ import annotations

import hashlib
import hmac

from mnemonic import Mnemonic

from .secp256k1 import N, SecretKey, compressed

HARDENED = 1 << 31
"""Added to the steps of a path that are written with an apostrophe."""


def secret_of(phrase: str, passphrase: str, path: tuple[int, ...]) -> bytes:
    """Follow a path from a phrase to a secret key of secp256k1. An empty path leads to the master key."""
    seed = Mnemonic.to_seed(_checked(phrase), passphrase)
    secret, chain = _halves(b"Bitcoin seed", seed)
    for index in path:
        head = b"\0" + secret if index >= HARDENED else compressed(SecretKey(secret).public)
        tweak, chain = _halves(chain, head + index.to_bytes(4, "big"))
        secret = ((int.from_bytes(tweak, "big") + int.from_bytes(secret, "big")) % N).to_bytes(32, "big")
    return secret


def seed_of_entropy(phrase: str, passphrase: str) -> bytes:
    """Return the seed of 32 bytes that Substrate makes of a phrase: from what its words stand for, and not from the words."""
    entropy = bytes(Mnemonic("english").to_entropy(_checked(phrase)))
    return hashlib.pbkdf2_hmac("sha512", entropy, b"mnemonic" + passphrase.encode(), 2048)[:32]


def _checked(phrase: str) -> str:
    words = " ".join(phrase.lower().split())
    if not Mnemonic("english").check(words):
        raise ValueError("the phrase is not 12 to 24 English words of BIP-39 with a right checksum")
    return words


def _halves(key: bytes, data: bytes) -> tuple[bytes, bytes]:
    whole = hmac.digest(key, data, "sha512")
    return whole[:32], whole[32:]
