"""Folders on their way to IPFS, as a CAR whose CID is known before it is sent, and back, as a tar that is checked."""

from __future__ import annotations

import os
import tarfile
import tempfile
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from .cid import V1, CIDHasher, Layout, Node, usual_layouts, varint
from .errors import AnswerError, VerificationError
from .source import PIECE
from .unixfs import folder

_Block = tuple[bytes, bytes]

_MOST_ENTRIES = 1 << 20
"""Of a folder that comes; each takes memory until the folder is whole."""

_DEEPEST = 200
"""Folders in each other."""


@dataclass(frozen=True)
class Archive:
    """A folder that was read to its end, and can be sent."""

    folder: Path
    cid: str
    """Of version 1, under which IPFS will have it."""
    size: int
    """Bytes of the CAR."""
    root: bytes
    """The CID in bytes."""

    def open(self, at: int = 0) -> BinaryIO:
        """Return the CAR from an offset on, made while it is read.

        A folder that has changed makes another one, which nobody takes for this.
        """
        reading = _Reading(self._pieces())
        while at > 0 and (piece := reading.read(min(at, PIECE))):  # an archive is made anew, the same
            at -= len(piece)
        return cast("BinaryIO", reading)

    def _pieces(self) -> Generator[bytes, None, None]:
        yield _header(self.root)
        for cid, block in _once(_blocks(self.folder)):
            yield varint(len(cid) + len(block)) + cid + block


def pack_folder(path: str | os.PathLike[str]) -> Archive:
    """Read a folder and return what it will be on IPFS. What is neither file nor folder in it is a ValueError."""
    blocks, size = _Returning(_blocks(Path(path))), 0
    for cid, block in _once(blocks):
        size += len(varint(len(cid) + len(block))) + len(cid) + len(block)
    root = blocks.value
    return Archive(Path(path), root.text, size + len(_header(root.cid)), root.cid)


class _Returning:
    """Iterates over a generator and keeps what it returns."""

    value: Node

    def __init__(self, inner: Generator[_Block, None, Node]) -> None:
        self._inner = inner

    def __iter__(self) -> Iterator[_Block]:
        self.value = yield from self._inner


def _blocks(path: Path) -> Generator[_Block, None, Node]:
    """Yield the blocks of a folder and of all below it, in the order in which they are made."""
    made: list[_Block] = []
    entries: dict[str, Node] = {}
    with os.scandir(path) as found:
        inside = sorted(found, key=lambda entry: entry.name)
    for entry in inside:
        if entry.is_dir(follow_symlinks=False):
            entries[entry.name] = yield from _blocks(Path(entry.path))
            continue
        if not entry.is_file(follow_symlinks=False):
            raise ValueError(f"{entry.path} is neither file nor folder")
        hasher = CIDHasher(V1, lambda cid, block: made.append((cid, block)))
        with open(entry.path, "rb") as file:
            while piece := file.read(PIECE):
                hasher.update(piece)
                yield from made
                made.clear()
        entries[entry.name] = hasher.root()
        yield from made
        made.clear()
    root = folder(V1.version, entries, lambda cid, block: made.append((cid, block)))
    yield from made
    return root


def _once(blocks: Generator[_Block, None, Node] | _Returning) -> Iterator[_Block]:
    seen: set[bytes] = set()
    for cid, block in blocks:
        if cid not in seen:
            seen.add(cid)
            yield cid, block


def _header(root: bytes) -> bytes:
    """Return what a CAR begins with: its length and, in DAG-CBOR, {"roots": [root], "version": 1}."""
    link = b"\xd8\x2a\x58" + bytes([len(root) + 1]) + b"\0" + root  # tag 42, bytes that begin with a zero
    text = b"\xa2\x65roots\x81" + link + b"\x67version\x01"
    return varint(len(text)) + text


class _Reading:
    """Reads pieces of any length as a file."""

    def __init__(self, pieces: Generator[bytes, None, None]) -> None:
        self._pieces, self._rest = pieces, b""

    def read(self, size: int) -> bytes:
        while len(self._rest) < size and (piece := next(self._pieces, b"")):
            self._rest += piece
        out, self._rest = self._rest[:size], self._rest[size:]
        return out

    def __enter__(self) -> _Reading:
        return self

    def __exit__(self, *failure: object) -> None:
        self._pieces.close()


