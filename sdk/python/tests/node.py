"""The nodes of a devnet, and its chain, for tests: the built programs as processes, on loopback, with data that goes."""

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


def built(name: str) -> Path:
    """Return the path of a program of this project."""
    binary = ROOT / "build" / name
    if not binary.exists():
        raise RuntimeError(f"{binary} is missing: run make build")
    return binary


def await_answer(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    """Return when a node that was started answers."""
    for _ in range(300):
        try:
            if httpx.get(url, timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        if process.poll() is not None:
            break
        time.sleep(0.1)
    process.terminate()
    process.wait(30)
    raise RuntimeError(f"the node did not start: {log.read_text()}")


class Node:
    """A running core node."""

    def __init__(self, folder: Path, port: int | None = None) -> None:
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._folder = folder
        self.start()

    def start(self) -> None:
        """Start it, with the data that the folder has, and return when it answers."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with open(self._folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                [
                    built("alephd"), "ccn", "--network", "devnet", "--data-dir", self._folder / "data",
                    "--http-listen", f"127.0.0.1:{self.port}", "--p2p-listen", "/ip4/127.0.0.1/tcp/0",
                    "--log-level", "warn",
                ],
                stdout=log,
                stderr=log,
            )  # fmt: skip
        await_answer(self.process, f"{self.url}/api/v0/version", self._folder / "log")

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
    with subprocess.Popen([built("aleph-devnet"), "--chain-only"], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            said = dict(process.stdout.readline().split() for _ in range(4))
            yield StreamChain("AVAX", 31337, said["chain"], said["token"], said["streams"], forwarder=None)
        finally:
            process.terminate()


@contextmanager
def running_compute_node(folder: Path, core: str) -> Iterator[str]:
    """Run a compute node that has nothing to run, beside a core node, and tell its URL."""
    port = free_port()
    with open(folder / "log", "ab") as log:
        process = subprocess.Popen(
            [
                built("alephd"), "crn", "--network", "devnet", "--ccn", core, "--data-dir", folder / "data",
                "--guest-dir", ROOT / "build" / "guest", "--http-listen", f"127.0.0.1:{port}", "--domain-name", "127.0.0.1",
                "--log-level", "warn",
            ],
            stdout=log,
            stderr=log,
        )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    await_answer(process, f"{url}/status/config", folder / "log")
    try:
        yield url
    finally:
        process.terminate()
        process.wait(30)
