"""Stories of the real trader in the whole daemon, against the paper exchange, under a virtual clock.

Every story ends with the checks of the simulation: at no time two live pairs, every placement durable before it left
and sent once, records equal to the exchange's to the last decimal. Fault numbers: ../shared/reliability.md § 1.
"""

from __future__ import annotations

from decimal import Decimal as D

import pytest
import trio
from msgspec.structs import replace

from actors.errors import Refusal
from actors.messages import CancelPair, PauseTrading, StartTrading, StopTrading
from actors.paper.faults import Fault
from tests.sim.menu import OTO, SALE
from tests.sim.options import AUTO, BEFORE_MIDNIGHT_MS
from tests.sim.stage import tell

PASSIVE = {"buy_offset": D("-1.5"), "sell_offset": D("1.5")}
"""Rests in the book: the market moves 1.5 % in a quarter of an hour at the earliest."""

STUCK_SALE = {"buy_offset": D("0.05"), "sell_offset": D("1.5")}
"""Buys at once, and its sale rests."""


# -- an ordinary day


def test_pairs_follow_each_other_after_the_rest_between_them():
    async def script(stage):
        await stage.pairs_closed(4)
        assert stage.outcomes()[:4] == ["completed"] * 4
        closed = [pair.closed_at for pair in stage.pairs()[:4]]
        begun = [pair.intent_at for pair in stage.pairs()[1:4]]
        assert all(begin - close >= 1_000 for begin, close in zip(begun, closed, strict=False))

    tell(script)


def test_the_target_is_reached_and_hardly_overshot():
    async def script(stage):
        await stage.phase("done")
        progress = stage.shown().progress
        assert 0 <= progress.volume - D(170) < 1
        assert progress.pairs == 4

    tell(script, config={"target_volume": D(170)})


def test_f70_a_user_who_is_done_goes_on_at_midnight_and_each_fill_counts_for_its_day():
    async def script(stage):
        await stage.phase("done", within_s=230)
        first = stage.shown().progress
        await stage.until(lambda: stage.shown().progress.day > first.day, within_s=300)
        await stage.phase("done")
        assert stage.shown().progress.volume >= 100
        assert {pair.pair_id.rsplit("-", 1)[0] for pair in stage.pairs()} == {"alice-2026-11-20", "alice-2026-11-21"}

    tell(script, config={"target_volume": D(100)}, start_ms=BEFORE_MIDNIGHT_MS)


def test_users_of_one_token_never_trade_with_each_other():
    async def script(stage):
        await trio.sleep(60)
        assert all(len(stage.outcomes(user)) >= 3 for user in stage.world.names)

    tell(script, users=3)  # the checks compare the exchange's own list of such matches


# -- placements without an answer


@pytest.mark.parametrize(
    "fault",
    [
        Fault(kind="lost_reply", path=OTO, times=1),
        Fault(kind="late_reply", path=OTO, times=1, seconds=15),
        Fault(kind="http_error", path=OTO, times=1, status=504, processed=True),
        Fault(kind="truncated_body", path=OTO, times=1),
        Fault(kind="html_body", path=OTO, times=1, processed=True),
        Fault(kind="error_code", path=OTO, times=1, code="100001001", processed=True),
        Fault(kind="error_code", path=OTO, times=1, code="999999", processed=True),
        Fault(kind="late_acceptance", path=OTO, times=1, seconds=6),
    ],
    ids=lambda fault: f"{fault.kind} {fault.code if fault.kind == 'error_code' else ''}".strip(),
)
def test_f4_f5_f6_f7_f25_an_accepted_pair_whose_answer_is_lost_is_adopted(fault):
    async def script(stage):
        await stage.pairs_closed(1)
        assert stage.outcomes()[0] == "completed"
        assert len(stage.orders()) == 2

    tell(script, replace(fault))


def test_an_unanswered_placement_that_never_arrived_is_proven_absent_by_four_looks_over_twenty_seconds():
    async def script(stage):
        await stage.phase("unresolved")
        doubt_s = trio.current_time()
        await stage.pairs_closed(1)
        assert stage.outcomes() == ["absent"]
        assert trio.current_time() - doubt_s >= 20
        await stage.pairs_closed(2)
        assert stage.outcomes()[1] == "completed"

    tell(script, Fault(kind="lost_reply", path=OTO, times=1, processed=False))


