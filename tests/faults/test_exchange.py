"""F22 to F45: what the exchange does (../shared/reliability.md § 1)."""

from __future__ import annotations

from decimal import Decimal as D

import pytest
import trio

from actors.errors import Refusal
from actors.paper.faults import Fault
from tests.faults.kit import KOGE, PASSIVE, STUCK_SALE, phase_of, renew, resumed, resumes_and_trades, watched
from tests.sim.menu import CANCEL, OTO
from tests.sim.stage import tell


def no_frames():
    """What happens is told by the lists alone."""
    return Fault(kind="drop_frame", stream="alpha@", times=8)


# -- refusals


@pytest.mark.parametrize(
    ("code", "reason"), [("481020", "INSUFFICIENT_BALANCE"), ("481004", "ORDER_REJECTED"), ("481017", "ORDER_REJECTED")]
)
def test_f22_f23_a_refused_pair_pauses_and_is_not_tried_again(code, reason):
    async def script(stage):
        await stage.until(stage.pauses)
        assert stage.pauses() == [reason]
        requests = watched(stage)
        await trio.sleep(120)
        assert requests.placements() == []
        assert stage.outcomes() == ["refused"]
        await resumes_and_trades(stage)

    tell(script, Fault(kind="error_code", path=OTO, code=code, processed=False, times=1))


def test_f24_a_ban_stops_the_whole_address_and_cancels_go_first():
    async def script(stage):
        await stage.until(lambda: all(phase_of(stage, user) == "working" for user in stage.world.names), within_s=60)
        requests = watched(stage)
        stage.world.faults.add(Fault(kind="http_error", status=418, retry_after=30, times=1))
        await stage.until(lambda: any("RATE_LIMITED" in stage.pauses(user) for user in stage.world.names), within_s=60)
        banned_s = trio.current_time()
        await trio.sleep(25)
        assert requests.since(banned_s + 0.1) == [], "nobody of this address asks anything"
        await stage.until(lambda: len(requests.since(banned_s + 0.1)) > 3)
        after = [(when, path) for when, _, path in requests.all if when > banned_s + 0.1]
        cancelled_s = next(when for when, path in after if path.endswith(CANCEL))
        assert cancelled_s - after[0][0] < 0.02, after[:6]
        for user in stage.world.names:
            await resumed(stage, user)

    tell(script, users=2, config=PASSIVE | {"timeout_seconds": D(20)})


def test_f25_an_execution_status_that_the_exchange_does_not_know_is_no_refusal():
    async def script(stage):
        await stage.phase("unresolved")
        await stage.pairs_closed(2)
        assert stage.outcomes()[:2] == ["completed", "completed"]

    answer = Fault(kind="http_error", path=OTO, status=503, processed=True, times=1)
    tell(script, answer, Fault(kind="drop_frame", stream="alpha@", times=2))


@pytest.mark.parametrize(
    ("kind", "reason"), [("login_expired", "AUTH_FAILED"), ("verification", "VERIFICATION_REQUIRED")]
)
def test_f26_a_lost_login_stops_the_calls_of_its_user_alone(kind, reason):
    async def script(stage):
        await stage.until(lambda: all(stage.outcomes(user) for user in stage.world.names))
        stage.world.faults.add(Fault(kind=kind, account="alice"))
        await stage.until(lambda: reason in stage.pauses())
        await stage.until(lambda: stage.shown().pair is None or stage.shown().phase == "unresolved", within_s=300)
        began_s, requests = trio.current_time(), watched(stage)
        await trio.sleep(60)
        assert len(requests.since(began_s, "alice")) <= 8, requests.since(began_s, "alice")
        assert stage.pauses("bob") == []
        assert requests.placements("bob")
        stage.world.faults.clear()
        renew(stage, "alice")
        await resumes_and_trades(stage)

    tell(script, users=2, tokens=("KOGE", "LUMI"))


def test_f27_a_listen_key_that_dies_without_a_word_costs_no_fill():
    async def script(stage):
        await stage.pairs_closed(1)
        stage.world.exchange.kill_keys("alice", stage.now_ms(), notice=False)
        await stage.pairs_closed(2)
        await stage.paused("ORDERS_DISCONNECTED")
        await resumes_and_trades(stage)

    tell(script)


def test_f27_a_listen_key_that_is_refused_for_the_login_pauses_for_it():
    async def script(stage):
        await stage.pairs_closed(1)
        refused = stage.world.faults.add(Fault(kind="login_expired", path="listen-key"))
        stage.world.exchange.kill_keys("alice", stage.now_ms(), notice=True)
        await stage.paused("AUTH_FAILED", within_s=200)
        await trio.sleep(30)
        stage.world.faults.remove(refused)
        renew(stage, "alice")
        await resumes_and_trades(stage)

    tell(script)


