"""A core node of a devnet, and its chain, for tests: the built programs as processes, on loopback, with data that goes."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import httpx

from aleph_im.payg import StreamChain

ROOT = Path(__file__).resolve().parents[3]
"""Of the checkout."""

AUTHORITY_KEY = "2a871d0798f97d79848a013d4936a73bf4cc922c825d33c1cf7073dff6d409c6"
"""Of the account whose word a devnet takes for balances and credits; public, and worth nothing (devnet/chain)."""


FUNDED_KEY = "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d"
"""Of an account that has tokens on every development chain; as public."""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Node:
    """A running core node."""

    def __init__(self, folder: Path, port: int | None = None) -> None:
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._folder = folder
        self.start()

    def start(self) -> None:
        """Start it, with the data that the folder has, and return when it answers."""
        binary = ROOT / "build" / "alephd"
        if not binary.exists():
            raise RuntimeError(f"{binary} is missing: run make build")
        self._folder.mkdir(parents=True, exist_ok=True)
        with open(self._folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                [
                    binary, "ccn", "--network", "devnet", "--data-dir", self._folder / "data",
                    "--http-listen", f"127.0.0.1:{self.port}", "--p2p-listen", "/ip4/127.0.0.1/tcp/0",
                    "--log-level", "warn",
                ],
                stdout=log,
                stderr=log,
            )  # fmt: skip
        for _ in range(300):
            try:
                if httpx.get(self.url + "/api/v0/version", timeout=5).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        self.stop()
        raise RuntimeError(f"the node did not start: {(self._folder / 'log').read_text()}")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)

    def __enter__(self) -> Node:
        return self

    def __exit__(self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()


@contextmanager
def running_chain() -> Iterator[StreamChain]:
    """Run the chain of a devnet alone, and tell where its streams are."""
    binary = ROOT / "build" / "aleph-devnet"
    if not binary.exists():
        raise RuntimeError(f"{binary} is missing: run make build")
    with subprocess.Popen([binary, "--chain-only"], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            said = dict(process.stdout.readline().split() for _ in range(4))
            yield StreamChain("AVAX", 31337, said["chain"], said["token"], said["streams"], forwarder=None)
        finally:
            process.terminate()
