"""What paying on an Ethereum-like chain needs of it: a little JSON-RPC, calls of contracts, and transactions."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from .core import Core
from .errors import AlephError, AnswerError, DeadlineError, SigningError
from .keys.keccak import keccak256
from .operation import Call, Invoke, Pause, Request, Response

if TYPE_CHECKING:
    from .payg import Sender

_TIMEOUT = 20.0
"""Seconds of one call."""

_ANSWER = 4 << 20
"""Bytes."""

_AWAITED = 120.0
"""Seconds for a transaction to be in a block."""

_SETTLED = 15.0
"""Seconds for a change to be seen by all nodes that answer for a chain."""


class UnsettledError(DeadlineError):
    """A transaction was sent, or may have been, and nobody knows yet what became of it. It may still be taken.

    A plan of streams must not be reversed before that is known; applying the same plan again does no harm.
    """

    def __init__(self, transaction: str, why: str) -> None:
        super().__init__(f"transaction {transaction} may still be taken: {why}")
        self.transaction = transaction


class _Refusal(AlephError):
    """The node refused a call."""


class Chain:
    """A node of a chain that speaks JSON-RPC."""

    def __init__(self, core: Core, url: str) -> None:
        self._core, self._url = core, url

    def call(self, method: str, *parameters: Any) -> Call[Any]:
        """Make one call and return its result. What the node refuses, a contract too, is an AlephError."""
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}).encode()
        headers = {"Content-Type": "application/json"}
        answer: Response = yield Request("POST", self._url, headers, body, _TIMEOUT, _ANSWER)
        try:
            reply = json.loads(answer.body)
            failure = reply.get("error")
            if failure is not None:
                raise _Refusal(f"{method}: {failure['message']}")
            return reply["result"]
        except (ValueError, KeyError, TypeError, AttributeError) as wrong:
            raise AnswerError(f"{method}: the chain's node answered {answer.status} with what is no result") from wrong

    def quantity(self, method: str, *parameters: Any) -> Call[int]:
        """Make a call whose result is a number."""
        return _number(method, (yield from self.call(method, *parameters)))

    def read(self, contract: str, data: bytes) -> Call[list[int]]:
        """Read from a contract at the newest block, and return its answer in words of 32 bytes."""
        where = {"to": contract, "input": "0x" + data.hex()}
        text = yield from self.call("eth_call", where, "latest")
        try:
            raw = bytes.fromhex(text.removeprefix("0x"))
        except (ValueError, AttributeError):
            raw = b"?"
        if len(raw) % 32:
            raise AnswerError(f"contract {contract}: its answer is not made of words")
        if not raw:
            raise AlephError(f"there is no contract at {contract}: check the address, and that the node is of the right chain")
        return [int.from_bytes(raw[start : start + 32], "big") for start in range(0, len(raw), 32)]

    def send(self, account: Sender, chain_id: int, to: str, data: bytes) -> Call[str]:
        """Make a transaction, wait until it is in a block, and return its hash.

        The error is an UnsettledError when the transaction may still be taken.
        """
        draft = {"from": account.address, "to": to, "input": "0x" + data.hex()}
        gas = yield from self.quantity("eth_estimateGas", draft)
        nonce = yield from self.quantity("eth_getTransactionCount", account.address, "pending")
        tip = yield from self.quantity("eth_maxPriorityFeePerGas")
        block = yield from self.call("eth_getBlockByNumber", "latest", False)
        base = _number("eth_getBlockByNumber", block.get("baseFeePerGas") if isinstance(block, Mapping) else None)
        # A quarter more gas, as the state may change until it runs; a fee that holds while fees double.
        fields = [chain_id, nonce, tip, 2 * base + tip, gas + gas // 4, bytes.fromhex(to[2:]), 0, data, []]
        unsigned = transaction(fields)
        try:
            r, s, parity = yield Invoke(lambda: account.sign_transaction(unsigned))
        except Exception as failure:
            raise SigningError(f"sign a transaction as {account.address}: {failure}") from failure
        raw = transaction([*fields, parity, r, s])
        hash = "0x" + keccak256(raw).hex()  # known without the answer, which may be lost
        last: AlephError | None = None
        try:
            yield from self.call("eth_sendRawTransaction", "0x" + raw.hex())
        except _Refusal:
            if not (yield from self._knows(hash)):
                raise
        except AlephError as failure:
            last = failure
        if not (yield from self._poll(hash, _AWAITED, lambda: self._taken(hash), "it is in no block yet", last)):
            raise AlephError(f"transaction {hash}: the contract refused it")
        return hash

    def settle(self, hash: str, read: Callable[[], Call[int]], wanted: int) -> Call[None]:
        """Return when what a transaction changed is read as it made it: some nodes of a chain are a block behind."""

        def seen() -> Call[bool | None]:
            return True if (yield from read()) == wanted else None

        yield from self._poll(hash, _SETTLED, seen, f"it is in a block, and the chain does not show {wanted} yet")

    def quiet(self, sender: str) -> Call[None]:
        """Return when no transaction of an account is on its way, or raise a DeadlineError after some seconds."""
        end, pause = self._core.clock() + min(_SETTLED, self._core.options.deadline), 0.05
        while True:
            sent = yield from self.quantity("eth_getTransactionCount", sender, "pending")
            taken = yield from self.quantity("eth_getTransactionCount", sender, "latest")
            if sent <= taken:
                return
            if self._core.clock() + pause > end:
                raise DeadlineError(
                    f"a transaction of {sender} is in no block yet, and may change its streams: try again later"
                )
            yield Pause(pause)
            pause = min(2 * pause, 2.0)

    def _poll(
        self, hash: str, limit: float, ask: Callable[[], Call[bool | None]], why: str, last: AlephError | None = None
    ) -> Call[bool]:
        """Ask about a transaction until the answer is not None. A question that fails is asked again."""
        end, pause = self._core.clock() + min(limit, self._core.options.deadline), 0.05
        while True:
            try:
                answer = yield from ask()
                if answer is not None:
                    return answer
            except AlephError as failure:
                last = failure
            if self._core.clock() + pause > end:
                raise UnsettledError(hash, f"{why} ({last})" if last else why) from last
            yield Pause(pause)
            pause = min(2 * pause, 2.0)

    def _knows(self, hash: str) -> Call[bool]:
        """Report whether the node knows a transaction. One that was sent twice on its way is refused the second time."""
        try:
            return (yield from self.call("eth_getTransactionByHash", hash)) is not None
        except AlephError:
            return False

    def _taken(self, hash: str) -> Call[bool | None]:
        """Return whether a transaction did what it should; None while it is in no block."""
        receipt = yield from self.call("eth_getTransactionReceipt", hash)
        if not isinstance(receipt, Mapping):
            return None
        return _number("eth_getTransactionReceipt", receipt.get("status")) != 0


def checked_address(text: str) -> str:
    """Return an address of an account or contract; what is none is a ValueError."""
    if len(text) != 42 or not text.startswith("0x") or any(c not in "0123456789abcdefABCDEF" for c in text[2:]):
        raise ValueError(f"{text!r} is no address of an Ethereum-like chain")
    return text


def call_of(signature: str, *words: str | int) -> bytes:
    """Write a call of a contract: four bytes of the hash of its signature, and words of 32 bytes: addresses and numbers."""
    numbers = (word if isinstance(word, int) else int(checked_address(word), 16) for word in words)
    return keccak256(signature.encode())[:4] + b"".join(number.to_bytes(32, "big") for number in numbers)


def transaction(fields: list[Any]) -> bytes:
    """Write a transaction with fees of its own (EIP-1559): its type and its fields, signed or not."""
    return b"\x02" + _rlp(fields)


def _rlp(value: Any) -> bytes:
    """Write numbers, bytes and lists of them in Ethereum's recursive length prefix form."""
    if isinstance(value, list):
        inside = b"".join(map(_rlp, value))
        return _head(0xC0, len(inside)) + inside
    raw = value if isinstance(value, bytes) else value.to_bytes((value.bit_length() + 7) // 8, "big")
    return raw if len(raw) == 1 and raw[0] < 0x80 else _head(0x80, len(raw)) + raw


def _head(kind: int, length: int) -> bytes:
    if length < 56:
        return bytes([kind + length])
    digits = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([kind + 55 + len(digits)]) + digits


def _number(method: str, text: Any) -> int:
    if not isinstance(text, str) or not text.startswith("0x") or not 2 < len(text) <= 66:
        raise AnswerError(f"{method}: {text!r:.80} is no number")
    try:
        return int(text, 16)
    except ValueError as wrong:
        raise AnswerError(f"{method}: {text!r:.80} is no number") from wrong
