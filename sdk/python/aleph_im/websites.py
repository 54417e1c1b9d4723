"""Websites: folders that are served under names of their owner's choice (sdk-cli §4.15)."""

from __future__ import annotations

import ipaddress
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .aggregates import aggregate_of, merge
from .answers import Website as Website
from .core import Core, given
from .endpoints import MAINNET
from .errors import NotFoundError
from .files import upload_folder
from .operation import Call, Invoke, M, Service, operation
from .publish import Submission, send
from .source import Progress

_KEY = "websites"


@dataclass(frozen=True)
class DeployedSite:
    """A website that was put on the web."""

    name: str
    version: int
    volume: str
    """The STORE message of the folder."""
    cid: str
    url: str
    """Where it is served."""


class Websites(Service[M]):
    """Websites of the client's account. Domains, which are in domains, do not follow to a new version by themselves."""

    def url(self, cid: str) -> str:
        """Return where a folder is served: by the gateway of the public network, elsewhere by the core node that is asked.

        On this machine a site has a host, and so an origin, of its own.
        """
        node = self._core.endpoints.order()[0]
        if node in MAINNET:
            return f"https://{cid}.ipfs.aleph.sh/"
        where = urlsplit(node)
        if _is_here(where.hostname or ""):
            port = f":{where.port}" if where.port else ""
            return f"{where.scheme}://{cid}.ipfs.localhost{port}/"
        return f"{node}/ipfs/{cid}/"

    @operation
    def list(self, address: str | None = None) -> Call[dict[str, Website]]:
        """Return the websites of an owner, default the client's account, by name."""
        return (yield from _sites_of(self._core, self._core.owner(address)))

    @operation
    def deploy(
        self,
        folder: str | os.PathLike[str],
        name: str | None = None,
        *,
        payment: Mapping[str, Any] | None = None,
        address: str | None = None,
        channel: str | None = None,
        sync: bool = True,
        progress: Progress | None = None,
    ) -> Call[DeployedSite]:
        """Store a folder with an index.html and give it a name, default its own. A name that exists gets a new version."""
        root = Path(folder)
        if not (yield Invoke(lambda: (root / "index.html").is_file())):
            raise ValueError(f"{root} is no website: it has no index.html")
        name = name or root.resolve().name
        stored = yield from upload_folder(
            self._core, root, payment=payment, address=address, channel=channel, sync=sync, progress=progress
        )
        _, version = yield from _publish(self._core, name, stored.item_hash, payment, address, channel, sync)
        return DeployedSite(name, version, stored.item_hash, stored.file_hash, self.url(stored.file_hash))

    @operation
    def publish(
        self,
        name: str,
        volume: str,
        *,
        payment: Mapping[str, Any] | None = None,
        address: str | None = None,
        channel: str | None = None,
        sync: bool = True,
    ) -> Call[Submission]:
        """Make a name mean the folder that a STORE message keeps. A website that exists becomes a new version of itself."""
        submission, _ = yield from _publish(self._core, name, volume, payment, address, channel, sync)
        return submission

    @operation
    def delete(
        self,
        name: str,
        *,
        keep_files: bool = False,
        address: str | None = None,
        channel: str | None = None,
        sync: bool = True,
    ) -> Call[Submission]:
        """Take a name away, and forget the folders of all its versions unless they are to be kept."""
        owner = self._core.owner(address)
        sites = yield from _sites_of(self._core, owner)
        if name not in sites:
            raise NotFoundError(f"{owner} has no website {name}")
        submission = yield from merge(self._core, _KEY, {name: None}, address=address, channel=channel, sync=sync)
        if not keep_files:
            members = {"hashes": _volumes_of(sites[name]), "aggregates": [], "reason": "deleted by its owner"}
            yield from send(self._core, "FORGET", members, address=address, channel=channel, sync=sync)
        return submission


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _sites_of(core: Core, owner: str) -> Call[dict[str, Website]]:
    try:
        content = yield from aggregate_of(core, owner, _KEY)
    except NotFoundError:
        return {}
    return {name: Website.read(entry) for name, entry in content.items() if isinstance(entry, Mapping)}


def _volumes_of(site: Website) -> list[str]:
    """Return the folders of all versions, each once."""
    return [*dict.fromkeys([*site.history.values(), site.volume_id])]


def _publish(
    core: Core,
    name: str,
    volume: str,
    payment: Mapping[str, Any] | None,
    address: str | None,
    channel: str | None,
    sync: bool,
) -> Call[tuple[Submission, int]]:
    """Write the next version of a website, and return which it is. What other programs noted beside it stays."""
    site = (yield from _sites_of(core, core.owner(address))).get(name)
    now = int(time.time())
    entry: dict[str, Any] = {
        "metadata": {"name": name, "tags": [], "framework": "none"},
        "version": 1,
        "volume_id": volume,
        "history": {},
        "ens": site.ens if site else [],
        "created_at": now,
        "updated_at": now,
        **given(payment=payment and dict(payment)),
    }
    if site:
        entry |= {
            **site.extra,
            "metadata": site.metadata,
            "version": site.version + 1,
            "history": {**site.history, str(site.version): site.volume_id},
            "created_at": site.created_at.timestamp() if site.created_at else now,
            **given(payment=entry.get("payment", site.payment)),
        }
    submission = yield from merge(core, _KEY, {name: entry}, address=address, channel=channel, sync=sync)
    return submission, entry["version"]
