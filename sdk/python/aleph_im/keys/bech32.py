"""Bech32 as BIP-173 has it, as far as addresses need it: comparisons encode, and nothing decodes."""

from __future__ import annotations

_ALPHABET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)


def encode(prefix: str, data: bytes) -> str:
    """Return data as text that begins with prefix, which is lower-case ASCII."""
    number, bits = int.from_bytes(data, "big"), 8 * len(data)
    padding = -bits % 5
    number, bits = number << padding, bits + padding
    digits = [number >> shift & 31 for shift in range(bits - 5, -5, -5)]
    return f"{prefix}1" + "".join(_ALPHABET[digit] for digit in digits + _checksum(prefix, digits))


def _checksum(prefix: str, digits: list[int]) -> list[int]:
    spread = [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix]
    rest = 1
    for value in spread + digits + [0] * 6:
        top = rest >> 25
        rest = (rest & 0x1FFFFFF) << 5 ^ value
        for i, term in enumerate(_GENERATOR):
            if top >> i & 1:
                rest ^= term
    rest ^= 1
    return [rest >> shift & 31 for shift in range(25, -5, -5)]
