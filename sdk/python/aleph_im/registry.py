"""The registry of nodes: what operators and stakers do with it, and what it says (corechannel §4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .aggregates import aggregate_of
from .answers import ComputeNode as ComputeNode
from .answers import CoreNode as CoreNode
from .answers import RegisteredNodes as RegisteredNodes
from .core import Core, given
from .errors import DeadlineError, NotFoundError
from .operation import Call, M, Pause, Service, operation
from .publish import Submission, send

OWNER = "0xa1B3bb7d2332383D96b7796B908fB7f7F3c2Be10"
"""Whose aggregate is the registry of the public network."""

_TAG = "mainnet"
"""What the public network, and devnets too, mark operations with."""


class Registry(Service[M]):
    """The registry of nodes.

    An operation is a message like any other: the network keeps it whether the rules of the registry allow it or not. What
    became of it shows in the registry some moments later: see until. tag is what the network marks its operations with.
    """

    @operation
    def list(self, owner: str = OWNER) -> Call[RegisteredNodes]:
        """Return core nodes and compute nodes, with their links, stakes and scores."""
        return (yield from _nodes_of(self._core, owner))

    @operation
    def until(
        self, done: Callable[[RegisteredNodes], bool], *, owner: str = OWNER, timeout: float = 60.0
    ) -> Call[RegisteredNodes]:
        """Read the registry until it is as it should be, within timeout seconds, and return it."""
        core, pause = self._core, 0.1
        end = core.clock() + timeout
        while not done(nodes := (yield from _nodes_of(core, owner))):
            if core.clock() + pause > end:
                raise DeadlineError(f"the registry of nodes has not changed in {timeout:g} s as it was waited for")
            yield Pause(pause)
            pause = min(2 * pause, 2.0)
        return nodes

    @operation
    def create_core(self, /, *, name: str, multiaddress: str, tag: str = _TAG, **details: Any) -> Call[Submission]:
        """Register a core node. The hash of the message is the node's from then on.

        details are what owners say of nodes, such as description, reward, manager, locked and authorized.
        """
        return (yield from _post(self._core, "create-node", tag, None, {"name": name, "multiaddress": multiaddress, **details}))

    @operation
    def create_compute(self, /, *, name: str, address: str, tag: str = _TAG, **details: Any) -> Call[Submission]:
        """Register a compute node by the base URL of its API. The hash of the message is the node's from then on."""
        details = {"name": name, "address": address, "type": "compute", **details}
        return (yield from _post(self._core, "create-resource-node", tag, None, details))

    @operation
    def amend_core(self, node: str, /, *, tag: str = _TAG, **details: Any) -> Call[Submission]:
        """Change what is said of a core node; details that are left out stay."""
        return (yield from _amend(self._core, "create-node", tag, node, details))

    @operation
    def amend_compute(self, node: str, /, *, tag: str = _TAG, **details: Any) -> Call[Submission]:
        """Change what is said of a compute node; details that are left out stay."""
        return (yield from _amend(self._core, "create-resource-node", tag, node, details))

    @operation
    def link(self, compute_node: str, *, tag: str = _TAG) -> Call[Submission]:
        """Link a compute node to the core node of the account."""
        return (yield from _post(self._core, "link", tag, compute_node))

    @operation
    def unlink(self, compute_node: str, *, tag: str = _TAG) -> Call[Submission]:
        """End a link. The owners of both nodes may."""
        return (yield from _post(self._core, "unlink", tag, compute_node))

    @operation
    def stake(self, core_node: str, *, tag: str = _TAG) -> Call[Submission]:
        """Back a core node with what the account holds, which is split over all that it backs."""
        return (yield from _post(self._core, "stake-split", tag, core_node))

    @operation
    def unstake(self, core_node: str, *, tag: str = _TAG) -> Call[Submission]:
        """Back a core node no more."""
        return (yield from _post(self._core, "unstake", tag, core_node))

    @operation
    def drop(self, node: str, *, tag: str = _TAG) -> Call[Submission]:
        """Take a node of the account out of the registry."""
        return (yield from _post(self._core, "drop-node", tag, node))


def _nodes_of(core: Core, owner: str) -> Call[RegisteredNodes]:
    try:
        content = yield from aggregate_of(core, owner, "corechannel")
    except NotFoundError:
        content = {}
    lists = {kind: [_orderly(node) for node in content.get(kind) or []] for kind in ("nodes", "resource_nodes")}
    return RegisteredNodes.read(lists)


def _orderly(node: Mapping[str, Any]) -> dict[str, Any]:
    """Return a node with a lock and a list: older registries have an empty text where neither was ever set."""
    authorized = node.get("authorized") or []
    if isinstance(authorized, str):
        authorized = authorized.replace(",", " ").split()
    return {**node, "locked": bool(node.get("locked")), "authorized": authorized}


def _post(core: Core, action: str, tag: str, ref: str | None, details: Mapping[str, Any] | None = None) -> Call[Submission]:
    return (yield from _send(core, "corechan-operation", action, tag, ref, details))


def _amend(core: Core, action: str, tag: str, node: str, details: Mapping[str, Any]) -> Call[Submission]:
    if not details:
        raise ValueError("say what is to be changed of the node, such as its name")
    return (yield from _send(core, "amend", action, tag, node, details))


def _send(core: Core, type: str, action: str, tag: str, ref: str | None, details: Mapping[str, Any] | None) -> Call[Submission]:
    content = {"action": action, "tags": [action, tag], **given(details=details and dict(details))}
    members = {"content": content, **given(ref=ref), "type": type}
    return (yield from send(core, "POST", members, channel="FOUNDATION"))
