"""Accounts and signatures of chains of the Cosmos SDK (messages §4.5)."""

from __future__ import annotations

import base64
import hashlib
import json

from . import bech32
from .ripemd160 import hash160
from .secp256k1 import SecretKey, compressed
from .secp256k1 import verify as verify_digest

_KEY_TYPE = "tendermint/PubKeySecp256k1"


class CosmosAccount:
    """Signs with a secret key of 32 bytes. prefix is what addresses of its chain begin with."""

    def __init__(self, key: bytes, prefix: str = "cosmos") -> None:
        self._key = SecretKey(key)
        self._public = compressed(self._key.public)
        self.chain = "CSDK"
        self.address = bech32.encode(prefix, hash160(self._public))

    def sign(self, payload: bytes) -> str:
        """Return the JSON text {"signature", "pub_key", …}, with r and s, and the public key, in base64."""
        r, s, _ = self._key.sign(_digest(payload, self.address))
        members = {
            "signature": base64.b64encode(r.to_bytes(32, "big") + s.to_bytes(32, "big")).decode(),
            "pub_key": {"type": _KEY_TYPE, "value": base64.b64encode(self._public).decode()},
            "account_number": "0",
            "sequence": "0",
        }
        return json.dumps(members, separators=(",", ":"))

    def __repr__(self) -> str:
        return f"<{self.chain} account {self.address}>"


def verify(sender: str, payload: bytes, signature: str) -> bool:
    """Report whether sender signed payload."""
    try:
        members = json.loads(signature)
        key = members["pub_key"]
        public = base64.b64decode(key["value"], validate=True)
        raw = base64.b64decode(members["signature"], validate=True)
        if key["type"] != _KEY_TYPE or len(public) != 33 or len(raw) != 64:
            return False
        if bech32.encode(sender.partition("1")[0], hash160(public)) != sender:
            return False
        digest = _digest(payload, sender)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return False
    return verify_digest(public, digest, int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))


def _digest(payload: bytes, signer: str) -> bytes:
    """Return the digest of the document that wallets sign: amino JSON whose only message is the text."""
    document = {
        "account_number": "0",
        "chain_id": "signed-message-v1",
        "fee": {"amount": [], "gas": "0"},
        "memo": "",
        "msgs": [{"type": "signutil/MsgSignText", "value": {"message": payload.decode(), "signer": signer}}],
        "sequence": "0",
    }
    text = json.dumps(document, separators=(",", ":")).replace("\x7f", "\\u007f")
    return hashlib.sha256(text.encode()).digest()
