"""Who may send messages in whose name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .aggregates import aggregate_of, merge
from .core import Core, given, segment
from .errors import NotFoundError
from .operation import Call, M, Service, operation
from .publish import Submission

_KEY = "security"


class Authorizations(Service[M]):
    """Authorizations. They are one aggregate of the owner, which is read and written whole."""

    @operation
    def granted(self, address: str | None = None) -> Call[list[dict[str, Any]]]:
        """Return what an owner, default the client's account, has granted."""
        return (yield from _granted(self._core, self._core.owner(address)))

    @operation
    def received(self, address: str | None = None) -> Call[dict[str, list[dict[str, Any]]]]:
        """Return what was granted to an address, default the client's account, by the address of who granted it."""
        path = f"/api/v0/authorizations/received/{segment(self._core.owner(address))}.json"
        granted: dict[str, list[dict[str, Any]]] = {}
        page = 1
        while True:
            answer = yield from self._core.get(path, {"pagination": "500", "page": str(page)})
            granted |= answer["authorizations"]
            if page * 500 >= answer["pagination_total"]:
                return granted
            page += 1

    @operation
    def grant(
        self,
        to: str,
        *,
        chain: str | None = None,
        channels: Iterable[str] | None = None,
        types: Iterable[str] | None = None,
        post_types: Iterable[str] | None = None,
        aggregate_keys: Iterable[str] | None = None,
        sync: bool = True,
    ) -> Call[Submission]:
        """Let an address send messages in the name of the client's account; limits that are left out do not limit."""
        lists: dict[str, Iterable[str]] = given(
            channels=channels, types=types, post_types=post_types, aggregate_keys=aggregate_keys
        )
        limits = {name: list(values) for name, values in lists.items()}
        grant = {"address": to, **given(chain=chain), **limits}
        current: list[dict[str, Any]] = yield from _granted(self._core, self._core.account.address)
        if grant not in current:
            current = [*current, grant]
        return (yield from merge(self._core, _KEY, {"authorizations": current}, sync=sync))

    @operation
    def revoke(self, address: str, *, sync: bool = True) -> Call[Submission]:
        """Take back all that was granted to an address."""
        current = yield from _granted(self._core, self._core.account.address)
        rest = [grant for grant in current if str(grant.get("address", "")).lower() != address.lower()]
        return (yield from merge(self._core, _KEY, {"authorizations": rest}, sync=sync))


def _granted(core: Core, owner: str) -> Call[list[dict[str, Any]]]:
    try:
        content = yield from aggregate_of(core, owner, _KEY)
    except NotFoundError:
        return []
    grants = content.get("authorizations")
    return [dict(grant) for grant in grants if isinstance(grant, Mapping)] if isinstance(grants, list) else []
