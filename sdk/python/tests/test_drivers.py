"""Both drivers against servers that lie, break and die."""

from __future__ import annotations

import asyncio
import hashlib
import http.server
import json
import socket
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from aleph_im import AlephError, AsyncClient, Client, Filter, NotFoundError, Options, VerificationError, from_key
from aleph_im.errors import AnswerError, SigningError, StatusError, TransportError

from .either import awaited
from .node import Node, free_port

KEY = b"\x01" * 32
HELLO = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"  # sha256 of "hello"
QUICK = Options(attempts=2, backoff=0.001)

Handler = Callable[[http.server.BaseHTTPRequestHandler], None]


@contextmanager
def serving(handle: Handler) -> Iterator[str]:
    """Serve every request by a function."""

    class Server(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do(self) -> None:
            handle(self)

        do_GET = do_POST = do_DELETE = do

        def log_message(self, format: str, *args: Any) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def answer(request: http.server.BaseHTTPRequestHandler, status: int, body: bytes, length: int | None = None) -> None:
    request.send_response(status)
    request.send_header("Content-Length", str(len(body) if length is None else length))
    request.end_headers()
    request.wfile.write(body)
    if length is not None:
        request.close_connection = True


@pytest.fixture(params=["Client", "AsyncClient"])
def connect(request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Make clients of one of the two kinds, and close them in the end."""
    loop = asyncio.new_event_loop()
    clients: list[Client | AsyncClient] = []

    def make(url: str | list[str], **settings: Any) -> Any:
        settings = {"account": from_key(KEY), "options": QUICK, **settings}
        client = Client(url, **settings) if request.param == "Client" else AsyncClient(url, **settings)
        clients.append(client)
        return client if isinstance(client, Client) else awaited(client, loop)

    yield make
    for client in clients:
        if isinstance(client, Client):
            client.close()
        else:
            loop.run_until_complete(client.aclose())
    loop.close()


@pytest.mark.parametrize("body", [b"hellO", b"", b"hello!"])
def test_other_bytes_than_asked_for_are_refused(connect: Any, body: bytes, tmp_path: Path) -> None:
    with serving(lambda request: answer(request, 200, body)) as url:
        client = connect(url)
        with pytest.raises(VerificationError, match="other bytes"):
            client.files.read(HELLO)
        with pytest.raises(VerificationError):
            client.files.download(HELLO, tmp_path / "file")
        with pytest.raises(VerificationError):
            list(client.files.iter_bytes(HELLO))
        with pytest.raises(VerificationError, match="other settings"):
            client.files.read("QmZULkCELmmk5XNfCgTnCyFgAVxBRBXyDHGGMVoLFLiXEN")
        trusting = connect(url, options=Options(verify=False))
        assert trusting.files.read(HELLO) == body
    assert list(tmp_path.iterdir()) == []


def test_a_download_that_breaks_off_is_an_error(connect: Any, tmp_path: Path) -> None:
    with serving(lambda request: answer(request, 200, b"hel", 5)) as url:
        target = tmp_path / "file"
        target.write_bytes(b"what was here before")
        with pytest.raises(TransportError):
            connect(url).files.download(HELLO, target)
    assert target.read_bytes() == b"what was here before"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_download_goes_on_where_it_broke_off(connect: Any, tmp_path: Path, ranges: bool) -> None:
    data = bytes(range(256)) * 4000
    asked: list[str | None] = []

    def handle(request: http.server.BaseHTTPRequestHandler) -> None:
        asked.append(request.headers["Range"])
        start = int(asked[-1].removeprefix("bytes=").removesuffix("-")) if asked[-1] and ranges else 0
        end = len(data) if len(asked) == 4 else 300_000 * len(asked)
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        request.send_header("Content-Length", str(len(data) - start))
        request.end_headers()
        request.wfile.write(data[start:end])
        request.close_connection = True

    moved: list[tuple[int, int]] = []
    with serving(handle) as url:
        target = tmp_path / "file"
        file_hash = hashlib.sha256(data).hexdigest()
        size = connect(url).files.download(file_hash, target, progress=lambda done, total: moved.append((done, total)))
    assert target.read_bytes() == data
    assert size == len(data)
    assert len(asked) == 4
    assert asked[0] is None
    assert all(text and int(text[6:-1]) > 0 for text in asked[1:])
    assert moved[-1] == (size, size)
    assert moved == sorted(set(moved))


def test_a_download_goes_on_at_another_node_and_is_checked_as_a_whole(connect: Any) -> None:
    def first(request: http.server.BaseHTTPRequestHandler) -> None:
        answer(request, 200, b"hel", 5)

    def second(rest: bytes) -> Handler:
        def handle(request: http.server.BaseHTTPRequestHandler) -> None:
            assert request.headers["Range"] == "bytes=3-"
            request.send_response(206)
            request.send_header("Content-Range", "bytes 3-4/5")
            request.send_header("Content-Length", "2")
            request.end_headers()
            request.wfile.write(rest)

        return handle

    with serving(first) as broken, serving(second(b"lo")) as whole, serving(second(b"lO")) as lying:
        assert connect([broken, whole]).files.read(HELLO) == b"hello"
        with pytest.raises(VerificationError, match="other bytes"):
            connect([broken, lying]).files.read(HELLO)


def test_downloads_that_are_left_close_their_connection(connect: Any) -> None:
    with serving(lambda request: answer(request, 200, bytes(1 << 20))) as url:
        client = connect(url)
        pieces = client.files.iter_bytes(HELLO)
        assert next(pieces)
        pieces.close()
        with pytest.raises(VerificationError):  # and the client is of use still
            client.files.read(HELLO)


def test_a_download_target_that_cannot_be_written(connect: Any, tmp_path: Path) -> None:
    with serving(lambda request: answer(request, 200, b"hello")) as url, pytest.raises(FileNotFoundError):
        connect(url).files.download(HELLO, tmp_path / "none" / "file")


def test_no_network(connect: Any) -> None:
    client = connect(f"http://127.0.0.1:{free_port()}")
    for call in (
        lambda: client.posts.create(1, type="t"),
        lambda: client.files.upload(b"x"),
        lambda: client.files.read(HELLO),
        lambda: next(client.messages.watch()),
        lambda: list(client.messages.list()),
    ):
        with pytest.raises(TransportError, match="127"):
            call()


def test_a_server_of_something_else(connect: Any) -> None:
    with serving(lambda request: answer(request, 200, b"<html>welcome</html>")) as url:
        client = connect(url)
        for call in (
            lambda: client.messages.get(HELLO),
            lambda: list(client.posts.list()),
            lambda: client.aggregates.all(),
            lambda: client.addresses.balance(),
            lambda: client.prices.of(HELLO),
            lambda: next(client.messages.watch()),
        ):
            with pytest.raises(AnswerError):
                call()
        for call in (lambda: client.posts.create(1, type="t"), lambda: client.files.upload(b"x")):
            with pytest.raises(AlephError):
                call()


def test_an_answer_without_end_is_cut_off(connect: Any) -> None:
    def handle(request: http.server.BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Connection", "close")
        request.end_headers()
        try:
            while True:
                request.wfile.write(bytes(1 << 20))
        except OSError:
            pass

    with serving(handle) as url, pytest.raises(AnswerError, match="larger than"):
        connect(url).messages.get(HELLO)


def test_another_node_takes_over(connect: Any, node: Node) -> None:
    client = connect([f"http://127.0.0.1:{free_port()}", node.url])
    post = client.posts.create("over", type="note")
    assert client.messages.get(post.item_hash).message.content["content"] == "over"
    assert client.files.read(client.files.upload(b"over").file_hash) == b"over"


def test_an_upload_is_sent_again_when_its_connection_breaks(connect: Any) -> None:
    tries: list[int] = []

    def handle(request: http.server.BaseHTTPRequestHandler) -> None:
        tries.append(len(request.rfile.read(int(request.headers["Content-Length"]))))
        if len(tries) == 1:
            request.connection.shutdown(socket.SHUT_RDWR)
            return
        answer(request, 202, json.dumps({"status": "success", "hash": HELLO}).encode())

    with serving(handle) as url:
        stored = connect(url).files.upload(iter([b"hel", b"lo"]))
    assert (stored.file_hash, stored.status) == (HELLO, "pending")
    assert len(tries) == 2
    assert tries[0] == tries[1]


def test_a_node_that_keeps_another_file_is_caught(connect: Any) -> None:
    def handle(request: http.server.BaseHTTPRequestHandler) -> None:
        request.rfile.read(int(request.headers["Content-Length"]))
        answer(request, 200, json.dumps({"status": "success", "hash": "0" * 64}).encode())

    with serving(handle) as url, pytest.raises(VerificationError, match="kept it as"):
        connect(url).files.upload(b"hello")


@pytest.mark.parametrize("status", [403, 413, 500])
def test_an_upload_that_is_refused_says_why(connect: Any, status: int) -> None:
    def handle(request: http.server.BaseHTTPRequestHandler) -> None:
        request.rfile.read(int(request.headers["Content-Length"]))
        answer(request, status, b"because")

    with serving(handle) as url, pytest.raises(StatusError, match=f"{status}: because"):
        connect(url).files.upload(b"hello")


def test_transfers_take_no_memory(connect: Any, tmp_path: Path) -> None:
    size = 24 << 20
    big = tmp_path / "big"
    with open(big, "wb") as file:
        file.truncate(size)

    def handle(request: http.server.BaseHTTPRequestHandler) -> None:
        if request.command == "POST":
            left = int(request.headers["Content-Length"])
            while left:
                left -= len(request.rfile.read(min(left, 1 << 16)))
            answer(request, 202, b'{"hash":null}')
            return
        request.send_response(200)
        request.send_header("Content-Length", str(size))
        request.end_headers()
        for _ in range(size >> 16):
            request.wfile.write(bytes(1 << 16))

    with serving(handle) as url:
        client = connect(url)
        moves: list[Callable[[], Any]] = [
            lambda: client.files.upload(big),
            lambda: client.files.download(HELLO, tmp_path / "copy"),
        ]
        for move in moves:
            tracemalloc.start()
            with pytest.raises(VerificationError):  # after the last byte
                move()
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert peak < 4 << 20


def test_signers_may_be_anything(connect: Any, node: Node) -> None:
    inner = from_key(b"\x09" * 32)

    class Wallet:
        chain, address = inner.chain, inner.address

        async def sign(self, payload: bytes) -> str:
            await asyncio.sleep(0)
            return inner.sign(payload)

    post = connect(node.url, account=Wallet()).posts.create("by wallet", type="note")
    assert post.status == "processed"

    class Broken:
        chain, address = inner.chain, inner.address

        def sign(self, payload: bytes) -> str:
            raise RuntimeError("the device is locked")

    with pytest.raises(SigningError, match="the device is locked"):
        connect(node.url, account=Broken()).posts.create(1, type="note")
    with pytest.raises(SigningError, match="has no account"):
        connect(node.url, account=None).posts.create(1, type="note")


def test_a_watch_goes_on_over_a_restart_of_its_node(connect: Any, tmp_path: Path) -> None:
    with Node(tmp_path / "node") as node:
        writer = Client(node.url, account=from_key(KEY), options=Options(attempts=8))
        reader = connect(node.url)
        before = writer.posts.create("before", type="note").item_hash
        first = writer.posts.create("history", type="note").item_hash
        watch = reader.messages.watch(Filter(types="POST"), history=1)
        assert next(watch).item_hash == first
        live = writer.posts.create("live", type="note").item_hash
        assert next(watch).item_hash == live
        node.stop()
        node.start()
        missed = writer.posts.create("missed", type="note").item_hash
        assert next(watch).item_hash == missed
        later = writer.posts.create("later", type="note").item_hash
        assert next(watch).item_hash == later
        watch.close()
        everything = islice(reader.messages.watch(since=0), 5)
        assert [message.item_hash for message in everything] == [before, first, live, missed, later]
        writer.close()


def test_a_watch_that_is_refused_ends(connect: Any) -> None:
    def handle(request: http.server.BaseHTTPRequestHandler) -> None:
        if "/ws0/" in request.path:
            answer(request, 404, b"no such thing")
        else:
            answer(request, 200, b'{"messages":[],"next_cursor":null}')

    with serving(handle) as url, pytest.raises(NotFoundError, match="no such thing"):
        next(connect(url).messages.watch())


def test_the_blocking_client_works_in_a_running_loop(node: Node) -> None:
    async def cell() -> str:
        with Client(node.url, account=from_key(KEY)) as client:
            return client.posts.create("from a notebook", type="note").status

    assert asyncio.run(cell()) == "processed"


def test_a_call_that_is_cancelled_leaves_nothing_open(node: Node) -> None:
    async def main() -> None:
        async with AsyncClient(node.url, account=from_key(KEY)) as client:
            watching = asyncio.ensure_future(anext(client.messages.watch(Filter(channels="nobody's"))))
            await asyncio.sleep(0.2)
            watching.cancel()
            with pytest.raises(asyncio.CancelledError):
                await watching
            assert (await client.posts.create("after", type="note")).status == "processed"

    asyncio.run(main())


def test_a_unix_socket(tmp_path: Path) -> None:
    class Server(http.server.ThreadingHTTPServer):
        address_family = socket.AF_UNIX

        def server_bind(self) -> None:
            self.socket.bind(self.server_address)

    class Handle(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self, 200, b"hello")

        def address_string(self) -> str:
            return "unix"

        def log_message(self, format: str, *args: Any) -> None: ...

    path = str(tmp_path / "socket")
    server = Server(path, Handle)  # type: ignore[arg-type]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        with Client("http://localhost", unix_socket=path) as client:
            assert client.files.read(HELLO) == b"hello"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
