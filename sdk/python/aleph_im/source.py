"""Where the bytes of an upload come from: paths, bytes, open files and iterators."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol, cast

from .cid import CIDHasher, usual_layouts

if TYPE_CHECKING:
    from tempfile import SpooledTemporaryFile

Source = str | os.PathLike[str] | bytes | BinaryIO | Iterable[bytes]
"""A path, the bytes themselves, a file that is open for reading in binary, or chunks."""

Progress = Callable[[int, int], None]
"""Called with bytes that were moved and bytes in total; 0 in total when that is not known."""

PIECE = 256 << 10
"""Bytes that are moved at a time."""

_IN_MEMORY = 8 << 20  # bytes of what cannot be read twice; more of it is put on disk


@dataclass(frozen=True)
class Content:
    """Bytes that can be read more than once."""

    open: Callable[[int], BinaryIO]
    """Opens them from an offset on; the caller closes it."""
    size: int
    name: str = "file"
    close: Callable[[], None] = lambda: None
    """Gives back what was kept to read it again. Files of the caller stay open."""

    def hash(self, engine: str) -> str:
        """Return the hash under which an engine, "storage" or "ipfs", keeps them."""
        digest = CIDHasher() if engine == "ipfs" else _SHA256()
        with self.open(0) as file:
            while piece := file.read(PIECE):
                digest.update(piece)
        return digest.text()


class Check(Protocol):
    """Takes bytes, and tells their hash at the end."""

    @property
    def exact(self) -> bool:
        """Whether the same bytes have no other hash of this kind."""

    def update(self, data: bytes) -> None:
        """Take the next bytes."""

    def text(self) -> str:
        """Return their hash."""


class _SHA256:
    exact = True

    def __init__(self) -> None:
        self._sum = hashlib.sha256()

    def update(self, data: bytes) -> None:
        self._sum.update(data)

    def text(self) -> str:
        return self._sum.hexdigest()


class _AnyLayout:
    """Computes a CID in all usual layouts, and tells the one that is wanted when it is among them."""

    exact = False

    def __init__(self, wanted: str) -> None:
        self._wanted = wanted
        self._hashers = [CIDHasher(layout) for layout in usual_layouts(wanted)]

    def update(self, data: bytes) -> None:
        for each in self._hashers:
            each.update(data)

    def text(self) -> str:
        texts = [each.text() for each in self._hashers]
        return self._wanted if self._wanted in texts else texts[0]


def is_cid(item_hash: str) -> bool:
    """Report whether a hash is one of IPFS."""
    return item_hash.startswith(("Qm", "baf"))


def hasher(item_hash: str) -> Check:
    """Return what computes a hash of the kind of item_hash, for the comparison with it."""
    return _AnyLayout(item_hash) if is_cid(item_hash) else _SHA256()


def content_of(source: Source) -> Content:
    """Make a source readable twice: once for its hash, once to send it. What is an iterator is kept on disk meanwhile."""
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        if path.is_dir():
            raise IsADirectoryError(f"{path} is a folder: files.upload_folder sends it")
        return Content(lambda at: _from(open(path, "rb"), at), path.stat().st_size, path.name)
    if isinstance(source, bytes):
        return Content(lambda at: _from(io.BytesIO(source), at), len(source))
    read = getattr(source, "read", None)
    if read is None:
        return _spooled(source)
    if getattr(source, "seekable", lambda: False)():
        return _open_file(cast("BinaryIO", source))
    return _spooled(iter(lambda: read(PIECE), b""))


def _from(file: BinaryIO, at: int) -> BinaryIO:
    file.seek(at)
    return file


def _open_file(file: BinaryIO) -> Content:
    start = file.tell()
    size = file.seek(0, io.SEEK_END) - start
    name = getattr(file, "name", None)

    def open_again(at: int) -> BinaryIO:
        file.seek(start + at)
        return cast("BinaryIO", _Kept(file))

    return Content(open_again, size, os.path.basename(name) if isinstance(name, str) else "file")


def _spooled(chunks: Iterable[bytes]) -> Content:
    import tempfile

    spool = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115 - closed with the content
    try:
        for chunk in chunks:
            spool.write(chunk)
    except BaseException:
        spool.close()
        raise
    size = spool.tell()

    def open_again(at: int) -> BinaryIO:
        spool.seek(at)
        return cast("BinaryIO", _Kept(spool))

    return Content(open_again, size, close=spool.close)


class _Kept:
    """Reads a file that stays open when this is closed."""

    def __init__(self, file: BinaryIO | SpooledTemporaryFile[bytes]) -> None:
        self.read = file.read

    def __enter__(self) -> _Kept:
        return self

    def __exit__(self, *failure: object) -> None: ...


@dataclass(frozen=True)
class Form:
    """A multipart form with a file, whose length is known before it is sent (RFC 7578)."""

    content: Content
    head: bytes
    tail: bytes
    progress: Progress | None = None

    @property
    def length(self) -> int:
        """Bytes of the whole form."""
        return len(self.head) + self.content.size + len(self.tail)

    def chunks(self) -> Iterator[bytes]:
        """Return the form from its beginning."""
        yield self.head
        sent = 0
        with self.content.open(0) as file:
            while sent < self.content.size and (piece := file.read(min(PIECE, self.content.size - sent))):
                yield piece
                sent += len(piece)
                if self.progress:
                    self.progress(sent, self.content.size)
        yield self.tail
