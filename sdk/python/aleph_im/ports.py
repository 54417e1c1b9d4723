"""Ports of machines that the world may reach through their compute node."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from .aggregates import aggregate_of, merge
from .core import Core
from .errors import NotFoundError
from .machines import update
from .operation import Call, M, Service, operation
from .publish import Submission

_KEY = "port-forwarding"

Forwarded = dict[int, dict[str, bool]]


class Ports(Service[M]):
    """Forwarded ports of the machines of the client's account.

    The compute node of the machine is asked to read them again at once, when there is one. machines.executions tells which of
    its ports lead to them.
    """

    @operation
    def list(self, vm: str, *, address: str | None = None) -> Call[Forwarded]:
        """Return which ports of a machine are to be reachable, each with whether for tcp and udp."""
        return (yield from _ports_of(self._core, self._core.owner(address), vm))

    @operation
    def open(
        self,
        vm: str,
        port: int,
        *,
        tcp: bool = True,
        udp: bool = False,
        address: str | None = None,
        sync: bool = True,
    ) -> Call[Submission]:
        """Make a port of a machine reachable."""
        if not 0 < port < 65536:
            raise ValueError(f"there is no port {port}")
        ports = yield from _ports_of(self._core, self._core.owner(address), vm)
        ports[port] = {"tcp": tcp, "udp": udp}
        return (yield from _write(self._core, vm, ports, address, sync))

    @operation
    def close(self, vm: str, port: int | None = None, *, address: str | None = None, sync: bool = True) -> Call[Submission]:
        """Make a port of a machine unreachable; all of them when none is named."""
        ports = yield from _ports_of(self._core, self._core.owner(address), vm)
        ports = {} if port is None else {p: how for p, how in ports.items() if p != port}
        return (yield from _write(self._core, vm, ports, address, sync))


def _ports_of(core: Core, owner: str, vm: str) -> Call[Forwarded]:
    try:
        content = yield from aggregate_of(core, owner, _KEY)
    except NotFoundError:
        return {}
    entry = content.get(vm)
    ports = entry.get("ports") if isinstance(entry, Mapping) else None
    if not isinstance(ports, Mapping):
        return {}
    return {
        int(port): {"tcp": bool(how.get("tcp")), "udp": bool(how.get("udp"))}
        for port, how in ports.items()
        if isinstance(how, Mapping) and str(port).isdecimal()
    }


def _write(core: Core, vm: str, ports: Forwarded, address: str | None, sync: bool) -> Call[Submission]:
    entry: Any = {"ports": {str(port): how for port, how in sorted(ports.items())}} if ports else None
    submission = yield from merge(core, _KEY, {vm: entry}, address=address, sync=sync)
    with contextlib.suppress(NotFoundError):  # a machine that runs nowhere yet will be started with them
        yield from update(core, vm, None)
    return submission
