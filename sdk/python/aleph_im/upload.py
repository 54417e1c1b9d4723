"""How files are sent."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from typing import Any

from .core import Core
from .errors import TransportError
from .operation import Call, Pause, Request, Response
from .source import Content, Form, Progress

STORAGE = "/api/v0/storage/add_file"
IPFS = "/api/v0/ipfs/add_file"
CAR = "/api/v0/ipfs/add_car"
"""Where files are sent to, by who keeps them, and folders."""

STALL = 60.0
"""Seconds without a byte moving after which a transfer is given up."""


def send_file(
    core: Core, path: str, metadata: Mapping[str, Any] | None, content: Content, progress: Progress | None = None
) -> Call[Response]:
    """Post a file, with the message that pays for it if there is one. It is sent again when a connection breaks."""
    form, headers = form_of(metadata, content, progress)
    wait = core.options.backoff
    for attempt in range(1, core.options.attempts + 1):
        node = core.endpoints.order()[0]
        url = node + path
        try:
            answer: Response = yield Request("POST", url, headers, form, STALL)
        except TransportError:
            core.endpoints.failed(node)
            if attempt == core.options.attempts:
                raise
        else:
            core.endpoints.worked(node)
            return answer
        yield Pause(wait)
        wait = min(2 * wait, 5.0)
    raise ValueError("options.attempts must be at least 1")


def form_of(
    metadata: Mapping[str, Any] | None, content: Content, progress: Progress | None = None, field: str = "file"
) -> tuple[Form, dict[str, str]]:
    """Return a form with a file in a field of it, and its headers."""
    boundary = secrets.token_hex(16)

    def part(disposition: str) -> bytes:
        return f"--{boundary}\r\nContent-Disposition: form-data; {disposition}\r\n".encode()

    head = b""
    if metadata is not None:
        text = json.dumps(metadata, ensure_ascii=False).encode()
        head += part('name="metadata"') + b"Content-Type: application/json\r\n\r\n" + text + b"\r\n"
    name = "".join(c if c not in '"\\\r\n' and ord(c) < 128 else "_" for c in content.name)
    head += part(f'name="{field}"; filename="{name}"') + b"Content-Type: application/octet-stream\r\n\r\n"
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}", "Accept": "application/json"}
    return Form(content, head, f"\r\n--{boundary}--\r\n".encode(), progress), headers
