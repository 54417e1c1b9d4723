"""RIPEMD-160, which OpenSSL offers only where its legacy algorithms are switched on."""

from __future__ import annotations

import hashlib

_MASK = 0xFFFFFFFF
_PERMUTATION = (7, 4, 13, 1, 10, 6, 15, 3, 12, 0, 9, 5, 2, 14, 11, 8)
_CONSTANTS = (
    (0, 0x5A827999, 0x6ED9EBA1, 0x8F1BBCDC, 0xA953FD4E),
    (0x50A28BE6, 0x5C4DD124, 0x6D703EF3, 0x7A6D76E9, 0),
)
# How far each word of the message is rotated, by round.
_SHIFTS = (
    (11, 14, 15, 12, 5, 8, 7, 9, 11, 13, 14, 15, 6, 7, 9, 8),
    (12, 13, 11, 15, 6, 9, 9, 7, 12, 15, 11, 13, 7, 8, 7, 7),
    (13, 15, 14, 11, 7, 7, 6, 8, 13, 14, 13, 12, 5, 5, 6, 9),
    (14, 11, 12, 14, 8, 6, 5, 5, 15, 12, 15, 14, 9, 9, 8, 6),
    (15, 12, 13, 13, 9, 5, 8, 6, 14, 11, 12, 11, 8, 6, 5, 5),
)


def _orders() -> tuple[list[list[int]], list[list[int]]]:
    """Return the order in which each of the two lines reads the words of a block, by round."""
    left, right = [[*range(16)]], [[(9 * i + 5) % 16 for i in range(16)]]
    for lines in (left, right):
        for _ in range(4):
            lines.append([_PERMUTATION[i] for i in lines[-1]])
    return left, right


_ORDERS = _orders()


def ripemd160(data: bytes) -> bytes:
    """Return the 20 bytes of the digest."""
    padded = data + b"\x80" + bytes(-(len(data) + 9) % 64) + (8 * len(data)).to_bytes(8, "little")
    state = [0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0]
    for start in range(0, len(padded), 64):
        words = [int.from_bytes(padded[i : i + 4], "little") for i in range(start, start + 64, 4)]
        left, right = _line(state, words, 0), _line(state, words, 1)
        state = [(state[(i + 1) % 5] + left[(i + 2) % 5] + right[(i + 3) % 5]) & _MASK for i in range(5)]
    return b"".join(word.to_bytes(4, "little") for word in state)


def hash160(data: bytes) -> bytes:
    """Return RIPEMD-160 of SHA-256, by which many chains name public keys."""
    return ripemd160(hashlib.sha256(data).digest())


def _line(state: list[int], words: list[int], line: int) -> list[int]:
    a, b, c, d, e = state
    for step in range(80):
        turn, i = divmod(step, 16)
        word = _ORDERS[line][turn][i]
        mixed = a + _mix(4 - turn if line else turn, b, c, d) + words[word] + _CONSTANTS[line][turn] & _MASK
        a, e, d, c, b = e, d, _rotated(c, 10), b, (_rotated(mixed, _SHIFTS[turn][word]) + e) & _MASK
    return [a, b, c, d, e]


def _mix(kind: int, x: int, y: int, z: int) -> int:
    match kind:
        case 0:
            return x ^ y ^ z
        case 1:
            return x & y | ~x & z
        case 2:
            return (x | ~y & _MASK) ^ z
        case 3:
            return x & z | y & ~z
        case _:
            return x ^ (y | ~z & _MASK)


def _rotated(word: int, by: int) -> int:
    return (word << by | word >> (32 - by)) & _MASK
