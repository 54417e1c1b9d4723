"""CIDs of files as IPFS computes them (messages §2.1): chunks of 256 KiB in a balanced tree of 174 links a node.

Memory is bounded by the height of the tree.
"""

from __future__ import annotations

import base64
import hashlib

from .keys import base58

_CHUNK = 262_144
_WIDTH = 174
_RAW, _DAG_PB = 0x55, 0x70


class _Node:
    """A finished part of the tree, as its parent sees it."""

    __slots__ = ("codec", "digest", "file_size", "total_size")

    def __init__(self, codec: int, block: bytes, file_size: int, total_size: int) -> None:
        self.codec = codec
        self.digest = hashlib.sha256(block).digest()
        self.file_size = file_size
        self.total_size = total_size


class CIDHasher:
    """Computes the CID of a file from its bytes; version 0 as plain `ipfs add`, 1 with raw leaves."""

    exact = False
    """The same bytes have other CIDs when they are added with other settings."""

    def __init__(self, version: int = 0) -> None:
        self._version = version
        self._rest = bytearray()
        self._levels: list[list[_Node]] = [[]]

    def update(self, data: bytes) -> None:
        """Take the next bytes."""
        self._rest += data
        whole = len(self._rest) // _CHUNK * _CHUNK
        for start in range(0, whole, _CHUNK):
            self._push(0, self._leaf(bytes(self._rest[start : start + _CHUNK])))
        del self._rest[:whole]

    def text(self) -> str:
        """Return the CID of what was taken. Nothing may be taken after it."""
        if self._rest or not any(self._levels):
            self._push(0, self._leaf(bytes(self._rest)))
        level = 0
        while level + 1 < len(self._levels) or len(self._levels[level]) > 1:
            if self._levels[level]:
                self._push(level + 1, self._parent(self._levels[level]))
            level += 1
        root = self._levels[level][0]
        multihash = b"\x12\x20" + root.digest
        if self._version == 0:
            return base58.encode(multihash)
        return "b" + base64.b32encode(bytes([1, root.codec]) + multihash).decode().lower().rstrip("=")

    def _push(self, level: int, node: _Node) -> None:
        """Put a node at the end of a level. A level that is full before becomes a parent first."""
        if level == len(self._levels):
            self._levels.append([])
        nodes = self._levels[level]
        if len(nodes) == _WIDTH:
            parent = self._parent(nodes)
            nodes.clear()
            self._push(level + 1, parent)
        nodes.append(node)

    def _leaf(self, data: bytes) -> _Node:
        if self._version == 1:
            return _Node(_RAW, data, len(data), len(data))
        block = _field(1, _unixfs(data, len(data), []))
        return _Node(_DAG_PB, block, len(data), len(block))

    def _parent(self, children: list[_Node]) -> _Node:
        links = bytearray()
        for child in children:
            cid = b"\x12\x20" + child.digest
            if self._version == 1:
                cid = bytes([1, child.codec]) + cid
            links += _field(2, _field(1, cid) + _field(2, b"") + b"\x18" + _varint(child.total_size))
        size = sum(child.file_size for child in children)
        block = bytes(links) + _field(1, _unixfs(b"", size, [child.file_size for child in children]))
        return _Node(_DAG_PB, block, size, len(block) + sum(child.total_size for child in children))


def _unixfs(data: bytes, size: int, blocks: list[int]) -> bytes:
    """Return the UnixFS message of a file: its type, its bytes unless there are none, its size, and those of its blocks."""
    message = b"\x08\x02" + (_field(2, data) if data else b"") + b"\x18" + _varint(size)
    return message + b"".join(b"\x20" + _varint(block) for block in blocks)


def _field(number: int, data: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
