"""Accounts that command-line tools keep: those of the aleph command, and those of the older Python tool (sdk-cli §1.1.2)."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .accounts import Account, from_key, key_in, read_private
from .errors import SigningError

Password = str | Callable[[], str]
"""A password, or what asks for it when it is needed."""


@dataclass(frozen=True)
class Entry:
    """An account that the aleph command keeps."""

    name: str
    chain: str
    address: str
    kind: str
    """Where its key is: file, keystore, keychain, ledger or command."""
    command: tuple[str, ...] = ()
    """The program that has it, and its arguments."""


class Wallet:
    """The accounts of the aleph command.

    folder is where they are: default ALEPH_CONFIG_HOME, or aleph in the user's folder for configuration.
    """

    def __init__(self, folder: str | os.PathLike[str] | None = None) -> None:
        self.folder = Path(folder) if folder is not None else _own_folder(os.environ)
        book = self._book()
        self.entries = {entry.name: entry for entry in map(_entry, book.get("accounts", []))}
        for path in sorted((self.folder / "keys").glob("*.key")):
            if path.stem not in self.entries:  # put there by hand
                account = from_key(key_in(read_private(path)))
                self.entries[path.stem] = Entry(path.stem, account.chain, account.address, "file")
        self._chosen = book.get("default")

    @property
    def default(self) -> str | None:
        """The name of the account that is used when none is named: the one that was chosen, or the first."""
        if self._chosen or not self.entries:
            return self._chosen
        return "default" if "default" in self.entries else next(iter(self.entries))

    def account(self, name: str | None = None, password: Password | None = None) -> Account:
        """Return an account whose key is in a file or a keystore, or with another program; by default the default one."""
        name = name or self.default
        if name is None or name not in self.entries:
            raise SigningError(f"there is no account {name or ''} in {self.folder}: aleph account list shows those that are")
        entry = self.entries[name]
        if entry.kind == "command":
            from .command import CommandAccount

            return CommandAccount(entry.chain, entry.address, entry.command)
        if entry.kind == "file":
            account = from_key(key_in(read_private(self.folder / "keys" / f"{name}.key")), entry.chain)
        elif entry.kind == "keystore":
            account = self._unlocked(entry, password)
        else:
            raise SigningError(f"the key of account {name} is with a {entry.kind}, and cannot be taken from there")
        if account.address.lower() != entry.address.lower():
            raise SigningError(f"account {name}: the key is that of {account.address}, and not of {entry.address}")
        return account

    def _unlocked(self, entry: Entry, password: Password | None) -> Account:
        from .keystore import decrypt, opened

        if password is None:
            raise SigningError(f"account {entry.name} is in a keystore: pass password=")
        content = read_private(self.folder / "keystores" / f"{entry.name}.json")
        secret, chain = decrypt(content, password if isinstance(password, str) else password())
        return opened(secret, chain or entry.chain)

    def _book(self) -> dict[str, Any]:
        path = self.folder / "wallet.toml"
        if not path.exists():
            return {}
        text = read_private(path).decode()
        toml = _toml_reader()
        try:
            book: dict[str, Any] = toml.loads(text)
        except toml.TOMLDecodeError as wrong:
            raise SigningError(f"{path} is not what the aleph command writes: {wrong}") from wrong
        return book


def from_wallet(
    name: str | None = None, *, password: Password | None = None, folder: str | os.PathLike[str] | None = None
) -> Account:
    """Return an account that the aleph command keeps, by default its default one; see Wallet."""
    return Wallet(folder).account(name, password)


def from_older_tool(name: str | None = None, *, folder: str | os.PathLike[str] | None = None) -> Account:
    """Return an account of the older Python tool, by default the one that it uses. folder is default ~/.aleph-im.

    That tool gives its key files no mode of their own, so those that others may read are taken here; chmod 600 them.
    """
    home = Path(folder) if folder is not None else Path(os.environ.get("XDG_DATA_HOME") or Path.home()) / ".aleph-im"
    config = _config_of(home)
    chosen = Path(config["path"]) if config.get("path") else None
    if name is None and config.get("type") in ("hardware", "external"):
        raise SigningError(f"the account that {home} uses is on a Ledger: name another")
    path = home / "private-keys" / f"{name or 'default'}.key"
    if name is None and chosen is not None:
        path = chosen
    try:
        content = path.read_bytes()
    except OSError as failure:
        raise SigningError(f"read key file {path}: {failure.strerror}") from failure
    # The file says nothing of its chain, and the tool notes it of the account that it uses.
    return from_key(key_in(content), config.get("chain") if path == chosen else None)


def _config_of(home: Path) -> dict[str, Any]:
    path = home / "config.json"
    try:
        config = json.loads(path.read_bytes()) if path.exists() else {}
    except (OSError, ValueError) as wrong:
        raise SigningError(f"{path} is not what the older tool writes: {wrong}") from wrong
    if not isinstance(config, dict):
        raise SigningError(f"{path} is not what the older tool writes")
    return config


def _entry(kept: Mapping[str, Any]) -> Entry:
    try:
        return Entry(kept["name"], kept["chain"], kept["address"], kept["kind"], tuple(kept.get("command", ())))
    except (KeyError, TypeError) as wrong:
        raise SigningError(f"the wallet has an account without {wrong}") from wrong


def _own_folder(environment: Mapping[str, str]) -> Path:
    if home := environment.get("ALEPH_CONFIG_HOME"):
        return Path(home)
    if home := environment.get("XDG_CONFIG_HOME"):
        return Path(home) / "aleph"
    if sys.platform == "win32":
        return Path(environment["APPDATA"]) / "aleph"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "aleph"
    return Path.home() / ".config" / "aleph"


def _toml_reader() -> Any:
    """Return the module that reads TOML, which the standard library has from Python 3.11 on."""
    import importlib

    for name in ("tomllib", "tomli"):
        with contextlib.suppress(ImportError):
            return importlib.import_module(name)
    raise SigningError("to read wallets, Python 3.10 needs the extra wallet: pip install aleph-im[wallet]")
