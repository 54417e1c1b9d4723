"""How messages are built, signed, sent and waited for: calls that all services use."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from .answers import Message, MessageInfo, Status
from .core import Core, decoded, segment
from .errors import (
    AnswerError,
    DeadlineError,
    ForgottenError,
    NotFoundError,
    RemovedError,
    StatusError,
    VerificationError,
)
from .message import Signed, Unsigned, build, hash_of
from .operation import Call, Pause
from .source import content_of
from .upload import STORAGE, send_file
from .verify import verify_signature


@dataclass(frozen=True)
class Submission:
    """A message that a node took."""

    item_hash: str
    status: Status
    """pending or processed."""
    failed: tuple[str, ...] = ()
    """Networks that the node could not hand it to: "p2p", "ipfs"."""


def unsigned(
    core: Core, type: str, content: Mapping[str, Any], *, address: str | None = None, channel: str | None = None
) -> Unsigned:
    """Build a message of the client's account, in the name of address."""
    account = core.account
    return build(
        type,
        content,
        chain=account.chain,
        sender=account.address,
        address=address,
        channel=channel if channel is not None else core.channel,
    )


def signed(
    core: Core, type: str, content: Mapping[str, Any], *, address: str | None = None, channel: str | None = None
) -> Call[Signed]:
    """Build a message and have the client's account sign it."""
    message = unsigned(core, type, content, address=address, channel=channel)
    signature = yield from core.sign(message.verification_text)
    return message.attach(signature)


def send(
    core: Core,
    type: str,
    content: Mapping[str, Any],
    *,
    address: str | None = None,
    channel: str | None = None,
    sync: bool = True,
) -> Call[Submission]:
    """Build, sign and broadcast a message."""
    message = yield from signed(core, type, content, address=address, channel=channel)
    return (yield from broadcast(core, message, sync))


def broadcast(core: Core, message: Signed, sync: bool) -> Call[Submission]:
    """Send a signed message. With sync the node answers once it has decided, or after 30 seconds that it is pending.

    A content that is too long for the message is stored first, under the hash that was signed. Repeating this is harmless.
    """
    if not message.unsigned.inline:
        yield from _store_content(core, message.unsigned)
    body = {"sync": sync, "message": message.envelope()}
    answer = yield from core.call("POST", "/api/v0/messages", body=body)
    try:
        reply = decoded(answer.body)
        status = reply["message_status"]
        failed = tuple(reply["publication_status"]["failed"])
    except (ValueError, KeyError, TypeError):
        status, failed = None, ()
    if status == "rejected":
        raise (yield from why_rejected(core, message.item_hash))
    if answer.status not in (200, 202) or status is None:
        raise StatusError("POST", "/api/v0/messages", answer.status, answer.body[:1000].decode(errors="replace"))
    return Submission(message.item_hash, status, failed)


def _store_content(core: Core, message: Unsigned) -> Call[None]:
    answer = yield from send_file(core, STORAGE, None, content_of(message.item_content.encode()))
    if answer.status != 200:
        raise StatusError("POST", STORAGE, answer.status, answer.body[:1000].decode(errors="replace"))
    kept = decoded(answer.body).get("hash")
    if kept != message.item_hash:
        raise VerificationError(f"store content {message.item_hash}: the node kept it as {kept}")


def why_rejected(core: Core, item_hash: str) -> Call[Exception]:
    """Ask why a message was refused, which the answer to its publication does not say."""
    info = yield from info_of(core, item_hash)
    return info.rejection or AnswerError(f"message {item_hash} was rejected, and is now {info.status}")


def info_of(core: Core, item_hash: str) -> Call[MessageInfo]:
    """Return what a node knows about a message, whatever its status."""
    raw = yield from core.get(f"/api/v0/messages/{segment(item_hash)}")
    if not isinstance(raw, Mapping):
        raise AnswerError(f"message {item_hash}: the node sent {type(raw).__name__}")
    members = dict(raw)
    shown = members.pop("message", None)
    if shown is None and isinstance(members.get("messages"), list):
        shown = next(iter(members.pop("messages")), None)
    alive = members.get("status") in ("processed", "removing")
    info = MessageInfo.read({**members, "remains": {} if alive else shown or {}})
    if info.item_hash != item_hash:
        raise VerificationError(f"asked for message {item_hash}, the node sent {info.item_hash}")
    if alive:
        message = read_message(shown, verify=core.options.verify)
        if message.item_hash != item_hash:
            raise VerificationError(f"asked for message {item_hash}, the node sent {message.item_hash}")
        if message.item_type == "storage" and core.options.verify:
            message = yield from _with_stored_content(core, message)
        info = replace(info, message=message)
    return info


def _with_stored_content(core: Core, message: Message) -> Call[Message]:
    """Replace the content that a node shows of a message by the one that its hash stands for."""
    answer = yield from core.call("GET", f"/api/v0/storage/raw/{segment(message.item_hash)}")
    if answer.status != 200:
        return message
    if hash_of(answer.body) != message.item_hash:
        raise VerificationError(f"message {message.item_hash}: the node sent another content")
    return replace(message, content=decoded(answer.body), content_verified=True)


def read_message(data: Any, *, verify: bool) -> Message:
    """Read a message that a node shows, and check what can be checked of it by itself."""
    message = Message.read(data)
    if not verify:
        return message
    content_verified = False
    if message.item_type == "inline":
        text = message.item_content
        if text is None or hash_of(text.encode()) != message.item_hash:
            raise VerificationError(f"message {message.item_hash}: the node sent another content")
        message = replace(message, content=json.loads(text))
        content_verified = True
    signature_verified = None
    if message.signature:
        payload = f"{message.chain}\n{message.sender}\n{message.type}\n{message.item_hash}".encode()
        signature_verified = verify_signature(message.chain, message.sender, payload, message.signature, message.time)
        if signature_verified is False:
            raise VerificationError(f"message {message.item_hash}: {message.sender} did not sign it")
    return replace(message, content_verified=content_verified, signature_verified=bool(signature_verified))


def wait_for(core: Core, item_hash: str, timeout: float) -> Call[MessageInfo]:
    """Return when a message is processed.

    A message that the node does not know yet is waited for as well: it may be on its way from another node.
    """
    end, pause = core.clock() + timeout, 0.05
    while True:
        status = "not known yet"
        try:
            info = yield from info_of(core, item_hash)
        except NotFoundError:
            pass
        else:
            status = info.status
            if info.rejection:
                raise info.rejection
            if status == "forgotten":
                raise ForgottenError(item_hash, info.forgotten_by)
            if status == "removed":
                raise RemovedError(item_hash, info.reason or "nobody paid for it")
            if status != "pending":
                return info
        if core.clock() + pause > end:
            raise DeadlineError(f"message {item_hash} is {status} after {timeout:g} s")
        yield Pause(pause)
        pause = min(pause * 1.5, 2.0)
