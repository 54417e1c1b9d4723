"""What can go wrong, as types.

Every error of the package is an AlephError. It says what was attempted, and whether the same call may work later.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

REASONS: Mapping[int, str] = {
    -1: "the node failed",
    0: "its format is wrong",
    1: "its signature is wrong",
    2: "its sender may not do this",
    3: "its content is not available",
    4: "a file is not available",
    5: "its owner holds too few tokens",
    6: "its owner has too few credits",
    100: "an amendment names no post",
    101: "the post to amend is unknown",
    102: "an amendment cannot be amended",
    200: "the file to replace is unknown",
    201: "the file to replace replaces another one itself",
    202: "it cannot be paid that way",
    300: "the program to replace is unknown",
    301: "a volume is unknown",
    302: "the program does not allow to be replaced",
    303: "the program to replace replaces another one itself",
    304: "a volume is smaller than what it starts from",
    500: "it forgets nothing",
    501: "what it forgets is unknown",
    502: "what forgets cannot be forgotten",
    503: "what it forgets is in use",
    504: "it was forgotten already",
}
"""Why the network refuses a message, by code (ccn-api §1.9)."""


class AlephError(Exception):
    """What every error of this package is."""

    retryable = False
    """Whether the same call may work later."""


class TransportError(AlephError):
    """A node could not be reached, or the connection to it broke."""

    retryable = True


class StatusError(AlephError):
    """A node answered with a status that the call has no better word for."""

    def __init__(self, method: str, url: str, status: int, body: str) -> None:
        super().__init__(f"{method} {url}: {status}" + (f": {body}" if body else ""))
        self.method, self.url, self.status, self.body = method, url, status, body
        self.retryable = status in (429, 502, 503, 504)


class NotAllowedError(StatusError):
    """A node refused to do something for this account: statuses 401 and 403."""


class NotFoundError(AlephError):
    """A node does not know what was asked for."""


def of_status(method: str, url: str, status: int, body: str) -> AlephError:
    """Return the error of an HTTP status."""
    if status in (404, 410):
        return NotFoundError(f"{method} {url}: {body}")
    kind = NotAllowedError if status in (401, 403) else StatusError
    return kind(method, url, status, body)


class AnswerError(AlephError):
    """A node answered something that is not what was asked for."""


class VerificationError(AnswerError):
    """A node sent bytes, a content or a signature that are not what their hash or sender says. Ask another node."""


class SigningError(AlephError):
    """A key cannot be read or used, or a signer failed."""


class DeadlineError(AlephError, TimeoutError):
    """Something did not happen within the time that was given."""

    retryable = True


class ForgottenError(AlephError):
    """A message was forgotten by its owner."""

    def __init__(self, item_hash: str, forgotten_by: list[str]) -> None:
        super().__init__(f"message {item_hash} was forgotten, by {', '.join(forgotten_by) or 'its owner'}")
        self.item_hash, self.forgotten_by = item_hash, forgotten_by


class RemovedError(AlephError):
    """The network removed a message because nobody paid for it any more."""

    def __init__(self, item_hash: str, reason: str) -> None:
        super().__init__(f"message {item_hash} was removed: {reason}")
        self.item_hash, self.reason = item_hash, reason


class RejectedError(AlephError):
    """The network refused a message. `code` says why (REASONS); `details` depends on it (ccn-api §3.3)."""

    def __init__(self, item_hash: str, code: int, details: Any) -> None:
        self.item_hash, self.code, self.details = item_hash, code, details
        self.reason = REASONS.get(code, "for a reason this version does not know")
        self.retryable = code in (-1, 3, 4)
        super().__init__(self._text())

    def _text(self) -> str:
        text = f"message {self.item_hash} was rejected: {self.reason} (code {self.code})"
        return text + (f": {self.details}" if self.details else "")


class InvalidFormatError(RejectedError):
    """Code 0."""


class InvalidSignatureError(RejectedError):
    """Code 1."""


class PermissionDeniedError(RejectedError):
    """Code 2: the owner has not authorized the sender to do this."""


class InsufficientFundsError(RejectedError):
    """Codes 5 and 6: the owner cannot pay.

    `kind` is "ALEPH" or "CREDIT"; `required` and `available` are amounts of it, None when the node did not say.
    """

    def __init__(
        self,
        item_hash: str,
        code: int,
        details: Any,
        required: Decimal | None = None,
        available: Decimal | None = None,
    ) -> None:
        self.kind = "CREDIT" if code == 6 else "ALEPH"
        first = _first_problem(details)
        names = ("required_credits", "account_credits") if code == 6 else ("required_balance", "account_balance")
        self.required = required if required is not None else _amount(first.get(names[0]))
        self.available = available if available is not None else _amount(first.get(names[1]))
        super().__init__(item_hash, code, details)

    def _text(self) -> str:
        unit = "credits" if self.kind == "CREDIT" else "ALEPH"
        required = "more" if self.required is None else self.required
        available = "less" if self.available is None else self.available
        return f"message {self.item_hash} needs {required} {unit}, but its owner has {available} free"


class DuplicateOfForgottenError(RejectedError):
    """Code 504."""


def rejection(item_hash: str, code: int, details: Any) -> RejectedError:
    """Return the error of the class that fits the code."""
    kinds: dict[int, type[RejectedError]] = {
        0: InvalidFormatError,
        1: InvalidSignatureError,
        2: PermissionDeniedError,
        5: InsufficientFundsError,
        6: InsufficientFundsError,
        504: DuplicateOfForgottenError,
    }
    return kinds.get(code, RejectedError)(item_hash, code, details)


def _first_problem(details: Any) -> dict[str, Any]:
    problems = details.get("errors") if isinstance(details, dict) else None
    first = problems[0] if isinstance(problems, list) and problems else None
    return first if isinstance(first, dict) else {}


def _amount(value: Any) -> Decimal | None:
    """Read a number that travels as text or as a JSON number."""
    try:
        return None if value is None else Decimal(str(value))
    except InvalidOperation:
        return None
