"""The clients: one blocking, one for asyncio, with the same services."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Generic

from .addresses import Addresses
from .aggregates import Aggregates
from .authorizations import Authorizations
from .backups import Backups
from .core import Core, Options
from .credits import Credits
from .domains import Domains
from .files import Files
from .instances import Instances
from .machines import Machines
from .messages import Messages
from .operation import Async, Driver, M, Sync
from .ports import Ports
from .posts import Posts
from .prices import Prices
from .programs import Programs
from .signer import Signer
from .websites import Websites

MAINNET = ("https://api2.aleph.im", "https://api3.aleph.im", "https://api.aleph.im")
"""Core nodes that are asked when none are named."""


class _Services(Generic[M]):
    """What both clients offer."""

    def __init__(self, core: Core, driver: Driver) -> None:
        self._core = core
        self.messages: Messages[M] = Messages(core, driver)
        self.posts: Posts[M] = Posts(core, driver)
        self.aggregates: Aggregates[M] = Aggregates(core, driver)
        self.files: Files[M] = Files(core, driver)
        self.addresses: Addresses[M] = Addresses(core, driver)
        self.credits: Credits[M] = Credits(core, driver)
        self.prices: Prices[M] = Prices(core, driver)
        self.authorizations: Authorizations[M] = Authorizations(core, driver)
        self.programs: Programs[M] = Programs(core, driver)
        self.instances: Instances[M] = Instances(core, driver)
        self.machines: Machines[M] = Machines(core, driver)
        self.backups: Backups[M] = Backups(core, driver)
        self.domains: Domains[M] = Domains(core, driver)
        self.ports: Ports[M] = Ports(core, driver)
        self.websites: Websites[M] = Websites(core, driver)

    @property
    def account(self) -> Signer:
        """Who signs what this client writes; a client without an account has none, and says so."""
        return self._core.account


def _core(
    url: str | Iterable[str] | None, account: Signer | None, channel: str | None, options: Options
) -> tuple[Core, str | None]:
    environment = os.environ
    if url is None:
        url = environment.get("ALEPH_API_HOST") or MAINNET
    urls = [url] if isinstance(url, str) else [*url]
    channel = channel if channel is not None else environment.get("ALEPH_DEFAULT_CHANNEL")
    return Core(urls, account, channel, options), environment.get("ALEPH_API_UNIX_SOCKET")


class Client(_Services[Sync]):
    """A client whose calls block. Several threads may share it.

    url is a core node or several in order of preference; default ALEPH_API_HOST of the environment, or public nodes. account
    signs what is written. channel is put on what is written unless a call names another; default ALEPH_DEFAULT_CHANNEL.
    unix_socket is a socket to connect to in place of the node's address; default ALEPH_API_UNIX_SOCKET.
    """

    def __init__(
        self,
        url: str | Iterable[str] | None = None,
        *,
        account: Signer | None = None,
        channel: str | None = None,
        options: Options = Options(),
        unix_socket: str | None = None,
    ) -> None:
        from .blocking import BlockingDriver

        core, socket = _core(url, account, channel, options)
        self._driver = BlockingDriver(options.user_agent, unix_socket or socket)
        super().__init__(core, self._driver)

    def close(self) -> None:
        """Close all connections."""
        self._driver.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()


class AsyncClient(_Services[Async]):
    """A client for asyncio; see Client for what it is made with."""

    def __init__(
        self,
        url: str | Iterable[str] | None = None,
        *,
        account: Signer | None = None,
        channel: str | None = None,
        options: Options = Options(),
        unix_socket: str | None = None,
    ) -> None:
        from .asynchronous import AsyncDriver

        core, socket = _core(url, account, channel, options)
        self._driver = AsyncDriver(options.user_agent, unix_socket or socket)
        super().__init__(core, self._driver)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._driver.aclose()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self.aclose()
