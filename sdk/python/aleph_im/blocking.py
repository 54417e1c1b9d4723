"""The driver of Client: performs effects with blocking calls, so it works with and without a running event loop."""

from __future__ import annotations

import inspect
import time
import weakref
from collections.abc import Generator, Mapping
from threading import Thread
from typing import TYPE_CHECKING, Any, TypeVar

from .errors import AnswerError, TransportError
from .operation import (
    Abandoned,
    Call,
    Close,
    Effect,
    Invoke,
    Item,
    Open,
    Pause,
    Read,
    Request,
    Response,
    Walk,
)

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")


class _Stream:
    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self.status = answer.status_code
        self.headers: Mapping[str, str] = {name.lower(): value for name, value in answer.headers.items()}
        self.chunks = answer.iter_bytes()


class BlockingDriver:
    """Performs effects in the thread of the caller. Several threads may use one."""

    def __init__(self, user_agent: str, unix_socket: str | None = None) -> None:
        import httpx

        transport = httpx.HTTPTransport(uds=unix_socket) if unix_socket else None
        self._http = httpx.Client(headers={"User-Agent": user_agent}, transport=transport)
        self._httpx = httpx
        weakref.finalize(self, self._http.close)  # for who does not call close

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def run(self, call: Call[T]) -> T:
        """Run a call to its end."""
        result: Any = None
        failure: BaseException | None = None
        while True:
            try:
                effect = call.throw(failure) if failure else call.send(result)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            result, failure = self._attempt(effect)

    def walk(self, walk: Walk[T]) -> Generator[T, None, None]:
        """Yield the items of a walk."""
        result: Any = None
        failure: BaseException | None = None
        while True:
            try:
                step = walk.throw(failure) if failure else walk.send(result)
            except (StopIteration, Abandoned):
                return
            if not isinstance(step, Item):
                result, failure = self._attempt(step)
                continue
            try:
                yield step.value
                result, failure = None, None
            except GeneratorExit:
                result, failure = None, Abandoned()

    def _attempt(self, effect: Effect) -> tuple[Any, BaseException | None]:
        try:
            return self._perform(effect), None
        except BaseException as failure:
            return None, failure

    def _perform(self, effect: Effect) -> Any:
        match effect:
            case Request():
                return self._request(effect)
            case Open(request):
                return _Stream(self._send(request))
            case Read(stream):
                assert isinstance(stream, _Stream)
                with self._named(f"read {stream.answer.url}"):
                    return next(stream.chunks, b"")
            case Pause(seconds):
                return time.sleep(seconds)
            case Invoke(function):
                return settle(function())
            case Close(_Stream() as stream):
                return stream.answer.close()
            case _:
                from .sockets import blocking_socket

                return blocking_socket(effect)

    def _request(self, request: Request) -> Response:
        stream = _Stream(self._send(request))
        try:
            body = bytearray()
            with self._named(f"{request.method} {request.url}"):
                for chunk in stream.chunks:
                    body += chunk
                    if len(body) > request.limit:
                        raise AnswerError(f"{request.method} {request.url}: the answer is larger than {request.limit} bytes")
        finally:
            stream.answer.close()
        return Response(stream.status, stream.headers, bytes(body))

    def _send(self, request: Request) -> httpx.Response:
        headers = dict(request.headers)
        content: Any = request.body
        if request.body is not None and not isinstance(request.body, bytes):
            headers["Content-Length"] = str(request.body.length)
            content = request.body.chunks()
        with self._named(f"{request.method} {request.url}"):
            prepared = self._http.build_request(
                request.method, request.url, headers=headers, content=content, timeout=patience(request, self._httpx)
            )
            return self._http.send(prepared, stream=True)

    def _named(self, what: str) -> Naming:
        return Naming(what, self._httpx.HTTPError)


def patience(request: Request, library: Any) -> Any:
    """Return how long the HTTP library waits."""
    if request.settle is None:
        return request.timeout
    return library.Timeout(request.timeout, read=max(request.timeout, request.settle))


class Naming:
    """Turns failures of the HTTP library into a TransportError that says what was attempted."""

    def __init__(self, what: str, kind: type[Exception]) -> None:
        self.what, self.kind = what, kind

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, failure: BaseException | None, trace: object) -> None:
        if isinstance(failure, self.kind):
            raise TransportError(f"{self.what}: {failure or type(failure).__name__}") from failure


def settle(value: Any) -> Any:
    """Return value, or what it comes to when it is awaitable: it is awaited in a loop of its own, in a thread of its own."""
    if not inspect.isawaitable(value):
        return value
    import asyncio

    outcome: list[Any] = []
    failures: list[BaseException] = []

    async def wait() -> Any:
        return await value

    def run() -> None:
        try:
            outcome.append(asyncio.run(wait()))
        except BaseException as failure:
            failures.append(failure)

    thread = Thread(target=run)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return outcome[0]
