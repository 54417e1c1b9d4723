"""Streams on a real chain, the one that devnets have, and against nodes of chains that fail."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from decimal import Decimal
from typing import Any

import httpx
import pytest

from aleph_im import AlephError, AsyncClient, Client, from_key, generate
from aleph_im.errors import AnswerError, DeadlineError, SigningError
from aleph_im.evm import call_of, transaction
from aleph_im.payg import AVALANCHE, Flow, Plan, StreamChain, StreamFundsError, UnsettledError, shares, streams

from .node import FUNDED_KEY
from .test_drivers import answer, connect, serving

__all__ = ["connect"]  # the fixture

SENDER = from_key(FUNDED_KEY)
UNKNOWN_URL = "http://127.0.0.1:1"  # of a core node, which nothing here asks


def opened(connect: Any, chain: StreamChain, account: Any = SENDER) -> Any:
    """Return the streams of an account, with calls that block."""
    client = connect(UNKNOWN_URL, account=account)
    if isinstance(client, Client):
        return streams(client, chain)
    inner: AsyncClient = client._inner
    return type(client)(streams(inner, chain), client._loop)


def receivers() -> tuple[str, str]:
    return generate()[0].address, generate()[0].address


def test_streams_are_opened_added_to_and_ended(connect: Any, chain: StreamChain) -> None:
    flows = opened(connect, chain)
    node, community = receivers()

    def rates() -> tuple[int, int]:
        return flows.rate(node), flows.rate(community)

    plan = flows.increase(shares("0.00001", node, community))
    flows.check(plan)
    assert not flows.done(plan)
    flows.apply(plan)
    assert rates() == (8_000_000_000_000, 2_000_000_000_000)
    assert flows.done(plan)
    flows.apply(plan)  # there is nothing left to do

    second = flows.increase(shares("0.00001", node, community))
    flows.apply(second)
    assert rates() == (16_000_000_000_000, 4_000_000_000_000)
    with pytest.raises(AlephError, match="plan anew"):
        flows.apply(plan)
    flows.apply(second.reverse())
    assert rates() == (8_000_000_000_000, 2_000_000_000_000)
    # A receiver that is named twice, in any spelling, gets one stream.
    twice = [Flow(node, 3_000_000_000_000), Flow(node.lower(), 5_000_000_000_000 - 50)]
    less = flows.reduce([*twice, Flow(community, 1_000_000_000_000)])
    assert len(less.steps) == 2
    flows.apply(less)
    assert rates() == (0, 1_000_000_000_000)  # what rounding leaves is ended
    flows.apply(flows.change([Flow(node, 7), Flow(community, 0)]))
    assert rates() == (7, 0)
    flows.apply(flows.change([Flow(node, 0)]))


def test_a_plan_that_broke_off_is_carried_on(connect: Any, chain: StreamChain) -> None:
    sent: list[str] = []

    def handle(request: Any) -> None:
        body = request.rfile.read(int(request.headers["Content-Length"]))
        if b"eth_sendRawTransaction" in body:
            sent.append(json.loads(body)["params"][0])
            if len(sent) == 2:
                answer(request, 200, b'{"error":{"code":-32000,"message":"txpool is full"}}')
                return
        answer(request, 200, behind.post(chain.rpc, content=body, headers={"Content-Type": "application/json"}).content)

    node, community = receivers()
    with httpx.Client() as behind, serving(handle) as url:
        flows = opened(connect, replace(chain, rpc=url))
        plan = flows.increase([Flow(node, 800), Flow(community, 200)])
        with pytest.raises(AlephError, match="txpool is full") as refused:
            flows.apply(plan)
        assert not isinstance(refused.value, UnsettledError)
        assert (flows.rate(node), flows.rate(community)) == (800, 0)
        again = Plan.from_json(plan.to_json())
        assert again == plan
        flows.apply(again)
        assert (flows.rate(node), flows.rate(community)) == (800, 200)
        assert len(sent) == 3
        flows.apply(again.reverse())
        assert (flows.rate(node), flows.rate(community)) == (0, 0)


@pytest.mark.parametrize("fails", ["answer", "once", "receipt", "read"])
def test_a_transaction_is_followed_when_questions_fail(connect: Any, chain: StreamChain, fails: str) -> None:
    asked: list[str] = []

    def handle(request: Any) -> None:
        body = request.rfile.read(int(request.headers["Content-Length"]))
        method = json.loads(body)["method"]
        asked.append(method)

        def ask() -> bytes:
            return behind.post(chain.rpc, content=body, headers={"Content-Type": "application/json"}).content

        if method == "eth_sendRawTransaction" and fails == "answer":
            ask()
            answer(request, 502, b"gone")
        elif method == "eth_sendRawTransaction" and fails == "once":
            ask()
            answer(request, 200, ask())  # it is known already
        elif method == "eth_getTransactionReceipt" and fails == "receipt" and asked.count(method) < 3:
            answer(request, 429, b"slow down")
        elif method == "eth_call" and fails == "read" and asked.count(method) in (3, 4):
            answer(request, 200, json.dumps({"result": "0x" + "00" * 128}).encode())  # of the block before
        else:
            answer(request, 200, ask())

    node, _ = receivers()
    with httpx.Client() as behind, serving(handle) as url:
        flows = opened(connect, replace(chain, rpc=url))
        flows.apply(flows.increase([Flow(node, 700)]))
        assert asked.count("eth_sendRawTransaction") == 1
        assert asked.count("eth_call") == 3 + 2 * (fails == "read")
        assert flows.rate(node) == 700


def test_streams_are_checked_before_they_begin(connect: Any, chain: StreamChain) -> None:
    flows = opened(connect, chain)
    node, _ = receivers()
    poor, _ = generate()
    with pytest.raises(StreamFundsError) as gas:
        flows.check(flows.increase([Flow(node, 1)], sender=poor.address))
    assert (gas.value.kind, gas.value.available, gas.value.address) == ("GAS", Decimal(0), poor.address)
    with pytest.raises(StreamFundsError) as tokens:
        flows.check(flows.increase([Flow(node, 10**24)]))
    assert (tokens.value.kind, tokens.value.required) == ("ALEPH", Decimal(14400 * 10**6))
    plan = flows.increase([Flow(node, 5)])
    with pytest.raises(AlephError, match="the plan is of"):
        opened(connect, chain, poor).apply(plan)
    with pytest.raises(SigningError, match="signs no transactions"):
        solana = from_key(b"\x01" * 32, "SOL")
        opened(connect, chain, solana).apply(replace(plan, sender=solana.address))
    with pytest.raises(AlephError, match="31337"):
        opened(connect, replace(chain, chain_id=1)).apply(plan)
    for bad in (-1, 1 << 95):
        with pytest.raises(ValueError, match="does not say"):
            flows.apply(replace(plan, steps=(replace(plan.steps[0], after=bad),)))
    with pytest.raises(ValueError, match="no address"):
        flows.rate("0x12")
    with pytest.raises(AlephError, match="no contract"):
        opened(connect, replace(chain, agreement=node)).rate(node)
    with pytest.raises(AlephError):
        opened(connect, replace(chain, agreement=chain.token)).rate(node)


@pytest.mark.parametrize(
    ("receipt", "error", "text"),
    [
        ({"status": "0x0"}, AlephError, "refused it"),
        (None, UnsettledError, "may still be taken: it is in no block yet"),
        ({}, UnsettledError, "no number"),
        ({"status": "0x1"}, UnsettledError, "does not show 9 yet"),
    ],
)
def test_what_becomes_of_a_transaction_is_told(connect: Any, receipt: Any, error: type[Exception], text: str) -> None:
    results = {
        "eth_chainId": hex(AVALANCHE.chain_id), "eth_call": "0x" + "00" * 128, "eth_estimateGas": "0x5208",
        "eth_getTransactionCount": "0x0", "eth_maxPriorityFeePerGas": "0x1", "eth_getTransactionReceipt": receipt,
        "eth_getBlockByNumber": {"baseFeePerGas": "0x1"}, "eth_sendRawTransaction": "0xab",
    }  # fmt: skip
    drafts: list[dict[str, str]] = []

    def handle(request: Any) -> None:
        asked = json.loads(request.rfile.read(int(request.headers["Content-Length"])))
        if asked["method"] == "eth_estimateGas":
            drafts.extend(asked["params"])
        answer(request, 200, json.dumps({"id": 1, "result": results[asked["method"]]}).encode())

    node, _ = receivers()
    with serving(handle) as url:
        flows = opened(connect, replace(AVALANCHE, rpc=url))
        flows._core.options = replace(flows._core.options, deadline=0.0)
        with pytest.raises(error, match=text) as told:
            flows.apply(flows.change([Flow(node, 9)]))
        assert type(told.value) is error
    # On public chains it is the forwarder that is called.
    (draft,) = drafts
    assert draft["to"] == AVALANCHE.forwarder
    assert draft["input"] == "0x" + call_of("setFlowrate(address,address,int96)", AVALANCHE.token, node, 9).hex()


@pytest.mark.parametrize(("pending", "deadline", "quiet"), [(0, 30.0, True), (2, 30.0, True), (1000, 0.0, False)])
def test_streams_are_read_when_no_transaction_is_on_its_way(connect: Any, pending: int, deadline: float, quiet: bool) -> None:
    asked: list[list[str]] = []

    def handle(request: Any) -> None:
        parameters = json.loads(request.rfile.read(int(request.headers["Content-Length"])))["params"]
        asked.append(parameters)
        sent = 8 if parameters[1] == "pending" and len(asked) <= 2 * pending else 7
        answer(request, 200, json.dumps({"result": hex(sent)}).encode())

    with serving(handle) as url:
        flows = opened(connect, replace(AVALANCHE, rpc=url))
        flows._core.options = replace(flows._core.options, deadline=deadline)
        if quiet:
            flows.quiet()
            assert len(asked) == 2 * (pending + 1)
        else:
            with pytest.raises(DeadlineError, match="try again later"):
                flows.quiet()
        assert asked[:2] == [[SENDER.address, "pending"], [SENDER.address, "latest"]]


def test_streams_are_ensured_once(connect: Any) -> None:
    node, community = receivers()

    def handle(request: Any) -> None:
        data = json.loads(request.rfile.read(int(request.headers["Content-Length"])))["params"][0]["input"]
        rate = 700 if node[2:].lower() in data else 50
        answer(request, 200, json.dumps({"result": f"0x{0:064x}{rate:064x}{0:064x}{0:064x}"}).encode())

    with serving(handle) as url:
        plan = opened(connect, replace(AVALANCHE, rpc=url)).ensure([Flow(node, 600), Flow(community, 200)])
    assert [(step.before, step.after) for step in plan.steps] == [(700, 700), (50, 200)]


@pytest.mark.parametrize("body", [b"", b"[]", b'{"result":5}', b'{"result":"0xzz"}', b'{"result":"0x01"}', b'{"error":5}'])
def test_a_node_that_answers_something_else(connect: Any, body: bytes) -> None:
    with serving(lambda request: answer(request, 200, body)) as url, pytest.raises(AnswerError):
        opened(connect, replace(AVALANCHE, rpc=url)).rate(receivers()[0])


@pytest.mark.parametrize(
    ("price", "node", "community"),
    [
        ("0.00001", 8_000_000_000_000, 2_000_000_000_000),
        ("0.000030555555555555", 24_444_444_444_444, 6_111_111_111_111),
        ("0.000000000000000001", 1, 1),
    ],
)
def test_prices_are_split(price: str, node: int, community: int) -> None:
    assert [flow.rate for flow in shares(price, "0xa", "0xb")] == [node, community]
    assert shares(Decimal("1"), "0xA", "0xa") == shares("1", "0xA") == [Flow("0xA", 10**18)]


@pytest.mark.parametrize("price", ["0", "-1", "NaN", "Infinity"])
def test_what_is_no_price_is_not_split(price: str) -> None:
    with pytest.raises(ValueError, match="no amount"):
        shares(price, "0xa")


def test_plans_that_are_none_are_refused() -> None:
    for text in ("", "[]", "{}", '{"chain":"AVAX","sender":"0x","steps":[{"receiver":"0x","from":"x","to":1}]}'):
        with pytest.raises(ValueError, match="no plan"):
            Plan.from_json(text)


def test_transactions_have_the_form_of_ethereum() -> None:
    # Examples of the form's own definition, and the selector by which Superfluid's forwarder is called.
    for value, text in (
        ([], "c0"), ([b"cat", b"dog"], "c88363617483646f67"), ([b""], "c180"), ([0], "c180"), ([15], "c10f"),
        ([1024], "c3820400"), ([[], [[]]], "c3c0c1c0"), ([b"x" * 56], "f83ab838" + "78" * 56),
    ):  # fmt: skip
        assert transaction(value).hex() == "02" + text
    assert call_of("setFlowrate(address,address,int96)").hex() == "57e6aa36"
    assert re.fullmatch("b6b55f25" + "0" * 63 + "5", call_of("deposit(uint256)", 5).hex())
