"""What resources cost."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .answers import Price
from .core import Core, segment
from .message import hash_of
from .operation import Call, M, Service, operation

_MIB = 1 << 20


class Prices(Service[M]):
    """Prices. Each says what a resource costs in the way that it is paid, and its parts in all three ways."""

    @operation
    def of(self, item_hash: str) -> Call[Price]:
        """Return what a processed message costs."""
        return Price.read((yield from self._core.get(f"/api/v0/price/{segment(item_hash)}", exact=True)))

    @operation
    def estimate(self, type: str, content: Mapping[str, Any], *, address: str | None = None) -> Call[Price]:
        """Return what a message of type STORE, PROGRAM or INSTANCE would cost. Nothing is signed or sent to the network.

        Files that are not stored yet are described by members estimated_size_mib (ccn-api §11.3).
        """
        return (yield from estimate(self._core, type, content, address))

    @operation
    def of_file(self, size: int, *, payment: Mapping[str, Any] | None = None, address: str | None = None) -> Call[Price]:
        """Return what it would cost to keep a file of so many bytes."""
        content = {
            "item_type": "storage",
            "item_hash": "0" * 64,
            "estimated_size_mib": size / _MIB,
            **({} if payment is None else {"payment": dict(payment)}),
        }
        return (yield from estimate(self._core, "STORE", content, address))


def estimate(core: Core, type: str, content: Mapping[str, Any], address: str | None) -> Call[Price]:
    """Ask what a message would cost."""
    text = json.dumps({"address": core.owner(address), "time": 0, **content}, separators=(",", ":"), ensure_ascii=False)
    question = {"message": {"type": type, "item_type": "inline", "item_content": text, "item_hash": hash_of(text.encode())}}
    return Price.read((yield from core.post("/api/v0/price/estimate", question, exact=True)))
