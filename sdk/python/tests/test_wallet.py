"""Accounts that the aleph command and the older Python tool keep."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from aleph_im import from_key, from_older_tool, from_wallet
from aleph_im.errors import SigningError
from aleph_im.keys.solana import SolanaAccount
from aleph_im.wallet import Wallet

from .node import ROOT


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folders of a user who has nothing yet."""
    monkeypatch.delenv("ALEPH_CONFIG_HOME", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path


def aleph(*arguments: str) -> None:
    """Run the aleph command."""
    environment = {**os.environ, "ALEPH_PASSWORD": "secret"}
    subprocess.run([ROOT / "build" / "aleph", *arguments], check=True, capture_output=True, env=environment)


def test_accounts_that_the_aleph_command_made(home: Path) -> None:
    for chain in ("ETH", "BASE", "SOL", "TEZOS", "CSDK", "NULS2", "AVAX", "DOT"):
        aleph("account", "create", chain.lower(), "--chain", chain)
    aleph("account", "create", "locked", "--chain", "CSDK", "--encrypted")
    wallet = Wallet()
    assert wallet.folder == home / "config" / "aleph"
    assert len(wallet.entries) == 9
    for name, entry in wallet.entries.items():
        account = wallet.account(name, lambda: "secret")  # which compares the address with that of the command
        assert (account.chain, account.address) == (entry.chain, entry.address)
    assert from_wallet().chain == "ETH"  # the first
    aleph("account", "use", "tezos")
    assert from_wallet().chain == "TEZOS"
    with pytest.raises(SigningError, match="pass password="):
        from_wallet("locked")
    with pytest.raises(SigningError, match="no account none"):
        from_wallet("none")

    key = home / "config" / "aleph" / "keys" / "eth.key"
    (key.parent / "swapped.key").write_text("02" * 32)
    (key.parent / "swapped.key").chmod(0o600)
    assert Wallet().account("swapped").address == from_key("02" * 32).address  # put there by hand
    key.write_text("02" * 32)
    with pytest.raises(SigningError, match="the key is that of"):
        from_wallet("eth")
    key.chmod(0o644)
    with pytest.raises(SigningError, match="chmod 600"):
        from_wallet("eth")


SIGNER = """
import json, sys
from aleph_im import from_key
asked = json.loads(sys.stdin.read())
text = bytes.fromhex(asked["payload_hex"])
assert text == asked["payload"].encode()
print(json.dumps({"signature": from_key("%s").sign(text)}))
"""


def test_an_account_of_another_program(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "sdk" / "python"))
    mine = from_key("05" * 32)
    for name, script in (
        ("right", SIGNER % ("05" * 32)),
        ("wrong", SIGNER % ("06" * 32)),
        ("broken", "raise SystemExit('the device is locked')"),
        ("odd", "print(5)"),
    ):
        (home / f"{name}.py").write_text(script)
        command = f"{sys.executable} {home / name}.py"
        aleph("account", "import", name, "--command", command, "--address", mine.address)
    assert from_wallet("right").sign(b"text") == mine.sign(b"text")
    for name, text in (("wrong", "is not from"), ("broken", "device is locked"), ("odd", "want ")):
        with pytest.raises(SigningError, match=text):
            from_wallet(name).sign(b"text")


@pytest.mark.parametrize("kind", ["keychain", "ledger"])
def test_keys_that_are_elsewhere_are_said_to_be(tmp_path: Path, kind: str) -> None:
    book = tmp_path / "wallet.toml"
    book.write_text(f'[[accounts]]\nname = "nano"\nchain = "ETH"\naddress = "0x00"\nkind = "{kind}"\n')
    book.chmod(0o600)
    with pytest.raises(SigningError, match=f"with a {kind}"):
        from_wallet(folder=tmp_path)


@pytest.mark.parametrize("text", ["[", '[[accounts]]\nname = "x"\n', "accounts = [5]\n"])
def test_what_is_no_wallet_is_said_to_be_none(tmp_path: Path, text: str) -> None:
    book = tmp_path / "wallet.toml"
    book.write_text(text)
    book.chmod(0o600)
    with pytest.raises(SigningError):
        from_wallet(folder=tmp_path)
    with pytest.raises(SigningError, match="no account"):
        from_wallet(folder=tmp_path / "none")


def test_accounts_of_the_older_tool(home: Path) -> None:
    keys = home / "data" / ".aleph-im" / "private-keys"
    keys.mkdir(parents=True)
    (keys / "work.key").write_bytes(b"\x07" * 32)
    (keys / "sol.key").write_bytes(b"\x08" * 32)
    (keys / "default.key").symlink_to(keys / "work.key")
    assert from_older_tool().address == from_older_tool("work").address == from_key(b"\x07" * 32).address

    config = keys.parent / "config.json"
    config.write_text(json.dumps({"path": str(keys / "sol.key"), "type": "imported", "chain": "SOL"}))
    assert from_older_tool().address == from_older_tool("sol").address == SolanaAccount(b"\x08" * 32).address
    assert from_older_tool("work").chain == "ETH"
    config.write_text(json.dumps({"path": None, "type": "hardware", "chain": "ETH", "address": "0x00"}))
    with pytest.raises(SigningError, match="Ledger"):
        from_older_tool()
    assert from_older_tool("work").chain == "ETH"
    for text in ("", "[]", "{"):
        config.write_text(text)
        with pytest.raises(SigningError, match="not what the older tool writes"):
            from_older_tool()
    with pytest.raises(SigningError, match="No such file"):
        from_older_tool("none", folder=home / "none")
