"""The clients: one blocking, one for asyncio, with the same services."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Generic

from .core import Core, Options
from .endpoints import MAINNET as MAINNET
from .operation import Async, Driver, M, Sync

if TYPE_CHECKING:
    from .addresses import Addresses
    from .aggregates import Aggregates
    from .authorizations import Authorizations
    from .backups import Backups
    from .credits import Credits
    from .domains import Domains
    from .files import Files
    from .instances import Instances
    from .machines import Machines
    from .messages import Messages
    from .ports import Ports
    from .posts import Posts
    from .prices import Prices
    from .programs import Programs
    from .registry import Registry
    from .signer import Signer
    from .websites import Websites


class _Services(Generic[M]):
    """What both clients offer. A group of calls is imported when it is first used: importing this is quick."""

    def __init__(self, core: Core, driver: Driver) -> None:
        self._core = core
        self._driver = driver

    @cached_property
    def messages(self) -> Messages[M]:
        from .messages import Messages

        return Messages(self._core, self._driver)

    @cached_property
    def posts(self) -> Posts[M]:
        from .posts import Posts

        return Posts(self._core, self._driver)

    @cached_property
    def aggregates(self) -> Aggregates[M]:
        from .aggregates import Aggregates

        return Aggregates(self._core, self._driver)

    @cached_property
    def files(self) -> Files[M]:
        from .files import Files

        return Files(self._core, self._driver)

    @cached_property
    def addresses(self) -> Addresses[M]:
        from .addresses import Addresses

        return Addresses(self._core, self._driver)

    @cached_property
    def credits(self) -> Credits[M]:
        from .credits import Credits

        return Credits(self._core, self._driver)

    @cached_property
    def prices(self) -> Prices[M]:
        from .prices import Prices

        return Prices(self._core, self._driver)

    @cached_property
    def authorizations(self) -> Authorizations[M]:
        from .authorizations import Authorizations

        return Authorizations(self._core, self._driver)

    @cached_property
    def programs(self) -> Programs[M]:
        from .programs import Programs

        return Programs(self._core, self._driver)

    @cached_property
    def instances(self) -> Instances[M]:
        from .instances import Instances

        return Instances(self._core, self._driver)

    @cached_property
    def machines(self) -> Machines[M]:
        from .machines import Machines

        return Machines(self._core, self._driver)

    @cached_property
    def backups(self) -> Backups[M]:
        from .backups import Backups

        return Backups(self._core, self._driver)

    @cached_property
    def domains(self) -> Domains[M]:
        from .domains import Domains

        return Domains(self._core, self._driver)

    @cached_property
    def ports(self) -> Ports[M]:
        from .ports import Ports

        return Ports(self._core, self._driver)

    @cached_property
    def websites(self) -> Websites[M]:
        from .websites import Websites

        return Websites(self._core, self._driver)

    @cached_property
    def registry(self) -> Registry[M]:
        from .registry import Registry

        return Registry(self._core, self._driver)

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
        self._blocking = BlockingDriver(options.user_agent, unix_socket or socket)
        super().__init__(core, self._blocking)

    def close(self) -> None:
        """Close all connections."""
        self._blocking.close()

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
        self._asyncio = AsyncDriver(options.user_agent, unix_socket or socket)
        super().__init__(core, self._asyncio)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._asyncio.aclose()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self.aclose()
