"""Paying for workloads by streams of tokens, as they are used, on an Ethereum-like chain (sdk-cli §2.7, §4.6).

    from aleph_im.payg import BASE, shares, streams

    flows = streams(client, BASE)
    plan = flows.increase(shares(price.cost, node_wallet, community_wallet))
    flows.check(plan)
    flows.apply(plan)

A change of streams is planned first and carried out then. The plan says from what to what each stream goes, so that one that
broke off half way is carried on by carrying out the same plan again, or undone by carrying out its reverse.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Protocol, cast, overload

from .client import AsyncClient, Client
from .core import Core
from .errors import AlephError, SigningError
from .evm import Chain, call_of, checked_address
from .evm import UnsettledError as UnsettledError
from .operation import Async, Call, Driver, M, Service, Sync, operation

FORWARDER = "0xcfA132E353cB4E398080B9700609bb008eceB125"
"""Superfluid's CFAv1Forwarder, at the same address on all public chains."""


@dataclass(frozen=True)
class StreamChain:
    """Where streams are: a chain, and the token that flows on it."""

    chain: str
    """As in messages."""
    chain_id: int
    rpc: str
    """URL of JSON-RPC."""
    token: str
    agreement: str
    """Address of the contract that answers getFlow."""
    forwarder: str | None = FORWARDER
    """Address of the contract that takes changes of streams; None where the agreement takes them itself, as on devnets."""


_TOKEN = "0xc0Fbc4967259786C743361a5885ef49380473dCF"

AVALANCHE = StreamChain(
    "AVAX", 43114, "https://api.avax.network/ext/bc/C/rpc", _TOKEN, "0x6946c5B38Ffea373b0a2340b4AEf0De8F6782e58"
)
BASE = StreamChain(
    "BASE", 8453, "https://base-mainnet.public.blastapi.io", _TOKEN, "0x19ba78B9cDB05A877718841c574325fdB53601bb"
)


@dataclass(frozen=True)
class Flow:
    """A stream to a receiver."""

    receiver: str
    rate: int
    """Wei a second."""


@dataclass(frozen=True)
class Step:
    """Takes one stream from one rate to another, in wei a second."""

    receiver: str
    before: int
    after: int


@dataclass(frozen=True)
class Plan:
    """A change of streams that is to be made. It can be kept as JSON until it is done."""

    chain: str
    sender: str
    steps: tuple[Step, ...]

    def reverse(self) -> Plan:
        """Return the plan that undoes this one."""
        back = (Step(step.receiver, step.after, step.before) for step in reversed(self.steps))
        return dataclasses.replace(self, steps=tuple(back))

    def to_json(self) -> str:
        """Write the plan in the form that the other SDKs keep, too. Rates are texts: JavaScript loses digits of numbers."""
        steps = [{"receiver": step.receiver, "from": str(step.before), "to": str(step.after)} for step in self.steps]
        return json.dumps({"chain": self.chain, "sender": self.sender, "steps": steps})

    @classmethod
    def from_json(cls, text: str) -> Plan:
        """Read what to_json wrote."""
        try:
            kept = json.loads(text)
            steps = tuple(Step(str(step["receiver"]), int(step["from"]), int(step["to"])) for step in kept["steps"])
            return cls(str(kept["chain"]), str(kept["sender"]), steps)
        except (ValueError, KeyError, TypeError) as wrong:
            raise ValueError(f"this is no plan of streams: {wrong!r}") from wrong


class StreamFundsError(AlephError):
    """The sender of a plan cannot carry it out.

    `kind` is "GAS", the coin of the chain that pays for transactions, or "ALEPH"; `required` and `available` are amounts of it.
    """

    def __init__(self, address: str, kind: str, required: Decimal, available: Decimal) -> None:
        unit = "ALEPH on the chain of the stream" if kind == "ALEPH" else "of the chain's own coin for its transactions"
        super().__init__(f"{address} needs {required} {unit}, and has {available}")
        self.address, self.kind, self.required, self.available = address, kind, required, available


