"""What people are told, in which words, and how many notices become one message."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.domain.trading import PAUSE_REASONS
from actors.notices import (
    TEXT_MAX,
    DaySum,
    Notice,
    Repeats,
    Target,
    Watch,
    message,
    of_row,
    old_credentials,
    paused,
    row_of,
    summary,
)

AT = 1_795_168_800_000


def told(*notices: Notice, dropped: int = 0) -> str:
    return message(notices, instance="here", dropped=dropped, moment=lambda ms: "10:00:00Z").text


def pair(status: str, outcome: str | None = None) -> dict:
    return {"pair_id": "alice-1", "status": status, "outcome": outcome}


def actor(**changes) -> dict:
    return {"path": "traders/alice", "incarnation": 3, "errors": ["ValueError: x"], "why": "6 deaths", **changes}


class TestWatch:
    @pytest.mark.parametrize("reason", PAUSE_REASONS)
    def test_every_pause_and_its_end_are_told_once(self, reason):
        watch = Watch()
        begun = {"reason": reason, "detail": "because", "since_ms": AT}
        first = watch.hear("pause.alice", "paused", AT, begun)
        assert (first.kind, first.user, first.repeats) == ("paused", "alice", None)
        assert f"PAUSED alice: {reason}: because" in told(first)
        assert watch.hear("pause.alice", "paused", AT + 5, begun).notice_id == first.notice_id
        over = watch.hear("pause.alice", "resumed", AT, {"reason": reason, "who": "1000:7", "since_ms": AT})
        assert told(over) == f"10:00:00Z resumed alice: {reason} is over by 1000:7"
        again = watch.hear("pause.alice", "paused", AT, begun | {"since_ms": AT + 1})
        assert again.notice_id != first.notice_id

    def test_a_pause_that_ends_by_itself_names_nobody(self):
        over = {"reason": "RATE_LIMITED", "who": "traders/alice", "since_ms": AT}
        assert Watch().hear("pause.alice", "resumed", AT, over).what == "RATE_LIMITED is over"

    def test_an_order_without_an_answer_is_told_until_it_is_settled(self):
        watch = Watch()
        assert watch.hear("pair.alice", "pair", AT, pair("placing")) is None
        assert watch.hear("pair.alice", "pair", AT, pair("unresolved")).kind == "unresolved"
        assert watch.hear("pair.alice", "pair", AT, pair("unresolved")) is None
        settled = watch.hear("pair.alice", "pair", AT, pair("working"))
        assert (settled.kind, settled.what) == ("settled", "pair alice-1 is settled: working")
        assert watch.hear("pair.alice", "pair", AT, pair("closed", "completed")) is None

    def test_a_target_is_reached_once_a_day(self):
        found = [Watch().hear("progress.alice", "target_reached", at, {"day": "2026-11-20"}) for at in (AT, AT + 9)]
        assert found[0].notice_id == found[1].notice_id
        assert found[0].what == "target of 2026-11-20 reached"

    def test_an_actor_that_is_given_up_is_told_and_that_it_is_back(self):
        watch = Watch()
        assert watch.hear("actor", "ready", AT, actor()) is None
        crashed = watch.hear("actor", "crashed", AT, actor())
        assert (crashed.repeats, crashed.user) == ("crashed/traders/alice", "alice")
        assert watch.hear("actor", "restarting", AT, actor()) is None
        parked = watch.hear("actor", "parked", AT, actor())
        assert (parked.kind, parked.repeats) == ("parked", None)
        assert "otoctl actor restart traders/alice" in parked.what
        assert watch.hear("actor", "ready", AT, actor()).kind == "back"
        assert watch.hear("actor", "ready", AT, actor()) is None
        assert watch.hear("actor", "stuck", AT, actor(path="store")).user is None

    def test_the_store_and_the_clock(self):
        watch = Watch()
        assert "cannot be made durable" in watch.hear("system", "store_unavailable", AT, {"why": "disk full"}).what
        assert "after 12 s" in watch.hear("system", "store_recovered", AT, {"outage_ms": 12_000}).what
        assert watch.hear("system", "publish_failed", AT, {"why": "disk full"}).repeats == "publish"
        assert watch.hear("system", "clock_stepped", AT, {"step_ms": -1500}).repeats == "clock"

    @pytest.mark.parametrize(
        ("topic", "kind", "payload"),
        [("system", "token_changed", {}), ("stream", "feed_connected", {}), ("progress.alice", "progress", {}),
         ("fill.alice", "fill", {}), ("pause.alice", "other", {})],
    )  # fmt: skip
    def test_nobody_is_called_for_the_rest(self, topic, kind, payload):
        assert Watch().hear(topic, kind, AT, payload) is None


class TestRepeats:
    def test_what_is_not_important_is_told_again_with_the_number_of_times(self):
        repeats = Repeats(3_600_000)
        notice = Notice(notice_id="x", kind="crashed", what="it crashed", at_ms=AT, repeats="crashed/a")

        def at(ms: int) -> str | None:
            passed = repeats.pass_on(
                Notice(**{**{f: getattr(notice, f) for f in notice.__struct_fields__}, "at_ms": ms})
            )
            return passed and passed.what

        assert [at(AT), at(AT + 1), at(AT + 3_599_999)] == ["it crashed", None, None]
        assert at(AT + 3_600_000) == "it crashed (2 more since it was told last)"
        assert at(AT + 7_200_000) == "it crashed"
        assert at(AT) == "it crashed"  # the clock was set back


class TestMessage:
    def test_users_with_one_cause_stand_in_one_line(self):
        notices = [paused(f"user{n}", "FEED_DISCONNECTED", "the stream ended", AT) for n in range(1000)]
        text = told(*notices)
        assert text.count("\n") == 0
        assert "user0, user1, " in text
        assert "and 960 more: FEED_DISCONNECTED: the stream ended" in text

    def test_where_details_are_too_many_the_reason_gathers_them(self):
        notices = [paused(f"user{n}", "INSUFFICIENT_BALANCE", f"{n} USDT {'x' * 50}", AT) for n in range(500)]
        text = told(*notices, paused("zoe", "CRASHED", "6 deaths", AT))
        assert "and 460 more: INSUFFICIENT_BALANCE: 0 USDT" in text
        assert "(and 499 other details)" in text
        assert "zoe: CRASHED" in text

    def test_one_user_twice_is_counted(self):
        assert told(*[paused("alice", "RATE_LIMITED", "429", AT)] * 3).endswith("429 (3 times)")

    def test_what_was_dropped_is_said(self):
        assert told(paused("alice", "OPERATOR", "", AT), dropped=7).startswith("7 notices were dropped")
        assert "7 notices" in told(dropped=7)

    def test_the_title_names_daemon_and_kinds(self):
        notices = [paused("alice", "OPERATOR", "", AT), old_credentials("bob", AT, 7, AT)]
        title = message(notices, instance="tokyo-1", dropped=0, moment=str).title
        assert title == "otod tokyo-1: PAUSED, CREDENTIALS"

    @given(
        st.lists(
            st.builds(
                Notice,
                notice_id=st.text(max_size=5),
                kind=st.sampled_from(["paused", "crashed", "summary"]),
                user=st.none() | st.text(min_size=1, max_size=32),
                what=st.text(max_size=5000),
                at_ms=st.just(AT),
            ),
            min_size=1,
            max_size=50,
        )
    )
    def test_a_message_is_bounded_and_never_empty(self, notices):
        assert 0 < len(told(*notices)) <= TEXT_MAX + 100


class TestTargets:
    def test_operators_hear_everything_users_what_is_about_them(self):
        everybody, alice = Target("ops"), Target("alice", frozenset({"alice"}))
        mine, other = paused("alice", "OPERATOR", "", AT), paused("bob", "OPERATOR", "", AT)
        assert [everybody.wants(mine), everybody.wants(other)] == [True, True]
        assert [alice.wants(mine), alice.wants(other)] == [True, False]

    def test_the_sum_of_all_is_for_operators_a_users_own_for_him(self):
        everybody, alice = Target("ops"), Target("alice", frozenset({"alice"}))
        sums = [
            DaySum(
                user="alice",
                volume=Decimal(500),
                target=Decimal(500),
                pairs=10,
                wear=Decimal("0.2"),
                wear_bps=Decimal(4),
            )
        ]
        whole, own = summary("2026-11-20", sums, None, AT), summary("2026-11-20", sums, "alice", AT)
        assert [everybody.wants(whole), alice.wants(whole)] == [True, False]
        assert [everybody.wants(own), alice.wants(own)] == [False, True]
        assert whole.what == (
            "2026-11-20: 1 users, 500.00 USDT bought, 10 pairs, wear 0.20 USDT, 1 at target\n"
            "  alice: 500.00 of 500.00 USDT, 10 pairs, wear 0.20 (4.0 bps)"
        )
        assert summary("2026-11-20", sums, "bob", AT).what == "2026-11-20: nothing was traded"


def test_a_row_brings_the_notice_back():
    notice = paused("alice", "AUTH_FAILED", "log in", AT)
    row = row_of(notice, ["b", "a"])
    assert (row.owed, row.ended_at, of_row(row)) == ("a b", None, notice)
