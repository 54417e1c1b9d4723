from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from aleph_im import Account, AlephError, from_env, from_file, from_key, from_keystore, from_phrase
from aleph_im.accounts import EVM_CHAINS
from aleph_im.errors import SigningError
from aleph_im.keys import base58, keccak, ripemd160, secp256k1
from aleph_im.keys.cosmos import CosmosAccount
from aleph_im.keys.nuls import LegacyAccount, NULSAccount
from aleph_im.keys.substrate import SubstrateAccount
from aleph_im.keystore import encrypt
from aleph_im.record import moment
from aleph_im.verify import verify_signature

from .vectors import load

FAMILIES = ("evm", "sol", "es", "tezos", "csdk", "nuls", "nuls2", "avax", "dot")
NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)  # only Tezos looks at the time


@pytest.fixture(params=["pure", "coincurve"])
def recovery(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to find a public key from a signature."""
    if request.param == "pure":
        monkeypatch.setattr(secp256k1, "_Fast", None)
    else:
        assert secp256k1._Fast is not None, "coincurve is among the requirements of the tests"


def payload_of(message: dict[str, Any]) -> bytes:
    return "\n".join([message["chain"], message["sender"], message["type"], message["item_hash"]]).encode()


@pytest.mark.parametrize("family", FAMILIES)
def test_every_signature_vector_gets_its_verdict(family: str, recovery: None) -> None:
    file = load(f"signatures_{family}.json")
    vectors = file["fixtures"] + file["own"]
    assert vectors
    for vector in vectors:
        message = vector["message"]
        signature = message.get("signature")
        valid = isinstance(signature, str) and verify_signature(
            message["chain"], message["sender"], payload_of(message), signature, moment(message.get("time", 0))
        )
        assert bool(valid) == (vector["expected"] == "valid"), vector["id"]


# Made with the published TypeScript packages (sdk-cli §3.4) from the key of 32 bytes 0x01 and this content.
PUBLISHED = [
    (
        "ETH",
        "0x1a642f0E3c3aF545E7AcBD38b07251B3990914F1",
        "d6105d3d2703bdaab87cf60f6a593aa410b78a74d985c1d5fe4cfda45729f5a1",
        "0x233e50c2865e3d862f81bc37e979778acfff53c8864236da5047810d1d5b6a394a389c6dce719eee42ddde4bd30277c4bbeb3bd5b52643a6f6b2"
        "0302fcc29d371b",
    ),
    (
        "SOL",
        "AKnL4NNf3DGWZJS6cPknBuEGnVsV4A4m5tgebLHaRSZ9",
        "4139dad0aedac47df601af7455dad4e2ea0dcaf491c2945263f6a69a5fa91f58",
        '{"signature":"3ai2pnA6sBgFkSoMRnV3zogvTy4w8FCYB6ZSxCUuzaow7DLbz4UHWaN3fqhC5RJZY2KbX7hhRHTFaFXZn19tabnz",'
        '"publicKey":"AKnL4NNf3DGWZJS6cPknBuEGnVsV4A4m5tgebLHaRSZ9"}',
    ),
]


@pytest.mark.parametrize(("chain", "address", "item_hash", "signature"), PUBLISHED)
def test_messages_are_those_of_the_published_packages(
    chain: str, address: str, item_hash: str, signature: str, recovery: None
) -> None:
    from aleph_im import build

    account = from_key(b"\x01" * 32, chain)
    assert account.address == address
    content = {"type": "t", "address": address, "content": {"a": 1}, "time": 1700000000}
    unsigned = build("POST", content, chain=chain, sender=address, time=1700000000)
    assert unsigned.item_hash == item_hash
    assert account.sign(unsigned.verification_text) == signature


def test_accounts_of_the_vectors_have_their_addresses_and_signatures() -> None:
    seen = 0
    for vector in load("accounts.json")["accounts"]:
        detail = vector["detail"]
        key = detail.get("private_key_hex")
        if vector["chain"] not in EVM_CHAINS or key is None:
            continue
        account = from_key(key, vector["chain"])
        assert account.address == vector["address"], vector["id"]
        if "signature" in detail:
            assert account.sign(detail["payload_utf8"].encode()) == detail["signature"], vector["id"]
        seen += 1
    assert seen >= 3


def test_accounts_of_other_families_have_their_addresses() -> None:
    seen: dict[str, int] = {}
    for vector in load("accounts.json")["accounts"]:
        chain, detail = vector["chain"], vector["detail"]
        account: Account
        key = detail.get("private_key_hex") or detail.get("mini_secret_hex")
        match chain:
            case "CSDK":
                account = CosmosAccount(bytes.fromhex(key), vector["address"].partition("1")[0])
            case "NULS2":
                account = NULSAccount(bytes.fromhex(key), detail.get("chain_id", 1))
            case "NULS":
                account = LegacyAccount(bytes.fromhex(key), detail["chain_id"])
                if "sign_GOOD" in detail:
                    assert account.sign(b"GOOD") == detail["sign_GOOD"]["serialized_hex"]
            case "AVAX":
                account = from_key(detail["private_key_cb58"])
                assert from_key("AVAX:" + key).address == account.address
            case "DOT":
                account = from_key(key, "DOT")
                for number in (0, 2):
                    if address := detail.get(f"address_prefix_{number}"):
                        assert SubstrateAccount(bytes.fromhex(key), number).address == address
            case _:
                continue
        assert (account.address, account.chain) == (vector["address"], chain), vector["id"]
        seen[chain] = seen.get(chain, 0) + 1
    assert seen.keys() == {"CSDK", "NULS2", "NULS", "AVAX", "DOT"}


def test_phrases_lead_to_the_accounts_of_the_vectors() -> None:
    seen = set()
    for vector in load("accounts.json")["accounts"]:
        chain, detail = vector["chain"], vector["detail"]
        if "mnemonic" in detail:
            spaced = "  " + detail["mnemonic"].upper().replace(" ", "\n")
            account = from_phrase(spaced, chain, passphrase=detail.get("passphrase") or "")
            assert account.address == vector["address"], vector["id"]
            seen.add(chain)
    assert seen == {"ETH", "CSDK", "NULS2", "DOT"}


@pytest.mark.parametrize(
    ("phrase", "chain", "text"),
    [
        ("test " * 11 + "test", "ETH", "checksum"),
        ("test " * 11 + "nonsense", "CSDK", "checksum"),
        ("", "DOT", "checksum"),
        ("test " * 11 + "junk", "SOL", "not read here"),
    ],
)
def test_phrases_that_are_none_are_refused_and_not_shown(phrase: str, chain: str, text: str) -> None:
    with pytest.raises(SigningError, match=text) as caught:
        from_phrase(phrase, chain)
    assert "junk" not in str(caught.value)
    assert "nonsense" not in str(caught.value)


@pytest.mark.parametrize(
    ("module", "call", "extra"),
    [
        ("sr25519", lambda: from_key(b"\x01" * 32, "DOT"), "polkadot"),
        ("mnemonic", lambda: from_phrase("test " * 11 + "junk"), "phrases"),
    ],
)
def test_what_an_extra_brings_is_said_to_be_missing(
    module: str, call: Callable[[], Any], extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("aleph_im.keys.substrate", "aleph_im.keys.phrase"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SigningError, match=rf"aleph-im\[{extra}\]"):
        call()
    assert verify_signature("DOT", "5x", b"payload", "{}", NOW) is (None if module == "sr25519" else False)


@pytest.mark.parametrize("size", [0, 252, 253, 65535, 65536])
def test_signatures_of_any_length_of_text_verify(size: int) -> None:
    for chain in ("NULS", "NULS2", "AVAX", "CSDK"):
        account = from_key(b"\x02" * 32, chain)
        text = b"it's \x7f " + b"x" * size
        assert verify_signature(chain, account.address, text, account.sign(text), NOW)


def test_texts_say_of_which_chain_a_key_is() -> None:
    assert from_key("CSDK:" + "01" * 32).chain == "CSDK"
    assert from_key("BASE:" + "01" * 32).address == from_key("01" * 32).address
    # The key and the address of Tezos' own documentation of its sandbox.
    bootstrap = from_key("edsk3gUfUPyBSfrS9CCgmCiQsTCHGkviBDusMxDJstFtojtc1zcpsh")
    assert (bootstrap.chain, bootstrap.address) == ("TEZOS", "tz1KqTpEZ7Yob7QbPE4Hy4Wo8fHG8LhKxZSx")
    solana = from_key(b"\x01" * 32, "SOL")
    whole = b"\x01" * 32 + base58.decode(solana.address)
    for text in (base58.encode(whole), json.dumps([*whole]), "SOL:" + "01" * 32):
        assert (from_key(text).chain, from_key(text).address) == ("SOL", solana.address)
        assert from_key(text, "ES").address == solana.address
    phrase = "test " * 11 + "junk"
    assert from_key(phrase).address == from_phrase(phrase).address
    assert from_key(phrase, "CSDK").address == from_phrase(phrase, "CSDK").address
    for text, chain in (("CSDK:" + "01" * 32, "ETH"), ("PrivateKey-1", None), ("edsk1", None), ("PrivateKey-x", "ETH")):
        with pytest.raises(SigningError):
            from_key(text, chain)


CHAINS = ["ETH", "BASE", "SOL", "ES", "TEZOS", "CSDK", "NULS", "NULS2", "AVAX", "DOT"]


@pytest.mark.parametrize("chain", CHAINS)
def test_no_byte_of_what_is_signed_may_change(chain: str) -> None:
    account = from_key(b"\x02" * 32, chain)
    signature = account.sign(b"payload")
    assert verify_signature(chain, account.address, b"payload", signature, NOW)
    assert not verify_signature(chain, account.address, b"payloae", signature, NOW)
    assert not verify_signature(chain, from_key(b"\x03" * 32, chain).address, b"payload", signature, NOW)


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("text", ["", "0x", "{}", "[]", "null", "0" * 130, "0x" + "f" * 130, "zz", "[" * 100_000, "é" * 65])
def test_any_signature_text_is_answered(chain: str, text: str) -> None:
    account = from_key(b"\x02" * 32, chain)
    assert verify_signature(chain, account.address, b"payload", text, NOW) is False


def test_keccak_of_long_input() -> None:
    # Of the empty text, and around a whole block of 136 bytes: values of Ethereum's own test set.
    assert keccak.keccak256(b"").hex() == "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"
    assert keccak.keccak256(b"a" * 135).hex() != keccak.keccak256(b"a" * 136).hex()
    assert keccak.keccak256(b"abc").hex() == "4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45"


def test_ripemd160() -> None:
    # Values of those who published the function.
    for text, digest in {
        b"": "9c1185a5c5e9fc54612808977ee8f548b2258d31",
        b"message digest": "5d0689ef49d2fae572b881b123a85ffa21595f36",
        b"1234567890" * 8: "9b752e45573d4b39f4dbd3323cab82bf63326bfb",
    }.items():
        assert ripemd160.ripemd160(text).hex() == digest


def test_printing_an_account_shows_no_key() -> None:
    for chain in CHAINS:
        assert "01010101" not in repr(from_key("01" * 32, chain)) + str(vars(from_key("01" * 32, chain)))


class TestWhereKeysComeFrom:
    def test_a_file_of_raw_bytes_or_of_text(self, tmp_path: Path) -> None:
        for content in (b"\x01" * 32, b"01" * 32, b"0x" + b"01" * 32 + b"\n"):
            path = tmp_path / "key"
            path.write_bytes(content)
            path.chmod(0o600)
            assert from_file(path).address == from_key(b"\x01" * 32).address

    @pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
    def test_a_file_that_others_may_read_is_refused(self, tmp_path: Path, mode: int) -> None:
        path = tmp_path / "key"
        path.write_bytes(b"\x01" * 32)
        path.chmod(mode)
        with pytest.raises(SigningError, match="chmod 600"):
            from_file(path)

    def test_a_file_that_is_missing_or_holds_no_key(self, tmp_path: Path) -> None:
        with pytest.raises(SigningError, match="No such file"):
            from_file(tmp_path / "none")
        path = tmp_path / "key"
        path.write_bytes(b"\xff\xfe")
        path.chmod(0o600)
        with pytest.raises(SigningError, match="neither 32 bytes nor text"):
            from_file(path)

    def test_the_environment(self, tmp_path: Path) -> None:
        path = tmp_path / "key"
        path.write_bytes(b"\x02" * 32)
        path.chmod(0o600)
        both = {"ALEPH_PRIVATE_KEY": "01" * 32, "ALEPH_PRIVATE_KEY_FILE": str(path)}
        assert from_env(environment=both).address == from_key("01" * 32).address
        del both["ALEPH_PRIVATE_KEY"]
        assert from_env(environment=both).address == from_key("02" * 32).address
        with pytest.raises(SigningError, match="ALEPH_PRIVATE_KEY"):
            from_env(environment={})

    def test_a_keystore_opens_with_its_password_only(self, tmp_path: Path) -> None:
        path = tmp_path / "keystore.json"
        path.write_bytes(encrypt(b"\x01" * 32, "secret", n=1 << 12))
        assert from_keystore(path, "secret").address == from_key("01" * 32).address
        with pytest.raises(SigningError, match="password is wrong"):
            from_keystore(path, "Secret")

    def test_a_keystore_that_another_program_wrote(self, tmp_path: Path) -> None:
        crypto = {
            "cipher": "aes-128-ctr",
            "cipherparams": {"iv": "2935fbdac2e9d3fdd12d3bdfabf391a7"},
            "ciphertext": "cde8d156bce8325506d23699e1d979193832302f702847e6b6d5eca41e1f5859",
            "kdf": "scrypt",
            "kdfparams": {"dklen": 32, "n": 4096, "r": 8, "p": 1, "salt": "fd3b2c82f8583e0b59bb8cd02e8cd718"},
            "mac": "8f7b1ada9ce2e415be4c7011006d19fdc3529326f8539da80bfed70dcf6f38fa",
        }
        path = tmp_path / "keystore.json"
        path.write_text(json.dumps({"address": "1a642f0E3c3aF545E7AcBD38b07251B3990914F1", "Crypto": crypto, "version": 3}))
        assert from_keystore(path, "secret").address == from_key("01" * 32).address

    def test_a_keystore_whose_password_is_stretched_by_pbkdf2(self, tmp_path: Path) -> None:
        # The example of the definition of these files.
        parameters = {
            "c": 262144,
            "dklen": 32,
            "prf": "hmac-sha256",
            "salt": "ae3cd4e7013836a3df6bd7241b12db061dbe2c6785853cce422d148a624ce0bd",
        }
        crypto = {
            "cipher": "aes-128-ctr",
            "cipherparams": {"iv": "6087dab2f9fdbbfaddc31a909735c1e6"},
            "ciphertext": "5318b4d5bcd28de64ee5559e671353e16f075ecae9f99c7a79a38af5f869aa46",
            "kdf": "pbkdf2",
            "kdfparams": parameters,
            "mac": "517ead924a9d0dc3124507e3393d175ce3ff7c1e96529c6c555ce9e51205e9b2",
        }
        path = tmp_path / "keystore.json"
        path.write_text(json.dumps({"crypto": crypto, "version": 3}))
        key = "7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d"
        assert from_keystore(path, "testpassword").address == from_key(key).address
        for changes, text in (
            ({"c": 0}, "out of bounds"),
            ({"c": 1 << 40}, "out of bounds"),
            ({"prf": "hmac-md5"}, "not supported"),
        ):
            path.write_text(json.dumps({"crypto": {**crypto, "kdfparams": {**parameters, **changes}}, "version": 3}))
            with pytest.raises(SigningError, match=text):
                from_keystore(path, "testpassword")

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"version":3,"crypto":{}}', '{"version":1,"crypto":[]}'])
    def test_what_is_no_keystore_is_said_to_be_none(self, tmp_path: Path, text: str) -> None:
        path = tmp_path / "keystore.json"
        path.write_text(text)
        with pytest.raises(AlephError, match="key file"):
            from_keystore(path, "x")

    @pytest.mark.parametrize("key", ["", "0x", "12", "zz" * 32, b"", b"\x00" * 31, b"\x00" * 32, b"\xff" * 32, "é"])
    def test_what_is_no_key_is_refused(self, key: bytes | str) -> None:
        with pytest.raises(SigningError):
            from_key(key)

    def test_what_wallets_of_solana_export(self) -> None:
        seed, public = b"\x01" * 32, from_key(b"\x01" * 32, "SOL")
        whole = seed + base58.decode(public.address)
        for text in (seed.hex(), whole.hex(), base58.encode(whole), json.dumps([*whole])):
            assert from_key(text, "SOL").address == public.address
        with pytest.raises(SigningError, match="do not belong together"):
            from_key(seed + seed, "SOL")
