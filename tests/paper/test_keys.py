"""Listen keys and the user stream: both answers to each open question (wire § 10.3)."""

from __future__ import annotations

import pytest

from actors.paper.faults import Fault
from actors.paper.private import D1
from tests.paper.kit import KOGE, Kit
from tests.shared import needs_shared, wire

KEY = f"{D1}/get-listen-key"
HOUR_MS = 3_600_000


def is_key(text: str) -> bool:
    return len(text) == 32 and not set(text) - set("0123456789abcdef")


def hears(kit: Kit) -> bool:
    """Does anything that happens now reach the user stream?"""
    kit.frames("alpha@")
    kit.cancel(kit.place("BUY", "40", "1"))
    return bool(kit.frames("alpha@"))


@needs_shared
@pytest.mark.parametrize(("shape", "sample"), [("text", "rest_listen_key_string"), ("bare", "rest_listen_key_object")])
def test_captured_and_reported_shapes(shape, sample):
    document = Kit(key_shape=shape).document("POST", KEY, {})
    captured = wire(sample)["response"]
    assert list(document) == list(captured)
    assert is_key(document.get("data") or document["listenKey"])


def test_object_shape():
    assert is_key(Kit(key_shape="object").data("POST", KEY, {})["listenKey"])


def test_a_second_post_gives_the_same_key_and_a_longer_life():
    kit = Kit()
    key = kit.listen()
    kit.pass_ms(HOUR_MS - 1)
    assert kit.data("POST", KEY, {}) == key
    kit.pass_ms(HOUR_MS - 1)
    assert hears(kit)
    kit.pass_ms(2)
    assert not hears(kit)


def test_or_a_new_one_beside_the_old():
    kit = Kit(key_renewal="new")
    first, second = kit.listen(), kit.listen()
    assert first != second
    kit.place("BUY", "40", "1")
    assert {frame["stream"] for frame in kit.frames("alpha@")} == {f"alpha@{first}", f"alpha@{second}"}


def test_or_a_new_one_that_kills_the_old():
    kit = Kit(key_renewal="new", old_key="dies")
    kit.listen()
    second = kit.listen()
    kit.place("BUY", "40", "1")
    assert {frame["stream"] for frame in kit.frames("alpha@")} == {f"alpha@{second}"}


def test_put_renews_by_query_or_body_and_refuses_what_is_no_key():
    kit = Kit()
    key = kit.listen()
    kit.pass_ms(HOUR_MS - 1)
    kit.data("PUT", KEY, listenKey=key)
    kit.pass_ms(HOUR_MS - 1)
    kit.data("PUT", KEY, {"listenKey": key})
    kit.pass_ms(HOUR_MS - 1)
    assert hears(kit)
    assert kit.code("PUT", KEY, {"listenKey": "0" * 32}) == "000002"
    assert kit.code("PUT", KEY, user="bob", listenKey=key) == "000002"


def test_it_dies_in_silence_after_an_hour():
    kit = Kit()
    key = kit.listen()
    kit.pass_ms(HOUR_MS)
    assert kit.frames("alpha@") == []
    assert not hears(kit)
    assert not kit.exchange.subscribe(f"alpha@{key}", public=False, now_ms=kit.now)
    assert kit.data("POST", KEY, {}) != key


@needs_shared
def test_or_with_notice():
    kit = Kit(expiry_notice=True)
    key = kit.listen()
    kit.pass_ms(HOUR_MS)
    (frame,) = kit.frames("alpha@")
    expected = wire("stream_listen_key_expired_constructed")["frame"]
    assert list(frame["data"]) == list(expected["data"])
    assert frame["data"] == {"e": "listenKeyExpired", "E": kit.now, "listenKey": key}


def test_keys_can_be_killed():
    kit = Kit()
    kit.listen()
    kit.exchange.kill_keys("alice", kit.now, notice=True)
    kit.exchange.kill_keys("bob", kit.now)
    kit.data("POST", KEY, {}, user="carol")
    kit.exchange.kill_keys("carol", kit.now, notice=True)
    assert [frame["data"]["e"] for frame in kit.frames("alpha@")] == ["listenKeyExpired"]
    assert not hears(kit)


def test_a_key_may_be_short_lived():
    kit = Kit(Fault(kind="key_death", seconds=2, times=1))
    kit.listen()
    kit.pass_ms(1_999)
    assert hears(kit)
    kit.pass_ms(1)
    assert not hears(kit)


def test_each_socket_counts_and_the_last_one_ends_the_frames():
    kit = Kit()
    key = kit.listen()
    assert kit.exchange.subscribe(f"alpha@{key}", public=False, now_ms=kit.now)
    kit.exchange.unsubscribe(f"alpha@{key}", public=False)
    assert hears(kit)
    kit.exchange.unsubscribe(f"alpha@{key}", public=False)
    assert not hears(kit)
    kit.exchange.unsubscribe(f"alpha@{key}", public=False)


@pytest.mark.parametrize("stream", ["alpha@", "alpha@0123", "alpha_22usdt@aggTrade", ""])
def test_what_is_no_user_stream_stays_silent(stream):
    kit = Kit()
    assert not kit.exchange.subscribe(stream, public=False, now_ms=kit.now)
    kit.exchange.unsubscribe(stream, public=False)


def test_nobody_hears_of_others_orders():
    kit = Kit()
    kit.listen()
    kit.place("BUY", "40", "1", user="bob")
    assert kit.frames("alpha@") == []


def test_nothing_is_replayed_unless_the_rule_says_so():
    """F14: old events again after a reconnect."""
    kit = Kit(replay_frames=2)
    first = kit.listen()
    for price in ("40", "41", "42"):
        kit.place("BUY", price, "1")
    original = kit.frames("alpha@")
    kit.exchange.unsubscribe(f"alpha@{first}", public=False)
    kit.listen()
    again = kit.frames("alpha@")
    assert [frame["data"] for frame in again] == [frame["data"] for frame in original[-2:]]


def test_frames_of_a_stream_leave_in_order():
    """A cancel (12 ms) right after a fill (160 ms and more) does not overtake it."""
    kit = Kit()
    kit.listen()
    kit.quote("SELL", "48", "0.5")
    order_id = kit.place("BUY", "48", "1")
    kit.pass_ms(510)
    kit.cancel(order_id)
    frames = kit.frames("alpha@")
    assert [frame["data"]["X"] for frame in frames] == ["NEW", "PARTIALLY_FILLED", "CANCELED"]
    assert [frame["due"] for frame in frames] == sorted(frame["due"] for frame in frames)
    assert all(frame["due"] == frame["data"]["E"] for frame in frames)
    assert frames[-1]["data"]["T"] == kit.now < frames[-1]["data"]["E"] - 12


@needs_shared
def test_a_cancel_looks_like_the_constructed_sample():
    expected = wire("stream_constructed_canceled")["frame"]["data"]
    kit = Kit()
    kit.listen()
    kit.cancel(kit.place("BUY", "0.2", "100.5", "ALPHA_901USDT"), "ALPHA_901USDT")
    canceled = kit.reports()[-1]
    assert list(canceled) == list(expected)
    same = ("S", "o", "f", "q", "p", "ap", "P", "x", "X", "l", "z", "L", "t", "m", "ot", "st", "Z", "Y", "Q", "qa", "e")
    assert {name: canceled[name] for name in same} == {name: expected[name] for name in same}
    assert canceled["s"] != KOGE