def test_f28_an_order_that_the_lists_show_late_is_still_adopted():
    async def script(stage):
        await stage.pairs_closed(1)
        assert stage.outcomes()[0] == "completed"

    drop = Fault(kind="drop_frame", stream="alpha@")  # the stream must not tell before the lists do
    tell(
        script,
        Fault(kind="lost_reply", path=OTO, times=1),
        Fault(kind="read_lag", seconds=8),
        drop,
        config={"timeout_seconds": D(300)},
    )


def test_a_ghost_pauses_at_once_and_nothing_third_is_placed():
    """An order that the exchange accepts long after its absence was proven: the one way to two live pairs."""

    async def script(stage):
        await stage.paused("ORDER_UNRESOLVED", within_s=200)
        assert len(stage.world.exchange.live_pairs("alice")) == 2
        await trio.sleep(120)
        assert len(stage.pairs()) == 2
        assert all(pair.working_order_id for pair in stage.pairs())

    ghost = Fault(kind="late_acceptance", path=OTO, times=1, seconds=60)
    tell(script, ghost, config=PASSIVE, faults=(ghost,))


# -- refusals and money


def test_f22_too_little_money_pauses_and_a_deposit_alone_ends_nothing():
    async def script(stage):
        await stage.paused("INSUFFICIENT_BALANCE")
        assert stage.orders() == ()
        stage.world.exchange.deposit("alice", "funding", "USDT", D(1_000), stage.now_ms())
        await trio.sleep(120)
        assert stage.pauses() == ["INSUFFICIENT_BALANCE"]
        await stage.resume()
        await stage.pairs_closed(1)

    tell(script, user={"balance": D(20)})


def test_f23_a_refusal_pauses_and_is_not_tried_again():
    async def script(stage):
        await stage.paused("ORDER_REJECTED")
        await trio.sleep(60)
        assert [pair.outcome for pair in stage.pairs()] == ["refused"]

    tell(script, Fault(kind="error_code", path=OTO, code="481004"))


def test_f26_an_expired_login_pauses_and_its_placement_stays_unresolved_until_it_is_renewed():
    async def script(stage):
        await stage.paused("AUTH_FAILED")
        assert stage.shown().phase == "unresolved"
        await trio.sleep(60)
        assert stage.shown().phase == "unresolved"
        stage.world.faults.clear()
        await stage.pairs_closed(1)
        assert stage.outcomes() == ["absent"]
        await stage.resume()
        await stage.pairs_closed(2)

    tell(script, Fault(kind="login_expired", path="oto-order/place", times=1), Fault(kind="login_expired", skip=12))


# -- fills in all shapes


def test_partial_fills_are_followed_to_the_last_unit():
    async def script(stage):
        await stage.pairs_closed(2, within_s=300)
        assert stage.outcomes()[:2] == ["completed"] * 2

    tell(script, Fault(kind="partial_fill", part=D("0.6"), seconds=1, times=8), rules={"split_fill_share": 1.0})


def test_f33_a_pair_that_times_out_partly_filled_is_unwound():
    async def script(stage):
        await stage.pairs_closed(1, within_s=300)
        (pair,) = stage.pairs()[:1]
        assert pair.outcome == "unwound"
        assert 0 < pair.buy_quote < D(20)

    tell(script, Fault(kind="partial_fill", part=D("0.3"), seconds=600, times=1), config={"timeout_seconds": D(5)})


def test_a_pair_that_times_out_unfilled_is_cancelled_and_the_next_begins():
    async def script(stage):
        await stage.pairs_closed(2)
        assert stage.outcomes()[:2] == ["cancelled", "cancelled"]

    tell(script, config=PASSIVE | {"timeout_seconds": D(5)})


def test_a_sale_that_times_out_is_cancelled_and_what_was_bought_is_sold_at_the_market():
    async def script(stage):
        await stage.pairs_closed(1)
        (pair,) = stage.pairs()[:1]
        assert pair.outcome == "unwound"
        assert pair.sell_quote > D(45)

    tell(script, config=STUCK_SALE | {"timeout_seconds": D(5)}, user={"holdings": D(7)})


def test_f32_a_refused_second_leg_pauses_and_its_inventory_is_sold():
    async def script(stage):
        await stage.paused("INVENTORY_LEFT")
        await stage.pairs_closed(1)
        (pair,) = stage.pairs()
        assert pair.sell_quote > D(45)

    tell(script, Fault(kind="refuse_release", times=1), user={"holdings": D(7)})


