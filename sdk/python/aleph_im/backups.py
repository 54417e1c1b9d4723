"""Backups of instances: copies of their disks, on their compute node for a day (crn §2.8)."""

from __future__ import annotations

import hashlib
import json
import os
import re
from typing import BinaryIO
from urllib.parse import urlsplit

from .answers import Backup as Backup
from .core import Core, decoded, segment
from .download import place, transfer
from .errors import AnswerError, DeadlineError, VerificationError
from .machines import accepted, node_of, once, signed_headers
from .operation import Call, Invoke, M, Pause, Response, Service, operation
from .source import Content, Progress, Source, content_of
from .upload import form_of


class Backups(Service[M]):
    """Backups of instances of the client's account.

    node is the URL of the compute node that has the instance; one that is not named is asked of the network.
    """

    @operation
    def start(self, item_hash: str, *, volumes: bool = False, node: str | None = None) -> Call[Backup | None]:
        """Have the disk of a running instance copied, with volumes those beside it too.

        Return None while the copy is being made, which wait waits for, or one that is there already.
        """
        query = "?include_volumes=true" if volumes else ""
        return (yield from self._ask("POST", item_hash, query, node))

    @operation
    def get(self, item_hash: str, *, node: str | None = None) -> Call[Backup | None]:
        """Return the backup of an instance, None while it is being made; that there is none is a NotFoundError."""
        return (yield from self._ask("GET", item_hash, "", node))

    @operation
    def wait(self, item_hash: str, *, node: str | None = None, timeout: float = 600.0) -> Call[Backup]:
        """Return the backup of an instance once it is made, within timeout seconds."""
        core, pause = self._core, 0.5
        base = yield from node_of(core, item_hash, node)
        end = core.clock() + timeout
        while (backup := (yield from self._ask("GET", item_hash, "", base))) is None:
            if core.clock() + pause > end:
                raise DeadlineError(f"the backup of {item_hash} is still being made after {timeout:g} s")
            yield Pause(pause)
            pause = min(2 * pause, 5.0)
        return backup

    @operation
    def delete(self, item_hash: str, backup_id: str, *, node: str | None = None) -> Call[None]:
        """Remove a backup from its compute node."""
        if not re.fullmatch("[A-Za-z0-9_-]+", backup_id):
            raise ValueError(f"{backup_id!r} is no name of a backup")
        base = yield from node_of(self._core, item_hash, node)
        path = f"{_path(item_hash, 'backup')}/{backup_id}"
        headers = yield from signed_headers(self._core, "DELETE", base, path)
        accepted("DELETE", base + path, (yield from once(self._core, "DELETE", base, path, headers)))

    @operation
    def download(
        self,
        item_hash: str,
        backup: Backup,
        to: str | os.PathLike[str] | BinaryIO,
        *,
        node: str | None = None,
        progress: Progress | None = None,
    ) -> Call[int]:
        """Write the archive of a backup, a tar of disks, to a path or an open file, and return its size in bytes.

        A path gets it once it was checked, and nothing before; a transfer that breaks off goes on where it was. Of the link the
        path and query alone are taken: the compute node of the instance is asked.
        """
        base = yield from node_of(self._core, item_hash, node)
        link = urlsplit(backup.download_url)
        path = f"{link.path}?{link.query}"
        # A root disk holds what only its owner may read.
        return (yield from place(to, lambda file: _copy(self._core, base, path, backup, file, progress), 0o600))

    @operation
    def restore(
        self,
        item_hash: str,
        *,
        volume: str | None = None,
        disk: Source | None = None,
        node: str | None = None,
        progress: Progress | None = None,
    ) -> Call[None]:
        """Replace the root disk of an instance.

        Either by the disk image that a STORE message, volume, keeps, or by one that is sent, disk: the rootfs.qcow2 of a
        backup is such.
        """
        if (volume is None) == (disk is None):
            raise ValueError("restore takes one of volume and disk")
        base = yield from node_of(self._core, item_hash, node)
        path = _path(item_hash, "restore")
        headers = yield from signed_headers(self._core, "POST", base, path)
        if disk is None:
            body = json.dumps({"volume_ref": volume}).encode()
            answer: Response = yield from once(self._core, "POST", base, path, headers, body)
        else:
            source: Source = disk
            content: Content = yield Invoke(lambda: content_of(source))
            try:
                form, kind = form_of(None, content, progress, "rootfs")
                answer = yield from once(self._core, "POST", base, path, headers | kind, form)
            finally:
                content.close()
        accepted("POST", base + path, answer)

    def _ask(self, method: str, item_hash: str, query: str, node: str | None) -> Call[Backup | None]:
        base = yield from node_of(self._core, item_hash, node)
        path = _path(item_hash, "backup")
        headers = yield from signed_headers(self._core, method, base, path)
        answer = yield from once(self._core, method, base, path + query, headers)
        if answer.status == 202:
            return None
        accepted(method, base + path, answer)
        try:
            return Backup.read(decoded(answer.body))
        except ValueError as wrong:
            raise AnswerError(f"backup of {item_hash}: the compute node sent no JSON: {wrong}") from wrong


def _path(item_hash: str, what: str) -> str:
    return f"/control/machine/{segment(item_hash)}/{what}"


def _copy(core: Core, base: str, path: str, backup: Backup, file: BinaryIO, progress: Progress | None) -> Call[int]:
    """Write an archive as it comes, and check it in the end."""
    digest = hashlib.sha256()

    def each(piece: bytes) -> Invoke:
        digest.update(piece)
        return Invoke(lambda: file.write(piece))

    size = yield from transfer(core, base, path, each, progress)
    if (found := f"sha256:{digest.hexdigest()}") != backup.checksum:
        raise VerificationError(f"download backup {backup.backup_id}: the node sent other bytes (their checksum is {found})")
    return size
