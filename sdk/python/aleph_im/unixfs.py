"""Folders as IPFS keeps them: what is in them by name, in shards when that is much (messages §2.1)."""

from __future__ import annotations

from collections.abc import Mapping

from .cid import Node, Sink, field, parent, varint

_LARGE = 256 << 10
"""Bytes of names and CIDs above which Kubo spreads a folder over shards."""

_FANOUT = 256  # slots of a shard, so that each takes a byte of the hash of a name
_MURMUR3 = 0x22

_MASK = (1 << 64) - 1


def folder(version: int, entries: Mapping[str, Node], sink: Sink | None = None) -> Node:
    """Make the block, or the blocks, of a folder and return its root."""
    named = sorted((name.encode(), entry) for name, entry in entries.items())
    if sum(len(name) + len(entry.cid) for name, entry in named) <= _LARGE:
        return parent(version, named, b"\x08\x01", 0, sink)
    return _shard(version, [(_hash(name), name, entry) for name, entry in named], 0, sink)


def _shard(version: int, entries: list[tuple[bytes, bytes, Node]], depth: int, sink: Sink | None) -> Node:
    """Make a shard. Entries are in slots by a byte of their hash; those that share a slot are in a shard below it."""
    slots: dict[int, list[tuple[bytes, bytes, Node]]] = {}
    for placed in entries:
        slots.setdefault(placed[0][depth], []).append(placed)
    children: list[tuple[bytes, Node]] = []
    bits = 0
    for slot, inside in sorted(slots.items()):
        bits |= 1 << slot
        prefix = b"%02X" % slot
        if len(inside) == 1:
            _, name, entry = inside[0]
            children.append((prefix + name, entry))
        else:
            children.append((prefix, _shard(version, inside, depth + 1, sink)))
    used = bits.to_bytes(_FANOUT // 8, "big").lstrip(b"\0")
    data = b"\x08\x05" + field(2, used) + b"\x28" + varint(_MURMUR3) + b"\x30" + varint(_FANOUT)
    return parent(version, children, data, 0, sink)


def _hash(name: bytes) -> bytes:
    """Return the first half of MurmurHash3 for 128 bits, in 8 bytes."""
    c1, c2 = 0x87C37B91114253D5, 0x4CF5AD432745937F
    h1 = h2 = 0
    end = len(name) // 16 * 16
    for start in range(0, end, 16):
        k1 = int.from_bytes(name[start : start + 8], "little")
        k2 = int.from_bytes(name[start + 8 : start + 16], "little")
        h1 ^= _rotated(k1 * c1, 31) * c2 & _MASK
        h1 = ((_rotated(h1, 27) + h2) * 5 + 0x52DCE729) & _MASK
        h2 ^= _rotated(k2 * c2, 33) * c1 & _MASK
        h2 = ((_rotated(h2, 31) + h1) * 5 + 0x38495AB5) & _MASK
    h1 ^= _rotated(int.from_bytes(name[end : end + 8], "little") * c1, 31) * c2 & _MASK
    h2 ^= _rotated(int.from_bytes(name[end + 8 :], "little") * c2, 33) * c1 & _MASK
    h1 ^= len(name)
    h2 ^= len(name)
    h1 = (h1 + h2) & _MASK
    h2 = (h2 + h1) & _MASK
    return ((_mixed(h1) + _mixed(h2)) & _MASK).to_bytes(8, "big")


def _mixed(h: int) -> int:
    h = (h ^ h >> 33) * 0xFF51AFD7ED558CCD & _MASK
    h = (h ^ h >> 33) * 0xC4CEB9FE1A85EC53 & _MASK
    return h ^ h >> 33


def _rotated(value: int, by: int) -> int:
    value &= _MASK
    return (value << by | value >> (64 - by)) & _MASK
