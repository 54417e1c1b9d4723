from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from aleph_im import AsyncClient, Client, from_key, generate
from aleph_im.payg import StreamChain

from .either import awaited
from .node import AUTHORITY_KEY, Node, running_chain


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A core node that all tests share; each uses an account of its own."""
    with Node(tmp_path_factory.mktemp("node")) as running:
        yield running


@pytest.fixture(scope="session")
def chain() -> Iterator[StreamChain]:
    """A development chain that all tests share."""
    with running_chain() as where:
        yield where


@pytest.fixture
def client(node: Node) -> Iterator[Client]:
    """A client with a new account."""
    account, _ = generate()
    with Client(node.url, account=account, channel="TEST") as made:
        yield made


@pytest.fixture
def authority(node: Node) -> Iterator[Client]:
    """A client of the account whose word the network takes for balances and credits."""
    with Client(node.url, account=from_key(AUTHORITY_KEY)) as made:
        yield made


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep settings of whoever runs the tests out of them."""
    for name in ("API_HOST", "API_UNIX_SOCKET", "DEFAULT_CHANNEL", "PRIVATE_KEY", "PRIVATE_KEY_FILE"):
        monkeypatch.delenv(f"ALEPH_{name}", raising=False)


@pytest.fixture(params=["Client", "AsyncClient"])
def either(request: pytest.FixtureRequest, node: Node) -> Iterator[Any]:
    """A client with a new account: each of the two kinds in turn."""
    account, _ = generate()
    if request.param == "Client":
        with Client(node.url, account=account, channel="TEST") as client:
            yield client
        return
    loop = asyncio.new_event_loop()
    made = AsyncClient(node.url, account=account, channel="TEST")
    yield awaited(made, loop)
    loop.run_until_complete(made.aclose())
    loop.close()
