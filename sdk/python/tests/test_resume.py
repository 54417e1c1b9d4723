"""Uploads that break off: a real node behind a proxy that cuts connections, and answers that say to look again."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from aleph_im import Client, InsufficientFundsError, generate
from aleph_im.archive import pack_folder
from aleph_im.core import Core, Options
from aleph_im.errors import TransportError
from aleph_im.operation import Pause, Request, Response
from aleph_im.resume import Resuming
from aleph_im.source import content_of

from .node import Node
from .test_drivers import answer, connect, serving
from .test_services import fund

__all__ = ["connect"]  # the fixture

SIZE = 12 << 20
CREDITS = {"chain": "ETH", "type": "credit"}


class Cutting:
    """A proxy that ends the connection of each PATCH after some bytes, as often as it is told."""

    def __init__(self, node: Node) -> None:
        self.cuts = [5 << 20, 3 << 20]
        self.sent = 0
        """Bytes of all requests."""
        self._node = ("127.0.0.1", node.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._sockets = [self._listener]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            node = socket.create_connection(self._node)
            self._sockets += [client, node]
            for work in (self._forth, self._back):
                self._threads.append(threading.Thread(target=work, args=(client, node)))
                self._threads[-1].start()

    def _forth(self, client: socket.socket, node: socket.socket) -> None:
        left = -1
        with suppress(OSError):
            while data := client.recv(1 << 16):
                self.sent += len(data)
                if data.startswith(b"PATCH "):
                    left = self.cuts.pop(0) if self.cuts else -1
                node.sendall(data)
                if left > 0 and (left := left - len(data)) <= 0:
                    break
        for each in (client, node):
            _end(each)

    def _back(self, client: socket.socket, node: socket.socket) -> None:
        with suppress(OSError):
            while data := node.recv(1 << 16):
                client.sendall(data)
        for each in (client, node):
            _end(each)

    def close(self) -> None:
        _end(self._listener)
        self._threads[0].join()  # from here on there are no more
        for each in self._sockets:
            _end(each)
        for thread in self._threads:
            thread.join()


def _end(each: socket.socket) -> None:
    with suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()  # what was not read makes it a reset, so that who sends is not left waiting


@contextmanager
def cutting(node: Node) -> Iterator[Cutting]:
    proxy = Cutting(node)
    try:
        yield proxy
    finally:
        proxy.close()


@pytest.fixture
def large(tmp_path: Path) -> Path:
    path = tmp_path / "folder" / "large.bin"
    path.parent.mkdir()
    path.write_bytes(os.urandom(SIZE))
    return path


@pytest.mark.parametrize("what", ["file", "folder", "iterator"])
def test_an_upload_goes_on_where_it_broke_off(connect: Any, node: Node, authority: Client, large: Path, what: str) -> None:
    account, _ = generate()
    fund(authority, account.address, 1_000_000_000)
    data = large.read_bytes()
    resumed: list[int] = []
    moved: list[int] = []
    how = {"payment": CREDITS, "resumed": resumed.append, "progress": lambda done, total: moved.append(done)}
    with cutting(node) as proxy:
        client = connect(proxy.url, account=account)
        if what == "folder":
            stored = client.files.upload_folder(large.parent, **how)
            assert stored.file_hash == pack_folder(large.parent).cid
        else:
            chunks = (data[at : at + 100_000] for at in range(0, SIZE, 100_000))
            stored = client.files.upload(large if what == "file" else chunks, **how)
            assert stored.file_hash == hashlib.sha256(data).hexdigest()
            assert client.files.read(stored.file_hash) == data
    assert stored.status == "processed"
    assert proxy.cuts == []
    assert len(resumed) == 2
    assert 0 < resumed[0] < resumed[1] < stored.size
    assert moved[-1] == stored.size
    assert proxy.sent < SIZE + (6 << 20)  # and not all of it each time


def test_a_later_call_goes_on(connect: Any, node: Node, authority: Client, large: Path) -> None:
    account, _ = generate()
    fund(authority, account.address, 1_000_000_000)

    def give_up(done: int, total: int) -> None:
        if done > SIZE // 2:
            raise KeyError("the program ends")

    with pytest.raises(KeyError):
        connect(node.url, account=account).files.upload(large, payment=CREDITS, progress=give_up)
    resumed: list[int] = []
    stored = connect(node.url, account=account).files.upload(large, payment=CREDITS, resumed=resumed.append)
    assert stored.status == "processed"
    assert len(resumed) == 1
    assert resumed[0] > SIZE // 4


def test_what_resumes_is_not_held_in_memory(connect: Any, node: Node, authority: Client, large: Path) -> None:
    account, _ = generate()
    fund(authority, account.address, 1_000_000_000)
    with cutting(node) as proxy:
        client = connect(proxy.url, account=account)
        tracemalloc.start()
        client.files.upload(large, payment=CREDITS)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < SIZE / 2


def test_who_cannot_pay_is_told_before_a_byte_is_sent(connect: Any, node: Node, tmp_path: Path) -> None:
    big = tmp_path / "big"
    with open(big, "wb") as file:
        file.truncate(30 << 20)
    with cutting(node) as proxy:
        with pytest.raises(InsufficientFundsError):
            connect(proxy.url).files.upload(big)
        assert proxy.sent < 1 << 20


@pytest.mark.parametrize("status", [404, 405, 501, 503])
def test_a_node_that_takes_files_in_one_piece_gets_one(connect: Any, large: Path, status: int) -> None:
    asked: list[str] = []
    data = large.read_bytes()

    def handle(request: Any) -> None:
        asked.append(request.path)
        body = request.rfile.read(int(request.headers.get("Content-Length", "0")))
        if request.path == "/api/v0/uploads":
            answer(request, status, b"no")
            return
        assert data in body
        answer(request, 200, b'{"hash":"%s"}' % hashlib.sha256(data).hexdigest().encode())

    with serving(handle) as url:
        assert connect(url).files.upload(large).status == "processed"
    assert asked == ["/api/v0/uploads", "/api/v0/storage/add_file"]


class Script:
    """A driver that answers each request as it is told, and lets time pass in pauses."""

    def __init__(self, answers: list[Response | TransportError]) -> None:
        self.now, self.asked = 0.0, list[str]()
        self._answers = answers
        core = Core(["http://node"], None, None, Options(), lambda: self.now)
        self._upload = Resuming(
            core, "0" * 64, {"sync": True, "message": {}}, content_of(bytes(100)), car=False, progress=None, resumed=None
        )

    def run(self) -> Response | None:
        call = self._upload.run("f" * 64)
        step: Any = next(call)
        try:
            while True:
                if isinstance(step, Pause):
                    self.now += step.seconds
                    step = call.send(None)
                    continue
                assert isinstance(step, Request)
                self.asked.append(step.method)
                reply = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
                if step.method == "PATCH" and step.body and not isinstance(step.body, bytes):
                    pieces = list(step.body.chunks()) if isinstance(reply, Response) and reply.status == 204 else []
                    assert sum(len(piece) for piece in pieces) <= 100
                step = call.throw(reply) if isinstance(reply, Exception) else call.send(reply)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


MADE = Response(201, {"location": "/api/v0/uploads/x"}, b"")
PROCESSED = Response(200, {}, b'{"status":"processed"}')
AWAY = TransportError("the node is away")


def has(offset: int) -> Response:
    return Response(200, {"upload-offset": str(offset)}, b"")


def test_an_upload_that_a_node_gave_up_is_looked_for_anew() -> None:
    # The body did not come in time; then the node starts anew.
    script = Script(
        [MADE, has(0), Response(408, {}, b""), Response(503, {}, b""), MADE, has(50), Response(204, {}, b""), PROCESSED]
    )
    end = script.run()
    assert end
    assert end.status == 200
    assert script.asked == ["POST", "HEAD", "PATCH", "POST", "POST", "HEAD", "PATCH", "GET"]


def test_an_upload_whose_message_is_processed_is_done() -> None:
    script = Script([MADE, has(10), AWAY, Response(409, {}, b""), PROCESSED])
    done = script.run()
    assert done
    assert (done.status, script.asked[-2:]) == (200, ["POST", "GET"])


def test_a_node_that_stays_away_is_given_up_after_a_minute() -> None:
    script = Script([MADE, has(10), AWAY])
    with pytest.raises(TransportError, match="goes on where it was, within a day"):
        script.run()
    assert 60 < script.now < 70


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(Exception, match="makes no sense"):
        Script([MADE, has(101)]).run()
