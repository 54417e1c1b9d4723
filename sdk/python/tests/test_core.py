"""Calls without a network: the tests perform the effects themselves, and time stands still unless they move it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from aleph_im import NotFoundError, Options, VerificationError, from_key
from aleph_im.answers import Post
from aleph_im.core import Core
from aleph_im.endpoints import COOL_DOWN
from aleph_im.errors import AnswerError, DeadlineError, RejectedError, StatusError, TransportError
from aleph_im.errors import InsufficientFundsError as Insufficient
from aleph_im.message import build
from aleph_im.operation import Call, Invoke, Pause, Request, Response
from aleph_im.posts import as_signed
from aleph_im.publish import broadcast, info_of, read_message, wait_for

A, B = "http://a", "http://b"
ACCOUNT = from_key(b"\x01" * 32)

Answer = Response | TransportError


class Network:
    """Performs effects: answers requests by a function, and counts pauses as time."""

    def __init__(self, answer: Callable[[Request], Answer], urls: tuple[str, ...] = (A,), **options: Any) -> None:
        self.now = 1000.0
        self.answer = answer
        self.requests: list[Request] = []
        self.pauses: list[float] = []
        self.core = Core(urls, ACCOUNT, None, Options(**options), clock=lambda: self.now)

    def run(self, call: Call[Any]) -> Any:
        result: Any = None
        failure: BaseException | None = None
        try:
            while True:
                effect = call.throw(failure) if failure else call.send(result)
                result, failure = None, None
                if isinstance(effect, Pause):
                    self.pauses.append(effect.seconds)
                    self.now += effect.seconds
                elif isinstance(effect, Invoke):
                    result = effect.function()
                else:
                    assert isinstance(effect, Request)
                    self.requests.append(effect)
                    answer = self.answer(effect)
                    if isinstance(answer, TransportError):
                        failure = answer
                    else:
                        result = answer
        except StopIteration as end:
            return end.value


def reply(status: int, body: Any = None, **headers: str) -> Response:
    return Response(status, headers, json.dumps(body).encode())


def in_turn(*answers: Answer) -> Callable[[Request], Answer]:
    left = list(answers)
    return lambda _: left.pop(0)


class TestRetries:
    @pytest.mark.parametrize("status", [429, 502, 503, 504])
    def test_what_says_try_later_is_tried_later(self, status: int) -> None:
        network = Network(in_turn(reply(status), reply(200, {"a": 1})))
        assert network.run(network.core.get("/x")) == {"a": 1}
        assert len(network.pauses) == 1

    @pytest.mark.parametrize("status", [400, 403, 422, 500])
    def test_what_does_not_is_not(self, status: int) -> None:
        network = Network(in_turn(reply(status, "no")))
        with pytest.raises(StatusError) as caught:
            network.run(network.core.get("/x"))
        assert caught.value.status == status
        assert not caught.value.retryable

    def test_pauses_grow_and_end(self) -> None:
        network = Network(lambda _: TransportError("down"), attempts=5, backoff=1.0)
        with pytest.raises(TransportError, match="down"):
            network.run(network.core.get("/x"))
        assert len(network.requests) == 5
        for pause, longest in zip(network.pauses, (1.0, 2.0, 4.0, 5.0), strict=True):
            assert longest / 2 <= pause <= longest

    def test_a_node_may_ask_for_a_longer_pause(self) -> None:
        network = Network(in_turn(Response(503, {"retry-after": "7"}, b""), reply(200)))
        network.run(network.core.get("/x"))
        assert network.pauses == [7.0]

    @pytest.mark.parametrize("text", ["soon", "-5", "Thu, 99 Nov"])
    def test_a_pause_that_cannot_be_read_is_none(self, text: str) -> None:
        network = Network(in_turn(Response(503, {"retry-after": text}, b""), reply(200)))
        network.run(network.core.get("/x"))
        assert network.pauses[0] <= 0.1

    def test_no_pause_goes_beyond_the_deadline(self) -> None:
        network = Network(lambda _: Response(503, {"retry-after": "60"}, b""), attempts=10, deadline=100.0)
        with pytest.raises(StatusError):
            network.run(network.core.get("/x"))
        assert network.pauses == [60.0]


class TestSeveralNodes:
    def test_the_second_is_asked_at_once_when_the_first_fails(self) -> None:
        down = TransportError("down")
        network = Network(lambda r: down if r.url.startswith(A) else reply(200, r.url), (A, B))
        assert network.run(network.core.get("/x")) == "http://b/x"
        assert not network.pauses

    def test_all_calls_stay_with_it_until_the_first_has_cooled_down(self) -> None:
        network = Network(in_turn(TransportError("down"), reply(200), reply(200), reply(200)), (A, B))
        network.run(network.core.get("/1"))
        network.run(network.core.get("/2"))
        network.now += COOL_DOWN
        network.run(network.core.get("/3"))
        assert [r.url for r in network.requests] == ["http://a/1", "http://b/1", "http://b/2", "http://a/3"]

    def test_when_all_have_failed_the_longest_ago_is_asked(self) -> None:
        network = Network(in_turn(TransportError("1"), TransportError("2"), reply(200)), (A, B))
        network.run(network.core.get("/x"))
        assert [r.url for r in network.requests] == ["http://a/x", "http://b/x", "http://a/x"]
        assert len(network.pauses) == 1

    def test_a_compute_node_that_fails_changes_nothing_for_the_others(self) -> None:
        network = Network(lambda r: reply(200, r.url) if r.url.startswith(A) else TransportError("down"))
        with pytest.raises(TransportError):
            network.run(network.core.get("/x", base="http://compute"))
        assert network.core.endpoints.order() == [A]
        assert network.run(network.core.get("/x")) == "http://a/x"

    def test_none_is_an_error(self) -> None:
        with pytest.raises(ValueError, match="at least one"):
            Core((), None, None, Options())


def shown(content: Any = 1, **changes: Any) -> dict[str, Any]:
    """A message as a node shows it."""
    signed = build("POST", {"type": "t", "content": content}, chain="ETH", sender=ACCOUNT.address, time=5.0)
    envelope = signed.attach(ACCOUNT.sign(signed.verification_text)).envelope()
    return {**envelope, "content": {"forged": True}, "confirmed": False, "confirmations": [], "newer": 1, **changes}


class TestNodesThatLie:
    def test_what_is_right_is_taken_and_its_content_is_what_was_signed(self) -> None:
        message = read_message(shown(), verify=True)
        assert message.content["content"] == 1
        assert message.content_verified
        assert message.signature_verified
        assert message.extra == {"newer": 1}

    @pytest.mark.parametrize(
        "changes",
        [
            {"item_content": '{"type":"t","content":2}'},
            {"item_content": None},
            {"item_hash": "0" * 64},
            {"sender": "0x" + "0" * 40},
            {"chain": "BASE"},
            {"type": "STORE"},
            {"signature": "0x" + "1" * 130},
        ],
    )
    def test_another_content_or_sender_is_refused(self, changes: dict[str, Any]) -> None:
        with pytest.raises(VerificationError):
            read_message(shown(**changes), verify=True)
        assert not read_message(shown(**changes), verify=False).signature_verified

    def test_what_cannot_be_checked_says_so(self) -> None:
        assert not read_message(shown(signature=None), verify=True).signature_verified
        assert not read_message(shown(chain="UNHEARD"), verify=True).signature_verified

    def test_the_answer_for_another_message_is_refused(self) -> None:
        data = shown()
        wrong = {"status": "processed", "item_hash": "1" * 64, "reception_time": "2026-01-01T00:00:00Z", "message": data}
        network = Network(in_turn(reply(200, wrong)))
        with pytest.raises(VerificationError, match="asked for message"):
            network.run(info_of(network.core, data["item_hash"]))
        network = Network(in_turn(reply(200, {**wrong, "message": data})))
        with pytest.raises(VerificationError, match="asked for message"):
            network.run(info_of(network.core, "1" * 64))

    def test_a_stored_content_is_fetched_and_checked(self) -> None:
        unsigned = build("POST", {"type": "t", "content": "x" * 60_000}, chain="ETH", sender=ACCOUNT.address)
        message = {
            **unsigned.attach(ACCOUNT.sign(unsigned.verification_text)).envelope(),
            "content": {"forged": True},
        }
        answer = {
            "status": "processed",
            "item_hash": unsigned.item_hash,
            "reception_time": "2026-01-01T00:00:00Z",
            "message": message,
        }
        raw = unsigned.item_content.encode()
        network = Network(in_turn(reply(200, answer), Response(200, {}, raw)))
        info = network.run(info_of(network.core, unsigned.item_hash))
        assert info.message.content["content"] == "x" * 60_000
        network = Network(in_turn(reply(200, answer), Response(200, {}, raw + b" ")))
        with pytest.raises(VerificationError, match="another content"):
            network.run(info_of(network.core, unsigned.item_hash))

    def test_the_content_of_a_post_is_what_was_signed(self) -> None:
        data = shown()
        post = Post.read(
            {
                **dict.fromkeys(["ref", "channel"]),
                **dict.fromkeys(["created", "last_updated"], 5),
                "item_hash": data["item_hash"],
                "original_item_hash": data["item_hash"],
                "original_type": "t",
                "address": ACCOUNT.address,
                "content": "forged",
            }
        )
        info = {"status": "processed", "item_hash": data["item_hash"], "reception_time": 5, "message": data}
        network = Network(in_turn(reply(200, info)))
        assert network.run(as_signed(network.core, post)).content == 1
        for other in (replace(post, original_item_hash="1" * 64), replace(post, address="0xother")):
            network = Network(in_turn(reply(200, info)))
            with pytest.raises(VerificationError, match="no version of it"):
                network.run(as_signed(network.core, other))

    @pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"status":"processed"}', b"null", b'{"item_hash":5}'])
    def test_what_is_no_answer_is_an_error(self, body: bytes) -> None:
        network = Network(in_turn(Response(200, {}, body)))
        with pytest.raises(AnswerError):
            network.run(info_of(network.core, "0" * 64))


def standing(status: str, **members: Any) -> Response:
    return reply(200, {"status": status, "item_hash": "0" * 64, "reception_time": "2026-01-01T00:00:00Z", **members})


class TestWaiting:
    def test_unknown_and_pending_are_waited_for(self) -> None:
        data = shown()
        done = {"status": "processed", "item_hash": data["item_hash"], "reception_time": "2026-01-01T00:00:00Z"}
        pending = {**done, "status": "pending", "messages": [{}]}
        network = Network(in_turn(reply(404), reply(200, pending), reply(200, {**done, "message": data})))
        assert network.run(wait_for(network.core, data["item_hash"], 60)).status == "processed"
        assert len(network.pauses) == 2

    def test_it_ends_in_time(self) -> None:
        network = Network(lambda _: reply(404))
        with pytest.raises(DeadlineError, match="not known yet after 60 s"):
            network.run(wait_for(network.core, "0" * 64, 60))
        assert network.now <= 1060

    @pytest.mark.parametrize(
        ("code", "details", "kind", "required", "available"),
        [
            (5, {"errors": [{"required_balance": "12.5", "account_balance": "0"}]}, "ALEPH", "12.5", "0"),
            (6, {"errors": [{"required_credits": "9", "account_credits": 2}]}, "CREDIT", "9", "2"),
            (6, None, "CREDIT", None, None),
        ],
    )
    def test_what_cannot_be_paid_says_how_much_is_missing(
        self, code: int, details: Any, kind: str, required: str | None, available: str | None
    ) -> None:
        network = Network(in_turn(standing("rejected", error_code=code, details=details, message={})))
        with pytest.raises(Insufficient) as caught:
            network.run(wait_for(network.core, "0" * 64, 60))
        assert caught.value.kind == kind
        assert str(caught.value.required) == str(required)
        assert str(caught.value.available) == str(available)

    def test_a_code_of_the_future_is_a_rejection_too(self) -> None:
        network = Network(in_turn(standing("rejected", error_code=999, details=["odd"], message={})))
        with pytest.raises(RejectedError, match="code 999"):
            network.run(wait_for(network.core, "0" * 64, 60))


class TestPublishing:
    def signed(self) -> Any:
        unsigned = build("POST", {"type": "t", "content": 1}, chain="ETH", sender=ACCOUNT.address)
        return unsigned.attach(ACCOUNT.sign(unsigned.verification_text))

    def test_a_broken_connection_does_no_harm(self) -> None:
        done = reply(202, {"publication_status": {"status": "warning", "failed": ["ipfs"]}, "message_status": "pending"})
        network = Network(in_turn(TransportError("cut"), done))
        submission = network.run(broadcast(network.core, self.signed(), sync=False))
        assert submission.status == "pending"
        assert submission.failed == ("ipfs",)
        assert network.requests[0].body == network.requests[1].body

    def test_a_refusal_is_explained(self) -> None:
        message = self.signed()
        refused = reply(422, {"publication_status": {"status": "success", "failed": []}, "message_status": "rejected"})
        why = reply(
            200,
            {
                "status": "rejected",
                "item_hash": message.item_hash,
                "reception_time": "2026-01-01T00:00:00Z",
                "message": {},
                "error_code": 2,
                "details": None,
            },
        )
        network = Network(in_turn(refused, why))
        with pytest.raises(RejectedError, match="may not do this"):
            network.run(broadcast(network.core, message, sync=True))

    def test_an_answer_that_is_none_of_the_two(self) -> None:
        network = Network(in_turn(Response(422, {}, b"InvalidMessageFormat")))
        with pytest.raises(StatusError, match="InvalidMessageFormat"):
            network.run(broadcast(network.core, self.signed(), sync=True))


def test_not_found_is_not_found() -> None:
    for status in (404, 410):
        network = Network(in_turn(reply(status)))
        with pytest.raises(NotFoundError):
            network.run(network.core.get("/x"))
