"""A repeated acting request acts once, for ten minutes."""

from __future__ import annotations

import pytest

from actors.errors import Refusal
from supervisor.control import memory
from supervisor.control.memory import KEPT_S, ReplyMemory

KEY = ("1000:7", "id-1", "trading.stop")


def settled(replies, key=KEY, *, now_s=0.0, reply=b"reply"):
    slot, first = replies.claim(key, b"frame", now_s=now_s)
    assert first
    replies.settle(key, reply, now_s=now_s)
    return slot


def test_a_repeat_finds_the_first_reply():
    replies = ReplyMemory()
    first = settled(replies)
    slot, is_first = replies.claim(KEY, b"frame", now_s=KEPT_S)
    assert not is_first
    assert slot is first
    assert slot.reply == b"reply"
    assert replies.repeats == 1


def test_a_repeat_of_one_under_way_waits_for_it():
    replies = ReplyMemory()
    replies.claim(KEY, b"frame", now_s=0)
    slot, is_first = replies.claim(KEY, b"frame", now_s=0)
    assert not is_first
    assert not slot.done.is_set()
    replies.settle(KEY, b"reply", now_s=1)
    assert slot.done.is_set()
    assert slot.reply == b"reply"


@pytest.mark.parametrize(
    "other",
    [("1001:7", "id-1", "trading.stop"), ("1000:8", "id-1", "trading.stop"), ("1000:7", 1, "trading.stop"),
     ("1000:7", "id-1", "trading.start")],
)  # fmt: skip
def test_another_caller_id_or_command_is_another_request(other):
    replies = ReplyMemory()
    settled(replies)
    assert replies.claim(other, b"frame", now_s=0)[1]


def test_an_id_used_for_something_else_is_refused():
    replies = ReplyMemory()
    settled(replies)
    with pytest.raises(Refusal) as caught:
        replies.claim(KEY, b"other frame", now_s=1)
    assert caught.value.code == "BAD_ARGUMENT"
    assert "id of its own" in caught.value.do


def test_after_ten_minutes_it_is_a_new_request():
    replies = ReplyMemory()
    settled(replies)
    assert replies.claim(KEY, b"frame", now_s=KEPT_S + 1)[1]


def test_an_abandoned_request_may_act_again():
    replies = ReplyMemory()
    slot, _ = replies.claim(KEY, b"frame", now_s=0)
    replies.abandon(KEY)
    assert slot.done.is_set()
    assert replies.claim(KEY, b"frame", now_s=0)[1]


def test_it_stays_bounded_in_number(monkeypatch):
    monkeypatch.setattr(memory, "REPLIES_MAX", 10)
    replies = ReplyMemory()
    for n in range(50):
        settled(replies, ("1:1", n, "x"))
    assert len(replies) <= 10
    assert not replies.claim(("1:1", 49, "x"), b"frame", now_s=0)[1]


def test_it_stays_bounded_in_bytes(monkeypatch):
    monkeypatch.setattr(memory, "REPLY_BYTES_MAX", 100)
    replies = ReplyMemory()
    for n in range(50):
        settled(replies, ("1:1", n, "x"), reply=b"r" * 10)
    assert len(replies) <= 12


def test_what_is_under_way_is_never_forgotten(monkeypatch):
    monkeypatch.setattr(memory, "REPLIES_MAX", 5)
    replies = ReplyMemory()
    replies.claim(KEY, b"frame", now_s=0)
    for n in range(50):
        settled(replies, ("1:1", n, "x"), now_s=n * KEPT_S)
    assert not replies.claim(KEY, b"frame", now_s=0)[1]
