"""Each service against a real node, with both clients."""

from __future__ import annotations

import io
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from aleph_im import Client, Filter, InsufficientFundsError, NotFoundError, from_key, generate
from aleph_im.errors import DeadlineError, ForgottenError, PermissionDeniedError, RejectedError
from aleph_im.instances import InstanceSettings
from aleph_im.programs import ProgramSettings

from .node import Node

UNKNOWN = "0" * 64


def test_a_post_is_published_read_amended_and_forgotten(either: Any) -> None:
    post = either.posts.create({"text": "hellö"}, type="note", ref="here")
    assert post.status == "processed"
    info = either.messages.get(post.item_hash)
    assert info.message.content["content"] == {"text": "hellö"}
    assert info.message.content_verified
    assert info.message.signature_verified
    assert info.message.channel == "TEST"
    assert datetime.now(timezone.utc) - info.message.time < timedelta(minutes=1)

    amendment = either.posts.amend(post.item_hash, {"text": "v2"})
    now = either.posts.get(post.item_hash)
    assert (now.content, now.item_hash, now.ref) == ({"text": "v2"}, amendment.item_hash, "here")
    mine = Filter(addresses=either.account.address)
    assert [p.original_item_hash for p in either.posts.list(mine)] == [post.item_hash]
    (old,) = either.posts.list_v0(mine)
    assert (old.content, old.type, old.original_type) == ({"text": "v2"}, "amend", "note")
    assert either.posts.page(mine).total == either.posts.page_v0(mine).total == 1

    forget = either.messages.forget(post.item_hash, reason="done")
    info = either.messages.get(post.item_hash)
    assert (info.status, info.forgotten_by, info.message) == ("forgotten", [forget.item_hash], None)
    with pytest.raises(ForgottenError):
        either.messages.content(post.item_hash)
    with pytest.raises(NotFoundError):
        either.posts.get(post.item_hash)


def test_a_content_that_is_too_long_for_its_message(either: Any) -> None:
    post = either.posts.create("é" * 40_000, type="long")
    info = either.messages.get(post.item_hash)
    assert info.message.item_type == "storage"
    assert info.message.content_verified
    assert either.messages.content(post.item_hash) == "é" * 40_000


def test_what_is_unknown_is_not_found(either: Any) -> None:
    for call in (either.messages.get, either.messages.status, either.posts.get, either.files.read, either.prices.of):
        with pytest.raises(NotFoundError):
            call(UNKNOWN)
    with pytest.raises(NotFoundError):
        either.aggregates.get("none")
    assert either.aggregates.all() == {}
    assert list(either.files.list()) == []
    assert list(either.credits.history()) == []
    assert either.files.page().items == []
    assert either.addresses.balance().balance == 0


def test_lists_go_through_all_pages(either: Any) -> None:
    sent = [either.posts.create(i, type="numbered").item_hash for i in range(5)]
    mine = Filter(addresses=[either.account.address], content_types="numbered")
    assert [m.item_hash for m in either.messages.list(mine, page_size=2)] == sent[::-1]
    oldest = Filter(addresses=[either.account.address], oldest_first=True, channels=["TEST", "OTHER"])
    assert [m.item_hash for m in either.messages.list(oldest, page_size=2)] == sent
    page = either.messages.page(mine, page=2, page_size=2)
    assert [m.item_hash for m in page.items] == sent[2:0:-1]
    assert (page.page, page.per_page, page.total) == (2, 2, 5)
    third = either.messages.get(sent[2]).message.time
    late = Filter(addresses=either.account.address, since=third)
    assert {m.item_hash for m in either.messages.list(late)} == set(sent[2:])
    with pytest.raises(ValueError, match="needs a zone"):
        list(either.messages.list(Filter(since=datetime(2026, 1, 1))))


def test_offline_signing(either: Any, node: Node) -> None:
    unsigned = either.messages.build("POST", {"type": "cold", "content": 1})
    signature = either.account.sign(unsigned.verification_text)
    with Client(node.url) as keyless:
        submission = keyless.messages.broadcast(unsigned.attach(signature))
    assert submission.item_hash == unsigned.item_hash
    assert either.messages.wait(unsigned.item_hash).message.sender == either.account.address


def test_a_message_that_is_refused_says_why(either: Any) -> None:
    with pytest.raises(RejectedError) as caught:
        either.posts.amend(UNKNOWN, 1, address="0x" + "1" * 40)
        either.messages.wait(UNKNOWN, timeout=0.1)
    assert caught.value.code in (2, 100, 101)
    assert either.messages.get(caught.value.item_hash).rejection.code == caught.value.code


