"""How a folder becomes the code of a program. The rules are those of the Go SDK and of `aleph` (docs/programs.md)."""

from __future__ import annotations

import json
import os
import re
import stat
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

Interface = Literal["asgi", "wsgi", "binary", "wasm"]
"""How a program takes requests. One of WSGI is of the interface binary to the network, as a script starts its server."""

LEFT_OUT = frozenset(
    {".git", ".hg", ".venv", "venv", "node_modules", "__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache"}
)
"""Folders that are no part of a program."""

LEFT_OUT_OF_NODE = frozenset({".git", ".hg", ".bin"})
"""The same of a Node program, which brings its modules along. The tools in .bin are links."""

START_SCRIPT = "aleph-start"
"""The file that starts a program which is no binary by itself. It is made."""

# How a Python file says that it has an application. PEP 3333 calls one of WSGI application; Flask and Bottle make no others.
_SOME_APP = re.compile(r"^app\s*(:[^=\n]+)?=", re.MULTILINE)
_WSGI_MADE = re.compile(
    r"^app\s*(:[^=\n]+)?=\s*(flask\.Flask|Flask|bottle\.Bottle|Bottle|bottle\.default_app|default_app)\(", re.MULTILINE
)
_WSGI_NAME = re.compile(r"^(application\s*(:[^=\n]+)?=|def\s+application\s*\()", re.MULTILINE)


@dataclass(frozen=True)
class Code:
    """A program as it is packed."""

    archive: BinaryIO
    entrypoint: str
    interface: Literal["asgi", "binary", "wasm"]
    node: bool
    """Whether its runtime needs Node.js."""


@dataclass
class _Found:
    entrypoint: str
    interface: Interface | None
    script: str = ""
    node: bool = False

    def start_with(self, command: str) -> None:
        self.entrypoint, self.interface = START_SCRIPT, "binary"
        self.script = f"#!/bin/sh\nexec {command}\n"


def pack(path: str | os.PathLike[str], entrypoint: str | None = None, interface: Interface | None = None) -> Code:
    """Pack a folder or a file. The same files make the same bytes, so that what is on the network already has the same hash.

    An entrypoint is module:variable of a Python program, or the file to run, which listens on port 8080 or is WebAssembly. What
    is not said is found: an application in main.py or wsgi.py, a Node program, or the only binary. What cannot be started is a
    ValueError.
    """
    root = Path(path)
    alone = root.is_file()
    files = [root.name] if alone else _files_in(root, LEFT_OUT)
    if alone:
        root = root.parent
    found = _detect(root, files, interface) if entrypoint is None else _Found(entrypoint, interface)
    if found.node:
        files = _files_in(root, LEFT_OUT_OF_NODE)
    kind = found.interface or _kind(root, found.entrypoint)
    if kind in ("asgi", "wsgi"):
        module, _, app = found.entrypoint.partition(":")
        if not module or not app:
            raise ValueError(f"entrypoint {found.entrypoint}: a Python program is named module:variable, such as main:app")
    elif kind not in ("binary", "wasm"):
        raise ValueError(f"interface {kind}: want asgi, wsgi, binary or wasm")
    elif not found.script and found.entrypoint not in files:
        raise ValueError(f"there is no file {found.entrypoint} in {root}")
    if kind == "wsgi":
        app = _quote(found.entrypoint)
        found.start_with(f'python3 -m uvicorn --interface wsgi {app} --host 127.0.0.1 --port "$PORT" --no-access-log')
        kind = "binary"
    archive = tempfile.TemporaryFile()  # noqa: SIM115 - who uploads it closes it
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in files:
            source = root / name
            runs = (kind == "binary" and name == found.entrypoint) or source.stat().st_mode & 0o111
            with open(source, "rb") as file, packed.open(_entry(name, bool(runs)), "w", force_zip64=True) as target:
                while piece := file.read(1 << 18):
                    target.write(piece)
        if found.script:
            packed.writestr(_entry(START_SCRIPT, True), found.script)
    archive.seek(0)
    return Code(archive, found.entrypoint, kind, found.node)