class _Tree:
    """A folder while it is read from a tar: what is in it, by layout."""

    def __init__(self, layouts: list[Layout]) -> None:
        self.folders: dict[str, _Tree] = {}
        self.files: dict[str, list[Node]] = {}
        self._layouts = layouts

    def roots(self) -> list[Node]:
        """Return the roots of the folder in each layout."""
        below = {name: tree.roots() for name, tree in self.folders.items()} | self.files
        return [
            folder(layout.version, {name: nodes[i] for name, nodes in below.items()}) for i, layout in enumerate(self._layouts)
        ]


def workplace(path: Path) -> Path:
    """Make a folder beside a path where nothing is yet, for what is to become that path."""
    if path.exists():
        raise FileExistsError(f"{path} exists already: a folder is written where nothing is")
    return Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))


class _InPieces:
    """A file of which nobody reads much at once: tarfile takes headers into memory, however long they say they are."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= PIECE:
            raise tarfile.ReadError(f"it holds a header of {size} bytes")
        return self._file.read(size)


def unpack(tar: BinaryIO, to: Path, cid: str, *, verify: bool) -> int:
    """Write the folder that is the one entry of a tar to a path, check it, and return the bytes of its files.

    A folder that is not what cid names, or cannot be proven to be, is a VerificationError. Links, and names that lead out of
    it, are refused. What was written before an error is the caller's to remove.
    """
    layouts = usual_layouts(cid) if verify else []
    top, size = _Tree(layouts), 0
    try:
        with tarfile.open(fileobj=cast(BinaryIO, _InPieces(tar)), mode="r:") as entries:
            for count, entry in enumerate(entries):
                if count == _MOST_ENTRIES:
                    raise ValueError(f"it holds more than {_MOST_ENTRIES} entries, which are not proven here")
                size += _write(entries, entry, top, to, layouts)
    except (tarfile.TarError, ValueError) as wrong:
        raise AnswerError(f"folder {cid}: the node sent no archive of it: {wrong}") from wrong
    if not top.folders:
        raise AnswerError(f"folder {cid}: the node sent no archive of it")
    found = [root.text for tree in top.folders.values() for root in tree.roots()]
    if verify and cid not in found:
        raise VerificationError(
            f"download folder {cid}: the node sent other bytes (their hash is {found[0]}), "
            "unless it was added to IPFS with other settings than the usual ones"
        )
    return size


def _write(entries: tarfile.TarFile, entry: tarfile.TarInfo, top: _Tree, to: Path, layouts: list[Layout]) -> int:
    names = entry.name.rstrip("/").split("/")
    if any(name in ("", ".", "..") or "\0" in name or (os.name == "nt" and set(name) & set("\\:")) for name in names):
        raise ValueError(f"it holds {entry.name!r}, which leads out of it")
    if len(names) > _DEEPEST:
        raise ValueError(f"it holds folders in more than {_DEEPEST} others")
    if (len(names) == 1) != (not top.folders) or (len(names) == 1 and not entry.isdir()):
        raise ValueError("it does not begin with its one folder")
    tree = top
    for name in names[:-1]:
        if name not in tree.folders:
            raise ValueError(f"it holds {entry.name!r} before its folder")
        tree = tree.folders[name]
    name, path = names[-1], to.joinpath(*names[1:])
    if name in tree.folders or name in tree.files:
        raise ValueError(f"it holds {entry.name!r} twice")
    if entry.isdir():
        tree.folders[name] = _Tree(layouts)
        path.mkdir()
        return 0
    if not entry.isreg() or entry.issparse():
        raise ValueError(f"it holds {entry.name!r}, which is neither file nor folder")
    source = entries.extractfile(entry)
    assert source is not None  # of a regular file
    hashers = [CIDHasher(layout) for layout in layouts]
    with open(path, "xb") as file:
        while piece := source.read(PIECE):
            file.write(piece)
            for hasher in hashers:
                hasher.update(piece)
    tree.files[name] = [hasher.root() for hasher in hashers]
    return entry.size