# -- lists that do not tell the truth


@pytest.mark.parametrize("seconds", [1, 6, 12])
def test_f28_lists_that_lag_hide_an_accepted_order_and_nothing_is_placed_twice(seconds):
    async def script(stage):
        await stage.pairs_closed(2, within_s=400)
        assert stage.outcomes()[0] in ("completed", "cancelled", "unwound")

    tell(
        script, Fault(kind="lost_reply", path=OTO, times=1), Fault(kind="read_lag", seconds=seconds), no_frames(),
        config=PASSIVE | {"timeout_seconds": D(60)},
    )  # fmt: skip


def test_f29_an_order_that_is_in_neither_list_for_a_moment_is_not_absent():
    async def script(stage):
        await stage.pairs_closed(2, within_s=400)
        assert stage.outcomes()[0] == "completed"

    tell(script, Fault(kind="lost_reply", path=OTO, times=1), Fault(kind="non_atomic", seconds=8), no_frames())


def test_f30_a_history_that_lacks_rows_proves_no_absence():
    async def script(stage):
        await stage.pairs_closed(4)
        short = stage.world.faults.add(Fault(kind="short_history", rows=2))
        stage.world.faults.add(Fault(kind="lost_reply", path=OTO, times=1))
        stage.world.faults.add(Fault(kind="drop_frame", stream="alpha@", times=12))
        await stage.phase("unresolved")
        await trio.sleep(60)
        assert "absent" not in stage.outcomes()
        stage.world.faults.remove(short)
        await resumes_and_trades(stage)
        assert "absent" not in stage.outcomes()

    tell(script)


# -- legs


def test_f31_a_leg_that_is_still_held_when_the_first_has_filled_is_asked_for_again():
    async def script(stage):
        await stage.pairs_closed(2)
        assert stage.outcomes()[:2] == ["completed"] * 2

    late = Fault(kind="late_reply", path=OTO, times=1, seconds=4)
    tell(script, late, rules={"entry_ms": (0, 0), "release_ms": (6_000, 6_000)})


@pytest.mark.parametrize("how", ["REJECTED", "EXPIRED"])
def test_f32_a_second_leg_that_is_refused_at_its_release_leaves_nothing_unsold(how):
    async def script(stage):
        await stage.paused("INVENTORY_LEFT")
        await stage.pairs_closed(1)
        assert len(stage.pairs()) == 1
        await resumes_and_trades(stage)

    tell(script, Fault(kind="refuse_release", times=1), rules={"release_refused": how})


@pytest.mark.parametrize("partial_cancel", ["end", "release"])
def test_f33_a_first_leg_that_ends_after_a_part_leaves_nothing_unsold(partial_cancel):
    """Both ways in which an OTO may treat the part that was bought (wire § 7.3)."""

    async def script(stage):
        await stage.phase("partially_filled")
        (order, *_) = (order for order in stage.live_orders() if order.side == "BUY")
        stage.world.exchange.end_order(order.symbol, order.order_id, stage.now_ms(), "EXPIRED")
        await stage.pairs_closed(1, within_s=400)
        assert stage.pairs()[0].sell_quote > 0
        await resumes_and_trades(stage)

    part = Fault(kind="partial_fill", part=D("0.4"), seconds=600, times=1)
    tell(script, part, rules={"partial_cancel": partial_cancel}, user={"holdings": D(7)})


@pytest.mark.parametrize("release_on", ["full", "partial"])
def test_f34_a_fill_that_is_faster_than_the_cancel_wins(release_on):
    async def script(stage):
        await stage.phase("cancelling")
        order = next(order for order in stage.live_orders() if order.side == "BUY")
        taken = stage.world.exchange.take(KOGE, "SELL", D(100_000), order.price, stage.now_ms())
        assert taken > 0
        await stage.pairs_closed(1, within_s=400)
        assert stage.pairs()[0].buy_quote > D(40), "the fill counts"
        await resumes_and_trades(stage)

    near = {"buy_offset": D("-0.3"), "sell_offset": D("-0.4"), "timeout_seconds": D(5)}
    tell(script, config=near, rules={"cancel_ms": (800, 800), "release_on": release_on})


def test_f35_a_cancel_that_is_answered_no_such_order_is_no_error():
    async def script(stage):
        await stage.pairs_closed(2, within_s=200)
        assert stage.outcomes()[:2] == ["cancelled"] * 2
        assert stage.pauses() == []

    gone = Fault(kind="error_code", path=CANCEL, code="481022", processed=True, times=1)
    tell(script, gone, config=PASSIVE | {"timeout_seconds": D(5)})


