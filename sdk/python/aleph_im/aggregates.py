"""Aggregates: an object per owner and key, to which every message adds, replaces or removes members."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .answers import Aggregate, Page
from .core import Core, comma_list, given, segment
from .errors import AnswerError, NotFoundError
from .listing import Texts, along, page_of
from .operation import Call, M, Service, Walk, operation, walk
from .publish import Submission, send

_LIST = "/api/v0/aggregates"


class Aggregates(Service[M]):
    """Aggregates. An owner that is not named is the client's account."""

    @operation
    def get(self, key: str, address: str | None = None) -> Call[dict[str, Any]]:
        """Return the merged content under a key; one that does not exist is a NotFoundError."""
        return (yield from aggregate_of(self._core, self._core.owner(address), key))

    @operation
    def all(self, address: str | None = None, *, keys: Texts | None = None) -> Call[dict[str, dict[str, Any]]]:
        """Return all aggregates of an owner by their keys; {} when there are none."""
        path = f"/api/v0/aggregates/{segment(self._core.owner(address))}.json"
        try:
            answer = yield from self._core.get(path, given(keys=comma_list(keys)))
        except NotFoundError:
            return {}
        return dict(_data(answer))

    @walk
    def list(self, *, keys: Texts | None = None, addresses: Texts | None = None) -> Walk[Aggregate]:
        """Walk through the aggregates of all owners, last changed first."""
        query = given(keys=comma_list(keys), addresses=comma_list(addresses))
        yield from along(self._core, _LIST, "aggregates", query, Aggregate.read)

    @operation
    def page(
        self, *, keys: Texts | None = None, addresses: Texts | None = None, page: int = 1, page_size: int = 20
    ) -> Call[Page[Aggregate]]:
        """Return one page of them, counted from 1."""
        query = given(keys=comma_list(keys), addresses=comma_list(addresses))
        return (yield from page_of(self._core, _LIST, "aggregates", query, Aggregate.read, page, page_size))

    @operation
    def merge(
        self,
        key: str,
        content: Mapping[str, Any],
        *,
        address: str | None = None,
        channel: str | None = None,
        sync: bool = True,
    ) -> Call[Submission]:
        """Put members into an aggregate; others that it has stay. A member that is None reads as null from then on."""
        return (yield from merge(self._core, key, content, address=address, channel=channel, sync=sync))

    @operation
    def set(
        self,
        key: str,
        content: Mapping[str, Any],
        *,
        address: str | None = None,
        channel: str | None = None,
        sync: bool = True,
    ) -> Call[Submission]:
        """Put members into an aggregate, and set all others that it has to null."""
        try:
            current = yield from aggregate_of(self._core, self._core.owner(address), key)
        except NotFoundError:
            current = {}
        whole = {**dict.fromkeys(current), **content}
        return (yield from merge(self._core, key, whole, address=address, channel=channel, sync=sync))

    @operation
    def delete(
        self, key: str, member: str, *, address: str | None = None, channel: str | None = None, sync: bool = True
    ) -> Call[Submission]:
        """Set one member of an aggregate to null."""
        return (yield from merge(self._core, key, {member: None}, address=address, channel=channel, sync=sync))


def aggregate_of(core: Core, address: str, key: str) -> Call[dict[str, Any]]:
    """Return the merged content under a key of an owner."""
    answer = yield from core.get(f"/api/v0/aggregates/{segment(address)}.json", {"keys": key})
    data = _data(answer)
    if key not in data:
        raise NotFoundError(f"{address} has no aggregate {key}")
    value = data[key]
    if not isinstance(value, dict):
        raise AnswerError(f"aggregate {key} of {address}: the node sent {type(value).__name__}")
    return value


def merge(
    core: Core,
    key: str,
    content: Mapping[str, Any],
    *,
    address: str | None = None,
    channel: str | None = None,
    sync: bool = True,
) -> Call[Submission]:
    """Put members into an aggregate."""
    members = {"key": key, "content": dict(content)}
    return (yield from send(core, "AGGREGATE", members, address=address, channel=channel, sync=sync))


def _data(answer: Any) -> Mapping[str, Any]:
    data = answer.get("data") if isinstance(answer, Mapping) else None
    if not isinstance(data, Mapping):
        raise AnswerError("aggregates: the node sent no data")
    return data
