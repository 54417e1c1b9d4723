"""How every call is written once and runs both ways.

A call is a generator. It yields requests, pauses and other effects as values and gets their results back; it never does I/O
itself. Two drivers perform effects: `blocking` for Client, `asynchronous` for AsyncClient. Tests are a third.

A Service is a group of calls of a client. Its methods are marked with `operation`, or with `walk` when they yield items, and
mean for Service[Sync] a plain function or iterator, for Service[Async] their awaitable counterparts.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, overload

if TYPE_CHECKING:
    from .core import Core

T = TypeVar("T")
P = ParamSpec("P")


class Sync:
    """Marks the services of a client whose calls block."""


class Async:
    """Marks the services of a client whose calls are awaited."""


M = TypeVar("M", Sync, Async)


class Body(Protocol):
    """A body that is too large to be held in memory."""

    @property
    def length(self) -> int:
        """Bytes."""

    def chunks(self) -> Iterator[bytes]:
        """Return its bytes from the beginning."""


@dataclass(frozen=True)
class Request:
    """An HTTP request, answered by a Response. A connection that fails is a TransportError."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Body | None = None
    timeout: float = 45.0
    """Seconds without a byte moving."""
    limit: int = 64 << 20
    """Bytes of an answer above which it is refused."""
    settle: float | None = None
    """Seconds until the answer begins, where it may take longer than timeout once all of the body was sent."""


@dataclass(frozen=True)
class Response:
    """An HTTP answer that was read to its end."""

    status: int
    headers: Mapping[str, str]
    """By names in lower case."""
    body: bytes


class Stream(Protocol):
    """An HTTP answer whose body is still to be read."""

    status: int
    headers: Mapping[str, str]


class Socket(Protocol):
    """An open WebSocket."""


@dataclass(frozen=True)
class Open:
    """Sends a request; its result is a Stream."""

    request: Request


@dataclass(frozen=True)
class Read:
    """Reads the next bytes of a stream; b"" at its end."""

    stream: Stream


@dataclass(frozen=True)
class Dial:
    """Opens a WebSocket; its result is a Socket."""

    url: str
    timeout: float


@dataclass(frozen=True)
class Receive:
    """Waits for the next text of a socket; None when the other side has ended the connection in good order."""

    socket: Socket


@dataclass(frozen=True)
class Transmit:
    """Sends a text over a socket."""

    socket: Socket
    text: str


@dataclass(frozen=True)
class Close:
    """Closes a stream or a socket."""

    what: Stream | Socket


@dataclass(frozen=True)
class Pause:
    """Waits."""

    seconds: float


@dataclass(frozen=True)
class Invoke:
    """Calls a function that may block, or that may return an awaitable; its result is the function's."""

    function: Callable[[], Any]


@dataclass(frozen=True)
class Item(Generic[T]):
    """What a walk hands to its caller."""

    value: T


Effect = Request | Open | Read | Dial | Receive | Transmit | Close | Pause | Invoke
Call = Generator[Effect, Any, T]
Walk = Generator[Effect | Item[T], Any, None]


class Abandoned(BaseException):
    """Thrown into a walk whose caller takes no more items, so that it closes what it has open.

    GeneratorExit would not do: `yield from` lets nothing be yielded any more when it comes.
    """


class Driver(Protocol):
    """Performs effects."""

    def run(self, call: Call[Any]) -> Any:
        """Run a call to its end; the asynchronous driver returns an awaitable."""

    def walk(self, walk: Walk[Any]) -> Any:
        """Return an iterator over the items of a walk, or an asynchronous one."""


class Service(Generic[M]):
    """A group of calls of a client."""

    def __init__(self, core: Core, driver: Driver) -> None:
        self._core = core
        self._driver = driver


class operation(Generic[P, T]):
    """Marks a method of a service that is a call."""

    def __init__(self, method: Callable[Concatenate[Any, P], Call[T]]) -> None:
        self.method = method
        functools.update_wrapper(self, method)  # type: ignore[arg-type]

    @overload
    def __get__(self, service: None, owner: type) -> operation[P, T]: ...
    @overload
    def __get__(self, service: Service[Sync], owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, service: Service[Async], owner: type) -> Callable[P, Awaitable[T]]: ...
    def __get__(self, service: Service[Any] | None, owner: type) -> Any:
        if service is None:
            return self
        return _bound(self.method, service, service._driver.run)


class walk(Generic[P, T]):
    """Marks a method of a service that yields items."""

    def __init__(self, method: Callable[Concatenate[Any, P], Walk[T]]) -> None:
        self.method = method
        functools.update_wrapper(self, method)  # type: ignore[arg-type]

    @overload
    def __get__(self, service: None, owner: type) -> walk[P, T]: ...
    @overload
    def __get__(self, service: Service[Sync], owner: type) -> Callable[P, Generator[T, None, None]]: ...
    @overload
    def __get__(self, service: Service[Async], owner: type) -> Callable[P, AsyncGenerator[T, None]]: ...
    def __get__(self, service: Service[Any] | None, owner: type) -> Any:
        if service is None:
            return self
        return _bound(self.method, service, service._driver.walk)


def _bound(method: Callable[..., Any], service: Service[Any], drive: Callable[[Any], Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        return drive(method(service, *args, **kwargs))

    call.__signature__ = _signature_without_self(method)  # type: ignore[attr-defined]
    return call


def _signature_without_self(method: Callable[..., Any]) -> Any:
    import inspect

    signature = inspect.signature(method)
    return signature.replace(parameters=list(signature.parameters.values())[1:])
