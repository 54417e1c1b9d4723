"""Accounts whose key another program has, which is started for each signature."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence

from .accounts import EVM_CHAINS
from .errors import SigningError

_OUTPUT = 64 << 10  # bytes


class CommandAccount:
    """Signs with a program and its arguments.

    The program is given {"chain", "address", "payload", "payload_hex"} as JSON on its standard input, must write
    {"signature": "…"} in the form that messages of the chain have to its standard output, and end with status 0.
    """

    def __init__(self, chain: str, address: str, command: Sequence[str]) -> None:
        if not command:
            raise SigningError(f"the account {address} names no program that signs")
        self.chain, self.address = chain, address
        self._command = [*command]

    def sign(self, payload: bytes) -> str:
        """Start the program and return its signature; one of Ethereum and its family is checked."""
        program = self._command[0]
        request = {
            "chain": self.chain,
            "address": self.address,
            "payload": payload.decode(errors="replace"),
            "payload_hex": payload.hex(),
        }
        try:
            done = subprocess.run(self._command, input=json.dumps(request).encode() + b"\n", capture_output=True, check=False)
        except OSError as failure:
            raise SigningError(f"start the signer {program}: {failure.strerror}") from failure
        if done.returncode != 0:
            complaint = done.stderr[:_OUTPUT].decode(errors="replace").strip()
            raise SigningError(f"the signer {program} failed with status {done.returncode}: {complaint}")
        try:
            signature = json.loads(done.stdout[:_OUTPUT])["signature"]
        except (ValueError, KeyError, TypeError):
            signature = None
        if not isinstance(signature, str) or not signature:
            raise SigningError(f'the signer {program} answered {done.stdout[:100]!r}: want {{"signature": "…"}}')
        if self.chain in EVM_CHAINS:
            from .keys.ethereum import verify

            if not verify(self.address, payload, signature):
                raise SigningError(f"the signer {program}: the signature is not from {self.address}")
        return signature

    def __repr__(self) -> str:
        return f"<{self.chain} account {self.address}>"
