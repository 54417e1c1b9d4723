"""CIDs of files as IPFS computes them (messages §2.1): chunks in a balanced tree, usually of 256 KiB and 174 links a node.

Memory is bounded by the height of the tree.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from .keys import base58

RAW, DAG_PB = 0x55, 0x70

Sink = Callable[[bytes, bytes], None]
"""Takes a block that was made: its CID in bytes, and its own bytes."""


@dataclass(frozen=True)
class Layout:
    """How a file is cut into blocks, which decides its CID."""

    version: int
    """Of the CID, 0 or 1."""
    raw_leaves: bool
    """Whether leaves are the bytes themselves."""
    chunk: int = 262_144
    """Bytes of a leaf."""
    width: int = 174
    """Links of an inner block."""


V0 = Layout(0, raw_leaves=False)
V1 = Layout(1, raw_leaves=True)
"""What Kubo makes by default with either version of CID."""

_USUAL = (
    V0,
    V1,
    Layout(0, raw_leaves=True),
    Layout(1, raw_leaves=False),
    Layout(1, raw_leaves=True, chunk=1 << 20, width=1024),
)


def usual_layouts(cid: str) -> list[Layout]:
    """Return the layouts in which files and folders with such a CID are found: the default first."""
    version = 0 if cid.startswith("Qm") else 1
    return [layout for layout in _USUAL if layout.version == version]


@dataclass(frozen=True)
class Node:
    """A block, as the blocks that link to it see it."""

    cid: bytes
    file_size: int
    """Bytes of the file, or of the part of it, that the block is the root of."""
    total_size: int
    """Bytes of the block and of all below it."""

    @property
    def text(self) -> str:
        """The CID."""
        if self.cid[0] == 0x12:  # a bare multihash: version 0
            return base58.encode(self.cid)
        return "b" + base64.b32encode(self.cid).decode().lower().rstrip("=")


def node(version: int, codec: int, block: bytes, file_size: int, below: int, sink: Sink | None) -> Node:
    """Make a node of a block. below is the size of all that it links to."""
    multihash = b"\x12\x20" + hashlib.sha256(block).digest()
    # Version 0 has no word for raw leaves.
    cid = multihash if version == 0 and codec == DAG_PB else bytes([1, codec]) + multihash
    if sink:
        sink(cid, block)
    return Node(cid, file_size, below + len(block))


class CIDHasher:
    """Computes the CID of a file from its bytes. The blocks that it makes on the way go to sink."""

    def __init__(self, layout: Layout = V0, sink: Sink | None = None) -> None:
        self._layout, self._sink = layout, sink
        self._rest = bytearray()
        self._levels: list[list[Node]] = [[]]

    def update(self, data: bytes) -> None:
        """Take the next bytes."""
        self._rest += data
        chunk = self._layout.chunk
        whole = len(self._rest) // chunk * chunk
        for start in range(0, whole, chunk):
            self._push(0, self._leaf(bytes(self._rest[start : start + chunk])))
        del self._rest[:whole]

    def root(self) -> Node:
        """Return the root of what was taken. Nothing may be taken after it."""
        if self._rest or not any(self._levels):
            self._push(0, self._leaf(bytes(self._rest)))
            self._rest.clear()
        level = 0
        while level + 1 < len(self._levels) or len(self._levels[level]) > 1:
            if self._levels[level]:
                self._push(level + 1, self._parent(self._levels[level]))
            level += 1
        return self._levels[level][0]

    def text(self) -> str:
        """Return the CID of what was taken. Nothing may be taken after it."""
        return self.root().text

    def _push(self, level: int, made: Node) -> None:
        """Put a node at the end of a level. A level that is full before becomes a parent first."""
        if level == len(self._levels):
            self._levels.append([])
        nodes = self._levels[level]
        if len(nodes) == self._layout.width:
            parent = self._parent(nodes)
            nodes.clear()
            self._push(level + 1, parent)
        nodes.append(made)

    def _leaf(self, data: bytes) -> Node:
        if self._layout.raw_leaves:
            return node(self._layout.version, RAW, data, len(data), 0, self._sink)
        block = field(1, _unixfs(data, len(data), []))
        return node(self._layout.version, DAG_PB, block, len(data), 0, self._sink)

    def _parent(self, children: list[Node]) -> Node:
        size = sum(child.file_size for child in children)
        data = _unixfs(b"", size, [child.file_size for child in children])
        return parent(self._layout.version, [(b"", child) for child in children], data, size, self._sink)


def parent(version: int, children: list[tuple[bytes, Node]], data: bytes, file_size: int, sink: Sink | None) -> Node:
    """Make a node that links to others by their names, and says in data what it is."""
    links = b"".join(
        field(2, field(1, child.cid) + field(2, name) + b"\x18" + varint(child.total_size)) for name, child in children
    )
    return node(version, DAG_PB, links + field(1, data), file_size, sum(child.total_size for _, child in children), sink)


def _unixfs(data: bytes, size: int, blocks: list[int]) -> bytes:
    """Return the UnixFS message of a file: its type, its bytes unless there are none, its size, and those of its blocks."""
    message = b"\x08\x02" + (field(2, data) if data else b"") + b"\x18" + varint(size)
    return message + b"".join(b"\x20" + varint(block) for block in blocks)


def field(number: int, data: bytes) -> bytes:
    """Write a member of a message of protocol buffers."""
    return bytes([number << 3 | 2]) + varint(len(data)) + data


def varint(value: int) -> bytes:
    """Write a number as protocol buffers do, seven bits a byte."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
