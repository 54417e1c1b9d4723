"""Base58 with Bitcoin's alphabet, without a checksum."""

from __future__ import annotations

_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_DIGITS = {c: i for i, c in enumerate(_ALPHABET)}


def encode(data: bytes) -> str:
    """Return data as text."""
    number, text = int.from_bytes(data, "big"), ""
    while number:
        number, digit = divmod(number, 58)
        text = _ALPHABET[digit] + text
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + text


def decode(text: str) -> bytes:
    """Return the bytes of a text; one that is none of base58, or longer than 256 characters, is a ValueError."""
    if len(text) > 256:
        raise ValueError("this is too long for base58")
    number = 0
    for c in text:
        if c not in _DIGITS:
            raise ValueError(f"{c!r} is not of base58")
        number = number * 58 + _DIGITS[c]
    return b"\0" * (len(text) - len(text.lstrip("1"))) + number.to_bytes((number.bit_length() + 7) // 8, "big")
