"""Uploads that go on where they broke off, by tus 1.0.0 (decision 32)."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin

from .core import Core, decoded, segment
from .errors import AnswerError, NotFoundError, StatusError, TransportError, of_status
from .operation import Call, Pause, Request, Response
from .source import PIECE, Content, Progress
from .upload import STALL

UPLOADS = "/api/v0/uploads"

RESUME_FROM = 8 << 20
"""Bytes from which on an upload is one that resumes: smaller ones are quicker sent again than asked about."""

SETTLING = 31 * 60.0
"""Seconds in which a node answers that has all of an upload: it may take half an hour to store it."""

_TRY_LATER = (429, 502, 503, 504)
_LOOK_ANEW = (400, 404, 408, 409, 410, 423)
"""Answers after which an upload is elsewhere than was thought."""


@dataclass(frozen=True)
class _Rest:
    """A file from an offset on, as the body of a request."""

    content: Content
    offset: int
    reached: Callable[[int], None]

    @property
    def length(self) -> int:
        return self.content.size - self.offset

    def chunks(self) -> Iterator[bytes]:
        at = self.offset
        with self.content.open(at) as file:
            while at < self.content.size and (piece := file.read(min(PIECE, self.content.size - at))):
                yield piece
                at += len(piece)
                self.reached(at)


class Resuming:
    """One upload."""

    def __init__(
        self,
        core: Core,
        item_hash: str,
        payer: Mapping[str, Any],
        content: Content,
        *,
        car: bool,
        progress: Progress | None,
        resumed: Callable[[int], None] | None,
    ) -> None:
        self._core, self._store, self._content = core, item_hash, content
        self._sync = bool(payer["sync"])
        self._progress, self._resumed = progress, resumed
        said = base64.b64encode(json.dumps(payer, ensure_ascii=False).encode()).decode()
        self._metadata = f"metadata {said}" + (f",format {base64.b64encode(b'car').decode()}" if car else "")
        self._at, self._moved = -1, core.clock()

    def run(self, file_hash: str) -> Call[Response | None]:
        """Send what the node lacks, again while it is away for less than a minute.

        The answer is that of an upload in one piece. None stands for a node that takes the file only so.
        """
        core, wait, attempt = self._core, self._core.options.backoff, 0
        while True:
            node, before = core.endpoints.order()[0], self._at
            answer: Response | None = None
            failure: TransportError | StatusError | None = None
            try:
                answer = yield from self._attempt(node, file_hash)
                if answer is None:
                    return None
                if answer.status not in _TRY_LATER:
                    core.endpoints.worked(node)
                    return answer
            except (TransportError, StatusError) as broken:
                failure = broken
            core.endpoints.failed(node)
            if self._at > before:
                attempt, wait = 0, core.options.backoff
            attempt += 1
            if attempt >= core.options.attempts and (self._at < 0 or core.clock() - self._moved > STALL):
                if failure and self._at > 0:
                    raise TransportError(f"{failure}; the same upload goes on where it was, within a day") from failure
                if failure:
                    raise failure
                return answer
            yield Pause(wait)
            wait = min(2 * wait, 5.0)

    def _attempt(self, node: str, file_hash: str) -> Call[Response | None]:
        """Begin the upload at a node, or find it there, and send what is missing."""
        size = self._content.size
        if self._at == size and (done := (yield from self._finished(node, file_hash))):
            return done  # the answer to its end was what was lost
        headers = {"Upload-Length": str(size), "Upload-Metadata": self._metadata}
        answer = yield from self._exchange("POST", node + UPLOADS, headers)
        if answer.status in (404, 405, 501) or (answer.status == 503 and self._at < 0):
            return None
        if answer.status == 409:  # the node has the message already
            return (yield from self._finished(node, file_hash)) or answer
        if answer.status != 201:
            return answer
        if "location" not in answer.headers:
            return None
        place = urljoin(node + UPLOADS, answer.headers["location"])
        answer = yield from self._exchange("HEAD", place, {}, settle=SETTLING)
        if answer.status != 200:
            return (yield from self._stopped("HEAD", node, file_hash, answer))
        offset = _offset(answer)
        if not 0 <= offset <= size:
            raise AnswerError(
                f"HEAD {place}: the node has {answer.headers.get('upload-offset')!r} of {size} bytes, which makes no sense"
            )
        if offset and self._resumed:
            self._resumed(offset)
        self._reached(offset)
        headers = {"Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream"}
        answer = yield from self._exchange("PATCH", place, headers, _Rest(self._content, offset, self._reached), SETTLING)
        if answer.status != 204:
            return (yield from self._stopped("PATCH", node, file_hash, answer))
        if self._sync and (done := (yield from self._finished(node, file_hash))):
            return done
        return _kept(202, file_hash)

    def _exchange(
        self, method: str, url: str, headers: Mapping[str, str], body: _Rest | bytes = b"", settle: float | None = None
    ) -> Call[Response]:
        answer: Response = yield Request(method, url, {"Tus-Resumable": "1.0.0", **headers}, body, STALL, settle=settle)
        return answer

    def _reached(self, at: int) -> None:
        if at > self._at:
            self._at, self._moved = at, self._core.clock()
        if self._progress:
            self._progress(at, self._content.size)

    def _stopped(self, method: str, node: str, file_hash: str, answer: Response) -> Call[Response]:
        """Make an error of an answer after which the upload is looked for anew."""
        if answer.status in (404, 410) and (done := (yield from self._finished(node, file_hash))):
            return done
        if answer.status in _LOOK_ANEW:
            raise of_status(method, node + UPLOADS, answer.status, answer.body[:1000].decode(errors="replace"))
        return answer

    def _finished(self, node: str, file_hash: str) -> Call[Response | None]:
        """Ask whether the node has the message that pays, and answer as an upload in one piece does."""
        try:
            path = f"/api/v0/messages/{segment(self._store)}/status"
            answer: Response = yield Request("GET", node + path, {}, None, self._core.options.timeout)
            status = decoded(answer.body)["status"] if answer.status == 200 else None
        except (TransportError, NotFoundError, ValueError, KeyError, TypeError):
            return None
        code: int | None = {"processed": 200, "pending": 202, "rejected": 422}.get(str(status))
        return _kept(code, file_hash) if code else None


def _kept(status: int, file_hash: str) -> Response:
    return Response(status, {}, json.dumps({"hash": file_hash}).encode())


def _offset(answer: Response) -> int:
    text = answer.headers.get("upload-offset", "")
    return int(text) if text.isascii() and text.isdigit() else -1
