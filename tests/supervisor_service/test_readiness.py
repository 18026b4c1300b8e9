"""When a start is over, and how the daemon stands in one line."""

from __future__ import annotations

from decimal import Decimal

import pytest
from msgspec.structs import replace

from actors.domain.trading import Pause
from actors.messages import Progress, TraderSnapshot
from supervisor.lifecycle import Sign
from supervisor.readiness import PairRate, Standing, given_up, standing, starting
from tests.control.daemon import record


def shown(user="alice", *, pairs=0, day="2026-11-20", **changes):
    progress = Progress(
        day=day, volume=Decimal(0), counted_volume=Decimal(0), target=Decimal(500), target_points=None,
        percent=Decimal(0), pairs=pairs, pairs_to_go=1, wear=Decimal(0),
    )  # fmt: skip
    told = TraderSnapshot(
        user=user, token="KOGE", wanted="running", phase="idle", waiting=None, pauses=(), since_ms=0, pair=None,
        progress=progress, reconciled=True,
    )  # fmt: skip
    return replace(told, **changes)


PAUSE = Pause(reason="ORDERS_DISCONNECTED", since_ms=0, detail="", hint="")
PAIR = object()


@pytest.mark.parametrize(
    ("snapshot", "state"),
    [
        (shown(), "trading"),
        (shown(phase="working", pair=PAIR), "trading"),
        (shown(phase="done"), "done"),
        (shown(reconciled=False), "waiting"),
        (shown(reconciled=False, pauses=(PAUSE,)), "paused"),
        (shown(wanted="stopped", reconciled=False), "stopped"),  # nothing of it can be at the exchange
        (shown(wanted="stopped", reconciled=False, phase="reconciling"), "waiting"),
        (shown(wanted="stopped", reconciled=False, pair=PAIR), "waiting"),
        (shown(wanted="stopped", pair=PAIR), "stopped"),
        (None, "waiting"),
    ],
)
def test_each_user_counts_once_in_its_state(snapshot, state):
    found = standing({"alice": record("alice")}, [] if snapshot is None else [snapshot])
    assert {name for name in found.__struct_fields__ if getattr(found, name)} == {"total", state}
    assert found.ready is (state != "waiting")


def test_who_cannot_trade_yet_and_who_was_given_up_keeps_nobody_waiting():
    users = {"alice": record("alice", config=None), "bob": record("bob")}
    found = standing(users, [], frozenset({"bob"}))
    assert (found.new, found.paused, found.ready) == (1, 1, True)
    assert Standing().ready


def test_the_line_leaves_out_what_there_is_none_of():
    assert Standing().words() == "no users"
    assert Standing(total=10, trading=8, paused=1, waiting=1).words() == "8 trading, 1 paused, 1 reconciling"


def sign(path, state="running"):
    return Sign(path, 1, 0, True, state)


def test_a_start_says_what_it_is_busy_with():
    assert starting([sign("store", "starting"), sign("control", "stopped")], Standing()) == "opening the store"
    delaying = [sign("store"), sign("control", "delaying")]
    assert starting(delaying, Standing()) == "starting: control is delaying"
    trading = [sign("store"), sign("traders/alice", "starting")]
    assert starting(trading, Standing()) == "loading users"
    assert starting(trading, Standing(total=10, waiting=7)).endswith("3 of 10 users are ready")


def test_a_parked_trader_is_a_user_who_was_given_up():
    signs = [sign("store"), sign("feeds/alice", "parked"), sign("traders/alice", "parked"), sign("traders/bob")]
    assert given_up(signs) == {"alice"}


def test_pairs_are_counted_over_the_last_minute():
    rate = PairRate()
    said = [rate.look([shown(pairs=10 + number), shown("bob", pairs=number)], number * 10.0) for number in range(20)]
    assert said[:3] == [0, 2, 4]
    assert said[-1] == 12


def test_a_new_day_a_new_user_and_one_that_shows_nothing_are_counted_right():
    rate = PairRate()
    rate.look([shown(pairs=99)], 0.0)
    assert rate.look([shown(pairs=3, day="2026-11-21"), shown("bob", pairs=50)], 10.0) == 3
    assert rate.look([shown(pairs=4, day="2026-11-21", progress=None), shown("bob", pairs=51)], 20.0) == 4
    assert rate.look([shown(pairs=4, day="2026-11-21")], 30.0) == 5
