"""Recoverable signatures over secp256k1.

OpenSSL holds the secret and signs, in constant time. What it lacks, finding a public key from a signature, works on public
values only and is done here; coincurve does it faster when it is installed.
"""

from __future__ import annotations

import contextlib
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature

P = 2**256 - 2**32 - 977
N = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141

_DIGEST = Prehashed(hashes.SHA256())  # any digest of 32 bytes; the name only says its length

Point = tuple[int, int]
_Jacobian = tuple[int, int, int]  # z is 0 for the point at infinity

_Fast: Any = None
with contextlib.suppress(ImportError):
    from coincurve import PublicKey as _Fast


class SecretKey:
    """A secret key."""

    def __init__(self, secret: bytes) -> None:
        number = int.from_bytes(secret, "big")
        if not 0 < number < N:
            raise ValueError("this is no secret key: as a number it is 0 or too large")
        self._key = ec.derive_private_key(number, ec.SECP256K1())
        numbers = self._key.public_key().public_numbers()
        self.public: Point = (numbers.x, numbers.y)

    def sign(self, digest: bytes) -> tuple[int, int, int]:
        """Return r, s and the recovery id of the signature of a digest of 32 bytes; s is low (RFC 6979)."""
        der = self._key.sign(digest, ec.ECDSA(_DIGEST, deterministic_signing=True))
        r, s = decode_dss_signature(der)
        s = min(s, N - s)
        for recovery in (0, 1):
            if recover(digest, r, s, recovery) == self.public:
                return r, s, recovery
        raise ValueError("the signature does not lead back to its key")


def recover(digest: bytes, r: int, s: int, recovery: int) -> Point | None:
    """Return the public key that made a signature; None when there is none. High s is accepted."""
    if not (0 < r < N and 0 < s < N and 0 <= recovery < 4):
        return None
    if _Fast is not None:
        return _recover_fast(digest, r, s, recovery)
    x = r + (N if recovery & 2 else 0)
    if x >= P:
        return None
    square = (pow(x, 3, P) + 7) % P
    y = pow(square, (P + 1) // 4, P)
    if y * y % P != square:
        return None
    if y & 1 != recovery & 1:
        y = P - y
    inverse = pow(r, -1, N)
    z = int.from_bytes(digest, "big")
    return _affine(_add(_multiply((x, y), s * inverse % N), _generator_times(-z * inverse % N)))


def _recover_fast(digest: bytes, r: int, s: int, recovery: int) -> Point | None:
    signature = r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes([recovery])
    try:
        x, y = _Fast.from_signature_and_message(signature, digest, hasher=None).point()
    except ValueError:
        return None
    except Exception as failure:  # the library raises plain Exception for keys that do not exist
        if type(failure) is not Exception:
            raise
        return None
    return x, y


def compressed(point: Point) -> bytes:
    """Return a public key as 33 bytes."""
    return bytes([2 + (point[1] & 1)]) + point[0].to_bytes(32, "big")


def verify(public: bytes, digest: bytes, r: int, s: int) -> bool:
    """Report whether r, s is the signature of digest by a public key of 33 or 65 bytes."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    try:
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256K1(), public)
        key.verify(encode_dss_signature(r, s), digest, ec.ECDSA(_DIGEST))
    except (ValueError, InvalidSignature):
        return False
    return True


def _generator_times(k: int) -> _Jacobian:
    if k == 0:
        return (0, 1, 0)
    numbers = ec.derive_private_key(k, ec.SECP256K1()).public_key().public_numbers()
    return (numbers.x, numbers.y, 1)


def _multiply(point: Point, k: int) -> _Jacobian:
    """Return k times a point, four bits at a time."""
    table: list[_Jacobian] = [(0, 1, 0), (point[0], point[1], 1)]
    for i in range(2, 16):
        table.append(_double(table[i // 2]) if i % 2 == 0 else _add(table[i - 1], table[1]))
    total: _Jacobian = (0, 1, 0)
    for shift in range(252, -4, -4):
        for _ in range(4):
            total = _double(total)
        total = _add(total, table[k >> shift & 15])
    return total


def _double(p: _Jacobian) -> _Jacobian:
    x, y, z = p
    if not z:
        return p
    yy = y * y % P
    s = 4 * x * yy % P
    m = 3 * x * x % P
    x3 = (m * m - 2 * s) % P
    return (x3, (m * (s - x3) - 8 * yy * yy) % P, 2 * y * z % P)


def _add(p: _Jacobian, q: _Jacobian) -> _Jacobian:
    if not p[2]:
        return q
    if not q[2]:
        return p
    x1, y1, z1 = p
    x2, y2, z2 = q
    zz1, zz2 = z1 * z1 % P, z2 * z2 % P
    u1, u2 = x1 * zz2 % P, x2 * zz1 % P
    s1, s2 = y1 * zz2 * z2 % P, y2 * zz1 * z1 % P
    if u1 == u2:
        return _double(p) if s1 == s2 else (0, 1, 0)
    h, r = u2 - u1, s2 - s1
    hh = h * h % P
    hhh, v = h * hh % P, u1 * hh % P
    x3 = (r * r - hhh - 2 * v) % P
    return (x3, (r * (v - x3) - s1 * hhh) % P, h * z1 * z2 % P)


def _affine(p: _Jacobian) -> Point | None:
    if not p[2]:
        return None
    inverse = pow(p[2], -1, P)
    square = inverse * inverse % P
    return (p[0] * square % P, p[1] * square * inverse % P)
