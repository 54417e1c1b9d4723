"""Accounts and signatures of Polkadot and the chains of its family (messages §4.4).

The extra polkadot brings the library that signs: sr25519 is in none of those that the core has.
"""

from __future__ import annotations

import hashlib
import json
import re

import sr25519

from . import base58

GENERIC = 42
"""The network in whose form addresses are written when no other is meant."""


class SubstrateAccount:
    """Signs with a seed of 32 bytes. network is the SS58 number of the chain in whose form its address is written."""

    def __init__(self, seed: bytes, network: int = GENERIC) -> None:
        self._pair = sr25519.pair_from_seed(seed)
        self.chain = "DOT"
        self.address = _address(self._pair[0], network)

    def sign(self, payload: bytes) -> str:
        """Return the JSON text {"curve", "data"}, data being 64 bytes in hexadecimal. It is another one each time."""
        return json.dumps({"curve": "sr25519", "data": "0x" + sr25519.sign(self._pair, payload).hex()}, separators=(",", ":"))

    def __repr__(self) -> str:
        return f"<{self.chain} account {self.address}>"


def verify(sender: str, payload: bytes, signature: str) -> bool:
    """Report whether sender signed payload, or what browser extensions make of it."""
    try:
        members = json.loads(signature)
        data = members["data"]
        if members.get("curve", "sr25519") != "sr25519" or not re.fullmatch("0x[0-9a-fA-F]{128}", data):
            return False
        raw, public = bytes.fromhex(data[2:]), _public_key(sender)
        return any(sr25519.verify(raw, text, public) for text in (payload, b"<Bytes>" + payload + b"</Bytes>"))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False


def _public_key(address: str) -> bytes:
    """Return the public key in an address: SS58 of any network, or 0x and hexadecimal."""
    if re.fullmatch("0x[0-9a-fA-F]{64}", address):
        return bytes.fromhex(address[2:])
    raw = base58.decode(address)
    prefix = 1 if raw[:1] < b"\x40" else 2
    body, check = raw[:-2], raw[-2:]
    if len(body) != prefix + 32 or raw[0] >= 128 or _checksum(body) != check:
        raise ValueError("this is no address in SS58")
    return body[prefix:]


def _address(public: bytes, network: int) -> str:
    long = [0x40 | network >> 2 & 0x3F, network >> 8 | (network & 3) << 6]
    prefix = bytes([network] if network < 64 else long)
    return base58.encode(prefix + public + _checksum(prefix + public))


def _checksum(body: bytes) -> bytes:
    return hashlib.blake2b(b"SS58PRE" + body).digest()[:2]
