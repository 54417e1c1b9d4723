"""Folders: their CIDs, on their way to a real node and back, and what nodes may not put into them."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import httpx
import pytest

from aleph_im import AlephError, Client, NotFoundError, VerificationError
from aleph_im.archive import pack_folder
from aleph_im.cid import RAW, V1, CIDHasher, Layout, Node, node, usual_layouts
from aleph_im.errors import AnswerError, ForgottenError, TransportError
from aleph_im.unixfs import folder

from .node import Node as CoreNode
from .test_drivers import answer, connect, serving
from .vectors import load

__all__ = ["connect"]  # the fixture

# The folders of the vectors, which describe them in words, as those of one level; x is a file of one letter.
TREES: dict[str, dict[str, bytes]] = {
    "single-file": {"hello.txt": b"hello\n"},
    "multi-chunk": {"big.bin": b"x" * 1_048_576},
    "flat-10": {f"{letter}.txt": letter.encode() for letter in "abcdefghij"},
    "nested": {"top.txt": b"top\n", "sub/inner.txt": b"inner\n", "sub/deeper/leaf.txt": b"leaf\n"},
    "hamt-short": {f"{i:08}": b"x" for i in range(6000)},
    "hamt-long": {f"{i:04}" + "z" * 246: b"x" for i in range(920)},
    "empty-dir": {},
    "empty-file": {"empty": b""},
    "utf8-names": {"café.txt": b"a\n", "日本.txt": b"b\n", "🚀.txt": b"c\n"},
    "threshold-below": {f"{i:08}": b"x" for i in range(5957)},
    "threshold-above": {f"{i:08}": b"x" for i in range(5958)},
}


def written(path: Path, files: dict[str, bytes]) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def read(path: Path) -> dict[str, bytes]:
    return {each.relative_to(path).as_posix(): each.read_bytes() for each in path.rglob("*") if each.is_file()}


def root_of(files: dict[str, bytes], layout: Layout) -> Node:
    """Return the root of a folder, made in memory."""
    inside: dict[str, Any] = {}
    for name, content in files.items():
        *folders, last = name.split("/")
        at = inside
        for each in folders:
            at = at.setdefault(each, {})
        at[last] = content

    def made(what: dict[str, Any] | bytes) -> Node:
        if isinstance(what, dict):
            return folder(layout.version, {name: made(each) for name, each in what.items()})
        hasher = CIDHasher(layout)
        hasher.update(what)
        return hasher.root()

    return made(inside)


def test_cids_of_folders_are_those_of_ipfs(tmp_path: Path) -> None:
    seen = set()
    for vector in load("hashes.json")["folders"]:
        files = TREES[vector["id"]]
        layout = next(each for each in usual_layouts(vector["cid"]))
        assert root_of(files, layout).text == vector["cid"], vector["id"]
        if layout == V1 and len(files) < 900:
            packed = pack_folder(written(tmp_path / vector["id"], files))
            assert packed.cid == vector["cid"]
            with packed.open() as car:
                assert len(car.read(2 << 20)) == packed.size
        seen.add(vector["id"])
    assert seen == TREES.keys()


def test_what_is_neither_file_nor_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/passwd")
    with pytest.raises(ValueError, match="link is neither"):
        pack_folder(tmp_path)


def test_the_same_block_is_sent_once(tmp_path: Path) -> None:
    block = b"same" * 50_000
    packed = pack_folder(written(tmp_path, {"one": block, "two": block, "sub/three": block}))
    assert packed.size < 2 * len(block)
    with packed.open() as car:
        assert car.read(1 << 20).count(block) == 1


def test_a_folder_goes_to_ipfs_and_comes_back(either: Any, tmp_path: Path) -> None:
    files = {"a.txt": b"a", "sub/big": b"0123456789" * 60_000, "sub/.hidden": b"", **{f"many/{i}": b"x" for i in range(50)}}
    source = written(tmp_path / "source", files)
    (source / "empty").mkdir()
    before = pack_folder(source)
    moved: list[tuple[int, int]] = []
    stored = either.files.upload_folder(before, ref="site", progress=lambda done, total: moved.append((done, total)))
    assert (stored.file_hash, stored.size, stored.status) == (before.cid, before.size, "processed")
    assert moved[-1] == (before.size, before.size)
    assert either.files.of_ref("site").file_hash == before.cid

    target = tmp_path / "target"
    assert either.files.download_folder(before.cid, target) == sum(map(len, files.values()))
    assert read(target) == files
    assert (target / "empty").is_dir()
    with pytest.raises(FileExistsError):
        either.files.download_folder(before.cid, target)
    with pytest.raises(IsADirectoryError, match="upload_folder"):
        either.files.upload(source)
    with pytest.raises(AlephError, match="is a folder"):
        either.files.read(before.cid)
    with pytest.raises(AlephError, match="is a folder"):
        either.files.download(before.cid, tmp_path / "f")
    single = either.files.upload(b"single", engine="ipfs").file_hash
    with pytest.raises(AlephError, match="is a file"):
        either.files.download_folder(single, tmp_path / "f")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["source", "target"]


def header_of(size: int) -> bytes:
    """Return the header of a header that has a size and does not come."""
    info = tarfile.TarInfo("header")
    info.type, info.size = tarfile.XHDTYPE, size
    return info.tobuf()


def archive(*entries: tuple[str, bytes | None], kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    """Return a tar; an entry without bytes is a folder, and the last one is of the given kind."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for i, (name, content) in enumerate(entries):
            info = tarfile.TarInfo(name)
            info.type = tarfile.DIRTYPE if content is None else kind if i == len(entries) - 1 else tarfile.REGTYPE
            info.size, info.linkname = len(content or b""), link
            tar.addfile(info, io.BytesIO(content or b""))
    return out.getvalue()


