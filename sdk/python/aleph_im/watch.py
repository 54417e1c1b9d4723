"""Messages as they come, over connections that may break."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import urlencode

from .answers import Message
from .core import Core, decoded
from .errors import NotFoundError, StatusError, TransportError
from .listing import Filter, When, page_of, part_of
from .operation import Close, Dial, Item, Pause, Receive, Walk

OVERLAP = timedelta(minutes=2)
"""How far before a break the question for missed messages reaches back: a message carries its signer's time, and takes a
while until the node has it."""

_LIST = "/api/v0/messages.json"
_SEEN = 16 << 10  # hashes that are remembered, to yield each message once
_LONGEST_PAUSE = 10.0


class _Seen:
    def __init__(self) -> None:
        self._hashes: OrderedDict[str, None] = OrderedDict()

    def new(self, item_hash: str) -> bool:
        if item_hash in self._hashes:
            return False
        self._hashes[item_hash] = None
        if len(self._hashes) > _SEEN:
            self._hashes.popitem(last=False)
        return True


def watch(
    core: Core,
    filter: Filter,
    history: int,
    since: When | None,
    read: Callable[[Any], Message],
) -> Walk[Message]:
    """Yield what matches as it comes. What fails before the first connection stands ends it; later it is tried again."""
    seen = _Seen()
    if since is None:
        since = datetime.now(timezone.utc) - OVERLAP
        yield from _missed(core, filter, since, read, seen, quiet=True)  # what is here already is not new
        if history:
            newest = yield from page_of(core, _LIST, "messages", filter.query(), read, 1, history)
            for message in reversed(newest.items):
                seen.new(message.item_hash)
                yield Item(message)
    pause, connected, failures = core.options.backoff, False, 0
    while True:
        node = core.endpoints.order()[0]
        socket = None
        try:
            socket = yield Dial(_address(node, filter), core.options.timeout)
            core.endpoints.worked(node)
            connected = True
            # The connection is there first, so that nothing falls between what is asked for and what is heard.
            opened = datetime.now(timezone.utc)
            yield from _missed(core, filter, since, read, seen)
            since = opened - OVERLAP
            while text := (yield Receive(socket)):
                data = decoded(text)
                since, pause = datetime.now(timezone.utc) - OVERLAP, core.options.backoff
                if isinstance(data, dict) and "item_type" in data:  # and not the confirmation of a message that is known
                    message = read(data)
                    if seen.new(message.item_hash):
                        yield Item(message)
        except (TransportError, StatusError, NotFoundError):
            core.endpoints.failed(node)
            failures += 1
            if not connected and failures >= len(core.endpoints.urls):
                raise
        finally:
            if socket is not None:
                yield Close(socket)
        yield Pause(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


def _missed(
    core: Core, filter: Filter, since: When, read: Callable[[Any], Message], seen: _Seen, *, quiet: bool = False
) -> Walk[Message]:
    """Yield all messages that match from a time on and were not seen, oldest first; when quiet, only see them."""
    query = replace(filter, since=since, oldest_first=True).query()
    cursor: str | None = ""
    while cursor is not None:
        items, cursor = yield from part_of(core, _LIST, "messages", query, 200, cursor)
        for message in map(read, items):
            if seen.new(message.item_hash) and not quiet:
                yield Item(message)


def _address(node: str, filter: Filter) -> str:
    query = {**filter.query(), "history": "0"}
    if isinstance(filter.types, str) and "," not in filter.types:
        query["msgType"] = filter.types  # the only form of this filter that reference nodes apply to new messages
    return f"ws{node.removeprefix('http')}/api/ws0/messages?{urlencode(query)}"
