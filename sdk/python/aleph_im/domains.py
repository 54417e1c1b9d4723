"""Custom domains: which name leads to which resource."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from .aggregates import aggregate_of, merge
from .core import given
from .errors import NotFoundError
from .operation import Call, M, Service, operation
from .publish import Submission

_KEY = "domains"

Target = Literal["ipfs", "program", "instance"]


@dataclass(frozen=True)
class DNSRecord:
    """A record that the owner of a domain has to create."""

    type: Literal["CNAME", "TXT"]
    name: str
    value: str


class Domains(Service[M]):
    """Domains of the client's account."""

    @operation
    def list(self, address: str | None = None) -> Call[dict[str, dict[str, Any]]]:
        """Return the domains of an owner, default the client's account, with what they lead to."""
        try:
            content = yield from aggregate_of(self._core, self._core.owner(address), _KEY)
        except NotFoundError:
            return {}
        return {name: dict(entry) for name, entry in content.items() if isinstance(entry, Mapping)}

    @operation
    def attach(
        self,
        name: str,
        item_hash: str,
        *,
        target: Target,
        catch_all_path: str | None = None,
        address: str | None = None,
        sync: bool = True,
    ) -> Call[Submission]:
        """Make a domain lead to the resource of a message: a STORE for ipfs, a program or an instance.

        It works once the records of dns_records exist.
        """
        entry = {
            "message_id": item_hash,
            "type": target,
            "programType": target,
            "updated_at": int(time.time()),
            **given(options=catch_all_path and {"catch_all_path": catch_all_path}),
        }
        return (yield from merge(self._core, _KEY, {name: entry}, address=address, sync=sync))

    @operation
    def detach(self, name: str, *, address: str | None = None, sync: bool = True) -> Call[Submission]:
        """Make a domain lead nowhere."""
        return (yield from merge(self._core, _KEY, {name: None}, address=address, sync=sync))


def dns_records(name: str, target: Target, owner: str) -> list[DNSRecord]:
    """Return the records that a domain needs on the public network (sdk-cli §4.8)."""
    control = DNSRecord("TXT", f"_control.{name}", owner)
    if target == "ipfs":
        link = DNSRecord("CNAME", f"_dnslink.{name}", f"_dnslink.{name}.static.public.aleph.sh")
        return [DNSRecord("CNAME", name, "ipfs.public.aleph.sh"), link, control]
    return [DNSRecord("CNAME", name, f"{name}.{target}.public.aleph.sh"), control]
