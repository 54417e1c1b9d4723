"""Use the Aleph.im network from Python.

    from aleph_im import Client, from_env

    client = Client(account=from_env())
    post = client.posts.create({"text": "hello"}, type="note")

AsyncClient has the same calls, awaited. Names are imported when they are first used, so that importing this package is quick.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .accounts import Account as Account
    from .accounts import from_env as from_env
    from .accounts import from_file as from_file
    from .accounts import from_key as from_key
    from .accounts import from_keystore as from_keystore
    from .accounts import from_phrase as from_phrase
    from .accounts import generate as generate
    from .client import AsyncClient as AsyncClient
    from .client import Client as Client
    from .core import Options as Options
    from .errors import AlephError as AlephError
    from .errors import InsufficientFundsError as InsufficientFundsError
    from .errors import NotFoundError as NotFoundError
    from .errors import RejectedError as RejectedError
    from .errors import VerificationError as VerificationError
    from .listing import Filter as Filter
    from .message import Signed as Signed
    from .message import Unsigned as Unsigned
    from .message import build as build
    from .signer import Signer as Signer
    from .wallet import from_older_tool as from_older_tool
    from .wallet import from_wallet as from_wallet

_HOMES = {
    "accounts": ("Account", "from_env", "from_file", "from_key", "from_keystore", "from_phrase", "generate"),
    "client": ("AsyncClient", "Client"),
    "core": ("Options",),
    "errors": ("AlephError", "InsufficientFundsError", "NotFoundError", "RejectedError", "VerificationError"),
    "listing": ("Filter",),
    "message": ("Signed", "Unsigned", "build"),
    "signer": ("Signer",),
    "wallet": ("from_older_tool", "from_wallet"),
}

__all__ = sorted(name for names in _HOMES.values() for name in names)


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f".{module}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
