"""Messages of every type: read, list, watch, wait for, forget, and send what was signed elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .answers import Message, MessageInfo, MessageStatus, Page
from .core import given, segment
from .listing import Filter, Texts, When, along, page_of
from .message import Signed, Unsigned
from .operation import Call, M, Service, Walk, operation, walk
from .publish import Submission, broadcast, info_of, read_message, send, unsigned, wait_for
from .watch import watch

_PATH = "/api/v0/messages.json"


class Messages(Service[M]):
    """Messages of every type."""

    @operation
    def get(self, item_hash: str) -> Call[MessageInfo]:
        """Return what the node knows about a message, whatever its status. One that it does not know is a NotFoundError."""
        return (yield from info_of(self._core, item_hash))

    @operation
    def status(self, item_hash: str) -> Call[MessageStatus]:
        """Return where a message stands."""
        return MessageStatus.read((yield from self._core.get(f"/api/v0/messages/{segment(item_hash)}/status")))

    @operation
    def content(self, item_hash: str) -> Call[Any]:
        """Return the content of a message that is processed; of a POST, what its author wrote."""
        info = yield from wait_for(self._core, item_hash, 0.0)
        assert info.message is not None  # as it is processed
        content = info.message.content
        return content.get("content") if info.message.type == "POST" and isinstance(content, Mapping) else content

    @walk
    def list(self, filter: Filter = Filter(), *, page_size: int = 200) -> Walk[Message]:
        """Walk through the messages that match, newest first. Pages are fetched while the loop asks for them."""
        yield from along(self._core, _PATH, "messages", filter.query(), self._read, page_size)

    @operation
    def page(self, filter: Filter = Filter(), *, page: int = 1, page_size: int = 20) -> Call[Page[Message]]:
        """Return one page of the messages that match, counted from 1."""
        return (yield from page_of(self._core, _PATH, "messages", filter.query(), self._read, page, page_size))

    @walk
    def watch(self, filter: Filter = Filter(), *, history: int = 0, since: When | None = None) -> Walk[Message]:
        """Yield messages that match as the node processes them, without end.

        Before them come the newest history (0 … 199) that it has, or all since a time, oldest first. When the connection
        breaks, it is made again and what came meanwhile is asked for; each message is yielded once.
        """
        yield from watch(self._core, filter, history, since, self._read)

    @operation
    def wait(self, item_hash: str, *, timeout: float = 60.0) -> Call[MessageInfo]:
        """Return when a message is processed; timeout is in seconds. One that is refused is a RejectedError that says why."""
        return (yield from wait_for(self._core, item_hash, timeout))

    @operation
    def build(
        self, type: str, content: Mapping[str, Any], *, address: str | None = None, channel: str | None = None
    ) -> Call[Unsigned]:
        """Build a message of the client's account, to be signed elsewhere. Nothing is sent."""
        return unsigned(self._core, type, content, address=address, channel=channel)
        yield  # never reached: it makes this a call

    @operation
    def broadcast(self, message: Signed, *, sync: bool = True) -> Call[Submission]:
        """Send a message that was signed. With sync the node answers once it has decided, at most 30 seconds later."""
        return (yield from broadcast(self._core, message, sync))

    @operation
    def send(
        self,
        type: str,
        content: Mapping[str, Any],
        *,
        address: str | None = None,
        channel: str | None = None,
        sync: bool = True,
    ) -> Call[Submission]:
        """Build, sign and send a message of any type."""
        return (yield from send(self._core, type, content, address=address, channel=channel, sync=sync))

    @operation
    def forget(
        self,
        hashes: Texts,
        *,
        aggregates: Iterable[str] = (),
        reason: str | None = None,
        address: str | None = None,
        channel: str | None = None,
        sync: bool = True,
    ) -> Call[Submission]:
        """Make the network forget the contents of messages, and the files that they keep."""
        content = {
            "hashes": [hashes] if isinstance(hashes, str) else [*hashes],
            "aggregates": [*aggregates],
            **given(reason=reason),
        }
        return (yield from send(self._core, "FORGET", content, address=address, channel=channel, sync=sync))

    def _read(self, data: Any) -> Message:
        return read_message(data, verify=self._core.options.verify)
