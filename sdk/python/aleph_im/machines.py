"""Machines: what runs on compute nodes, and what their owners may do with it.

An owner's account delegates to a key that lives for an hour in the client (crn §2.1.1), so a wallet is asked once.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from .answers import Allocation, Execution, LogLine
from .core import Core, decoded, parsed, segment
from .errors import AlephError, AnswerError, NotFoundError, of_status
from .operation import Body, Call, Close, Dial, Item, M, Receive, Request, Response, Service, Transmit, Walk, operation, walk
from .record import moment

if TYPE_CHECKING:
    from .instances import InstanceSettings

Operation = Literal["stop", "start", "reboot", "erase", "reinstall"]

_KEY_LIFE = 3600.0  # seconds


class Machines(Service[M]):
    """Machines of the client's account.

    node is the URL of the compute node that has the machine; one that is not named is asked of the network.
    """

    @operation
    def where(self, item_hash: str) -> Call[Allocation]:
        """Return where a workload runs; one that runs nowhere is a NotFoundError."""
        return (yield from allocation_of(self._core, item_hash))

    @operation
    def executions(self, node: str) -> Call[dict[str, Execution]]:
        """Return what a compute node runs, or keeps stopped, by message."""
        answer = yield from self._core.get("/v2/about/executions/list", base=node)
        if not isinstance(answer, Mapping):
            raise AnswerError(f"{node}: the node sent no list of executions")
        return {item_hash: Execution.read(each) for item_hash, each in answer.items()}

    @operation
    def notify(self, item_hash: str, *, node: str) -> Call[None]:
        """Ask a compute node to start an instance that is paid for there (crn §2.7.1)."""
        path = "/control/allocation/notify"
        answer = yield from once(self._core, "POST", node, path, {}, json.dumps({"instance": item_hash}).encode())
        parsed("POST", node + path, answer)

    @operation
    def operate(
        self, item_hash: str, operation: Operation, *, node: str | None = None, keep_volumes: bool = False
    ) -> Call[str]:
        """Do something with a machine and return what the compute node says once it is done. It is not repeated.

        stop turns it off and keeps it, start turns it on again; reboot turns it off and on; erase ends it with its disks;
        reinstall gives it new disks, and with keep_volumes only a new root disk.
        """
        base = yield from node_of(self._core, item_hash, node)
        path = f"/control/machine/{segment(item_hash)}/{operation}"
        headers = yield from signed_headers(self._core, "POST", base, path)
        query = "?erase_volumes=false" if operation == "reinstall" and keep_volumes else ""
        answer = yield from once(self._core, "POST", base, path + query, headers, None)
        accepted("POST", base + path, answer)
        return answer.body.decode(errors="replace")

    @operation
    def expire(self, item_hash: str, after: timedelta, *, node: str | None = None) -> Call[None]:
        """Have a workload end after a time, less than ten days."""
        base = yield from node_of(self._core, item_hash, node)
        path = f"/control/machine/{segment(item_hash)}/expire"
        headers = yield from signed_headers(self._core, "POST", base, path)
        body = json.dumps({"timeout": after.total_seconds()}).encode()
        answer = yield from once(self._core, "POST", base, path, headers, body)
        accepted("POST", base + path, answer)

    @operation
    def reserve(self, settings: InstanceSettings, *, node: str, address: str | None = None) -> Call[datetime]:
        """Ask a compute node whether an instance would fit, and have it keep the graphics cards that it wants for a minute.

        Return until when they are kept. What the node cannot give is an AlephError.
        """
        path = "/control/reserve_resources"
        content = {**settings.content(), "address": self._core.owner(address), "time": time.time()}
        headers = yield from signed_headers(self._core, "POST", node, path)
        answer = yield from once(self._core, "POST", node, path, headers, json.dumps(content).encode())
        try:
            reply = decoded(answer.body)
            if reply["status"] == "reserved":
                return moment(reply["expires"])
            reason = reply["reason"]
        except (ValueError, KeyError, TypeError):
            accepted("POST", node + path, answer)
            raise AnswerError(f"reserve resources: {node} sent no answer to that") from None
        raise AlephError(f"reserve resources: {reason}")

    @operation
    def update(self, item_hash: str, *, node: str | None = None) -> Call[None]:
        """Ask the compute node to read again which ports of a machine are to be reachable."""
        yield from update(self._core, item_hash, node)

    @operation
    def logs(self, item_hash: str, *, node: str | None = None) -> Call[list[LogLine]]:
        """Return what a machine printed."""
        return (yield from logs_of(self._core, item_hash, node))

    @walk
    def follow_logs(self, item_hash: str, *, node: str | None = None) -> Walk[LogLine]:
        """Yield what a machine printed, and then what it prints, until it or the connection ends."""
        base = yield from node_of(self._core, item_hash, node)
        path = f"/control/machine/{segment(item_hash)}/stream_logs"
        headers = yield from signed_headers(self._core, "GET", base, path)
        socket = yield Dial(f"ws{base.removeprefix('http')}{path}", self._core.options.timeout)
        try:
            yield Transmit(socket, json.dumps({"auth": {name: json.loads(text) for name, text in headers.items()}}))
            first = json.loads((yield Receive(socket)))
            if first.get("status") != "connected":
                raise AlephError(f"logs of {item_hash}: the compute node refused: {first.get('reason', first)}")
            while (text := (yield Receive(socket))) is not None:
                line = json.loads(text)
                yield Item(LogLine(stream=line.get("type", ""), message=line.get("message", "")))
        finally:
            yield Close(socket)


def allocation_of(core: Core, item_hash: str) -> Call[Allocation]:
    """Return where a workload runs."""
    path = f"/api/v0/allocation/{segment(item_hash)}"
    return Allocation.read((yield from core.get(path, base=core.options.scheduler)))


def node_of(core: Core, item_hash: str, node: str | None) -> Call[str]:
    """Return the URL of the compute node that is meant: the given one, or where the workload is allocated."""
    if node is not None:
        return node.rstrip("/")
    allocation = yield from allocation_of(core, item_hash)
    if not allocation.node.url:
        raise NotFoundError(f"{item_hash} runs on {allocation.node.node_id}, whose address is not known: pass node=")
    return allocation.node.url.rstrip("/")


def update(core: Core, item_hash: str, node: str | None) -> Call[None]:
    """Ask a compute node to read again which ports of a machine are to be reachable."""
    base = yield from node_of(core, item_hash, node)
    yield from core.post(f"/control/machine/{segment(item_hash)}/update", {}, base=base)


def logs_of(core: Core, item_hash: str, node: str | None) -> Call[list[LogLine]]:
    """Return what a workload printed."""
    base = yield from node_of(core, item_hash, node)
    path = f"/control/machine/{segment(item_hash)}/logs"
    headers = yield from signed_headers(core, "GET", base, path)
    answer = yield from core.call("GET", path, base=base, headers=headers)
    lines = parsed("GET", base + path, answer)
    if not isinstance(lines, list):
        raise AnswerError(f"logs of {item_hash}: the compute node sent no list")
    return [LogLine.read(line) for line in lines]


def accepted(method: str, url: str, answer: Response) -> None:
    """Raise what a compute node says when it has not done what it was asked to."""
    if answer.status != 200:
        raise of_status(method, url, answer.status, answer.body[:1000].decode(errors="replace"))


def once(
    core: Core, method: str, base: str, path: str, headers: Mapping[str, str], body: bytes | Body | None = None
) -> Call[Response]:
    """Send a request that must not be repeated. It may take as long as what it asks for."""
    whole = {"Content-Type": "application/json", **headers}
    answer: Response = yield Request(method, base.rstrip("/") + path, whole, body, 300.0)
    return answer


def signed_headers(core: Core, method: str, base: str, path: str) -> Call[dict[str, str]]:
    """Return the headers by which the client's account lets one operation on a compute node be done."""
    from .delegation import Delegation, operator_chain

    account = core.account
    domain = urlsplit(base).hostname or ""
    now = datetime.now(timezone.utc)
    delegation: Delegation | None = core.delegations.get(domain)
    if delegation is None or delegation.expires <= now:
        delegation = Delegation.new(operator_chain(account.chain), account.address, domain, now, _KEY_LIFE)
        delegation.proof = yield from core.sign(delegation.to_sign)
        core.delegations[domain] = delegation
    return delegation.headers(method, path, now)
