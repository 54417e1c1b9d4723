"""Accounts whose keys are here: where a key comes from, and what signs with it."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from .errors import SigningError

_EVM = """
ARB BASE BLAST BOB BSC CYBER ETH ETHERLINK FRAX HYPE INK LENS LINEA LISK METIS MODE NEO OP POL SONIC UNICHAIN WLD ZORA
"""

EVM_CHAINS = frozenset(_EVM.split())
"""Chains whose messages are signed as Ethereum's are (messages §3)."""


class Account(Protocol):
    """A Signer that signs at once."""

    @property
    def chain(self) -> str:
        """The chain under which messages are signed."""

    @property
    def address(self) -> str:
        """The sender of what it signs."""

    def sign(self, payload: bytes) -> str:
        """Return the signature of payload in the form of its chain."""


def from_key(key: bytes | str, chain: str = "ETH") -> Account:
    """Return the account of a secret key: 32 bytes, or their hexadecimal digits.

    Solana also takes the base58 text that wallets export.
    """
    if chain in EVM_CHAINS:
        from .keys.ethereum import EthereumAccount

        try:
            return EthereumAccount(_secret(key), chain)
        except ValueError as wrong:
            raise SigningError(str(wrong)) from wrong
    if chain in ("SOL", "ES"):
        from .keys.solana import SolanaAccount, secret_of

        return SolanaAccount(secret_of(key), chain)
    if chain == "TEZOS":
        from .keys.tezos import TezosAccount

        return TezosAccount(_secret(key))
    raise SigningError(f"keys of chain {chain} are not known to this version")


def generate(chain: str = "ETH") -> tuple[Account, bytes]:
    """Return a new account and its secret key, which the caller has to keep."""
    key = secrets.token_bytes(32)
    return from_key(key, chain), key


def from_file(path: str | os.PathLike[str], chain: str = "ETH") -> Account:
    """Return the account of a key file: 32 raw bytes, or text that from_key takes.

    A file that others than its owner may read is refused.
    """
    return from_key(_key_in(read_private(path)), chain)


def from_keystore(path: str | os.PathLike[str], password: str, chain: str = "ETH") -> Account:
    """Return the account of an encrypted key file of the form that Ethereum wallets use (Web3 version 3, scrypt)."""
    from .keystore import decrypt

    return from_key(decrypt(Path(path).read_bytes(), password), chain)


def from_env(chain: str = "ETH", environment: Mapping[str, str] | None = None) -> Account:
    """Return the account of ALEPH_PRIVATE_KEY, or of the file that ALEPH_PRIVATE_KEY_FILE names."""
    env = os.environ if environment is None else environment
    if key := env.get("ALEPH_PRIVATE_KEY"):
        return from_key(key, chain)
    if path := env.get("ALEPH_PRIVATE_KEY_FILE"):
        return from_file(path, chain)
    raise SigningError("there is no key: set ALEPH_PRIVATE_KEY, or ALEPH_PRIVATE_KEY_FILE to the path of a key file")


def read_private(path: str | os.PathLike[str]) -> bytes:
    """Read a file that only its owner may read."""
    try:
        with open(path, "rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if os.name == "posix" and mode & 0o077:
                raise SigningError(f"key file {path} can be read by others (mode {mode:o}): run chmod 600 {path}")
            return file.read(64 << 10)
    except OSError as failure:
        raise SigningError(f"read key file {path}: {failure.strerror}") from failure


def _key_in(content: bytes) -> bytes | str:
    if len(content) == 32:
        return content
    try:
        return content.decode("ascii").strip()
    except UnicodeDecodeError as wrong:
        raise SigningError("the key file holds neither 32 bytes nor text") from wrong


def _secret(key: bytes | str) -> bytes:
    if isinstance(key, bytes):
        raw = key
    else:
        try:
            raw = bytes.fromhex(key.strip().removeprefix("0x"))
        except ValueError:
            raise SigningError("a secret key is 64 hexadecimal digits; this is something else") from None
    if len(raw) != 32:
        raise SigningError(f"a secret key is 32 bytes; this has {len(raw)}")
    return raw
