"""Programs: code that answers when it is called."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from .aggregates import aggregate_of
from .answers import LogLine, Message, Status
from .core import given, segment
from .files import upload
from .listing import Filter, along
from .machines import logs_of, node_of
from .message import is_hash
from .operation import Call, Invoke, M, Request, Response, Service, Walk, operation, walk
from .publish import Submission, read_message, send, wait_for

if TYPE_CHECKING:
    from .pack import Code, Interface

DEFAULT_RUNTIME = "63f07193e6ee9d207b7d1fcf8286f9aee34e6f12f101d2ec77c1229f92964696"
"""The runtime of Python programs on the public network."""


@dataclass(frozen=True)
class DeployedProgram:
    """A program that was deployed."""

    item_hash: str
    code: str
    """The STORE message of its code."""
    entrypoint: str
    status: Status
    """Of the program's message."""


@dataclass(frozen=True, kw_only=True)
class ProgramSettings:
    """What a program is, besides its code."""

    runtime: str | None = None
    """The STORE message of what it runs on; programs.runtime finds it by its name. Default that of the public network."""
    name: str | None = None
    vcpus: int = 1
    memory: int = 256
    """MiB."""
    seconds: int = 30
    """How long one call may take."""
    internet: bool = True
    persistent: bool = False
    """Whether it runs all the time, and not only while it is called."""
    allow_amend: bool = False
    variables: Mapping[str, str] = field(default_factory=dict)
    volumes: Sequence[Mapping[str, Any]] = ()
    """As in messages §5.5."""
    subscriptions: Sequence[Mapping[str, Any]] | None = None
    """Messages that it is called with (docs/programs.md)."""
    payment: Mapping[str, Any] = field(default_factory=lambda: {"chain": "ETH", "type": "hold"})
    metadata: Mapping[str, Any] = field(default_factory=dict)
    replaces: str | None = None

    def content(
        self,
        code: str,
        entrypoint: str,
        *,
        encoding: Literal["zip", "squashfs", "plain"] = "zip",
        interface: str | None = None,
    ) -> dict[str, Any]:
        """Return the content of a PROGRAM message (messages §5.6). code is the STORE message of the code."""
        if not is_hash(code):
            raise ValueError(f"{code!r} is not the hash of the STORE message of the code")
        subscriptions = None if self.subscriptions is None else [dict(each) for each in self.subscriptions]
        return {
            "allow_amend": self.allow_amend,
            "metadata": {**given(name=self.name), **self.metadata},
            "authorized_keys": [],
            "variables": dict(self.variables),
            "environment": {"reproducible": False, "internet": self.internet, "aleph_api": True, "shared_cache": False},
            "resources": {"vcpus": self.vcpus, "memory": self.memory, "seconds": self.seconds},
            "payment": dict(self.payment),
            "volumes": [dict(volume) for volume in self.volumes],
            **given(replaces=self.replaces),
            "type": "vm-function",
            "code": {
                "encoding": encoding,
                "entrypoint": entrypoint,
                "ref": code,
                **given(interface=interface),
                "use_latest": True,
            },
            "runtime": {"ref": self.runtime or DEFAULT_RUNTIME, "use_latest": True, "comment": ""},
            "on": {"http": True, **given(message=subscriptions), "persistent": self.persistent},
        }


class Programs(Service[M]):
    """Programs of the client's account."""

    @operation
    def deploy(
        self,
        path: str | os.PathLike[str],
        settings: ProgramSettings = ProgramSettings(),
        *,
        entrypoint: str | None = None,
        interface: Interface | None = None,
        channel: str | None = None,
    ) -> Call[DeployedProgram]:
        """Pack a folder or a file, store it, publish a program that runs it, and wait until the network has it.

        See pack.pack for how it is found what the program is. The name is the folder's unless the settings have one. What the
        owner cannot pay is an InsufficientFundsError.
        """
        from .pack import pack

        code: Code = yield Invoke(lambda: pack(path, entrypoint, interface))
        try:
            if code.node and settings.runtime is None:
                raise ValueError(f"{os.fspath(path)} needs a runtime that has Node.js: pass ProgramSettings(runtime=)")
            stored = yield from upload(self._core, code.archive, payment=settings.payment, channel=channel)
        finally:
            code.archive.close()
        yield from wait_for(self._core, stored.item_hash, 60)
        if settings.name is None:
            settings = replace(settings, name=os.path.basename(os.path.abspath(path)))
        if code.interface == "wasm" and settings.runtime is None:
            settings = replace(settings, runtime=stored.item_hash)  # a module stands in the place of its runtime
        content = settings.content(stored.item_hash, code.entrypoint, interface=code.interface)
        submission = yield from send(self._core, "PROGRAM", content, channel=channel)
        info = yield from wait_for(self._core, submission.item_hash, 60)
        return DeployedProgram(submission.item_hash, stored.item_hash, code.entrypoint, info.status)

    @operation
    def runtime(self, authority: str, name: str | None = None) -> Call[str]:
        """Return the STORE message of a runtime to which the network's authority, an address, has given a name.

        Without a name it is the network's default. An authority that names none is a NotFoundError, a name that is not there a
        ValueError.
        """
        known = yield from aggregate_of(self._core, authority, "runtimes")
        names: Mapping[str, Any] = known.get("runtimes") or {}
        found = known.get("default") if name is None else names.get(name)
        if not isinstance(found, str) or not is_hash(found):
            raise ValueError(f"the network has no runtime {name or 'by default'}; it has: {', '.join(sorted(names)) or 'none'}")
        return found

    @operation
    def create(
        self,
        code: str,
        entrypoint: str,
        settings: ProgramSettings = ProgramSettings(),
        *,
        encoding: Literal["zip", "squashfs", "plain"] = "zip",
        interface: Literal["asgi", "binary", "wasm"] | None = None,
        address: str | None = None,
        channel: str | None = None,
        sync: bool = True,
    ) -> Call[Submission]:
        """Publish a program whose code is stored already, under the given STORE message."""
        content = settings.content(code, entrypoint, encoding=encoding, interface=interface)
        return (yield from send(self._core, "PROGRAM", content, address=address, channel=channel, sync=sync))

    @operation
    def call(
        self,
        item_hash: str,
        path: str = "/",
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        node: str | None = None,
        timeout: float = 120.0,
    ) -> Call[Response]:
        """Send a request to a program and return its answer, whatever the status. It is not repeated.

        node is the URL of a compute node; default the one where the program is allocated.
        """
        base = yield from node_of(self._core, item_hash, node)
        url = f"{base}/vm/{segment(item_hash)}/{path.removeprefix('/')}"
        answer: Response = yield Request(method, url, headers or {}, body, timeout)
        return answer

    @operation
    def logs(self, item_hash: str, *, node: str | None = None) -> Call[list[LogLine]]:
        """Return what a program printed, if the client's account may see it."""
        return (yield from logs_of(self._core, item_hash, node))

    @walk
    def list(self, address: str | None = None) -> Walk[Message]:
        """Walk through the programs of an owner, newest first."""
        query = Filter(types="PROGRAM", owners=self._core.owner(address)).query()
        verify = self._core.options.verify
        yield from along(self._core, "/api/v0/messages.json", "messages", query, lambda data: read_message(data, verify=verify))
