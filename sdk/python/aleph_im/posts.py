"""Posts: anything that an owner publishes and may amend."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .answers import Page, Post, PostV0
from .core import Core, given
from .errors import NotFoundError, VerificationError
from .listing import Filter, along, page_of
from .message import hash_of
from .operation import Call, M, Service, Walk, operation, walk
from .publish import Submission, info_of, send

_V0, _V1 = "/api/v0/posts.json", "/api/v1/posts.json"


class Posts(Service[M]):
    """Posts. Filters select them by owner (addresses), type (content_types), ref, tags and channel."""

    @operation
    def create(
        self,
        content: Any,
        *,
        type: str,
        ref: str | None = None,
        address: str | None = None,
        channel: str | None = None,
        sync: bool = True,
    ) -> Call[Submission]:
        """Publish a post. content is anything that JSON can say; ref is free text, such as the hash of another message."""
        members = {"content": content, **given(ref=ref), "type": type}
        return (yield from send(self._core, "POST", members, address=address, channel=channel, sync=sync))

    @operation
    def amend(
        self,
        item_hash: str,
        content: Any,
        *,
        address: str | None = None,
        channel: str | None = None,
        sync: bool = True,
    ) -> Call[Submission]:
        """Replace the content of a post, named by the hash of its first version."""
        members = {"content": content, "ref": item_hash, "type": "amend"}
        return (yield from send(self._core, "POST", members, address=address, channel=channel, sync=sync))

    @operation
    def get(self, item_hash: str) -> Call[Post]:
        """Return a post as it was last amended, named by the hash of its first version.

        Its content is taken from the message that was signed.
        """
        answer = yield from page_of(self._core, _V1, "posts", {"hashes": item_hash}, Post.read, 1, 1)
        if not answer.items:
            raise NotFoundError(f"there is no post {item_hash}")
        post = answer.items[0]
        if post.original_item_hash != item_hash:
            raise VerificationError(f"asked for post {item_hash}, the node sent {post.original_item_hash}")
        return (yield from as_signed(self._core, post)) if self._core.options.verify else post

    @walk
    def list(self, filter: Filter = Filter(), *, page_size: int = 200) -> Walk[Post]:
        """Walk through the posts that match, last amended first."""
        yield from along(self._core, _V1, "posts", filter.post_query(), Post.read, page_size)

    @operation
    def page(self, filter: Filter = Filter(), *, page: int = 1, page_size: int = 20) -> Call[Page[Post]]:
        """Return one page of the posts that match, counted from 1."""
        return (yield from page_of(self._core, _V1, "posts", filter.post_query(), Post.read, page, page_size))

    @walk
    def list_v0(self, filter: Filter = Filter(), *, page_size: int = 200) -> Walk[PostV0]:
        """Walk through the posts that match, each with the envelope of the version that counts, whose hash is checked."""
        yield from along(self._core, _V0, "posts", filter.post_query(), self._read_v0, page_size)

    @operation
    def page_v0(self, filter: Filter = Filter(), *, page: int = 1, page_size: int = 20) -> Call[Page[PostV0]]:
        """Return one page of them."""
        return (yield from page_of(self._core, _V0, "posts", filter.post_query(), self._read_v0, page, page_size))

    def _read_v0(self, data: Any) -> PostV0:
        post = PostV0.read(data)
        text = post.item_content
        if not self._core.options.verify or text is None:
            return post
        written = json.loads(text) if hash_of(text.encode()) == post.item_hash else None
        if not isinstance(written, Mapping) or written.get("content") != post.content:
            raise VerificationError(f"post {post.item_hash}: the node sent another content")
        return post


def as_signed(core: Core, post: Post) -> Call[Post]:
    """Return a post with the content that the message of its version has, and not what the node says of it."""
    message = (yield from info_of(core, post.item_hash)).message
    if message is None:
        raise NotFoundError(f"post {post.original_item_hash}: its version {post.item_hash} is gone")
    if not message.content_verified:
        return post
    content = message.content
    amends = content.get("type") == "amend" and content.get("ref") == post.original_item_hash
    if (
        message.type != "POST"
        or content.get("address") != post.address
        or not (amends or message.item_hash == post.original_item_hash)
    ):
        raise VerificationError(f"post {post.original_item_hash}: the node sent {post.item_hash}, which is no version of it")
    return replace(post, content=content.get("content"))