def test_f36_a_leg_that_somebody_else_ends_pauses_and_its_inventory_is_sold():
    async def script(stage):
        await stage.phase("selling")
        await stage.until(lambda: any(order.side == "SELL" and order.released for order in stage.live_orders()))
        order = next(order for order in stage.live_orders() if order.side == "SELL")
        stage.world.exchange.end_order(order.symbol, order.order_id, stage.now_ms())
        await stage.paused("EXTERNAL_ORDER")
        await stage.pairs_closed(1)
        assert stage.pairs()[0].sell_quote > D(40)
        await resumes_and_trades(stage)

    tell(script, config=STUCK_SALE | {"timeout_seconds": D(60)})


def test_f37_an_order_by_hand_is_recorded_never_counted_and_never_touched():
    async def script(stage):
        await stage.pairs_closed(1)
        await stage.hands.act("order_by_hand", "alice")
        ((symbol, order_id),) = stage.world.by_hand("alice")
        await stage.paused("EXTERNAL_ORDER")
        await stage.until(lambda: stage.shown().pair is None)
        await trio.sleep(60)
        theirs = next(order for order in stage.orders() if order.key == (symbol, order_id))
        assert theirs.status in ("NEW", "FILLED", "PARTIALLY_FILLED"), "nobody of ours has cancelled it"

    tell(script)


# -- fills


def test_f38_a_fill_of_nothing_is_read_again_and_never_booked():
    async def script(stage):
        await stage.pairs_closed(1)
        await resumed(stage)
        await stage.pairs_closed(2)

    tell(script, Fault(kind="edit_frame", stream="alpha@", word="TRADE", set={"l": "0"}, times=1))


@pytest.mark.parametrize("trade_ids", ["match", "fill"])
def test_f39_fills_with_one_trade_id_are_all_booked(trade_ids):
    async def script(stage):
        await stage.pairs_closed(3)
        assert stage.outcomes()[:3] == ["completed"] * 3
        fills = stage.world.exchange.audit("alice").fills
        if trade_ids == "match":
            assert len({fill.trade_id for fill in fills}) < len(fills)

    tell(script, rules={"split_fill_share": 1.0, "trade_ids": trade_ids})


def test_f40_a_fill_that_contradicts_itself_is_told_and_the_exchanges_list_is_booked():
    async def script(stage):
        await stage.paused("LEDGER_MISMATCH")
        await stage.until(lambda: stage.shown().pair is None, within_s=300)
        await resumes_and_trades(stage)

    tell(script, Fault(kind="edit_frame", stream="alpha@", word="TRADE", set={"L": "47"}, times=1))


def test_f41_an_order_that_has_traded_more_than_was_ordered_is_told():
    async def script(stage):
        await stage.paused("LEDGER_MISMATCH")
        assert len(stage.pairs()) == 1

    tell(script, Fault(kind="edit_frame", stream="alpha@", word="TRADE", set={"q": "1000"}, times=1))


def test_f42_a_token_that_is_halted_pauses_and_trades_again_once_it_is_back():
    async def script(stage):
        await stage.pairs_closed(1)
        halted = stage.world.faults.add(Fault(kind="halt", symbol=KOGE))
        await stage.until(stage.pauses, within_s=400)
        assert set(stage.pauses()) <= {"TOKEN_UNAVAILABLE", "ORDER_REJECTED", "INVENTORY_LEFT"}
        stage.world.faults.remove(halted)
        await resumes_and_trades(stage)

    tell(script)


def test_f43_a_field_that_is_new_is_ignored_and_one_that_is_gone_pauses():
    async def script(stage):
        new = stage.world.faults.add(Fault(kind="edit_frame", stream="alpha@", set={"brandNew": [1, {"a": "b"}]}))
        await stage.pairs_closed(1)
        assert stage.pauses() == []
        stage.world.faults.remove(new)
        gone = stage.world.faults.add(Fault(kind="edit_frame", stream="alpha@", word="TRADE", remove=["X"], times=1))
        await stage.paused("PROTOCOL_CHANGED")
        stage.world.faults.remove(gone)
        await stage.until(lambda: stage.shown().stream_connected)
        await resumes_and_trades(stage)

    tell(script)


def test_f44_a_pause_for_volatility_stays_when_the_market_has_calmed():
    async def script(stage):
        await stage.pairs_closed(1)
        stage.world.exchange.take(KOGE, "BUY", D(30_000), D(60), stage.now_ms())
        await stage.paused("PRICE_VOLATILITY")
        with pytest.raises(Refusal, match="60 s range"):
            await stage.resume()
        await trio.sleep(120)
        assert stage.pauses() == ["PRICE_VOLATILITY"]
        await resumes_and_trades(stage)

    tell(script, config={"volatility_threshold": D("0.25")})
