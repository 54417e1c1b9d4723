"""Both clients behind one face, so that each test of a node runs with both."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from typing import Any

from aleph_im import AsyncClient


class Awaited:
    """An AsyncClient, or a service of one, whose calls are run in a loop of the test's own."""

    def __init__(self, inner: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._inner, self._loop = inner, loop

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._inner, name)
        if not callable(member):
            return Awaited(member, self._loop) if hasattr(member, "_core") else member

        def call(*args: Any, **kwargs: Any) -> Any:
            result = member(*args, **kwargs)
            return self._iterate(result) if inspect.isasyncgen(result) else self._loop.run_until_complete(result)

        return call

    def _iterate(self, items: Any) -> Iterator[Any]:
        try:
            while True:
                try:
                    yield self._loop.run_until_complete(anext(items))
                except StopAsyncIteration:
                    return
        finally:
            self._loop.run_until_complete(items.aclose())


def awaited(client: AsyncClient, loop: asyncio.AbstractEventLoop) -> Any:
    return Awaited(client, loop)
