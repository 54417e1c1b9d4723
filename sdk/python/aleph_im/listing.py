"""Lists: what is asked for, page by page or along cursors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from .answers import Page
from .core import Core, comma_list, given
from .errors import AnswerError, NotFoundError
from .operation import Call, Item, Walk
from .record import seconds

T = TypeVar("T")

Texts = str | Iterable[str]
"""One text or several."""

When = datetime | float
"""An aware time, or Unix seconds."""


@dataclass(frozen=True)
class Filter:
    """Selects messages or posts.

    What is left out selects everything; members of one list are alternatives, lists must all match.
    """

    types: Texts | None = None
    """Of messages: POST, AGGREGATE, STORE, PROGRAM, INSTANCE, FORGET."""
    statuses: Texts | None = None
    hashes: Texts | None = None
    addresses: Texts | None = None
    """Senders of messages, owners of posts."""
    owners: Texts | None = None
    """In whose name a message was sent; not for posts."""
    chains: Texts | None = None
    channels: Texts | None = None
    refs: Texts | None = None
    tags: Texts | None = None
    content_types: Texts | None = None
    """Types of posts."""
    content_keys: Texts | None = None
    """Keys of aggregates."""
    content_hashes: Texts | None = None
    """Files of STORE messages."""
    since: When | None = None
    """From this time on."""
    until: When | None = None
    """Before this time."""
    oldest_first: bool = False

    def query(self) -> dict[str, str]:
        """Return the parameters of a question for messages (ccn-api §3.1)."""
        return given(
            msgTypes=comma_list(self.types),
            msgStatuses=comma_list(self.statuses),
            hashes=comma_list(self.hashes),
            addresses=comma_list(self.addresses),
            owners=comma_list(self.owners),
            chains=comma_list(self.chains),
            channels=comma_list(self.channels),
            refs=comma_list(self.refs),
            tags=comma_list(self.tags),
            contentTypes=comma_list(self.content_types),
            contentKeys=comma_list(self.content_keys),
            contentHashes=comma_list(self.content_hashes),
            startDate=seconds(self.since),
            endDate=seconds(self.until),
            sortOrder="1" if self.oldest_first else None,
        )

    def post_query(self) -> dict[str, str]:
        """Return the parameters of a question for posts (ccn-api §5)."""
        query = self.query()
        if "contentTypes" in query:
            query["types"] = query.pop("contentTypes")
        return query


def page_of(
    core: Core,
    path: str,
    member: str,
    query: Mapping[str, str],
    read: Callable[[Any], T],
    page: int,
    size: int,
    *,
    exact: bool = False,
) -> Call[Page[T]]:
    """Ask for one page, counted from 1."""
    whole = {**query, "page": str(page), "pagination": str(size)}
    try:
        answer = yield from core.get(path, whole, exact=exact)
    except NotFoundError:  # how some lists say that they are empty
        return Page([], page, size, 0)
    items = _items(answer, member, path)
    try:
        return Page(
            [read(item) for item in items],
            answer["pagination_page"],
            answer["pagination_per_page"],
            answer["pagination_total"],
        )
    except KeyError as missing:
        raise AnswerError(f"GET {path}: the node left out {missing}") from None


def along(
    core: Core,
    path: str,
    member: str,
    query: Mapping[str, str],
    read: Callable[[Any], T],
    size: int = 200,
    *,
    exact: bool = False,
) -> Walk[T]:
    """Follow the cursors of a list (ccn-api §1.8). Pages are asked for while the caller takes items."""
    cursor: str | None = ""
    while cursor is not None:
        items, cursor = yield from part_of(core, path, member, query, size, cursor, exact=exact)
        for item in items:
            yield Item(read(item))


def part_of(
    core: Core, path: str, member: str, query: Mapping[str, str], size: int, cursor: str, *, exact: bool = False
) -> Call[tuple[list[Any], str | None]]:
    """Return the items at a cursor, "" for the first, and the cursor of those that follow; None when there are none."""
    try:
        answer = yield from core.get(path, {**query, "pagination": str(size), "cursor": cursor}, exact=exact)
    except NotFoundError:  # how some lists say that they are empty
        return [], None
    following = answer.get("next_cursor") if isinstance(answer, Mapping) else None
    return _items(answer, member, path), following if isinstance(following, str) and following != cursor else None


def _items(answer: Any, member: str, path: str) -> list[Any]:
    items = answer.get(member) if isinstance(answer, Mapping) else None
    if not isinstance(items, list):
        raise AnswerError(f"GET {path}: the node sent no list of {member}")
    return items
