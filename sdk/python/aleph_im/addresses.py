"""What addresses hold and publish."""

from __future__ import annotations

from .answers import Balance
from .core import Core, given, segment
from .operation import Call, M, Service, operation


class Addresses(Service[M]):
    """Addresses. One that is not named is the client's account."""

    @operation
    def balance(self, address: str | None = None, *, chain: str | None = None) -> Call[Balance]:
        """Return what an address holds, on one chain or on all; one that the node never heard of holds nothing."""
        return (yield from balance_of(self._core, self._core.owner(address), chain))

    @operation
    def post_types(self, address: str | None = None) -> Call[list[str]]:
        """Return the types of posts that an address has sent."""
        answer = yield from self._core.get(f"/api/v0/addresses/{segment(self._core.owner(address))}/post_types")
        return list(answer["post_types"])

    @operation
    def channels(self, address: str | None = None) -> Call[list[str]]:
        """Return the channels on which an address has sent messages."""
        answer = yield from self._core.get(f"/api/v0/addresses/{segment(self._core.owner(address))}/channels")
        return list(answer["channels"])


def balance_of(core: Core, address: str, chain: str | None = None) -> Call[Balance]:
    """Return what an address holds."""
    query = given(chain=chain, include_credit_details="true")
    return Balance.read((yield from core.get(f"/api/v0/addresses/{segment(address)}/balance", query, exact=True)))
