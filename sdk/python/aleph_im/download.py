"""How files are fetched: in as many attempts as it takes, each of which goes on where the last one broke off."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from .core import Core
from .errors import StatusError, TransportError, of_status
from .operation import Call, Close, Effect, Invoke, Item, Open, Pause, Read, Request, Stream
from .source import Progress
from .upload import STALL

E = TypeVar("E", Invoke, Item[bytes])


def transfer(
    core: Core,
    base: str | None,
    path: str,
    then: Callable[[bytes], E],
    progress: Progress | None,
    *,
    expect: Callable[[Mapping[str, str]], None] = lambda headers: None,
    resume: bool = True,
) -> Generator[Effect | E, Any, int]:
    """Do something with each piece of what is at a path as it comes, and return the length of all.

    base is the URL of the node that has it; None stands for the core nodes, in turn when one fails. expect looks at the headers
    of each answer. Failures in a row end it when as many as there are attempts brought no byte, or at once without resume.
    """
    done, failures, wait = 0, 0, core.options.backoff
    while True:
        node, before = base or core.endpoints.order()[0], done
        stream: Stream | None = None
        try:
            stream, skip, size = yield from _open(node, path, done)
            expect(stream.headers)
            while received := (yield Read(stream)):
                piece, skip = received[skip:], max(0, skip - len(received))
                done += len(piece)
                if progress and piece:
                    progress(done, size)
                if piece:
                    yield then(piece)
            core.endpoints.worked(node)
            return done
        except (TransportError, StatusError) as failure:
            if not failure.retryable:
                raise
            core.endpoints.failed(node)
            if done > before:
                failures, wait = 0, core.options.backoff
            failures += 1
            if failures >= core.options.attempts or (done and not resume):
                raise
        finally:
            if stream:
                yield Close(stream)
        yield Pause(wait)
        wait = min(2 * wait, 5.0)


def _open(node: str, path: str, done: int) -> Call[tuple[Stream, int, int]]:
    """Ask a node for what is at a path, from an offset on.

    Return what comes, how much of it is to be left out, and the size of all, 0 when the node does not say.
    """
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={done}-"} if done else {})
    stream: Stream = yield Open(Request("GET", node + path, headers, None, STALL))
    length = int(stream.headers.get("content-length", "0"))
    if stream.status == 200:  # a node that knows no ranges begins anew
        return stream, done, length
    if stream.status == 206 and stream.headers.get("content-range", "").startswith(f"bytes {done}-"):
        return stream, 0, done + length
    text = b""
    try:
        while len(text) < 16 << 10 and (piece := (yield Read(stream))):
            text += piece
    finally:
        yield Close(stream)
    # What follows the path may be a secret that lets everybody fetch it.
    raise of_status("GET", node + path.partition("?")[0], stream.status, text.decode(errors="replace"))


def place(to: str | os.PathLike[str] | BinaryIO, copy: Callable[[BinaryIO], Call[int]], mode: int = 0o666) -> Call[int]:
    """Write a file that is copied from elsewhere: to a path once all of it is there, or to an open file as it comes."""
    if not isinstance(to, (str, os.PathLike)):
        return (yield from copy(to))
    path = Path(to)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    # Closed below, or before the rename.
    file: BinaryIO = yield Invoke(lambda: open(part, "xb", opener=lambda name, flags: os.open(name, flags, mode)))  # noqa: SIM115
    try:
        size = yield from copy(file)
        yield Invoke(file.close)
        yield Invoke(lambda: os.replace(part, path))
    except BaseException:
        file.close()
        part.unlink(missing_ok=True)
        raise
    return size