def _entry(name: str, runs: bool) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    entry.create_system = 3  # Unix, as external_attr holds its modes
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = (stat.S_IFREG | (0o755 if runs else 0o644)) << 16
    return entry


def _files_in(root: Path, left_out: frozenset[str]) -> list[str]:
    if not root.is_dir():
        raise ValueError(f"{root} is neither folder nor file")
    files: list[str] = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in left_out]
        for name in [*names, *(each for each in folders if Path(folder, each).is_symlink())]:
            path = Path(folder, name)
            if path.is_symlink() or not path.is_file():
                raise ValueError(f"{path} is not a regular file and cannot be packed")
            if not name.endswith(".pyc"):
                files.append(path.relative_to(root).as_posix())
    if not files:
        raise ValueError(f"{root} holds no files")
    return sorted(files)


def _kind(root: Path, entrypoint: str) -> Literal["asgi", "binary", "wasm"]:
    if ":" in entrypoint:
        return "asgi"
    return "wasm" if _begins(root / entrypoint, b"\0asm") else "binary"


def _detect(root: Path, files: list[str], interface: Interface | None) -> _Found:
    if python := _detect_python(root, files):
        return _Found(python.entrypoint, interface or python.interface)
    if "package.json" in files or "server.js" in files:
        return _detect_node(root, files)
    binaries = [name for name in files if "/" not in name and _begins(root / name, b"\x7fELF", b"\0asm")]
    if len(binaries) == 1:
        return _Found(binaries[0], interface)
    if not binaries and "index.html" in files:
        raise ValueError(f"{root} is a website, which needs no program: websites.deploy")
    raise ValueError(
        f"{root}: how it starts is not clear: there is no main.py with a variable app, no main.py or wsgi.py with an "
        f"application, no package.json or server.js, and {len(binaries)} binaries of Linux or WebAssembly; pass entrypoint="
    )


def _detect_python(root: Path, files: list[str]) -> _Found | None:
    """Find an application of ASGI, which is named app, or of WSGI."""
    for module in ("main", "wsgi"):
        if f"{module}.py" not in files:
            continue
        source = (root / f"{module}.py").read_text(errors="replace")
        if _WSGI_MADE.search(source) or (module == "wsgi" and _SOME_APP.search(source)):
            return _Found(f"{module}:app", "wsgi")
        if _SOME_APP.search(source):
            return _Found(f"{module}:app", "asgi")
        if _WSGI_NAME.search(source):
            return _Found(f"{module}:application", "wsgi")
    return None


def _detect_node(root: Path, files: list[str]) -> _Found:
    """Find the command of a Node program: its script "start" where that calls node, else what package.json names."""
    manifest = {}
    if "package.json" in files:
        try:
            manifest = json.loads((root / "package.json").read_text())
            if not isinstance(manifest, dict):
                raise ValueError("it is no object")
        except ValueError as wrong:
            raise ValueError(f"{root}: package.json: {wrong}") from wrong
    scripts = manifest.get("scripts")
    start = scripts.get("start") if isinstance(scripts, dict) else None
    if not isinstance(start, str) or not start.startswith("node "):  # what else it may call is not in the runtime
        main = manifest.get("main")
        named = main.removeprefix("./") if isinstance(main, str) else ""
        start = next((f"node {_quote(name)}" for name in (named, "server.js", "index.js") if name in files), None)
    if start is None:
        raise ValueError(
            f"{root}: how it starts is not clear: package.json has no script start that begins with node and names no main "
            "that is there, and there is no server.js or index.js; pass entrypoint="
        )
    found = _Found("", None, node=True)
    found.start_with(start)
    return found


def _quote(text: str) -> str:
    """Make a word of the shell of any text, always with quotes."""
    return "'" + text.replace("'", "'\\''") + "'"


def _begins(path: Path, *magic: bytes) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(4) in magic
    except OSError:
        return False
