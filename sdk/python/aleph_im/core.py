"""What all services of a client share: where calls go, how often they are tried, and how answers are read."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from .endpoints import Endpoints
from .errors import AnswerError, SigningError, TransportError, of_status
from .operation import Call, Invoke, Pause, Request, Response
from .signer import Signer

T = TypeVar("T")

_TRY_LATER = (429, 502, 503, 504)


@dataclass(frozen=True)
class Options:
    """How calls are made. Times are in seconds."""

    attempts: int = 4
    """Of a call that can be repeated without harm, the first included; publishing is one, as messages are known by hash."""
    backoff: float = 0.1
    """Before the second attempt, doubled for each further one, at most 5."""
    deadline: float = 120.0
    """For all attempts of a call together; transfers of files and waiting for messages are not bounded by it."""
    timeout: float = 45.0
    """Of one attempt, without a byte moving. Nodes answer within 30."""
    verify: bool = True
    """Whether hashes, signatures and bytes that nodes send are checked."""
    user_agent: str = "aleph-im-python"
    scheduler: str | None = None
    """Base URL of who says where workloads run; default the core node, as every one of this network knows."""


class Core:
    """The state of a client. Everything but the health of endpoints is fixed."""

    def __init__(
        self,
        urls: Sequence[str],
        account: Signer | None,
        channel: str | None,
        options: Options,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.endpoints = Endpoints(urls, clock)
        self.channel = channel
        self.options = options
        self.clock = clock
        self.delegations: dict[str, Any] = {}
        self._account = account

    @property
    def account(self) -> Signer:
        """Who signs; a client without one cannot write."""
        if self._account is None:
            raise SigningError("this client has no account: pass account= to sign messages")
        return self._account

    def owner(self, address: str | None) -> str:
        """Return the address that is meant: the given one, or the account's."""
        return address if address is not None else self.account.address

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        base: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Call[Response]:
        """Send a request that can be repeated without harm, whatever the status of its answer.

        It goes to another core node when one fails, unless base names one.
        """
        content = None if body is None else json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
        all_headers = dict(headers or {}) | ({} if content is None else {"Content-Type": "application/json"})
        tail = path + (f"?{urlencode(query)}" if query else "")
        began, wait, fresh = self.clock(), self.options.backoff, True
        for attempt in range(1, self.options.attempts + 1):
            node = base.rstrip("/") if base is not None else self.endpoints.order()[0]
            failure: TransportError | None = None
            answer: Response | None = None
            try:
                answer = yield Request(method, node + tail, all_headers, content, self.options.timeout)
            except TransportError as broken:
                failure = broken
            if answer is not None and answer.status not in _TRY_LATER:
                self.endpoints.worked(node)
                return answer
            self.endpoints.failed(node)
            pause = 0.0 if fresh and base is None and self._has_other(node) else _jitter(wait, answer)
            fresh = False
            late = self.clock() - began + pause > self.options.deadline
            if attempt == self.options.attempts or late:
                if answer is None:
                    raise failure or TransportError(f"{method} {node}{path}: no answer")
                return answer
            if pause:
                yield Pause(pause)
                wait = min(2 * wait, 5.0)
        raise ValueError("options.attempts must be at least 1")

    def get(
        self, path: str, query: Mapping[str, str] | None = None, *, base: str | None = None, exact: bool = False
    ) -> Call[Any]:
        """Read a JSON answer. With exact, numbers with a fraction are Decimals."""
        answer = yield from self.call("GET", path, query=query, base=base)
        return parsed("GET", path, answer, exact=exact)

    def post(self, path: str, body: Any, *, base: str | None = None, exact: bool = False) -> Call[Any]:
        """Post JSON and read a JSON answer."""
        answer = yield from self.call("POST", path, body=body, base=base)
        return parsed("POST", path, answer, exact=exact)

    def sign(self, payload: bytes) -> Call[str]:
        """Have the account sign."""
        account = self.account
        try:
            signature: str = yield Invoke(lambda: account.sign(payload))
        except SigningError:
            raise
        except Exception as failure:
            raise SigningError(f"sign as {account.address}: {failure}") from failure
        return signature

    def _has_other(self, node: str) -> bool:
        return self.endpoints.order()[0] != node


def parsed(method: str, path: str, answer: Response, *, exact: bool = False) -> Any:
    """Return the JSON of an answer; statuses other than 2xx are errors."""
    if not 200 <= answer.status < 300:
        raise of_status(method, path, answer.status, _beginning(answer))
    try:
        return decoded(answer.body, exact=exact)
    except ValueError as wrong:
        raise AnswerError(f"{method} {path}: the answer is not JSON: {wrong}") from wrong


def decoded(text: bytes | str, *, exact: bool = False) -> Any:
    """Parse JSON. With exact, numbers with a fraction are Decimals."""
    if not exact:
        return json.loads(text)
    from decimal import Decimal

    return json.loads(text, parse_float=Decimal)


def segment(text: str) -> str:
    """Quote a text for use as one segment of a path."""
    return quote(text, safe="")


def comma_list(values: str | Iterable[str] | None) -> str | None:
    """Join the alternatives of a filter; None stands for no filter."""
    if values is None or isinstance(values, str):
        return values
    return ",".join(values)


def given(**members: Any) -> dict[str, Any]:
    """Return the members that are not None."""
    return {name: value for name, value in members.items() if value is not None}


def _beginning(answer: Response) -> str:
    return answer.body[: 16 << 10].decode(errors="replace").strip()


def _jitter(wait: float, answer: Response | None) -> float:
    """Half of a pause is random, so that clients which failed together do not come back together."""
    asked = _retry_after(answer.headers.get("retry-after", "")) if answer else 0.0
    return max(asked, wait / 2 + random.random() * wait / 2)


def _retry_after(text: str) -> float:
    from email.utils import parsedate_to_datetime

    if not text:
        return 0.0
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return 0.0
