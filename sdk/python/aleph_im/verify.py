"""Whether what a node sends is what its sender signed."""

from __future__ import annotations

from .accounts import EVM_CHAINS


def verify_signature(chain: str, sender: str, payload: bytes, signature: str) -> bool | None:
    """Report whether sender signed payload; None when this installation cannot tell for the chain."""
    if chain in EVM_CHAINS:
        from .keys.ethereum import verify

        return verify(sender, payload, signature)
    if chain in ("SOL", "ES"):
        from .keys import solana

        return solana.verify(sender, payload, signature)
    return None
