"""Accounts whose keys are here: where a key comes from, and what signs with it."""

from __future__ import annotations

import os
import re
import secrets
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from .errors import SigningError

_EVM = """
ARB BASE BLAST BOB BSC CYBER ETH ETHERLINK FRAX HYPE INK LENS LINEA LISK METIS MODE NEO OP POL SONIC UNICHAIN WLD ZORA
"""

EVM_CHAINS = frozenset(_EVM.split())
"""Chains whose messages are signed as Ethereum's are (messages §3)."""

_SOLANA = frozenset({"SOL", "ES"})
_OTHER_CHAINS = _SOLANA | {"AVAX", "CSDK", "DOT", "NULS", "NULS2", "TEZOS"}

_BASE58_OF_64_BYTES = re.compile("[1-9A-HJ-NP-Za-km-z]{65,88}")


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


def from_key(key: bytes | str, chain: str | None = None) -> Account:
    """Return the account of a secret key: 32 bytes, or a text as wallets export it.

    Texts are hexadecimal digits; base58 or a JSON list of 64 bytes for Solana; edsk… of Tezos, PrivateKey-… of Avalanche;
    CHAIN:digits, as the aleph command keeps keys; and phrases, as from_phrase takes them. chain is Ethereum when neither it nor
    the text says another. DOT needs the extra polkadot.
    """
    named, text = _named_chain(key) if isinstance(key, str) else (None, key)
    if isinstance(text, str) and len(text.split()) >= 12 and not text.startswith("["):
        return from_phrase(text, chain or named or "ETH")
    if named and chain and named != chain and not {named, chain} <= _SOLANA:
        raise SigningError(f"this is a key of chain {named}, and not of {chain}")
    chain = chain or named or "ETH"
    try:
        return _opener(chain)(_secret(text, chain))
    except ValueError as wrong:
        raise SigningError(str(wrong)) from wrong


def from_phrase(phrase: str, chain: str = "ETH", *, passphrase: str = "") -> Account:
    """Return the first account of a recovery phrase: 12 to 24 English words. It needs the extra phrases.

    Chains are ETH and those that sign as it does, CSDK, NULS2 and DOT, with the paths that their wallets use; others have no
    phrases here.
    """
    try:
        from .keys.phrase import HARDENED, secret_of, seed_of_entropy
    except ImportError as missing:
        raise SigningError("phrases need the extra phrases: pip install aleph-im[phrases]") from missing
    try:
        if chain == "DOT":
            return from_key(seed_of_entropy(phrase, passphrase), chain)
        if chain == "NULS2":
            return from_key(secret_of(phrase, passphrase, ()), chain)
        if chain not in EVM_CHAINS and chain != "CSDK":
            raise SigningError(f"phrases of chain {chain} are not read here: export the secret key from its wallet")
        coin = 118 if chain == "CSDK" else 60
        return from_key(secret_of(phrase, passphrase, (HARDENED + 44, HARDENED + coin, HARDENED, 0, 0)), chain)
    except ValueError as wrong:
        raise SigningError(str(wrong)) from wrong


def generate(chain: str = "ETH") -> tuple[Account, bytes]:
    """Return a new account and its secret key, which the caller has to keep."""
    key = secrets.token_bytes(32)
    return from_key(key, chain), key


def from_file(path: str | os.PathLike[str], chain: str | None = None) -> Account:
    """Return the account of a key file: 32 raw bytes, or text that from_key takes.

    A file that others than its owner may read is refused.
    """
    return from_key(key_in(read_private(path)), chain)


def from_keystore(path: str | os.PathLike[str], password: str, chain: str | None = None) -> Account:
    """Return the account of an encrypted key file of the form that Ethereum wallets use (Web3 version 3)."""
    from .keystore import decrypt, opened

    secret, named = decrypt(Path(path).read_bytes(), password)
    return opened(secret, named or chain)


def from_env(chain: str | None = None, environment: Mapping[str, str] | None = None) -> Account:
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


def key_in(content: bytes) -> bytes | str:
    """Return the key in the content of a key file, as from_key takes it."""
    if len(content) == 32:
        return content
    try:
        return content.decode("ascii").strip()
    except UnicodeDecodeError as wrong:
        raise SigningError("the key file holds neither 32 bytes nor text") from wrong


def _opener(chain: str) -> Callable[[bytes], Account]:
    """Return what makes an account of a chain from 32 bytes."""
    if chain in EVM_CHAINS:
        from .keys.ethereum import EthereumAccount

        return lambda secret: EthereumAccount(secret, chain)
    if chain in _SOLANA:
        from .keys.solana import SolanaAccount

        return lambda secret: SolanaAccount(secret, chain)
    if chain == "TEZOS":
        from .keys.tezos import TezosAccount

        return TezosAccount
    if chain == "CSDK":
        from .keys.cosmos import CosmosAccount

        return CosmosAccount
    if chain in ("NULS", "NULS2"):
        from .keys.nuls import LegacyAccount, NULSAccount

        return NULSAccount if chain == "NULS2" else LegacyAccount
    if chain == "AVAX":
        from .keys.avalanche import AvalancheAccount

        return AvalancheAccount
    if chain == "DOT":
        try:
            from .keys.substrate import SubstrateAccount
        except ImportError as missing:
            raise SigningError("keys of DOT need the extra polkadot: pip install aleph-im[polkadot]") from missing
        return SubstrateAccount
    raise SigningError(f"keys of chain {chain} are not known to this version")


def _named_chain(text: str) -> tuple[str | None, str]:
    """Return of which chain a text says that it is a key, if it says so, and the text that is left."""
    text = text.strip()
    head, colon, rest = text.partition(":")
    if colon and (head in EVM_CHAINS or head in _OTHER_CHAINS):
        return head, rest
    if text.startswith("PrivateKey-"):
        return "AVAX", text
    if text.startswith("edsk"):
        return "TEZOS", text
    if text.startswith("[") or _BASE58_OF_64_BYTES.fullmatch(text):
        return "SOL", text
    return None, text


def _secret(key: bytes | str, chain: str) -> bytes:
    if chain in _SOLANA:
        from .keys.solana import secret_of

        return secret_of(key)
    if isinstance(key, bytes):
        raw = key
    elif key.startswith("PrivateKey-"):
        from .keys import avalanche

        raw = avalanche.secret_of(key)
    elif key.startswith("edsk"):
        from .keys import tezos

        raw = tezos.secret_of(key)
    else:
        try:
            raw = bytes.fromhex(key.removeprefix("0x"))
        except ValueError:
            raise SigningError("a secret key is 64 hexadecimal digits; this is something else") from None
    if len(raw) != 32:
        raise SigningError(f"a secret key is 32 bytes; this has {len(raw)}")
    return raw
