"""Files and folders: uploads that stream, downloads that are checked."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, TypedDict, TypeVar

from .answers import FileVersion, OwnedFile, Page, Status
from .core import Core, decoded, given, segment
from .download import place, transfer
from .errors import AlephError, InsufficientFundsError, StatusError, VerificationError
from .listing import along, page_of
from .operation import Call, Effect, Invoke, Item, M, Response, Service, Walk, operation, walk
from .prices import estimate
from .publish import Submission, send, signed, why_rejected
from .resume import RESUME_FROM, Resuming
from .source import Content, Progress, Source, content_of, hasher, is_cid
from .upload import CAR, IPFS, STORAGE, send_file

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .archive import Archive

Engine = Literal["storage", "ipfs"]

Resumed = Callable[[int], None]
"""Called with the byte at which an upload goes on that broke off before, by this call or an earlier one."""

E = TypeVar("E", Invoke, Item[bytes])


@dataclass(frozen=True)
class StoredFile:
    """A file that a node took."""

    item_hash: str
    """Of the STORE message that keeps it."""
    file_hash: str
    size: int
    """Bytes; of a folder those that were sent."""
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
        resumed: Resumed | None = None,
    ) -> Call[StoredFile]:
        """Send a file with the signed message that pays for it.

        The source is read twice, to hash it and to send it, and never held in memory; what can be read only once is put on
        disk. ref is the hash of the STORE message that this one replaces, or a name. What the owner cannot pay is an
        InsufficientFundsError.

        An upload of 8 MiB or more that breaks off goes on where it was: within the call, when the node is back within a minute,
        and by another call of the same account for the same file within a day. resumed is called with the byte at which it
        does. Nodes that do not offer this get all of it again.
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
                resumed=resumed,
            )
        )

    @operation
    def upload_folder(
        self,
        folder: str | os.PathLike[str] | Archive,
        *,
        ref: str | None = None,
        payment: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        address: str | None = None,
        channel: str | None = None,
        sync: bool = True,
        progress: Progress | None = None,
        resumed: Resumed | None = None,
    ) -> Call[StoredFile]:
        """Send a folder to IPFS with the signed message that pays for it.

        It is read twice, to find its CID and to send it, and packed on the way. pack_folder tells the CID before anything is
        sent; what it returns can be passed here. All that is in the folder is sent, hidden files too; what is neither file nor
        folder is a ValueError. It goes on where it broke off, as files do.
        """
        return (
            yield from upload_folder(
                self._core,
                folder,
                ref=ref,
                payment=payment,
                metadata=metadata,
                address=address,
                channel=channel,
                sync=sync,
                progress=progress,
                resumed=resumed,
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

        A transfer that breaks off goes on where it was, at another node if there is one. Bytes are hashed while they pass. A
        VerificationError after the last of them says that none may be used.
        """
        yield from _fetch(self._core, file_hash, Item, progress)

    @operation
    def download(self, file_hash: str, to: str | os.PathLike[str] | BinaryIO, *, progress: Progress | None = None) -> Call[int]:
        """Write a file to a path, or to a file that is open for writing, and return its size in bytes.

        A transfer that breaks off goes on where it was, at another node if there is one.
        A path gets the file once its bytes were checked, and nothing before. An open file holds what must not be used when
        this ends with a VerificationError.
        """
        return (yield from place(to, lambda file: _copy(self._core, file_hash, file, progress)))

    @operation
    def download_folder(self, cid: str, to: str | os.PathLike[str], *, progress: Progress | None = None) -> Call[int]:
        """Write a folder of IPFS to a path where nothing is, and return the bytes of its files.

        The path gets the folder once all of it was checked, and nothing before. Links in it are refused.
        """
        import shutil

        from .archive import unpack, workplace

        path = Path(to)
        work: Path = yield Invoke(lambda: workplace(path))
        try:
            tar: BinaryIO = yield Invoke(lambda: open(work / "tar", "x+b"))  # noqa: SIM115 - closed below
            try:
                yield from _copy(self._core, cid, tar, progress, folder=True)
                yield Invoke(lambda: tar.seek(0))
                verify = self._core.options.verify
                size: int = yield Invoke(lambda: unpack(tar, work / "folder", cid, verify=verify))
            finally:
                tar.close()
            yield Invoke(lambda: os.rename(work / "folder", path))
        finally:
            shutil.rmtree(work, ignore_errors=True)
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
    progress: Progress | None = None,
    resumed: Resumed | None = None,
    **how: Unpack[Storing],
) -> Call[StoredFile]:
    """Send a file with the signed message that pays for it; see Files.upload."""
    content: Content = yield Invoke(lambda: content_of(source))
    try:
        file_hash: str = yield Invoke(lambda: content.hash(engine))
        return (
            yield from _store(core, IPFS if engine == "ipfs" else STORAGE, engine, file_hash, content, progress, resumed, **how)
        )
    finally:
        content.close()


def upload_folder(
    core: Core,
    folder: str | os.PathLike[str] | Archive,
    *,
    progress: Progress | None = None,
    resumed: Resumed | None = None,
    **how: Unpack[Storing],
) -> Call[StoredFile]:
    """Send a folder with the signed message that pays for it; see Files.upload_folder."""
    from .archive import Archive, pack_folder

    archive: Archive = folder if isinstance(folder, Archive) else (yield Invoke(lambda: pack_folder(folder)))
    content = Content(archive.open, archive.size, f"{archive.folder.name}.car")
    return (yield from _store(core, CAR, "ipfs", archive.cid, content, progress, resumed, **how))


class Storing(TypedDict, total=False):
    """How what is uploaded is kept."""

    ref: str | None
    payment: Mapping[str, Any] | None
    metadata: Mapping[str, Any] | None
    address: str | None
    channel: str | None
    sync: bool


def _store(
    core: Core,
    path: str,
    engine: Engine,
    file_hash: str,
    content: Content,
    progress: Progress | None,
    resumed: Resumed | None,
    *,
    ref: str | None = None,
    payment: Mapping[str, Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
    address: str | None = None,
    channel: str | None = None,
    sync: bool = True,
) -> Call[StoredFile]:
    """Sign the message that keeps a file and send both."""
    members = {"item_type": engine, "item_hash": file_hash, **given(ref=ref, metadata=metadata, payment=payment)}
    message = yield from signed(core, "STORE", members, address=address, channel=channel)
    payer = {"message": message.envelope(), "sync": sync}
    answer: Response | None = None
    if content.size >= RESUME_FROM:
        one = Resuming(core, message.item_hash, payer, content, car=path == CAR, progress=progress, resumed=resumed)
        answer = yield from one.run(file_hash)
    if answer is None:
        answer = yield from send_file(core, path, payer, content, progress)
    if answer.status == 402:
        raise (yield from _cannot_pay(core, message.item_hash, members, address, content.size))
    try:
        kept = decoded(answer.body)["hash"]
    except (ValueError, KeyError, TypeError):
        text = answer.body[:1000].decode(errors="replace")
        raise StatusError("POST", path, answer.status, text) from None
    if answer.status == 422:  # the message was refused after the file was taken
        raise (yield from why_rejected(core, message.item_hash))
    if kept != file_hash:
        raise VerificationError(f"upload file {file_hash}: the node kept it as {kept}")
    status: Status = "processed" if answer.status == 200 else "pending"
    return StoredFile(message.item_hash, file_hash, content.size, status)


def _fetch(
    core: Core, file_hash: str, then: Callable[[bytes], E], progress: Progress | None, *, folder: bool = False
) -> Generator[Effect | E, Any, int]:
    """Do something with each piece of a file as it comes, check them all, and return their length.

    A folder comes as a tar, which is made anew each time, so that one that broke off cannot go on.
    """

    def expect(headers: Mapping[str, str]) -> None:
        is_folder = is_cid(file_hash) and headers.get("content-type", "") == "application/x-tar"
        if is_folder and not folder:
            raise AlephError(f"{file_hash} is a folder: files.download_folder writes it")
        if folder and not is_folder:
            raise AlephError(f"{file_hash} is a file and no folder: files.download writes it")

    check = hasher(file_hash) if core.options.verify and not folder else None

    def each(piece: bytes) -> E:
        if check:
            check.update(piece)
        return then(piece)

    path = f"/api/v0/storage/raw/{segment(file_hash)}"
    size = yield from transfer(core, None, path, each, progress, expect=expect, resume=not folder)
    if check and (found := check.text()) != file_hash:
        hint = "" if check.exact else ", unless it was added to IPFS with other settings than the usual ones"
        raise VerificationError(f"download file {file_hash}: the node sent other bytes (their hash is {found}){hint}")
    return size


def _copy(core: Core, file_hash: str, file: BinaryIO, progress: Progress | None, *, folder: bool = False) -> Call[int]:
    return (yield from _fetch(core, file_hash, lambda piece: Invoke(lambda: file.write(piece)), progress, folder=folder))


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
