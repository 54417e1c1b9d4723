"""Orders to compute nodes, checked as a compute node checks them (crn §2.1.1)."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import stat
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from aleph_im import AlephError, Client, NotFoundError, VerificationError, from_key
from aleph_im.backups import Backup
from aleph_im.domains import dns_records
from aleph_im.errors import AnswerError, DeadlineError, NotAllowedError, SigningError, StatusError
from aleph_im.instances import InstanceSettings
from aleph_im.keys import base58
from aleph_im.pack import pack
from aleph_im.verify import verify_signature

from .node import Node, running_compute_node
from .test_drivers import answer, connect, serving

__all__ = ["connect"]  # the fixture

VM = "a" * 64


def allowed(headers: Any, method: str, path: str, now: datetime) -> dict[str, Any]:
    """Return what the account delegated, after all checks that a compute node makes."""
    key, act = json.loads(headers["X-SignedPubKey"]), json.loads(headers["X-SignedOperation"])
    payload = bytes.fromhex(key["payload"])
    delegated: dict[str, Any] = json.loads(payload)
    chain, address = delegated["chain"], delegated["address"]
    assert chain in ("ETH", "SOL")  # which stand for their families
    if chain == "SOL":
        signature = json.dumps({"signature": base58.encode(bytes.fromhex(key["signature"])), "publicKey": address})
        assert verify_signature(chain, address, payload.hex().encode(), signature, now)
    else:
        assert verify_signature(chain, address, payload, key["signature"], now)
    assert datetime.fromisoformat(delegated["expires"].replace("Z", "+00:00")) > now

    operation = json.loads(bytes.fromhex(act["payload"]))
    assert operation["method"] == method
    assert operation["path"] == path
    assert operation["domain"] == "127.0.0.1"
    assert abs(datetime.fromisoformat(operation["time"].replace("Z", "+00:00")) - now) < timedelta(minutes=2)
    x, y = (int.from_bytes(base64.urlsafe_b64decode(delegated["pubkey"][c] + "=="), "big") for c in "xy")
    proof = bytes.fromhex(act["signature"])
    ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key().verify(
        encode_dss_signature(int.from_bytes(proof[:32], "big"), int.from_bytes(proof[32:], "big")),
        bytes.fromhex(act["payload"]),
        ec.ECDSA(hashes.SHA256()),
    )
    return delegated


@pytest.mark.parametrize("chain", ["ETH", "SOL", "BASE", "ES"])
def test_an_order_is_signed_by_a_key_that_the_account_delegated_to_once(connect: Any, chain: str) -> None:
    account = from_key(b"\x05" * 32, chain)
    signed: list[bytes] = []
    keys: list[str] = []

    class Counting:
        chain, address = account.chain, account.address

        def sign(self, payload: bytes) -> str:
            signed.append(payload)
            return account.sign(payload)

    def handle(request: Any) -> None:
        path = request.path.partition("?")[0]
        delegated = allowed(request.headers, request.command, path, datetime.now(timezone.utc))
        keys.append(delegated["pubkey"]["x"])
        if path.endswith("/logs"):
            line = {"MESSAGE": "hi", "file": "stdout", "__REALTIME_TIMESTAMP": "2020-10-12 01:02:00"}
            answer(request, 200, json.dumps([line]).encode())
        else:
            answer(request, 200, f"did {request.path}".encode())

    with serving(handle) as url:
        client = connect(url, account=Counting())
        assert client.machines.operate(VM, "stop", node=url + "/") == f"did /control/machine/{VM}/stop"
        kept = client.machines.operate(VM, "reinstall", node=url, keep_volumes=True)
        assert kept == f"did /control/machine/{VM}/reinstall?erase_volumes=false"
        (line,) = client.programs.logs(VM, node=url)
    assert (line.message, line.stream, line.time) == ("hi", "stdout", "2020-10-12 01:02:00")
    assert len(signed) == 1
    assert len(set(keys)) == 1


def test_accounts_that_compute_nodes_do_not_know_are_told(connect: Any) -> None:
    with pytest.raises(SigningError, match="not of CSDK"):
        connect("http://127.0.0.1:1", account=from_key(b"\x05" * 32, "CSDK")).machines.operate(
            VM, "stop", node="http://127.0.0.1:1"
        )


def checked(request: Any) -> tuple[str, bytes]:
    """Check an order, and return the rest of its path with its query, and its body."""
    path, _, query = request.path.partition("?")
    allowed(request.headers, request.command, path, datetime.now(timezone.utc))
    body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
    rest = path.removeprefix(f"/control/machine/{VM}/")
    return f"{request.command} {rest}" + (f"?{query}" if query else ""), body


def test_a_machine_is_told_to_end(connect: Any) -> None:
    seen: list[tuple[str, bytes]] = []

    def handle(request: Any) -> None:
        seen.append(checked(request))
        answer(request, 200, b"")

    with serving(handle) as url:
        connect(url).machines.expire(VM, timedelta(minutes=5), node=url)
    assert seen == [("POST expire", b'{"timeout": 300.0}')]


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (200, {"status": "reserved", "expires": "2026-03-28 11:21:21.744592+00:00"}, None),
        (400, {"status": "error", "error": "Failed", "reason": "no such card"}, "no such card"),
        (503, {"error": "This CRN cannot reserve"}, "cannot reserve"),
        (200, {}, "no answer"),
    ],
)
def test_resources_are_reserved_or_not(connect: Any, status: int, body: Any, error: str | None) -> None:
    def handle(request: Any) -> None:
        rest, content = checked(request)
        assert rest == "POST /control/reserve_resources"
        assert json.loads(content)["resources"]["vcpus"] == 4
        answer(request, status, json.dumps(body).encode())

    settings = InstanceSettings(image="b" * 64, vcpus=4)
    with serving(handle) as url:
        machines = connect(url).machines
        if error is None:
            assert machines.reserve(settings, node=url) == datetime(2026, 3, 28, 11, 21, 21, 744592, timezone.utc)
            return
        with pytest.raises(AlephError, match=error):
            machines.reserve(settings, node=url)


def test_a_real_compute_node_takes_orders_of_the_accounts_that_it_knows(node: Node, tmp_path: Path) -> None:
    small = InstanceSettings(image="b" * 64, memory=64, disk=64)  # it fits into what any machine has left
    with running_compute_node(tmp_path, node.url) as url:
        for chain in ("ETH", "BASE", "SOL", "ES"):
            with Client(node.url, account=from_key(b"\x05" * 32, chain)) as client:
                until = client.machines.reserve(small, node=url)
                assert timedelta() < until - datetime.now(timezone.utc) <= timedelta(minutes=1)
                for unknown in (
                    lambda to=client: to.machines.operate(VM, "reboot", node=url),
                    lambda to=client: to.machines.expire(VM, timedelta(minutes=1), node=url),
                    lambda to=client: list(to.machines.follow_logs(VM, node=url)),
                ):
                    with pytest.raises(NotFoundError, match="No virtual machine"):
                        unknown()
        with Client(node.url, account=from_key(b"\x05" * 32)) as client:
            assert client.machines.executions(url) == {}


ARCHIVE = b"a tar of disks" * 1000
METADATA = {
    "backup_id": f"{VM}-20260101T000000Z",
    "size": len(ARCHIVE),
    "checksum": "sha256:" + hashlib.sha256(ARCHIVE).hexdigest(),
    "volumes": ["rootfs.qcow2"],
    "expires_at": "2026-01-02T00:00:00+00:00",
    "download_url": f"https://elsewhere.example/control/machine/{VM}/backup/{VM}-20260101T000000Z?signature=ab&expires=1",
    "source_sizes": {},
}


def test_a_backup_is_made_fetched_and_removed(connect: Any, tmp_path: Path) -> None:
    seen: list[str] = []

    def handle(request: Any) -> None:
        if "signature=" in request.path:
            answer(request, 200, ARCHIVE)
            return
        rest, _ = checked(request)
        seen.append(rest)
        if rest.startswith("DELETE"):
            answer(request, 200, b"Deleted backup")
        elif seen.count("GET backup") < 1:
            answer(request, 202, b'{"status":"in_progress"}')
        else:
            answer(request, 200, json.dumps(METADATA).encode())

    with serving(handle) as url:
        backups = connect(url).backups
        assert backups.start(VM, volumes=True, node=url) is None
        backup = backups.wait(VM, node=url)
        assert (backup.size, backup.volumes, backup.source_sizes) == (len(ARCHIVE), ["rootfs.qcow2"], {})
        moved: list[tuple[int, int]] = []
        target = tmp_path / "backup.tar"
        assert backups.download(VM, backup, target, node=url, progress=lambda *at: moved.append(at)) == len(ARCHIVE)
        assert target.read_bytes() == ARCHIVE
        if os.name == "posix":
            assert stat.S_IMODE(target.stat().st_mode) == 0o600
        assert moved[-1] == (len(ARCHIVE), len(ARCHIVE))
        with pytest.raises(VerificationError, match="other bytes"):
            backups.download(VM, replace(backup, checksum="sha256:00"), tmp_path / "wrong", node=url)
        backups.delete(VM, backup.backup_id, node=url)
        with pytest.raises(ValueError, match="no name"):
            backups.delete(VM, "../..", node=url)
    assert seen == ["POST backup?include_volumes=true", "GET backup", f"DELETE backup/{VM}-20260101T000000Z"]
    assert list(tmp_path.iterdir()) == [target]


def test_the_download_of_a_backup_goes_on_where_it_broke_off(connect: Any, tmp_path: Path) -> None:
    asked: list[str | None] = []

    def handle(request: Any) -> None:
        asked.append(request.headers["Range"])
        if len(asked) == 1:
            answer(request, 200, ARCHIVE[:5000], len(ARCHIVE))
            return
        request.send_response(206)
        request.send_header("Content-Range", f"bytes 5000-{len(ARCHIVE) - 1}/{len(ARCHIVE)}")
        request.send_header("Content-Length", str(len(ARCHIVE) - 5000))
        request.end_headers()
        request.wfile.write(ARCHIVE[5000:])

    with serving(handle) as url:
        connect(url).backups.download(VM, Backup.read(METADATA), tmp_path / "backup.tar", node=url)
    assert (tmp_path / "backup.tar").read_bytes() == ARCHIVE
    assert asked == [None, "bytes=5000-"]


def test_a_backup_that_does_not_come(connect: Any) -> None:
    with serving(lambda request: answer(request, 202, b"{}")) as url, pytest.raises(DeadlineError, match="still being made"):
        connect(url).backups.wait(VM, node=url, timeout=0)
    for status, body, error in (
        (404, b'{"error":"No backup found for this VM"}', NotFoundError),
        (507, b"too full", StatusError),
        (500, b"Backup failed: no", StatusError),
        (200, b"<html>", AnswerError),
    ):
        with serving(lambda request, to=(status, body): answer(request, *to)) as url, pytest.raises(error):  # type: ignore[misc]
            connect(url).backups.get(VM, node=url)


def test_a_disk_is_restored_from_a_volume_or_from_a_file(connect: Any, tmp_path: Path) -> None:
    seen: list[tuple[str, bytes]] = []

    def handle(request: Any) -> None:
        seen.append(checked(request))
        answer(request, 200, b'{"status":"restored"}')

    disk = tmp_path / "rootfs.qcow2"
    disk.write_bytes(b"QFI\xfb")
    with serving(handle) as url:
        backups = connect(url).backups
        backups.restore(VM, volume="b" * 64, node=url)
        backups.restore(VM, disk=disk, node=url)
        for wrong in ({}, {"volume": "b" * 64, "disk": disk}):
            with pytest.raises(ValueError, match="one of"):
                backups.restore(VM, node=url, **wrong)
    assert [rest for rest, _ in seen] == ["POST restore"] * 2
    assert json.loads(seen[0][1]) == {"volume_ref": "b" * 64}
    assert b'name="rootfs"; filename="rootfs.qcow2"' in seen[1][1]
    assert b"QFI\xfb" in seen[1][1]


@pytest.mark.parametrize(("status", "error"), [(403, NotAllowedError), (401, NotAllowedError), (404, NotFoundError)])
def test_orders_that_are_refused(connect: Any, status: int, error: type[Exception]) -> None:
    with serving(lambda request: answer(request, status, b"Unauthorized sender")) as url, pytest.raises(error):
        connect(url).machines.operate(VM, "erase", node=url)


def test_a_program_is_called_where_it_is_allocated(connect: Any) -> None:
    def handle(request: Any) -> None:
        if request.path.startswith("/api/"):
            period = {"start_timestamp": "2026-01-01T00:00:00+00:00", "duration_seconds": 60}
            node = {"node_id": "n", "url": url + "/", "name": "", "ipv6": None, "supports_ipv6": False}
            where = {"vm_hash": VM, "vm_type": "micro_vm", "vm_ipv6": None, "period": period, "node": node, "ccn": node}
            answer(request, 200, json.dumps(where).encode())
        else:
            body = request.rfile.read(int(request.headers.get("Content-Length", "0")))
            answer(request, 418, f"{request.command} {request.path} {request.headers['X-A']} ".encode() + body)

    with serving(handle) as url:
        got = connect(url).programs.call(VM, "/a/b?c=d", method="POST", headers={"X-A": "1"}, body=b"data")
    assert (got.status, got.body) == (418, f"POST /vm/{VM}/a/b?c=d 1 data".encode())


def test_executions_are_read_leniently(connect: Any) -> None:
    listed = {VM: {"vm_type": "instance", "running": True, "new": 1, "status": {"started_at": None},
                   "networking": {"host_ipv4": "192.0.2.1", "mapped_ports": {"22": {"host": 24001, "tcp": True}}}}}  # fmt: skip
    with serving(lambda request: answer(request, 200, json.dumps(listed).encode())) as url:
        execution = connect(url).machines.executions(url)[VM]
    assert execution.networking.mapped_ports["22"].host == 24001
    assert execution.extra == {"new": 1}


class TestPacking:
    def folder(self, path: Path, files: dict[str, bytes]) -> Path:
        for name, content in files.items():
            target = path / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        return path

    def test_the_same_files_make_the_same_bytes(self, tmp_path: Path) -> None:
        files = {"main.py": b"app = None", "pkg/a.py": b"", "pkg/__pycache__/a.pyc": b"x", ".git/HEAD": b"x", ".venv/v": b"x"}
        first, second = (pack(self.folder(tmp_path / name, files)) for name in ("one", "two"))
        with first.archive, second.archive:
            assert first.archive.read() == second.archive.read()
            assert (first.entrypoint, first.interface) == ("main:app", "asgi")
            import zipfile

            assert zipfile.ZipFile(first.archive).namelist() == ["main.py", "pkg/a.py"]

    @pytest.mark.parametrize(
        ("files", "entrypoint", "interface"),
        [
            ({"server": b"\x7fELF...", "readme": b""}, "server", "binary"),
            ({"hello.wasm": b"\0asm...", "data/note": b""}, "hello.wasm", "wasm"),
            ({"main.py": b"app: X = make()\n", "package.json": b"{}"}, "main:app", "asgi"),
        ],
    )
    def test_what_starts_is_found(self, tmp_path: Path, files: dict[str, bytes], entrypoint: str, interface: str) -> None:
        with (code := pack(self.folder(tmp_path, files))).archive:
            assert (code.entrypoint, code.interface, code.node) == (entrypoint, interface, False)

    @pytest.mark.parametrize(
        ("files", "command"),
        [
            ({"server.js": b""}, "node 'server.js'"),
            ({"package.json": b"{}", "index.js": b""}, "node 'index.js'"),
            ({"package.json": b'{"main":"./it\'s.js"}', "it's.js": b""}, r"node 'it'\''s.js'"),
            ({"package.json": b'{"scripts":{"start":"node --x b.js"}}'}, "node --x b.js"),
            ({"main.py": b"from flask import Flask\napp = Flask(__name__)\n"}, "'main:app'"),
            ({"main.py": b"def application(environ, start):\n"}, "'main:application'"),
            ({"wsgi.py": b"app = make()\n"}, "'wsgi:app'"),
        ],
    )
    def test_a_script_starts_what_is_no_binary(self, tmp_path: Path, files: dict[str, bytes], command: str) -> None:
        import zipfile

        files = {**files, "node_modules/a/index.js": b"", "node_modules/.bin/tool": b""}
        with (code := pack(self.folder(tmp_path, files))).archive:
            assert (code.entrypoint, code.interface) == ("aleph-start", "binary")
            packed = zipfile.ZipFile(code.archive)
            script = packed.read("aleph-start").decode()
            if code.node:
                assert script == f"#!/bin/sh\nexec {command}\n"
            else:
                assert script.startswith(f"#!/bin/sh\nexec python3 -m uvicorn --interface wsgi {command} --host 127.0.0.1 ")
            assert packed.getinfo("aleph-start").external_attr >> 16 & 0o777 == 0o755
            assert ("node_modules/a/index.js" in packed.namelist()) == code.node
            assert "node_modules/.bin/tool" not in packed.namelist()

    def test_a_file_is_a_program(self, tmp_path: Path) -> None:
        file = self.folder(tmp_path, {"server": b"\x7fELF", "other": b"\x7fELF"}) / "server"
        with (code := pack(file)).archive:
            import zipfile

            assert zipfile.ZipFile(code.archive).namelist() == ["server"]
            assert code.entrypoint == "server"

    def test_a_link_is_refused(self, tmp_path: Path) -> None:
        self.folder(tmp_path, {"main.py": b"app = 1\n"})
        (tmp_path / "link").symlink_to(tmp_path)
        with pytest.raises(ValueError, match="not a regular file"):
            pack(tmp_path)

    @pytest.mark.parametrize(
        ("files", "entrypoint", "text"),
        [
            ({".git/HEAD": b""}, None, "no files"),
            ({"a.txt": b""}, None, "not clear"),
            ({"main.py": b"x = 1\n"}, None, "not clear"),
            ({"a": b"\x7fELF", "b": b"\x7fELF"}, None, "2 binaries"),
            ({"index.html": b""}, None, "website"),
            ({"package.json": b'{"main":"absent.js"}'}, None, "not clear"),
            ({"package.json": b"{", "server.js": b""}, None, "package.json: "),
            ({"a": b""}, "b", "no file b"),
            ({"a": b""}, "main:", "module:variable"),
        ],
    )
    def test_what_cannot_be_started_is_refused(
        self, tmp_path: Path, files: dict[str, bytes], entrypoint: str | None, text: str
    ) -> None:
        with pytest.raises(ValueError, match=text):
            pack(self.folder(tmp_path, files), entrypoint)


def test_records_of_domains() -> None:
    assert [(r.type, r.name, r.value) for r in dns_records("a.example", "program", "0xme")] == [
        ("CNAME", "a.example", "a.example.program.public.aleph.sh"),
        ("TXT", "_control.a.example", "0xme"),
    ]
    assert len(dns_records("a.example", "ipfs", "0xme")) == 3


def test_public_nodes_are_asked_when_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with Client() as client:
        assert client._core.endpoints.urls[0].startswith("https://")
    monkeypatch.setenv("ALEPH_API_HOST", "http://node/")
    with Client() as client:
        assert client._core.endpoints.urls == ["http://node"]
