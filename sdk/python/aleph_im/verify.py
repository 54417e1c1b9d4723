"""Whether what a node sends is what its sender signed."""

from __future__ import annotations

from datetime import datetime

from .accounts import EVM_CHAINS


def verify_signature(chain: str, sender: str, payload: bytes, signature: str, time: datetime) -> bool | None:
    """Report whether sender signed payload, in a message of the given time; None when nothing here knows the chain."""
    if chain in EVM_CHAINS:
        from .keys.ethereum import verify

        return verify(sender, payload, signature)
    if chain in ("SOL", "ES"):
        from .keys import solana

        return solana.verify(sender, payload, signature)
    if chain == "TEZOS":
        from .keys import tezos

        return tezos.verify(sender, payload, signature, time)
    if chain == "CSDK":
        from .keys import cosmos

        return cosmos.verify(sender, payload, signature)
    if chain in ("NULS", "NULS2"):
        from .keys import nuls

        return (nuls.verify if chain == "NULS2" else nuls.verify_legacy)(sender, payload, signature)
    if chain == "AVAX":
        from .keys import avalanche

        return avalanche.verify(sender, payload, signature)
    if chain == "DOT":
        try:
            from .keys.substrate import verify as verify_substrate
        except ImportError:  # the extra polkadot is not installed
            return None
        return verify_substrate(sender, payload, signature)
    return None
