"""Encrypted key files of the form that Ethereum wallets use: Web3 secret storage, version 3.

The aleph command keeps keys of other chains in them too: then the text of the key is encrypted, and a member says of which
chain it is.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from .accounts import Account, from_key, key_in
from .errors import SigningError
from .keys.keccak import keccak256


def decrypt(file: bytes, password: str) -> tuple[bytes, str | None]:
    """Return what a key file keeps, and the chain that it names, if any."""
    try:
        stored = json.loads(file)
        crypto = {name.lower(): value for name, value in stored.items()}["crypto"]
        kdf, cipher = crypto["kdf"], crypto["cipher"]
        if stored["version"] != 3 or cipher != "aes-128-ctr":
            raise SigningError(f"key file: version {stored['version']} with {cipher} is not supported; 3 with aes-128-ctr is")
        parameters, iv = crypto["kdfparams"], bytes.fromhex(crypto["cipherparams"]["iv"])
        text, mac = bytes.fromhex(crypto["ciphertext"]), bytes.fromhex(crypto["mac"])
        stretch = _stretcher(kdf, parameters)
        chain = stored.get("chain")
    except (ValueError, KeyError, TypeError, AttributeError) as wrong:
        raise SigningError(f"this is not an encrypted key file: {wrong!r}") from wrong
    derived = stretch(password)
    if not hmac.compare_digest(keccak256(derived[16:32] + text), mac):
        raise SigningError("the password is wrong, or the key file is damaged")
    return _aes_ctr(derived[:16], iv, text), chain or None


def opened(secret: bytes, chain: str | None) -> Account:
    """Return the account of what a key file kept."""
    return from_key(key_in(secret), chain)


def encrypt(key: bytes, password: str, *, n: int = 1 << 18) -> bytes:
    """Return a key file. n is the cost of scrypt, a power of two."""
    salt, iv = secrets.token_bytes(32), secrets.token_bytes(16)
    derived = _derive(password, salt, n, 8, 1)
    text = _aes_ctr(derived[:16], iv, key)
    crypto = {
        "cipher": "aes-128-ctr",
        "cipherparams": {"iv": iv.hex()},
        "ciphertext": text.hex(),
        "kdf": "scrypt",
        "kdfparams": {"dklen": 32, "n": n, "r": 8, "p": 1, "salt": salt.hex()},
        "mac": keccak256(derived[16:32] + text).hex(),
    }
    return json.dumps({"version": 3, "id": str(uuid.uuid4()), "crypto": crypto}).encode()


def _stretcher(kdf: str, parameters: Mapping[str, Any]) -> Callable[[str], bytes]:
    """Return what makes a key of a password. The file says how much memory and time that takes, within bounds."""
    salt = bytes.fromhex(parameters["salt"])
    if kdf == "scrypt":
        n, r, p = int(parameters["n"]), int(parameters["r"]), int(parameters["p"])
        if not 1 < n * r * p <= 1 << 23:  # 1 GiB of memory
            raise SigningError("key file: its scrypt parameters are out of bounds")
        return lambda password: _derive(password, salt, n, r, p)
    if kdf == "pbkdf2" and parameters["prf"] == "hmac-sha256":
        rounds = int(parameters["c"])
        if not 0 < rounds <= 10 << 20:
            raise SigningError("key file: its number of rounds is out of bounds")
        return lambda password: hashlib.pbkdf2_hmac("sha256", password.encode(), salt, rounds, 32)
    raise SigningError(f"key file: {kdf} is not supported; scrypt, and pbkdf2 with hmac-sha256, are")


def _derive(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    try:
        return hashlib.scrypt(password.encode(), salt=salt, n=n, r=r, p=p, maxmem=2 * 128 * n * r, dklen=32)
    except ValueError as wrong:
        raise SigningError(f"key file: its scrypt parameters are wrong: {wrong}") from wrong


def _aes_ctr(key: bytes, iv: bytes, text: bytes) -> bytes:
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    return Cipher(algorithms.AES(key), modes.CTR(iv)).encryptor().update(text)
