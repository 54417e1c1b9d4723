"""How a folder becomes the code of a program."""

from __future__ import annotations

import os
import stat
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

LEFT_OUT = frozenset({".git", ".hg", ".venv", "venv", "__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache"})
"""Folders that are no part of a program."""


@dataclass(frozen=True)
class Code:
    """A program as it is packed."""

    archive: BinaryIO
    entrypoint: str
    interface: str
    """asgi or binary."""


def pack(folder: str | os.PathLike[str], entrypoint: str | None = None) -> Code:
    """Pack a folder. The same files make the same bytes, so that what is on the network already has the same hash.

    An entrypoint is module:variable of an ASGI program, or the name of a file that is run and listens on port 8080. When none
    is given, main.py is taken for an ASGI program whose variable is app, and else the only binary of Linux for the program.
    """
    root = Path(folder)
    files = _files_in(root)
    if not files:
        raise ValueError(f"{root} holds no files")
    found = entrypoint or _detect(root, files)
    interface = "asgi" if ":" in found else "binary"
    if interface == "binary" and found not in files:
        raise ValueError(f"there is no file {found} in {root}")
    archive = tempfile.TemporaryFile()  # noqa: SIM115 - who uploads it closes it
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in files:
            path = root / name
            runs = name == found or path.stat().st_mode & 0o111
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.create_system = 3  # Unix, as external_attr holds its modes
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (stat.S_IFREG | (0o755 if runs else 0o644)) << 16
            with open(path, "rb") as source, packed.open(entry, "w", force_zip64=True) as target:
                while piece := source.read(1 << 18):
                    target.write(piece)
    archive.seek(0)
    return Code(archive, found, interface)


def _files_in(root: Path) -> list[str]:
    if not root.is_dir():
        raise ValueError(f"{root} is not a folder")
    files: list[str] = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in LEFT_OUT]
        for name in names:
            path = Path(folder, name)
            if not path.is_file():
                raise ValueError(f"{path} is not a regular file and cannot be packed")
            if not name.endswith(".pyc"):
                files.append(path.relative_to(root).as_posix())
    return sorted(files)


def _detect(root: Path, files: list[str]) -> str:
    if "main.py" in files:
        return "main:app"
    binaries = [name for name in files if _begins(root / name, b"\x7fELF")]
    if len(binaries) != 1:
        raise ValueError(
            f"{root}: how it starts is not clear: there is no main.py and {len(binaries)} binaries of Linux; pass entrypoint="
        )
    return binaries[0]


def _begins(path: Path, magic: bytes) -> bool:
    with open(path, "rb") as file:
        return file.read(len(magic)) == magic