def test_fills_that_the_stream_never_told_are_found_and_pause():
    """F10: the stream is alive and silent."""

    async def script(stage):
        await stage.paused("ORDERS_DISCONNECTED")
        await stage.pairs_closed(1)

    tell(script, Fault(kind="drop_frame", stream="alpha@"))


@pytest.mark.parametrize("kind", ["duplicate_frame", "reorder_frame", "delay_frame"])
def test_f14_f15_reports_twice_or_out_of_order_change_nothing(kind):
    async def script(stage):
        await stage.pairs_closed(4)
        assert stage.outcomes()[:4] == ["completed"] * 4

    tell(script, Fault(kind=kind, stream="alpha@", share=0.5, seconds=1), rules={"replay_frames": 6})


# -- streams and feeds


def test_f8_a_lost_order_stream_pauses_until_somebody_resumes():
    async def script(stage):
        await stage.pairs_closed(1)
        for wire in stage.world.net.of("otod-1"):
            if wire.port == 8702:
                wire.reset()
        await stage.paused("ORDERS_DISCONNECTED")
        await stage.until(lambda: stage.shown().pair is None)
        pairs = len(stage.pairs())
        await trio.sleep(120)
        assert len(stage.pairs()) == pairs
        await stage.resume()
        await stage.pairs_closed(pairs + 1)

    tell(script)


def test_opted_in_pauses_end_by_themselves_a_minute_after_their_cause():
    async def script(stage):
        await stage.pairs_closed(1)
        for wire in stage.world.net.of("otod-1"):
            wire.reset()
        await stage.paused("ORDERS_DISCONNECTED")
        lost_s = trio.current_time()
        await stage.until(lambda: not stage.pauses())
        assert trio.current_time() - lost_s >= 60
        await stage.pairs_closed(3)

    tell(script, config={"auto_resume": AUTO})


def test_a_listen_key_that_dies_is_replaced_and_no_fill_is_lost():
    async def script(stage):
        await stage.pairs_closed(1)
        stage.world.exchange.kill_keys("alice", stage.now_ms(), notice=True)
        await trio.sleep(60)
        if stage.pauses():
            await stage.resume()
        await stage.pairs_closed(4)

    tell(script)


def test_a_swap_of_listen_keys_is_no_disconnect():
    async def script(stage):
        await trio.sleep(400)
        assert not stage.pauses()

    tell(script, rules={"key_renewal": "new"}, renew_s=60.0, config={"interval_seconds": D(20)})


def test_a_planned_rotation_of_sockets_is_no_disconnect():
    async def script(stage):
        await trio.sleep(400)
        assert not stage.pauses()

    tell(script, rotate_s=60.0, config={"interval_seconds": D(20)})


# -- people


def test_pausing_follows_the_live_pair_to_its_end_and_opens_nothing():
    async def script(stage):
        await stage.phase("selling")
        await stage.ask(PauseTrading("op"))
        await stage.until(lambda: stage.shown().pair is None, within_s=400)
        await trio.sleep(60)
        assert len(stage.pairs()) == 1
        with pytest.raises(Refusal, match="paused: OPERATOR"):
            await stage.ask(StartTrading("op"))

    tell(script, config=STUCK_SALE | {"timeout_seconds": D(30)})


def test_stop_now_cancels_and_sells_at_once():
    async def script(stage):
        await stage.phase("selling")
        await stage.ask(StopTrading("op", now=True))
        await stage.until(lambda: stage.shown().pair is None, within_s=60)
        assert stage.outcomes() == ["unwound"]

    tell(script, config=STUCK_SALE)


def test_an_operator_cancels_one_pair_and_the_next_begins():
    async def script(stage):
        await stage.phase("working")
        await stage.ask(CancelPair(stage.shown().pair.pair_id, "op"))
        await stage.until(lambda: len(stage.pairs()) == 2)
        assert stage.outcomes() == ["cancelled"]

    tell(script, config=PASSIVE)


