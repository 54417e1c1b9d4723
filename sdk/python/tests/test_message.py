from __future__ import annotations

import json

import pytest

from aleph_im import Signed, Unsigned, build, from_key
from aleph_im.cid import V0, V1, CIDHasher
from aleph_im.message import INLINE_LIMIT

from .vectors import load

ACCOUNT = from_key(b"\x01" * 32)


def test_contents_are_built_as_the_vectors_say() -> None:
    seen = 0
    for vector in load("construction.json")["built"]:
        if "\\u" in vector["item_content"]:  # the producer of the vectors escaped what is not ASCII; here it stays as it is
            continue
        content = json.loads(vector["item_content"])
        unsigned = build(vector["type"], content, chain="ETH", sender=content["address"])
        assert unsigned.item_content == vector["item_content"]
        assert unsigned.item_hash == vector["item_hash"]
        assert unsigned.verification_text == vector["payload_to_sign"].encode()
        seen += 1
    assert seen >= 6


def test_an_unsigned_message_travels_as_json() -> None:
    unsigned = build("POST", {"type": "t", "content": "é"}, chain="ETH", sender=ACCOUNT.address, channel="c", time=17.5)
    there = Unsigned.from_json(unsigned.to_json())
    assert there == unsigned
    assert there.verification_text == f"ETH\n{ACCOUNT.address}\nPOST\n{unsigned.item_hash}".encode()
    signed = there.attach(ACCOUNT.sign(there.verification_text))
    assert Signed.from_json(signed.to_json()) == signed
    assert signed.envelope()["item_content"] == unsigned.item_content


def test_an_unsigned_message_that_was_changed_on_the_way_is_refused() -> None:
    members = json.loads(build("POST", {"type": "t", "content": 1}, chain="ETH", sender=ACCOUNT.address).to_json())
    members["item_content"] = members["item_content"].replace('"t"', '"u"')
    with pytest.raises(ValueError, match="changed on the way"):
        Unsigned.from_json(json.dumps(members))


def test_what_a_content_says_itself_stays() -> None:
    given = {"address": "0xowner", "time": 5, "content": None, "type": "t"}
    unsigned = build("POST", given, chain="ETH", sender=ACCOUNT.address, time=7.0)
    assert json.loads(unsigned.item_content) == given
    assert unsigned.time == 7.0
    assert unsigned.sender == ACCOUNT.address


@pytest.mark.parametrize("content", [float("nan"), float("inf"), "\ud800", "\x00", {1, 2}, b"bytes"])
def test_what_no_node_would_take_is_refused(content: object) -> None:
    with pytest.raises(ValueError, match="build POST message"):
        build("POST", {"content": content}, chain="ETH", sender=ACCOUNT.address)


@pytest.mark.parametrize(("length", "inline"), [(INLINE_LIMIT - 1, True), (INLINE_LIMIT, False)])
def test_long_contents_do_not_travel_in_their_message(length: int, inline: bool) -> None:
    def text(filling: int) -> Unsigned:
        return build("POST", {"content": "é" * (filling // 2) + "x" * (filling % 2)}, chain="ETH", sender="0x", time=1.0)

    around = len(text(0).item_content.encode())
    unsigned = text(length - around)
    assert len(unsigned.item_content.encode()) == length
    envelope = unsigned.attach("").envelope()
    assert unsigned.inline == inline
    assert ("item_content" in envelope) == inline
    assert envelope["item_type"] == ("inline" if inline else "storage")


def test_cids_are_those_of_ipfs() -> None:
    seen = 0
    for vector in load("hashes.json")["files"]:
        unit = bytes.fromhex(vector["unit_hex"])
        if vector["size"] > 64 << 20:
            continue
        data = (unit * vector["count"])[: vector["size"]]
        assert len(data) == vector["size"]
        for layout, name in ((V0, "cid_v0"), (V1, "cid_v1_raw_leaves")):
            for step in (100_000, 1 << 30):
                hasher = CIDHasher(layout)
                for start in range(0, len(data), step):
                    hasher.update(data[start : start + step])
                assert hasher.text() == vector[name], vector["description"]
        seen += 1
    assert seen >= 6
