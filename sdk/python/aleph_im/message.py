"""Messages before they are on the network: build, sign anywhere, broadcast.

An Unsigned message is a value that travels as JSON to wherever the key is. Its signature comes back as text, and makes it a
Signed message that any client can broadcast. Nothing here does I/O.
"""

from __future__ import annotations

import hashlib
import json
import time as clock
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

INLINE_LIMIT = 50_000
"""Bytes of a content from which it does not travel inside its message (messages §8.1)."""


@dataclass(frozen=True)
class Unsigned:
    """A message that waits for its signature."""

    type: str
    chain: str
    sender: str
    item_hash: str
    """The sha256 of item_content as UTF-8."""
    item_content: str
    """The serialised content, also when it is too long for the message: then it is stored beside it."""
    time: float
    channel: str | None = None

    @property
    def inline(self) -> bool:
        """Whether the content travels inside the message."""
        return len(self.item_content.encode()) < INLINE_LIMIT

    @property
    def verification_text(self) -> bytes:
        """What has to be signed (messages §4.0)."""
        return f"{self.chain}\n{self.sender}\n{self.type}\n{self.item_hash}".encode()

    def attach(self, signature: str) -> Signed:
        """Return the message with its signature."""
        return Signed(self, signature)

    def to_json(self) -> str:
        """Return it as JSON, for from_json on another machine."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str | bytes) -> Unsigned:
        """Read what to_json wrote, and check that it still is one message."""
        unsigned = Unsigned(**json.loads(text))
        if hash_of(unsigned.item_content.encode()) != unsigned.item_hash:
            raise ValueError(f"the content of message {unsigned.item_hash} was changed on the way")
        return unsigned


@dataclass(frozen=True)
class Signed:
    """A message that can be broadcast."""

    unsigned: Unsigned
    signature: str

    @property
    def item_hash(self) -> str:
        """What the network will know it by."""
        return self.unsigned.item_hash

    def envelope(self) -> dict[str, Any]:
        """Return the message as it is sent to nodes."""
        m = self.unsigned
        members: dict[str, Any] = {
            "sender": m.sender,
            "chain": m.chain,
            "signature": self.signature,
            "type": m.type,
            "item_hash": m.item_hash,
            "item_type": "inline" if m.inline else "storage",
            "time": m.time,
            "channel": m.channel,
        }
        if m.inline:
            members["item_content"] = m.item_content
        return members

    def to_json(self) -> str:
        """Return it as JSON, for from_json on another machine."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str | bytes) -> Signed:
        """Read what to_json wrote."""
        members = json.loads(text)
        return Signed(Unsigned.from_json(json.dumps(members["unsigned"])), members["signature"])


def build(
    type: str,
    content: Mapping[str, Any],
    *,
    chain: str,
    sender: str,
    address: str | None = None,
    channel: str | None = None,
    time: float | None = None,
) -> Unsigned:
    """Build a message of the given content, which is serialised once, in the order of its members.

    address is whose name the sender acts in, default its own; time is Unix seconds, default now. Both go into the content
    unless it has them. A content that cannot be JSON, or that no node would take, is a ValueError.
    """
    now = round(clock.time(), 6) if time is None else time
    owned = {"address": sender if address is None else address, "time": now}
    whole = {**{name: value for name, value in owned.items() if name not in content}, **content}
    try:
        text = json.dumps(whole, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        raw = text.encode()
    except (TypeError, ValueError) as wrong:
        raise ValueError(f"build {type} message: {wrong}") from wrong
    if "\\u0000" in text:
        raise ValueError(f"build {type} message: the network takes no content with the character U+0000")
    return Unsigned(type, chain, sender, hash_of(raw), text, now, channel)


def hash_of(content: bytes) -> str:
    """Return the hash under which content is known on the network's storage."""
    return hashlib.sha256(content).hexdigest()


def is_hash(text: str) -> bool:
    """Report whether text is the hash of a message or of a stored file, and not a CID or something else."""
    return len(text) == 64 and all(c in "0123456789abcdef" for c in text)
