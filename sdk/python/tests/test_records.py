"""How records are read, and that what is sent has the form that the schemas of the network ask for."""

from __future__ import annotations

import dataclasses
import json
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import jsonschema
import pytest

from aleph_im import build
from aleph_im.errors import AnswerError
from aleph_im.instances import InstanceSettings
from aleph_im.programs import ProgramSettings
from aleph_im.record import Record, moment, seconds

from .node import ROOT

SCHEMAS: dict[str, Any] = {
    name: schema
    for file in ("messages.json", "answers.json")
    for name, schema in json.loads((ROOT / "schema" / file).read_text()).items()
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample(Record):
    when: datetime
    much: Decimal
    many: list[Decimal] = dataclasses.field(default_factory=list)
    maybe: int | None = None


def test_times_and_decimals_come_in_two_forms() -> None:
    for when in ("2023-11-14T22:13:20Z", "2023-11-14T22:13:20+00:00", 1700000000, 1700000000.0, "2023-11-14 22:13:20+00:00"):
        for much in ("0.1", Decimal("0.1")):
            sample = Sample.read({"when": when, "much": much, "many": ["1", 2], "new": [1]})
            assert sample.when == datetime(2023, 11, 14, 22, 13, 20, tzinfo=timezone.utc)
            assert sample.much == Decimal("0.1")
            assert sample.many == [1, 2]
            assert sample.extra == {"new": [1]}


@pytest.mark.parametrize(
    "data",
    [None, [], {"when": 1}, {"when": "soon", "much": 1}, {"when": 1e30, "much": 1}, {"when": 1, "much": "x"},
     {"when": 1, "much": 1, "maybe": "1"}, {"when": None, "much": 1}],
)  # fmt: skip
def test_what_is_no_record_is_an_answer_error(data: Any) -> None:
    with pytest.raises(AnswerError):
        Sample.read(data)


def test_times_of_questions() -> None:
    assert seconds(None) is None
    assert seconds(5) == "5"
    assert seconds(moment("2023-11-14T22:13:20.5Z")) == "1700000000.5"


CONTENTS: dict[str, dict[str, Any]] = {
    "POST": {"type": "t", "content": None, "ref": "r"},
    "AGGREGATE": {"key": "k", "content": {"a": None}},
    "STORE": {"item_type": "storage", "item_hash": "0" * 64, "ref": "r", "payment": {"chain": "ETH", "type": "credit"}},
    "FORGET": {"hashes": ["0" * 64], "aggregates": [], "reason": "r"},
    "PROGRAM": ProgramSettings(name="p", subscriptions=[{"type": "POST"}]).content("0" * 64, "main:app", interface="asgi"),
    "INSTANCE": InstanceSettings(image="0" * 64, ssh_keys=["ssh-ed25519 AAAA"]).content(),
}


@pytest.mark.parametrize("type", CONTENTS)
def test_messages_are_of_the_form_that_nodes_take(type: str) -> None:
    unsigned = build(type, CONTENTS[type], chain="ETH", sender="0x")
    for name, value in (("Envelope", unsigned.attach("0x").envelope()), (type.capitalize(), json.loads(unsigned.item_content))):
        jsonschema.Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": SCHEMAS}).validate(value)
