"""Judgements from snapshots: what is not in order, and why a user trades or not."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from actors.domain.trading import Pause
from actors.messages import Waiting
from actors.targets import NotifierStatistics, TargetStatistics
from supervisor.control.health import problems
from supervisor.control.why import reasons
from tests.control.daemon import FEED, QUOTE, TEN_MS, FakeDaemon, node, snapshot


def found(*, root=None, snapshots=(), feeds=(), told=None):
    return problems(root or node("", kind="group"), snapshots, feeds, told)


def test_a_running_daemon_is_healthy():
    office = FakeDaemon()
    assert found(root=office.root, snapshots=tuple(office.snapshots.values()), feeds=[("KOGE", FEED, QUOTE)]) == []


@pytest.mark.parametrize("state", ["starting", "delaying", "parked", "stopping", "stopped", "stuck"])
def test_an_actor_that_does_not_run_is_a_problem_with_what_to_do(state):
    root = node(
        "", kind="group", children=(node("traders", kind="family", children=(node("traders/bob", state=state),)),)
    )
    (problem,) = found(root=root)
    assert problem["where"] == "traders/bob"
    assert problem["do"]


def test_a_mailbox_that_fills_up_is_a_problem():
    full = replace(node("x").mailbox, depth=3500)
    (problem,) = found(root=node("", kind="group", children=(node("store", mailbox=full),)))
    assert "3500 of 4096" in problem["what"]


def test_people_who_cannot_be_told_are_a_problem_with_the_reason():
    well = TargetStatistics(
        target="json-1", waiting=0, told=1, messages=1, failures=1, dropped=0, failing_since_ms=None, error="error 500"
    )
    ill = replace(well, target="tgram-2", waiting=3, failing_since_ms=TEN_MS)
    (problem,) = found(told=NotifierStatistics(targets=(well, ill)))
    assert problem["where"] == "notifier tgram-2"
    assert problem["what"].startswith("3 notices wait")
    assert problem["what"].endswith("error 500")


def test_a_pause_is_a_problem_unless_an_operator_wanted_it():
    wanted = Pause(reason="OPERATOR", since_ms=TEN_MS, detail="lunch")
    volatile = Pause(reason="PRICE_VOLATILITY", since_ms=TEN_MS, detail="2.3 % above 2 %", hint="wait")
    (problem,) = found(snapshots=(snapshot("a", pauses=(wanted,)), snapshot("b", pauses=(volatile,))))
    assert (problem["where"], problem["do"]) == ("traders/b", "wait")
    assert problem["what"] == "paused PRICE_VOLATILITY: 2.3 % above 2 %"


def test_lost_streams_are_problems():
    down = replace(QUOTE, connected=False, disconnected_since_ms=TEN_MS)
    told = found(
        snapshots=(snapshot("a", stream_connected=False), snapshot("b", stream_connected=False, wanted="stopped")),
        feeds=[
            ("KOGE", replace(FEED, connected=False), down),
            ("X", replace(FEED, connected=False), None),
            ("Y", None, None),
        ],
    )
    assert [(each["where"], each["what"]) for each in told] == [
        ("feeds/KOGE", "the price stream is down since 2026-11-20T10:00:00.000Z"),
        ("feeds/X", "the price stream is down"),
        ("feeds/Y", "no feed is running"),
        ("traders/a", "the order stream is down"),
    ]


def why(told, quote=QUOTE, place=None, now_ms=TEN_MS + 1500):
    return reasons("alice", told, quote, place or node("traders/alice"), now_ms=now_ms)


def test_a_trading_user_tells_its_phase_and_the_price():
    assert why(snapshot()) == [
        "partially_filled for 1.5 s: the buy is partly filled",
        "ALPHA_22USDT last 48.0021, 1.7 s old, bid 48 ask 48.01, 60 s range 0.31 %",
    ]


def test_what_keeps_a_user_from_trading_comes_first():
    pause = Pause(reason="WEAR_LIMIT", since_ms=TEN_MS, detail="5 of 5 USDT", hint="raise max_wear_usdt")
    told = why(snapshot(wanted="stopped", phase="idle", pauses=(pause,), stream_connected=False))
    assert told[0] == "nobody wants it to trade: trading.start alice"
    assert told[1] == "paused WEAR_LIMIT since 2026-11-20T10:00:00.000Z: 5 of 5 USDT; raise max_wear_usdt"
    assert "its order stream is not connected" in told


def test_a_wait_is_explained():
    waiting = Waiting(wait="price_stale", since_ms=TEN_MS, detail="75 s")
    told = why(snapshot(phase="idle", waiting=waiting), quote=replace(QUOTE, connected=False, bid=None))
    assert "waiting for price_stale" in told[1]
    assert told[1].endswith("(75 s)")
    assert told[-1].endswith("stream down")


def test_a_trader_that_does_not_run_says_so():
    parked = node("traders/alice", state="delaying", waiting_for="3.2 s")
    assert why(snapshot(), place=parked)[0] == "its trader is delaying, waiting for 3.2 s"
    assert reasons("alice", None, None, None, now_ms=TEN_MS) == [
        "it has no trader in the tree",
        "its trader has not told anything yet",
    ]
