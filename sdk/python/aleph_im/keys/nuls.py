"""Accounts and signatures of NULS, of its second version (messages §4.7) and of the first, which is legacy (§4.8)."""

from __future__ import annotations

import base64
import hashlib

from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from . import base58
from .ripemd160 import hash160
from .secp256k1 import N, SecretKey, compressed, recover
from .secp256k1 import verify as verify_digest

_PREFIX = b"\x18NULS Signed Message:\n"
_HEADER = 27  # of signatures of the second version; the recovery id is added

_NETWORKS = {1: "NULSd", 2: "tNULSe"}
"""What addresses of the second version begin with: the network's name, and the letter that counts the name's letters."""

LEGACY_MAINNET = 8964


class NULSAccount:
    """Signs with a secret key of 32 bytes on a network of the second version: 1 is the main one, 2 that for tests."""

    def __init__(self, key: bytes, network: int = 1) -> None:
        self._key = SecretKey(key)
        self.chain = "NULS2"
        self.address = _NETWORKS[network] + _address(network, compressed(self._key.public))

    def sign(self, payload: bytes) -> str:
        """Return 65 bytes in base64: the header with the recovery id, r and s."""
        r, s, recovery = self._key.sign(_digest(_with_length(payload)))
        return base64.b64encode(bytes([_HEADER + recovery]) + r.to_bytes(32, "big") + s.to_bytes(32, "big")).decode()

    def __repr__(self) -> str:
        return f"<{self.chain} account {self.address}>"


class LegacyAccount:
    """Signs with a secret key of 32 bytes on a network of the first version; 8964 is the main one, 261 that for tests."""

    def __init__(self, key: bytes, network: int = LEGACY_MAINNET) -> None:
        self._key = SecretKey(key)
        self._public = compressed(self._key.public)
        self.chain = "NULS"
        self.address = _address(network, self._public)

    def sign(self, payload: bytes) -> str:
        """Return in hexadecimal: length, public key, a byte of no meaning, length, the signature in DER."""
        r, s, _ = self._key.sign(_digest(_shown(_with_length(payload))))
        der = encode_dss_signature(r, s)
        return (bytes([33]) + self._public + bytes([0, len(der)]) + der).hex()

    def __repr__(self) -> str:
        return f"<{self.chain} account {self.address}>"


def verify(sender: str, payload: bytes, signature: str) -> bool:
    """Report whether sender, of the second version, signed payload."""
    network = 2 if sender.startswith("t") else 1
    try:
        raw = base64.b64decode(signature, validate=True)
    except ValueError:
        return False
    if len(raw) != 65:
        return False
    r, s = int.from_bytes(raw[1:33], "big"), int.from_bytes(raw[33:], "big")
    public = recover(_digest(_with_length(payload)), r, s, raw[0] - _HEADER)
    return public is not None and _NETWORKS[network] + _address(network, compressed(public)) == sender


def verify_legacy(sender: str, payload: bytes, signature: str) -> bool:
    """Report whether sender, of the first version, signed payload. Of the two forms of a signature that with low s passes."""
    head = 1 + 33 + 1 + 1
    try:
        raw = bytes.fromhex(signature)
        if len(raw) < head or raw[0] != 33 or raw[head - 1] != len(raw) - head:
            return False
        public = raw[1:34]
        r, s = decode_dss_signature(raw[head:])
        if s > N // 2 or _address(int.from_bytes(base58.decode(sender)[:2], "little"), public) != sender:
            return False
    except ValueError:
        return False
    return verify_digest(public, _digest(_shown(_with_length(payload))), r, s)


def _address(network: int, public: bytes) -> str:
    body = network.to_bytes(2, "little") + b"\x01" + hash160(public)
    check = 0
    for byte in body:
        check ^= byte
    return base58.encode(body + bytes([check]))


def _with_length(payload: bytes) -> bytes:
    """Put the length before a payload, as Bitcoin writes it."""
    size = len(payload)
    if size < 253:
        return bytes([size]) + payload
    if size <= 0xFFFF:
        return b"\xfd" + size.to_bytes(2, "little") + payload
    return b"\xfe" + size.to_bytes(4, "little") + payload


def _shown(payload: bytes) -> bytes:
    """Return what the network takes for the bytes: the text that Python shows for them."""
    return repr(payload).encode()


def _digest(payload: bytes) -> bytes:
    return hashlib.sha256(_PREFIX + payload).digest()
