"""Credits: how they came, where they went, and to whom else they may go."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from .answers import CreditEntry, CreditSummary
from .core import given, segment
from .listing import When, along
from .operation import Call, M, Service, Walk, operation, walk
from .publish import Submission, send
from .record import seconds

_CHANNEL = "ALEPH_CREDIT"  # the only one on which nodes take transfers


class Credits(Service[M]):
    """Credits. An address that is not named is the client's account."""

    @walk
    def history(
        self,
        address: str | None = None,
        *,
        since: When | None = None,
        until: When | None = None,
        direction: Literal["incoming", "outgoing"] | None = None,
    ) -> Walk[CreditEntry]:
        """Walk through what came and went, newest first. until is included."""
        path = f"/api/v0/addresses/{segment(self._core.owner(address))}/credit_history"
        query = given(startDate=seconds(since), endDate=seconds(until), direction=direction)
        yield from along(self._core, path, "credit_history", query, CreditEntry.read, exact=True)

    @operation
    def summary(self, address: str | None = None) -> Call[CreditSummary]:
        """Return the sums of the history."""
        path = f"/api/v0/addresses/{segment(self._core.owner(address))}/credit_history/summary"
        return CreditSummary.read((yield from self._core.get(path)))

    @operation
    def transfer(self, to: str, amount: int, *, expiration: datetime | None = None, sync: bool = True) -> Call[Submission]:
        """Give credits to another address. They cannot be taken back."""
        if amount < 1:
            raise ValueError("the amount must be at least 1 credit")
        gift = {"address": to, "amount": amount, **given(expiration=expiration and int(expiration.timestamp() * 1000))}
        content = {"content": {"transfer": {"credits": [gift]}}, "type": "aleph_credit_transfer"}
        return (yield from send(self._core, "POST", content, channel=_CHANNEL, sync=sync))
