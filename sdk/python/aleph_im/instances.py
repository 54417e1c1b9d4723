"""Instances: virtual machines that stay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .answers import Message
from .core import given
from .listing import Filter, along
from .message import is_hash
from .operation import Call, M, Service, Walk, operation, walk
from .publish import Submission, read_message, send


@dataclass(frozen=True, kw_only=True)
class InstanceSettings:
    """What an instance is."""

    image: str
    """The STORE message of a disk image."""
    ssh_keys: Sequence[str] = ()
    """Public keys that may log in."""
    name: str | None = None
    vcpus: int = 1
    memory: int = 2048
    """MiB."""
    disk: int = 20480
    """MiB of the root disk."""
    internet: bool = True
    allow_amend: bool = False
    variables: Mapping[str, str] = field(default_factory=dict)
    volumes: Sequence[Mapping[str, Any]] = ()
    """As in messages §5.5."""
    payment: Mapping[str, Any] = field(default_factory=lambda: {"chain": "ETH", "type": "hold"})
    requirements: Mapping[str, Any] | None = None
    trusted_execution: Mapping[str, Any] | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def content(self) -> dict[str, Any]:
        """Return the content of an INSTANCE message (messages §5.7)."""
        if not is_hash(self.image):
            raise ValueError(f"{self.image!r} is not the hash of the STORE message of an image")
        environment = {
            "internet": self.internet,
            "aleph_api": True,
            "hypervisor": "qemu",
            **given(trusted_execution=self.trusted_execution),
            "reproducible": False,
            "shared_cache": False,
        }
        return {
            "allow_amend": self.allow_amend,
            "metadata": {**given(name=self.name), **self.metadata},
            "authorized_keys": [*self.ssh_keys],
            "variables": dict(self.variables),
            "environment": environment,
            "resources": {"vcpus": self.vcpus, "memory": self.memory, "seconds": 30},
            "payment": dict(self.payment),
            **given(requirements=self.requirements),
            "volumes": [dict(volume) for volume in self.volumes],
            "rootfs": {"parent": {"ref": self.image, "use_latest": True}, "persistence": "host", "size_mib": self.disk},
        }


class Instances(Service[M]):
    """Instances of the client's account. What is done with one that runs is in machines."""

    @operation
    def create(
        self,
        settings: InstanceSettings,
        *,
        address: str | None = None,
        channel: str | None = None,
        sync: bool = True,
    ) -> Call[Submission]:
        """Publish an instance. What the owner cannot pay is an InsufficientFundsError."""
        content = settings.content()
        return (yield from send(self._core, "INSTANCE", content, address=address, channel=channel, sync=sync))

    @walk
    def list(self, address: str | None = None) -> Walk[Message]:
        """Walk through the instances of an owner, newest first."""
        query = Filter(types="INSTANCE", owners=self._core.owner(address)).query()
        verify = self._core.options.verify
        yield from along(self._core, "/api/v0/messages.json", "messages", query, lambda data: read_message(data, verify=verify))
