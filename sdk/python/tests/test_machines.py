"""Orders to compute nodes, checked as a compute node checks them (crn §2.1.1)."""

from __future__ import annotations

import base64
import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from aleph_im import Client, from_key
from aleph_im.domains import dns_records
from aleph_im.errors import NotAllowedError, NotFoundError
from aleph_im.keys import base58
from aleph_im.pack import pack
from aleph_im.verify import verify_signature

from .test_drivers import answer, connect, serving

__all__ = ["connect"]  # the fixture

VM = "a" * 64


def allowed(headers: Any, method: str, path: str, now: datetime) -> dict[str, Any]:
    """Return what the account delegated, after all checks that a compute node makes."""
    key, act = json.loads(headers["X-SignedPubKey"]), json.loads(headers["X-SignedOperation"])
    payload = bytes.fromhex(key["payload"])
    delegated: dict[str, Any] = json.loads(payload)
    chain, address = delegated["chain"], delegated["address"]
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


@pytest.mark.parametrize("chain", ["ETH", "SOL"])
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

    def test_a_binary_is_found(self, tmp_path: Path) -> None:
        with (code := pack(self.folder(tmp_path, {"server": b"\x7fELF...", "readme": b""}))).archive:
            assert (code.entrypoint, code.interface) == ("server", "binary")

    @pytest.mark.parametrize(
        ("files", "entrypoint", "text"),
        [
            ({}, None, "no files"),
            ({"a.txt": b""}, None, "not clear"),
            ({"a": b"\x7fELF", "b": b"\x7fELF"}, None, "not clear"),
            ({"a": b""}, "b", "no file b"),
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