def test_aggregates(either: Any) -> None:
    either.aggregates.merge("profile", {"name": "bob", "age": 3})
    either.aggregates.merge("profile", {"age": 4})
    assert either.aggregates.get("profile") == {"name": "bob", "age": 4}
    either.aggregates.delete("profile", "age")
    assert either.aggregates.get("profile").get("age") is None
    either.aggregates.set("profile", {"city": "Rome"})
    assert {k: v for k, v in either.aggregates.get("profile").items() if v is not None} == {"city": "Rome"}
    either.aggregates.merge("other", {"x": 1})
    assert set(either.aggregates.all()) == {"profile", "other"}
    assert set(either.aggregates.all(keys=["other", "none"])) == {"other"}
    (listed,) = either.aggregates.list(keys="other", addresses=either.account.address)
    assert listed.content == {"x": 1}
    assert either.aggregates.page(addresses=[either.account.address]).total == 2


def test_others_write_only_what_they_may(either: Any, node: Node) -> None:
    with Client(node.url, account=generate()[0]) as other:
        owner, friend = either.account.address, other.account.address
        with pytest.raises(PermissionDeniedError):
            other.posts.create(1, type="note", address=owner)
        either.authorizations.grant(friend, types=["POST"], post_types=["note"])
        assert other.authorizations.received() == {owner: [{"types": ["POST"], "post_types": ["note"]}]}
        assert [grant["address"] for grant in either.authorizations.granted()] == [friend]
        other.posts.create(1, type="note", address=owner)
        with pytest.raises(PermissionDeniedError):
            other.posts.create(1, type="letter", address=owner)
        either.authorizations.revoke(friend)
        assert either.authorizations.granted() == []
        with pytest.raises(PermissionDeniedError):
            other.posts.create(2, type="note", address=owner)


class Sequential(io.RawIOBase):
    """A file that can be read once, as a pipe."""

    def __init__(self, data: bytes) -> None:
        self._inner = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        return self._inner.read(size)


DATA = bytes(range(256)) * 3000  # three chunks of IPFS


@pytest.mark.parametrize("engine", ["storage", "ipfs"])
def test_files_from_every_source_and_back(either: Any, tmp_path: Path, engine: str) -> None:
    path = tmp_path / 'a "file"\n.bin'
    path.write_bytes(DATA)
    sources = [str(path), path, DATA, io.BytesIO(DATA), Sequential(DATA), iter([DATA[:5], b"", DATA[5:]])]
    hashes = set()
    for source in sources:
        moved: list[tuple[int, int]] = []
        stored = either.files.upload(source, engine=engine, progress=lambda done, all, to=moved: to.append((done, all)))
        assert stored.size == len(DATA)
        assert moved[-1] == (len(DATA), len(DATA))
        hashes.add(stored.file_hash)
    (file_hash,) = hashes
    assert file_hash.startswith("Qm") == (engine == "ipfs")
    assert either.files.read(file_hash) == DATA
    assert b"".join(either.files.iter_bytes(file_hash)) == DATA
    target, buffer = tmp_path / "target", io.BytesIO()
    assert either.files.download(file_hash, target) == either.files.download(file_hash, buffer) == len(DATA)
    assert target.read_bytes() == buffer.getvalue() == DATA
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted([path.name, "target"])
    assert {owned.file_hash for owned in either.files.list()} == {file_hash}


def test_files_by_name_and_by_message(either: Any) -> None:
    first = either.files.upload(b"one", ref="notes", metadata={"lang": "en"})
    either.files.upload(b"two", ref="notes")
    assert either.files.of_message(first.item_hash).file_hash == first.file_hash
    assert either.files.read(either.files.of_ref("notes").file_hash) == b"two"
    either.messages.forget(first.item_hash)
    pin = either.files.pin(either.files.upload(b"three", engine="ipfs").file_hash)
    assert either.messages.wait(pin.item_hash).status == "processed"
    assert either.files.upload(b"").size == 0


def test_a_source_that_ends_early_is_no_upload(either: Any) -> None:
    with pytest.raises(FileNotFoundError):
        either.files.upload("/nowhere/at/all")


