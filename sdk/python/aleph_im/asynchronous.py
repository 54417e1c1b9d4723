"""The driver of AsyncClient: performs effects in the running event loop of asyncio."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from .blocking import Naming, patience
from .errors import AnswerError
from .operation import (
    Abandoned,
    Body,
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
        self.chunks = answer.aiter_bytes()


class AsyncDriver:
    """Performs effects in the loop of the caller, and what blocks in threads."""

    def __init__(self, user_agent: str, unix_socket: str | None = None) -> None:
        import httpx

        transport = httpx.AsyncHTTPTransport(uds=unix_socket) if unix_socket else None
        self._http = httpx.AsyncClient(headers={"User-Agent": user_agent}, transport=transport)
        self._httpx = httpx

    async def aclose(self) -> None:
        """Close all connections."""
        await self._http.aclose()

    async def run(self, call: Call[T]) -> T:
        """Run a call to its end."""
        result: Any = None
        failure: BaseException | None = None
        while True:
            try:
                effect = call.throw(failure) if failure else call.send(result)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            result, failure = await self._attempt(effect)

    async def walk(self, walk: Walk[T]) -> AsyncGenerator[T, None]:
        """Yield the items of a walk."""
        result: Any = None
        failure: BaseException | None = None
        while True:
            try:
                step = walk.throw(failure) if failure else walk.send(result)
            except (StopIteration, Abandoned):
                return
            if not isinstance(step, Item):
                result, failure = await self._attempt(step)
                continue
            try:
                yield step.value
                result, failure = None, None
            except GeneratorExit:
                result, failure = None, Abandoned()

    async def _attempt(self, effect: Effect) -> tuple[Any, BaseException | None]:
        try:
            return await self._perform(effect), None
        except BaseException as failure:
            return None, failure

    async def _perform(self, effect: Effect) -> Any:
        match effect:
            case Request():
                return await self._request(effect)
            case Open(request):
                return _Stream(await self._send(request))
            case Read(stream):
                assert isinstance(stream, _Stream)
                with self._named(f"read {stream.answer.url}"):
                    return await anext(stream.chunks, b"")
            case Pause(seconds):
                return await asyncio.sleep(seconds)
            case Invoke(function):
                value = function() if inspect.iscoroutinefunction(function) else await asyncio.to_thread(function)
                return await value if inspect.isawaitable(value) else value
            case Close(_Stream() as stream):
                return await stream.answer.aclose()
            case _:
                from .sockets import async_socket

                return await async_socket(effect)

    async def _request(self, request: Request) -> Response:
        stream = _Stream(await self._send(request))
        try:
            body = bytearray()
            with self._named(f"{request.method} {request.url}"):
                async for chunk in stream.chunks:
                    body += chunk
                    if len(body) > request.limit:
                        raise AnswerError(f"{request.method} {request.url}: the answer is larger than {request.limit} bytes")
        finally:
            await stream.answer.aclose()
        return Response(stream.status, stream.headers, bytes(body))

    async def _send(self, request: Request) -> httpx.Response:
        headers = dict(request.headers)
        content: Any = request.body
        if request.body is not None and not isinstance(request.body, bytes):
            headers["Content-Length"] = str(request.body.length)
            content = _in_threads(request.body)
        with self._named(f"{request.method} {request.url}"):
            prepared = self._http.build_request(
                request.method, request.url, headers=headers, content=content, timeout=patience(request, self._httpx)
            )
            return await self._http.send(prepared, stream=True)

    def _named(self, what: str) -> Naming:
        return Naming(what, self._httpx.HTTPError)


async def _in_threads(body: Body) -> AsyncIterator[bytes]:
    """Read a body, which may be a file, without keeping the loop."""
    chunks: Iterator[bytes] = body.chunks()
    while chunk := await asyncio.to_thread(next, chunks, b""):
        yield chunk