class Sender(Protocol):
    """An account that signs transactions. Those of Ethereum here do; a wallet may be awaited."""

    @property
    def address(self) -> str:
        """Who pays."""

    def sign_transaction(self, unsigned: bytes) -> tuple[int, int, int] | Awaitable[tuple[int, int, int]]:
        """Return r, s and the parity for the type and the unsigned fields of a transaction (EIP-1559)."""


_NODE_SHARE = 80
"""How much of a price goes to the compute node, in hundredths; the rest is the community's."""

_LEAST_RATE = 100
"""Wei a second below which a stream is ended: what rounding leaves."""

_LEAST_GAS = 10**15
"""Wei of the chain's own coin that an account must have to start: a thousandth of a coin."""

_LEAST_TIME = 4 * 3600
"""Seconds for which its tokens must last."""

_MAX_RATE = 1 << 95
"""The contract keeps rates with a sign in 96 bits."""


def shares(price: Decimal | str, node: str, community: str | None = None) -> list[Flow]:
    """Split a price in tokens a second among a compute node and the community's wallet; without a wallet the node gets all.

    Each share is rounded up to whole wei.
    """
    total = Decimal(price)
    if not total.is_finite() or total <= 0:
        raise ValueError(f"the price {price} a second is no amount that can be streamed")
    top, bottom = total.as_integer_ratio()

    def part(hundredths: int) -> int:
        return -(-top * 10**18 * hundredths // (bottom * 100))

    if not community or community.lower() == node.lower():
        return [Flow(node, part(100))]
    return [Flow(node, part(_NODE_SHARE)), Flow(community, part(100 - _NODE_SHARE))]


class Streams(Service[M]):
    """Streams of one token on one chain. They are those of the client's account unless a sender is named."""

    def __init__(self, core: Core, driver: Driver, chain: StreamChain) -> None:
        super().__init__(core, driver)
        self._where = chain
        self._chain = Chain(core, chain.rpc)

    @operation
    def rate(self, receiver: str, *, sender: str | None = None) -> Call[int]:
        """Return what is streamed to a receiver, in wei a second; 0 when nothing is."""
        return (yield from self._rate(self._core.owner(sender), receiver))

    @operation
    def quiet(self, *, sender: str | None = None) -> Call[None]:
        """Return when no transaction of an account is on its way: one that is may change its streams after they were read.

        The error, a DeadlineError, says that there still is one after some seconds.
        """
        yield from self._chain.quiet(checked_address(self._core.owner(sender)))

    @operation
    def increase(self, flows: Iterable[Flow], *, sender: str | None = None) -> Call[Plan]:
        """Plan streams that are added to those there are: several workloads may be paid to one receiver."""
        return (yield from self._plan(sender, flows, lambda now, rate: now + rate))

    @operation
    def reduce(self, flows: Iterable[Flow], *, sender: str | None = None) -> Call[Plan]:
        """Plan to take streams away from those there are."""
        return (yield from self._plan(sender, flows, lambda now, rate: now - rate if now - rate >= _LEAST_RATE else 0))

    @operation
    def change(self, flows: Iterable[Flow], *, sender: str | None = None) -> Call[Plan]:
        """Plan that streams have these rates, whatever they have now; 0 ends one."""
        return (yield from self._plan(sender, flows, lambda _, rate: rate))

    @operation
    def ensure(self, flows: Iterable[Flow], *, sender: str | None = None) -> Call[Plan]:
        """Plan streams of at least these rates. What streams already is used: planning and applying it again does no more."""
        return (yield from self._plan(sender, flows, max))

    @operation
    def check(self, plan: Plan) -> Call[None]:
        """Raise a StreamFundsError when the sender of a plan has too little for it.

        It needs the chain's coin for transactions, and tokens for four hours of what it adds.
        """
        gas = yield from self._chain.quantity("eth_getBalance", plan.sender, "latest")
        if gas < _LEAST_GAS:
            raise StreamFundsError(plan.sender, "GAS", _tokens(_LEAST_GAS), _tokens(gas))
        (held, *_) = yield from self._chain.read(self._where.token, call_of("balanceOf(address)", plan.sender))
        need = sum(max(0, step.after - step.before) for step in plan.steps) * _LEAST_TIME
        if held < need:
            raise StreamFundsError(plan.sender, "ALEPH", _tokens(need), _tokens(held))

    @operation
    def apply(self, plan: Plan) -> Call[None]:
        """Carry out a plan: each stream that is not yet as it should be is changed, and read again.

        After an error, and after a call that was cut short, the same plan can be applied again. A stream that is neither as it
        was nor as it should be is left alone and told: then something else changes it. After an UnsettledError the plan must
        not be reversed before it is known what became of the transaction.
        """
        account = self._core.account
        if account.address.lower() != plan.sender.lower() or plan.chain != self._where.chain:
            mine = f"{account.address} on chain {self._where.chain}"
            raise AlephError(f"the plan is of {plan.sender} on chain {plan.chain}, and not of {mine}")
        if not hasattr(account, "sign_transaction"):
            raise SigningError(f"{account.address} signs no transactions: streams need an account of Ethereum")
        if (found := (yield from self._chain.quantity("eth_chainId"))) != self._where.chain_id:
            raise AlephError(f"the node at {self._where.rpc} is of chain {found}, and not of {self._where.chain_id}")
        for step in plan.steps:
            yield from self._step(cast("Sender", account), step)

    @operation
    def done(self, plan: Plan) -> Call[bool]:
        """Report whether all streams of a plan are as they should be."""
        for step in plan.steps:
            if (yield from self._rate(plan.sender, step.receiver)) != step.after:
                return False
        return True

    def _rate(self, sender: str, receiver: str) -> Call[int]:
        where = self._where
        words = yield from self._chain.read(
            where.agreement, call_of("getFlow(address,address,address)", where.token, sender, receiver)
        )
        if len(words) != 4:
            raise AlephError(f"the contract {where.agreement} on chain {where.chain} keeps no streams")
        return words[1]

    def _plan(self, sender: str | None, flows: Iterable[Flow], after: Callable[[int, int], int]) -> Call[Plan]:
        owner, steps = self._core.owner(sender), []
        sums: dict[str, Flow] = {}  # spellings of an address differ in their case only
        for flow in flows:
            before = sums.get(checked_address(flow.receiver).lower(), Flow(flow.receiver, 0))
            sums[flow.receiver.lower()] = dataclasses.replace(before, rate=before.rate + flow.rate)
        for flow in sums.values():
            now = yield from self._rate(owner, flow.receiver)
            steps.append(Step(flow.receiver, now, after(now, flow.rate)))
        return Plan(self._where.chain, owner, tuple(steps))

    def _step(self, account: Sender, step: Step) -> Call[None]:
        what = f"stream from {account.address} to {step.receiver}"
        if step.before < 0 or not 0 <= step.after < _MAX_RATE:
            raise ValueError(f"{what}: the plan does not say from what to what it goes")
        now = yield from self._rate(account.address, step.receiver)
        if now == step.after:
            return
        if now != step.before:
            between = f"neither at {step.before} nor at {step.after}"
            raise AlephError(f"{what} is at {now} wei a second, {between}: something else has changed it, plan anew")
        where = self._where
        name = "setFlowrate(address,address,int96)" if where.forwarder else "setFlow(address,address,int96)"
        data = call_of(name, where.token, step.receiver, step.after)
        hash = yield from self._chain.send(account, where.chain_id, where.forwarder or where.agreement, data)
        yield from self._chain.settle(hash, lambda: self._rate(account.address, step.receiver), step.after)


@overload
def streams(client: Client, chain: StreamChain) -> Streams[Sync]: ...
@overload
def streams(client: AsyncClient, chain: StreamChain) -> Streams[Async]: ...
def streams(client: Client | AsyncClient, chain: StreamChain) -> Streams[Any]:
    """Return the streams of a client's account on a chain, with calls as the client's own."""
    return Streams(client._core, client._driver, chain)


def _tokens(wei: int) -> Decimal:
    return Decimal(wei).scaleb(-18)