def test_prices_and_what_cannot_be_paid(either: Any, tmp_path: Path) -> None:
    price = either.prices.of_file(30 << 20)
    assert isinstance(price.cost, Decimal)
    assert price.cost > 0
    big = tmp_path / "big"
    with open(big, "wb") as file:
        file.truncate(30 << 20)
    with pytest.raises(InsufficientFundsError) as caught:
        either.files.upload(big)
    assert caught.value.kind == "ALEPH"
    assert caught.value.required == price.cost
    assert caught.value.available is not None
    assert caught.value.available < price.cost
    stored = either.files.upload(b"small")
    settings = ProgramSettings(memory=512)
    estimate = either.prices.estimate("PROGRAM", settings.content(stored.item_hash, "main:app"))
    assert {line.type for line in estimate.detail} >= {"EXECUTION"}
    with pytest.raises(InsufficientFundsError):
        either.programs.create(stored.item_hash, "main:app", ProgramSettings(runtime=stored.item_hash))
    with pytest.raises(InsufficientFundsError):
        either.instances.create(InstanceSettings(image=stored.item_hash, ssh_keys=["ssh-ed25519 AAAA"]))


def test_a_folder_becomes_a_program(either: Any, authority: Client, tmp_path: Path) -> None:
    credits = {"chain": "ETH", "type": "credit"}
    fund(authority, either.account.address, 1_000_000_000)
    runtime = either.files.upload(b"runtime", payment=credits).item_hash
    either.aggregates.merge("runtimes", {"default": runtime, "runtimes": {"python": runtime}})
    me = either.account.address
    assert either.programs.runtime(me) == either.programs.runtime(me, "python") == runtime
    with pytest.raises(ValueError, match="it has: python"):
        either.programs.runtime(me, "cobol")
    for name, content, entrypoint, interface, given in [
        ("main.py", b"app = 1\n", "main:app", "asgi", runtime),
        ("server.js", b"", "aleph-start", "binary", runtime),
        ("hello.wasm", b"\0asm\1\0\0\0", "hello.wasm", "wasm", None),
    ]:
        folder = tmp_path / name / "hello"
        folder.mkdir(parents=True)
        (folder / name).write_bytes(content)
        deployed = either.programs.deploy(folder, ProgramSettings(runtime=given, payment=credits), channel="MINE")
        message = either.messages.get(deployed.item_hash).message
        assert (deployed.status, deployed.entrypoint, message.channel) == ("processed", entrypoint, "MINE")
        published = message.content
        code = published["code"]
        assert (code["entrypoint"], code["interface"], code["ref"]) == (entrypoint, interface, deployed.code)
        assert published["runtime"]["ref"] == (given or deployed.code)
        assert published["metadata"] == {"name": "hello"}
    with pytest.raises(ValueError, match=r"Node\.js"):
        either.programs.deploy(tmp_path / "server.js" / "hello")


def fund(authority: Client, address: str, amount: int) -> None:
    """Have the network believe that an address was given credits."""
    gift = {"address": address, "amount": amount, "price": "0.1", "tx_hash": "0x" + "5e" * 32, "provider": "tests"}
    content = {"distribution": {"token": "ALEPH", "chain": "ETH", "credits": [gift]}}
    authority.posts.create(content, type="aleph_credit_distribution", channel="ALEPH_CREDIT")


def test_credits_come_and_go(either: Any, authority: Client) -> None:
    fund(authority, either.account.address, 1000)
    assert either.addresses.balance().credit_balance == 1000
    other, _ = generate()
    either.credits.transfer(other.address, 400)
    assert either.addresses.balance().credit_balance == 600
    assert either.addresses.balance(other.address).credit_balance == 400
    assert [entry.amount for entry in either.credits.history()] == [-400, 1000]
    assert [entry.amount for entry in either.credits.history(direction="incoming")] == [1000]
    summary = either.credits.summary()
    assert (summary.total_incoming, summary.total_outgoing) == (1000, -400)
    with pytest.raises(ValueError, match="at least 1"):
        either.credits.transfer(other.address, 0)


def test_domains_and_ports(either: Any) -> None:
    either.domains.attach("www.example.org", UNKNOWN, target="ipfs", catch_all_path="/404.html")
    entry = either.domains.list()["www.example.org"]
    assert (entry["message_id"], entry["type"], entry["options"]) == (UNKNOWN, "ipfs", {"catch_all_path": "/404.html"})
    either.domains.detach("www.example.org")
    assert either.domains.list() == {}

    either.ports.open(UNKNOWN, 22)
    either.ports.open(UNKNOWN, 53, tcp=False, udp=True)
    assert either.ports.list(UNKNOWN) == {22: {"tcp": True, "udp": False}, 53: {"tcp": False, "udp": True}}
    either.ports.close(UNKNOWN, 22)
    assert set(either.ports.list(UNKNOWN)) == {53}
    either.ports.close(UNKNOWN)
    assert either.ports.list(UNKNOWN) == {}