FILES = {"a.txt": b"a", "sub/b.txt": b"b"}
RIGHT: list[tuple[str, bytes | None]] = [("r", None), ("r/a.txt", b"a"), ("r/sub", None), ("r/sub/b.txt", b"b")]


def sending(body: bytes) -> Any:
    def handle(request: Any) -> None:
        request.send_response(200)
        request.send_header("Content-Type", "application/x-tar")
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)

    return serving(handle)


@pytest.mark.parametrize("layout", [*usual_layouts("Qm"), *usual_layouts("bafy")])
def test_folders_are_proven_in_every_usual_layout(connect: Any, tmp_path: Path, layout: Layout) -> None:
    with sending(archive(*RIGHT)) as url:
        assert connect(url).files.download_folder(root_of(FILES, layout).text, tmp_path / "out") == 2
    assert read(tmp_path / "out") == FILES


@pytest.mark.parametrize(
    ("body", "error", "text"),
    [
        (archive(*RIGHT[:3], ("r/sub/b.txt", b"x")), VerificationError, "other bytes"),
        (archive(*RIGHT[:3]), VerificationError, "other bytes"),
        (archive(*RIGHT, ("r/more", b"")), VerificationError, "other bytes"),
        (archive(*RIGHT, ("r/a.txt", b"a")), AnswerError, "twice"),
        (archive(RIGHT[0], RIGHT[3]), AnswerError, "before its folder"),
        (archive(RIGHT[0], ("r/../../out", b"")), AnswerError, "leads out"),
        (archive(RIGHT[0], ("r/../r/out", b"")), AnswerError, "leads out"),
        (archive(("/", None), ("/etc", None)), AnswerError, "leads out"),
        (archive(RIGHT[0], ("r/link", b""), kind=tarfile.SYMTYPE, link="/etc/passwd"), AnswerError, "neither file nor"),
        (archive(RIGHT[0], ("r/link", b""), kind=tarfile.LNKTYPE, link="r"), AnswerError, "neither file nor"),
        (archive(RIGHT[0], ("r/pipe", b""), kind=tarfile.FIFOTYPE), AnswerError, "neither file nor"),
        (archive(("r", None), ("s", None)), AnswerError, "does not begin"),
        (b"", AnswerError, "no archive"),
        (archive(("file", b"x")), AnswerError, "does not begin"),
        (archive(*RIGHT)[:700], VerificationError, "other bytes"),
        (archive(*(("/".join("r" * depth), None) for depth in range(1, 300))), AnswerError, "more than 200"),
        (b"hello", AnswerError, "no archive"),
        (header_of(4 << 30), AnswerError, "header of 4294967296 bytes"),
    ],
)
def test_folders_that_are_not_what_was_asked_for(
    connect: Any, tmp_path: Path, body: bytes, error: type[Exception], text: str
) -> None:
    with sending(body) as url, pytest.raises(error, match=text):
        connect(url).files.download_folder(root_of(FILES, V1).text, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_whose_transfer_breaks_off_is_an_error(connect: Any, tmp_path: Path) -> None:
    def handle(request: Any) -> None:
        request.send_response(200)
        request.send_header("Content-Type", "application/x-tar")
        request.send_header("Content-Length", "10240")
        request.end_headers()
        request.wfile.write(archive(*RIGHT)[:600])
        request.close_connection = True

    with serving(handle) as url, pytest.raises(TransportError):
        connect(url).files.download_folder(root_of(FILES, V1).text, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_node_that_keeps_another_folder_is_caught(connect: Any, tmp_path: Path) -> None:
    def handle(request: Any) -> None:
        request.rfile.read(int(request.headers["Content-Length"]))
        answer(request, 200, b'{"status":"success","hash":"bafyother"}')

    with serving(handle) as url, pytest.raises(VerificationError, match="kept it as"):
        connect(url).files.upload_folder(written(tmp_path, FILES))


def test_websites_are_put_on_the_web_changed_and_taken_off(either: Any, node: CoreNode, tmp_path: Path) -> None:
    site = written(tmp_path / "blog", {"index.html": b"one", "css/style.css": b""})
    assert either.websites.list() == {}
    first = either.websites.deploy(site)
    assert (first.name, first.version) == ("blog", 1)
    host = f"{first.cid}.ipfs.localhost:{node.port}"
    assert first.url == f"http://{host}/"
    assert httpx.get(node.url, headers={"Host": host}).text == "one"  # not every resolver leads names of localhost home
    written(site, {"index.html": b"two"})
    second = either.websites.deploy(site, "blog")
    assert second.cid == pack_folder(site).cid != first.cid
    shown = either.websites.list()["blog"]
    assert (shown.version, shown.volume_id, shown.history) == (2, second.volume, {"1": first.volume})
    assert shown.metadata == {"name": "blog", "tags": [], "framework": "none"}
    assert shown.created_at <= shown.updated_at
    either.websites.publish("blog", first.volume, payment={"chain": "ETH", "type": "hold"})
    shown = either.websites.list()["blog"]
    assert (shown.version, shown.payment) == (3, {"chain": "ETH", "type": "hold"})
    assert shown.ens == []
    either.websites.delete("blog")
    assert either.websites.list() == {}
    for volume in (first.volume, second.volume):
        with pytest.raises(ForgottenError):
            either.messages.wait(volume)
    with pytest.raises(NotFoundError):
        either.websites.delete("blog")
    with pytest.raises(ValueError, match="no website"):
        either.websites.deploy(tmp_path)


def test_a_leaf_of_version_0_is_named_in_version_1_when_it_is_raw() -> None:
    assert node(0, RAW, b"x", 1, 0, None).text.startswith("bafk")


def test_a_folder_in_shards_is_the_same_for_the_node(client: Client, tmp_path: Path) -> None:
    source = written(tmp_path / "source", {f"{i:03}-{'n' * 240}": b"%d" % (i % 7) for i in range(950)})
    stored = client.files.upload_folder(source)
    assert client.files.download_folder(stored.file_hash, tmp_path / "target") == 950
    assert read(tmp_path / "target") == read(source)


@pytest.mark.parametrize(
    ("node", "url"),
    [
        (None, "https://bafy.ipfs.aleph.sh/"),
        ("https://api3.aleph.im/", "https://bafy.ipfs.aleph.sh/"),
        ("https://node.example/", "https://node.example/ipfs/bafy/"),
        ("http://192.0.2.1:4024", "http://192.0.2.1:4024/ipfs/bafy/"),
        ("http://127.0.0.1:4024", "http://bafy.ipfs.localhost:4024/"),
        ("http://[::1]:4024", "http://bafy.ipfs.localhost:4024/"),
        ("http://localhost", "http://bafy.ipfs.localhost/"),
    ],
)
def test_websites_are_where_their_network_serves_them(node: str | None, url: str) -> None:
    assert Client(node).websites.url("bafy") == url