def test_f74_a_new_configuration_is_for_the_next_pair():
    async def script(stage):
        await stage.phase("selling")
        before = stage.pairs()[0].quantity
        keys = {"order_amount": "20", "sell_offset": "-0.05"}
        await stage.world.daemon.people.configure(stage.user, keys, unset=(), force=True, who="op")
        await stage.pairs_closed(2, within_s=400)
        first, second = stage.pairs()[:2]
        assert first.quantity == before
        assert second.buy_price * second.quantity < D(21)

    tell(script, config=STUCK_SALE | {"timeout_seconds": D(20)})


def test_f36_a_pair_that_is_cancelled_on_the_web_site_pauses():
    async def script(stage):
        await stage.phase("working")
        order = stage.live_orders()[0]
        stage.world.exchange.end_order(order.symbol, order.order_id, stage.now_ms())
        await stage.paused("EXTERNAL_ORDER")
        await stage.pairs_closed(1)
        assert stage.outcomes() == ["external"]

    tell(script, config=PASSIVE)


def test_f37_an_order_by_hand_pauses_and_is_never_counted():
    async def script(stage):
        await stage.pairs_closed(1)
        await stage.hands.act("order_by_hand", "alice")
        await stage.paused("EXTERNAL_ORDER")

    tell(script)


# -- crashes, kills, disks, clocks


@pytest.mark.parametrize("phase", ["placing", "working", "selling", "unresolved", "cancelling", "unwinding"])
def test_f46_a_trader_that_crashes_in_any_phase_takes_its_pair_up_again(phase):
    faults = {"unresolved": [Fault(kind="lost_reply", path=OTO, times=1), Fault(kind="drop_frame", stream="alpha@")]}
    config = {
        "working": PASSIVE | {"timeout_seconds": D(10)},
        "cancelling": PASSIVE | {"timeout_seconds": D(5)},
        "selling": STUCK_SALE | {"timeout_seconds": D(10)},
        "unwinding": STUCK_SALE | {"timeout_seconds": D(5)},
    }.get(phase, {})

    async def script(stage):
        await stage.phase(phase)
        stage.crash()
        await stage.pairs_closed(1, within_s=300)
        assert stage.outcomes()[0] in ("completed", "cancelled", "unwound", "absent")

    tell(script, *faults.get(phase, ()), config=config, user={"holdings": D(7)})


@pytest.mark.parametrize("phase", ["placing", "working", "selling", "unwinding"])
def test_f53_a_process_that_is_killed_in_any_phase_takes_its_pair_up_again(phase):
    config = {
        "working": PASSIVE | {"timeout_seconds": D(10)},
        "selling": STUCK_SALE | {"timeout_seconds": D(10)},
        "unwinding": STUCK_SALE | {"timeout_seconds": D(5)},
    }.get(phase, {})

    async def script(stage):
        await stage.phase(phase)
        await stage.kill_and_restart(5.0)
        await stage.pairs_closed(1, within_s=300)

    tell(script, config=config, user={"holdings": D(7)})


def test_pauses_and_the_wish_to_stop_outlive_a_restart():
    async def script(stage):
        await stage.pairs_closed(1)
        await stage.ask(PauseTrading("op"))
        await stage.ask(StopTrading("op"))
        await stage.until(lambda: stage.shown().pair is None)
        pairs = len(stage.pairs())
        await stage.restart()
        await trio.sleep(60)
        assert stage.shown().wanted == "stopped"
        assert [pause.reason for pause in stage.shown().pauses] == ["OPERATOR"]
        assert len(stage.pairs()) == pairs

    tell(script)


def test_f68_a_clock_that_is_wrong_pauses_before_anything_is_placed():
    async def script(stage):
        await stage.pairs_closed(1)
        stage.world.wall.ahead_ms = 3_600_000
        await stage.paused("CLOCK_SKEW")
        pairs = len(stage.pairs())
        with pytest.raises(Refusal, match="clock"):
            await stage.resume()
        stage.world.wall.ahead_ms = 0
        await stage.resume()
        await stage.pairs_closed(pairs + 1)

    tell(script)


def test_sales_without_an_answer_are_never_repeated():
    """Selling twice would sell the user's own holdings."""

    async def script(stage):
        await stage.pairs_closed(1, within_s=300)

    tell(
        script,
        Fault(kind="lost_reply", path=SALE, times=1),
        Fault(kind="drop_frame", stream="alpha@"),
        config=STUCK_SALE | {"timeout_seconds": D(5)},
        user={"holdings": D(7)},
    )
