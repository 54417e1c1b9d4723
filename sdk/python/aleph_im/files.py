"""Files: uploads that stream, downloads that are checked."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeVar

from .answers import FileVersion, OwnedFile, Page, Status
from .core import Core, decoded, given, segment
from .errors import InsufficientFundsError, NotFoundError, StatusError, VerificationError
from .listing import along, page_of
from .operation import Call, Close, Effect, Invoke, Item, M, Open, Read, Request, Service, Stream, Walk, operation, walk
from .prices import estimate
from .publish import Submission, send, signed, why_rejected
from .source import Content, Progress, Source, content_of, hasher
from .upload import STALL, send_file

Engine = Literal["storage", "ipfs"]

E = TypeVar("E", Invoke, Item[bytes])


@dataclass(frozen=True)
class StoredFile:
    """A file that a node took."""

    item_hash: str
    """Of the STORE message that keeps it."""
    file_hash: str
    size: int
    """Bytes."""
    status: Status
    """Of the message."""


class Files(Service[M]):
    """Files. They are known by the hash of their bytes, and kept as long as a STORE message names them and is paid for."""

    @operation
    def upload(
        self,
        source: Source,
        *,
        engine: Engine = "storage",
        ref: str | None = None,
        payment: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        address: str | None = None,
        channel: str | None = None,
        sync: bool = True,
        progress: Progress | None = None,
    ) -> Call[StoredFile]:
        """Send a file with the signed message that pays for it.

        The source is read twice, to hash it and to send it, and never held in memory; what can be read only once is put on
        disk. ref is the hash of the STORE message that this one replaces, or a name. What the owner cannot pay is an
        InsufficientFundsError.
        """
        return (
            yield from upload(
                self._core,
                source,
                engine=engine,
                ref=ref,
                payment=payment,
                metadata=metadata,
                address=address,
                channel=channel,
                sync=sync,
                progress=progress,
            )
        )

    @operation
    def pin(
        self,
        file_hash: str,
        *,
        ref: str | None = None,
        payment: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        address: str | None = None,
        channel: str | None = None,
        sync: bool = True,
    ) -> Call[Submission]:
        """Keep a file that IPFS or the network has already, named by its CID or its hash."""
        engine = "ipfs" if file_hash.startswith(("Qm", "bafy")) else "storage"
        members = {"item_type": engine, "item_hash": file_hash, **given(ref=ref, metadata=metadata, payment=payment)}
        return (yield from send(self._core, "STORE", members, address=address, channel=channel, sync=sync))

    @walk
    def iter_bytes(self, file_hash: str, *, progress: Progress | None = None) -> Walk[bytes]:
        """Yield the bytes of a file as they come.

        They are hashed while they pass. A VerificationError after the last of them says that none may be used.
        """
        yield from _fetch(self._core, file_hash, Item, progress)

    @operation
    def download(self, file_hash: str, to: str | os.PathLike[str] | BinaryIO, *, progress: Progress | None = None) -> Call[int]:
        """Write a file to a path, or to a file that is open for writing, and return its size in bytes.

        A path gets the file once its bytes were checked, and nothing before. An open file holds what must not be used when
        this ends with a VerificationError.
        """
        if not isinstance(to, (str, os.PathLike)):
            return (yield from _copy(self._core, file_hash, to, progress))
        path = Path(to)
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        file: BinaryIO = yield Invoke(lambda: open(part, "xb"))  # noqa: SIM115 - closed below, or before the rename
        try:
            size = yield from _copy(self._core, file_hash, file, progress)
            yield Invoke(file.close)
            yield Invoke(lambda: os.replace(part, path))
        except BaseException:
            file.close()
            part.unlink(missing_ok=True)
            raise
        return size

    @operation
    def read(self, file_hash: str) -> Call[bytes]:
        """Return the bytes of a file that fits in memory."""
        import io

        buffer = io.BytesIO()
        yield from _copy(self._core, file_hash, buffer, None)
        return buffer.getvalue()

    @operation
    def of_message(self, item_hash: str) -> Call[FileVersion]:
        """Return which file a STORE message keeps."""
        return FileVersion.read((yield from self._core.get(f"/api/v0/storage/by-message-hash/{segment(item_hash)}")))

    @operation
    def of_ref(self, ref: str, address: str | None = None) -> Call[FileVersion]:
        """Return the newest file under a ref: a name that its owner gave, or the hash of the first STORE message."""
        path = f"/api/v0/storage/by-ref/{segment(self._core.owner(address))}/{segment(ref)}"
        return FileVersion.read((yield from self._core.get(path)))

    @operation
    def page(self, address: str | None = None, *, page: int = 1, page_size: int = 100) -> Call[Page[OwnedFile]]:
        """Return one page of them, counted from 1."""
        path = f"/api/v0/addresses/{segment(self._core.owner(address))}/files"
        return (yield from page_of(self._core, path, "files", {}, OwnedFile.read, page, page_size))

    @walk
    def list(self, address: str | None = None) -> Walk[OwnedFile]:
        """Walk through the files that an address keeps, newest first."""
        path = f"/api/v0/addresses/{segment(self._core.owner(address))}/files"
        yield from along(self._core, path, "files", {}, OwnedFile.read)


def upload(
    core: Core,
    source: Source,
    *,
    engine: Engine = "storage",
    ref: str | None = None,
    payment: Mapping[str, Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
    address: str | None = None,
    channel: str | None = None,
    sync: bool = True,
    progress: Progress | None = None,
) -> Call[StoredFile]:
    """Send a file with the signed message that pays for it; see Files.upload."""
    content: Content = yield Invoke(lambda: content_of(source))
    try:
        file_hash: str = yield Invoke(lambda: content.hash(engine))
        members = {"item_type": engine, "item_hash": file_hash, **given(ref=ref, metadata=metadata, payment=payment)}
        message = yield from signed(core, "STORE", members, address=address, channel=channel)
        payer = {"message": message.envelope(), "sync": sync}
        answer = yield from send_file(core, engine, payer, content, progress)
    finally:
        content.close()
    if answer.status == 402:
        raise (yield from _cannot_pay(core, message.item_hash, members, address, content.size))
    try:
        kept = decoded(answer.body)["hash"]
    except (ValueError, KeyError, TypeError):
        text = answer.body[:1000].decode(errors="replace")
        raise StatusError("POST", f"/api/v0/{engine}/add_file", answer.status, text) from None
    if answer.status == 422:  # the message was refused after the file was taken
        raise (yield from why_rejected(core, message.item_hash))
    if kept != file_hash:
        raise VerificationError(f"upload file {file_hash}: the node kept it as {kept}")
    status: Status = "processed" if answer.status == 200 else "pending"
    return StoredFile(message.item_hash, file_hash, content.size, status)


def _open(core: Core, file_hash: str) -> Call[tuple[Stream, int]]:
    """Ask for a file, and return its bytes to come and their number, 0 when the node does not say."""
    node = core.endpoints.order()[0]
    url = f"{node}/api/v0/storage/raw/{segment(file_hash)}"
    stream: Stream = yield Open(Request("GET", url, {"Accept-Encoding": "identity"}, None, STALL))
    if stream.status == 200:
        return stream, int(stream.headers.get("content-length", "0"))
    text = b""
    try:
        while len(text) < 16 << 10 and (piece := (yield Read(stream))):
            text += piece
    finally:
        yield Close(stream)
    if stream.status in (404, 410):
        raise NotFoundError(f"the node has no file {file_hash}")
    raise StatusError("GET", url, stream.status, text.decode(errors="replace"))


def _fetch(
    core: Core, file_hash: str, then: Callable[[bytes], E], progress: Progress | None
) -> Generator[Effect | E, Any, int]:
    """Do something with each piece of a file as it comes, check them all, and return their length."""
    stream, size = yield from _open(core, file_hash)
    check = hasher(file_hash) if core.options.verify else None
    done = 0
    try:
        while piece := (yield Read(stream)):
            done += len(piece)
            if check:
                check.update(piece)
            if progress:
                progress(done, size)
            yield then(piece)
    finally:
        yield Close(stream)
    if check and (found := check.text()) != file_hash:
        hint = "" if check.exact else ", unless it was added to IPFS with other settings than the usual ones"
        raise VerificationError(f"download file {file_hash}: the node sent other bytes (their hash is {found}){hint}")
    return done


def _copy(core: Core, file_hash: str, file: BinaryIO, progress: Progress | None) -> Call[int]:
    return (yield from _fetch(core, file_hash, lambda piece: Invoke(lambda: file.write(piece)), progress))


def _cannot_pay(
    core: Core, item_hash: str, members: Mapping[str, Any], address: str | None, size: int
) -> Call[InsufficientFundsError]:
    """Find the amounts that the node's bare "Payment Required" leaves out."""
    from .addresses import balance_of

    owner = core.owner(address)
    content = {**members, "estimated_size_mib": size / (1 << 20)}
    price = yield from estimate(core, "STORE", content, address)
    balance = yield from balance_of(core, owner)
    if price.payment_type == "credit":
        return InsufficientFundsError(item_hash, 6, None, price.cost * 86400, price.cost * 0 + balance.credit_balance)
    return InsufficientFundsError(item_hash, 5, None, price.cost, balance.free)
