"""Who signs, as far as the rest of the package needs to know."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Protocol


class Signer(Protocol):
    """An account: keys of this package, a wallet, a hardware device, another program.

    A client calls nothing but this, so any object with these members will do. Encryption is not an account's matter.
    """

    @property
    def chain(self) -> str:
        """The chain under which messages are signed, such as "ETH" (messages §3)."""

    @property
    def address(self) -> str:
        """The sender of what it signs."""

    def sign(self, payload: bytes) -> str | Awaitable[str]:
        """Return the signature of payload in the form that its chain uses in messages (messages §4)."""