def test_what_addresses_publish(either: Any) -> None:
    either.posts.create(1, type="note")
    assert either.addresses.post_types() == ["note"]
    assert either.addresses.channels() == ["TEST"]


@pytest.mark.parametrize("chain", ["SOL", "ES", "BASE", "TEZOS", "CSDK", "NULS", "NULS2", "AVAX", "DOT"])
def test_accounts_of_other_chains(node: Node, chain: str) -> None:
    with Client(node.url, account=from_key(b"\x07" * 32, chain)) as client:
        post = client.posts.create(chain, type="note")
        message = client.messages.get(post.item_hash).message
    assert message is not None
    assert message.signature_verified
    assert message.chain == chain


def test_operations_on_nodes_are_posted_as_the_registry_reads_them(either: Any) -> None:
    registry = either.registry
    core = registry.create_core(name="core", multiaddress="/ip4/127.0.0.1/tcp/4025/p2p/Qm").item_hash
    compute = registry.create_compute(name="compute", address="https://crn.example").item_hash
    registry.amend_compute(compute, description="in a cellar", locked=True)
    registry.amend_core(core, name="other", tag="mine")
    registry.link(compute)
    registry.unlink(compute)
    registry.stake(core)
    registry.unstake(core)
    registry.drop(compute)
    with pytest.raises(ValueError, match="what is to be changed"):
        registry.amend_core(core)

    posted = Filter(addresses=either.account.address, channels="FOUNDATION", oldest_first=True)
    contents = [message.content for message in either.messages.list(posted)]
    assert [(c["type"], c.get("ref"), c["content"]["tags"], c["content"].get("details")) for c in contents] == [
        (
            "corechan-operation", None, ["create-node", "mainnet"],
            {"name": "core", "multiaddress": "/ip4/127.0.0.1/tcp/4025/p2p/Qm"},
        ),
        (
            "corechan-operation", None, ["create-resource-node", "mainnet"],
            {"name": "compute", "address": "https://crn.example", "type": "compute"},
        ),
        ("amend", compute, ["create-resource-node", "mainnet"], {"description": "in a cellar", "locked": True}),
        ("amend", core, ["create-node", "mine"], {"name": "other"}),
        ("corechan-operation", compute, ["link", "mainnet"], None),
        ("corechan-operation", compute, ["unlink", "mainnet"], None),
        ("corechan-operation", core, ["stake-split", "mainnet"], None),
        ("corechan-operation", core, ["unstake", "mainnet"], None),
        ("corechan-operation", compute, ["drop-node", "mainnet"], None),
    ]  # fmt: skip
    assert all(c["content"]["action"] == c["content"]["tags"][0] for c in contents)


def test_the_registry_is_read_and_waited_for(either: Any) -> None:
    owner = either.account.address
    empty = either.registry.list(owner)
    assert (empty.nodes, empty.resource_nodes) == ([], [])
    with pytest.raises(DeadlineError):
        either.registry.until(lambda all: all.nodes, owner=owner, timeout=0.1)
    said = {"hash": "ab" * 32, "name": "one", "owner": owner, "reward": owner, "time": 1608307687.846}
    scores = {"score": 0.5, "performance": 0, "decentralization": 1}
    core = {"status": "active", "has_bonus": True, "stakers": {owner: 5}, "total_staked": 5, "resource_nodes": ["cd" * 32]}
    old = {"status": "linked", "parent": "ab" * 32, "locked": "", "authorized": ""}  # as older registries have it
    published = {"nodes": [said | scores | core | {"authorized": [owner]}], "resource_nodes": [said | scores | old]}
    either.aggregates.merge("corechannel", published)
    nodes = either.registry.until(lambda all: all.nodes, owner=owner)
    (first,), (second,) = nodes.nodes, nodes.resource_nodes
    assert (first.status, first.stakers, first.authorized, first.score) == ("active", {owner: 5.0}, [owner], 0.5)
    assert (second.parent, second.locked, second.authorized, second.address) == (first.hash, False, [], "")
    assert first.time.year == 2020
