"""A key of P-256 to which an account has delegated, for operations on compute nodes (crn §2.1.1)."""

from __future__ import annotations

import base64
import json
from datetime import datetime, timedelta

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from .accounts import EVM_CHAINS
from .errors import SigningError
from .keys import base58


class Delegation:
    """A key and what its account signed about it. It is of use once proof is set, to the signature of to_sign."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, chain: str, domain: str, payload: bytes, expires: datetime) -> None:
        self._key, self._chain, self._domain, self._payload = key, chain, domain, payload
        self.expires = expires
        self.proof = ""

    @classmethod
    def new(cls, chain: str, address: str, domain: str, now: datetime, life: float) -> Delegation:
        """Make a key that is good for life seconds."""
        key = ec.generate_private_key(ec.SECP256R1())
        numbers = key.public_key().public_numbers()
        expires = now + timedelta(seconds=life)
        payload = {
            "pubkey": {"kty": "EC", "crv": "P-256", "x": _coordinate(numbers.x), "y": _coordinate(numbers.y)},
            "alg": "ECDSA",
            "domain": domain,
            "address": address,
            "expires": expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "chain": chain,
        }
        return cls(key, chain, domain, json.dumps(payload).encode(), expires)

    @property
    def to_sign(self) -> bytes:
        """What the account has to sign. Wallets of Solana sign text only, so there it is hexadecimal."""
        return self._payload.hex().encode() if self._chain == "SOL" else self._payload

    def headers(self, method: str, path: str, now: datetime) -> dict[str, str]:
        """Return the headers that let one request be served, within two minutes."""
        time = now.strftime("%Y-%m-%dT%H:%M:%S.") + f"{now.microsecond // 1000:03}Z"
        act = json.dumps({"time": time, "method": method, "path": path, "domain": self._domain}).encode()
        r, s = decode_dss_signature(self._key.sign(act, ec.ECDSA(hashes.SHA256())))
        proof = _bare_solana(self.proof) if self._chain == "SOL" else self.proof
        return {
            "X-SignedPubKey": json.dumps({"payload": self._payload.hex(), "signature": proof}),
            "X-SignedOperation": json.dumps({"payload": act.hex(), "signature": f"{r:064x}{s:064x}"}),
        }


def operator_chain(chain: str) -> str:
    """Return the chain under whose name compute nodes check an account: they know one of each of two families."""
    if chain in EVM_CHAINS:
        return "ETH"
    if chain in ("SOL", "ES"):
        return "SOL"
    raise SigningError(f"compute nodes take accounts of Ethereum, Solana and their families, not of {chain}")


def _coordinate(number: int) -> str:
    return base64.urlsafe_b64encode(number.to_bytes(32, "big")).rstrip(b"=").decode()


def _bare_solana(signature: str) -> str:
    """Turn the signature of a message, JSON text in base58, into the hexadecimal that a compute node takes."""
    try:
        return base58.decode(json.loads(signature)["signature"]).hex()
    except (ValueError, KeyError, TypeError) as wrong:
        raise SigningError("the account's signature is not in the form of Solana") from wrong
