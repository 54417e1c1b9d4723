"""Keccak-256 as Ethereum uses it, which differs from SHA3-256 in its padding and is not in the standard library."""

from __future__ import annotations

_MASK = (1 << 64) - 1
_RATE = 136  # bytes


def _constants() -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Return round constants, rotations and the order in which lanes are visited, from their definitions."""
    rounds, lfsr = [], 1
    for _ in range(24):
        constant = 0
        for j in range(7):
            if lfsr & 1:
                constant |= 1 << ((1 << j) - 1)
            lfsr = (lfsr << 1) ^ (0x171 if lfsr & 0x80 else 0)
        rounds.append(constant)
    rotations, lanes = [], []
    x, y = 1, 0
    for t in range(24):
        rotations.append((t + 1) * (t + 2) // 2 % 64)
        x, y = y, (2 * x + 3 * y) % 5
        lanes.append(x + 5 * y)
    return tuple(rounds), tuple(rotations), tuple(lanes)


_ROUNDS, _ROTATIONS, _LANES = _constants()


def _permute(a: list[int]) -> None:
    for constant in _ROUNDS:
        c = [a[x] ^ a[x + 5] ^ a[x + 10] ^ a[x + 15] ^ a[x + 20] for x in range(5)]
        d = [c[x - 1] ^ ((c[(x + 1) % 5] << 1 | c[(x + 1) % 5] >> 63) & _MASK) for x in range(5)]
        for i in range(25):
            a[i] ^= d[i % 5]
        moved = a[1]
        for lane, rotation in zip(_LANES, _ROTATIONS, strict=True):
            a[lane], moved = (moved << rotation | moved >> (64 - rotation)) & _MASK, a[lane]
        for row in range(0, 25, 5):
            r = a[row : row + 5]
            for x in range(5):
                a[row + x] = r[x] ^ (~r[(x + 1) % 5] & r[(x + 2) % 5])
        a[0] ^= constant


def keccak256(data: bytes) -> bytes:
    """Return the 32 bytes of the digest."""
    padded = bytearray(data) + b"\x01" + bytes(-(len(data) + 1) % _RATE)
    padded[-1] |= 0x80
    state = [0] * 25
    for start in range(0, len(padded), _RATE):
        for i in range(_RATE // 8):
            state[i] ^= int.from_bytes(padded[start + 8 * i : start + 8 * i + 8], "little")
        _permute(state)
    return b"".join(lane.to_bytes(8, "little") for lane in state[:4])
