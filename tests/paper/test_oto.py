"""The life of orders and lists: what was captured, and every branch that nobody captured as a rule (wire § 7)."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest

from actors.paper.faults import Fault
from tests.paper.kit import KOGE, T0, D, Kit


def market(kit: Kit, bid: str = "47.9", ask: str = "48", quantity: str = "100") -> None:
    kit.quote("BUY", bid, quantity)
    kit.quote("SELL", ask, quantity)


def test_a_crossing_pair_runs_through_the_captured_sequence():
    """NEW, PENDING with quantity 0; fill; second NEW with the real quantity in the same ms, sent one later; sale."""
    kit = Kit()
    market(kit)
    kit.listen()
    working, pending = kit.oto("48.1", "1", "47.8")
    kit.pass_ms(5_000)
    reports = kit.reports()
    assert [(r["i"], r["x"], r["X"], r["q"]) for r in reports] == [
        (working, "NEW", "NEW", "1"),
        (pending, "NEW", "PENDING", "0"),
        (working, "TRADE", "FILLED", "1"),
        (pending, "NEW", "NEW", "0.99990000"),
        (pending, "TRADE", "FILLED", "0.99990000"),
    ]
    new, held, filled, released, sold = reports
    assert new["il"] == held["il"] == filled["il"] == released["il"]
    assert [r["cp"] for r in (new, held)] == ["OTO_WORKING", "OTO_PENDING"]
    assert (new["T"], filled["T"], sold["T"]) == (T0, T0 + 500, T0 + 1_500)
    assert (released["T"], released["E"]) == (filled["T"], filled["E"] + 1)
    assert released["id"] == filled["id"] + 2
    assert int(pending) == int(working) + 1
    assert kit.exchange.live_pairs("alice") == ()
    assert kit.exchange.max_live_pairs("alice") == 1


def test_frames_may_leave_before_the_reply():
    kit = Kit(reply_ms=(30, 30))
    kit.listen()
    response = kit.ask("POST", "/bapi/asset/v1/private/alpha-trade/oto-order/place", kit.oto_body("40", "1", "50"))
    assert [frame["due"] - T0 for frame in kit.frames("alpha@")] == [12, 12]
    assert response.delay_ms == 30


def test_a_passive_pair_waits_for_the_market_and_fills_as_maker():
    kit = Kit()
    market(kit)
    kit.listen()
    working, pending = kit.oto("47.95", "2", "48.5")
    kit.pass_ms(60_000)
    assert kit.exchange.best(KOGE) == (D("47.95"), D("48"))
    kit.exchange.take(KOGE, "SELL", D("0.5"), D("47"), kit.now)
    kit.exchange.take(KOGE, "SELL", D("50"), D("47"), kit.now)
    kit.pass_ms(2_000)
    assert kit.exchange.best(KOGE)[1] == D("48")
    kit.exchange.take(KOGE, "BUY", D("200"), D("49"), kit.now)
    reports = kit.reports()
    assert [(r["i"], r["X"], r["l"], r["m"]) for r in reports if r["x"] == "TRADE"] == [
        (working, "PARTIALLY_FILLED", "0.50000000", True),
        (working, "FILLED", "1.50000000", True),
        (pending, "FILLED", "1.99980000", False),
    ]
    assert kit.exchange.audit("alice").fills[0].maker


def test_held_leg_stays_pending_while_the_working_leg_is_partly_filled():
    kit = Kit()
    kit.quote("SELL", "48", "0.4")
    kit.listen()
    working, pending = kit.oto("48", "1", "49")
    kit.pass_ms(60_000)
    assert (kit.status(working), kit.status(pending)) == ("PARTIALLY_FILLED", "PENDING")
    assert kit.order(pending).quantity == 0
    assert kit.exchange.live_pairs("alice")


def test_a_fill_over_several_levels_is_several_fills_and_one_release():
    kit = Kit()
    for price in ("48", "48.01", "48.02"):
        kit.quote("SELL", price, "0.4")
    kit.listen()
    working, pending = kit.oto("48.1", "1", "60")
    kit.pass_ms(500)
    reports = kit.reports()[2:]
    assert [(r["i"], r["L"], r["l"]) for r in reports[:3]] == [
        (working, "48", "0.40000000"),
        (working, "48.01000000", "0.40000000"),
        (working, "48.02000000", "0.20000000"),
    ]
    assert [(r["i"], r["x"], r["q"]) for r in reports[3:]] == [(pending, "NEW", "0.99990000")]
    ids = [r["id"] for r in reports]
    assert [b - a for a, b in pairwise(ids)] == [2, 2, 2]
    assert len({r["t"] for r in reports[:3]}) == 3, "one match per price level"


class TestWorkingCancelledUnfilled:
    @pytest.mark.parametrize(
        ("rule", "events", "status"),
        [
            ("CANCELED", [("working", "CANCELED"), ("pending", "CANCELED")], "CANCELED"),
            ("EXPIRED", [("working", "CANCELED"), ("pending", "EXPIRED")], "EXPIRED"),
            ("silent", [("working", "CANCELED")], "CANCELED"),
        ],
    )
    def test_the_held_leg_ends_as_the_rule_says(self, rule, events, status):
        kit = Kit(held_end=rule)
        kit.listen()
        working, pending = kit.oto("40", "1", "50")
        kit.pass_ms(5_000)
        kit.reports()
        assert kit.cancel(working)["data"] is None
        names = {working: "working", pending: "pending"}
        assert [(names[i], word) for i, x, word in kit.told() if x == word] == events
        assert kit.status(pending) == status
        assert kit.open_orders() == []
        assert kit.usdt() == (D(10_000), D(0))
        assert kit.exchange.live_pairs("alice") == ()

    def test_before_it_was_matched(self):
        kit = Kit()
        market(kit)
        working, _ = kit.oto("48", "1", "50")
        kit.cancel(working)
        kit.pass_ms(5_000)
        assert kit.status(working) == "CANCELED"
        assert kit.exchange.audit("alice").fills == ()


class TestWorkingCancelledAfterAPartialFill:
    def make(self, **rules):
        kit = Kit(**rules)
        kit.quote("SELL", "48", "0.4")
        kit.quote("BUY", "47.5", "9")
        kit.listen()
        legs = kit.oto("48", "1", "47")
        kit.pass_ms(1_000)
        kit.cancel(legs[0])
        kit.reports()
        return kit, *legs

    def test_pending_ends_and_the_tokens_stay(self):
        kit, working, pending = self.make()
        kit.pass_ms(5_000)
        assert (kit.status(working), kit.order(working).cumulative) == ("CANCELED", D("0.4"))
        assert kit.status(pending) == "CANCELED"
        assert kit.tokens() == (D("0.39996"), D(0))
        assert kit.usdt() == (D(10_000) - D("19.2"), D(0))

    def test_or_is_released_with_the_filled_part(self):
        kit, _working, pending = self.make(partial_cancel="release")
        assert kit.status(pending) == "NEW"
        kit.pass_ms(5_000)
        assert (kit.status(pending), kit.order(pending).cumulative) == ("FILLED", D("0.3999"))


class TestPendingCancelled:
    def test_while_held_the_whole_list_ends(self):
        kit = Kit()
        working, pending = kit.oto("40", "1", "50")
        kit.cancel(pending)
        assert (kit.status(working), kit.status(pending)) == ("CANCELED", "CANCELED")

    def test_while_held_or_only_the_leg(self):
        kit = Kit(held_cancel="leg")
        working, pending = kit.oto("40", "1", "50")
        kit.cancel(pending)
        assert (kit.status(working), kit.status(pending)) == ("NEW", "CANCELED")
        kit.pass_ms(1_000)
        kit.quote("SELL", "40", "1")
        kit.pass_ms(5_000)
        assert kit.status(working) == "FILLED"
        assert kit.tokens()[0] == D("0.9999"), "bought and not sold: there is nobody to sell it"

    def test_after_its_release_it_is_a_plain_cancel(self):
        kit = Kit()
        market(kit)
        working, pending = kit.oto("48", "1", "50")
        kit.pass_ms(5_000)
        assert kit.tokens() == (D(0), D("0.9999"))
        kit.cancel(pending)
        assert (kit.status(working), kit.status(pending)) == ("FILLED", "CANCELED")
        assert kit.tokens() == (D("0.9999"), D(0))


class TestRelease:
    @pytest.mark.parametrize("word", ["REJECTED", "EXPIRED"])
    def test_a_quantity_that_lot_size_refuses(self, word):
        kit = Kit(release_refused=word)
        koge = kit.listing.by_symbol[KOGE]
        whole = msgspec.structs.replace(koge.filters, min_quantity=D(1))
        kit.listing.relist(msgspec.structs.replace(koge, filters=whole))
        market(kit)
        kit.listen()
        _, pending = kit.oto("48", "1", "50")
        kit.pass_ms(5_000)
        assert kit.told()[-1] == (pending, word, word)
        assert kit.tokens() == (D("0.9999"), D(0)), "the coins stay free"
        assert kit.exchange.live_pairs("alice") == ()

    def test_refused_by_a_fault(self):
        kit = Kit(Fault(kind="refuse_release", account="alice", times=1))
        market(kit)
        _, pending = kit.oto("48", "1", "47")
        kit.pass_ms(5_000)
        assert kit.status(pending) == "REJECTED"
        assert kit.tokens() == (D("0.9999"), D(0))

    def test_refused_when_the_tokens_are_gone(self):
        kit = Kit(release_ms=(2_000, 2_000))
        market(kit)
        _, pending = kit.oto("48", "1", "47")
        kit.pass_ms(600)
        assert kit.tokens() == (D("0.9999"), D(0))
        kit.exchange.deposit("alice", "alpha", "ALPHA_22", D("-0.5"), kit.now)
        kit.pass_ms(5_000)
        assert kit.status(pending) == "REJECTED"

    def test_may_come_later(self):
        kit = Kit(release_ms=(2_000, 2_000))
        market(kit)
        kit.listen()
        kit.oto("48", "1", "47")
        kit.pass_ms(10_000)
        filled, released = kit.reports()[2:4]
        assert released["T"] == filled["T"] + 2_000

    def test_cancelled_while_it_is_on_its_way(self):
        kit = Kit(release_ms=(2_000, 2_000))
        market(kit)
        _, pending = kit.oto("48", "1", "47")
        kit.pass_ms(1_000)
        kit.cancel(pending)
        kit.pass_ms(5_000)
        assert kit.status(pending) == "CANCELED"
        assert kit.tokens() == (D("0.9999"), D(0))

    def test_free_tokens_may_pay_the_commission(self):
        kit = Kit(commission_from_free=True)
        market(kit)
        _, first = kit.oto("48", "1", "60")
        kit.pass_ms(5_000)
        assert kit.order(first).quantity == D("0.9999"), "nothing else was free"
        kit.exchange.deposit("alice", "alpha", "ALPHA_22", D(1), kit.now)
        _, second = kit.oto("48", "1", "60")
        kit.pass_ms(5_000)
        assert kit.order(second).quantity == 1

    def test_a_working_sell_buys_back_what_it_brought(self):
        kit = Kit()
        market(kit)
        kit.exchange.deposit("alice", "alpha", "ALPHA_22", D(1), kit.now)
        _working, pending = kit.oto("47", "1", "47.5", side="SELL")
        kit.pass_ms(600)
        brought = D("47.9") - D("0.00479")
        assert kit.order(pending).quantity == (brought / D("47.5")).quantize(D("0.0001"), rounding="ROUND_DOWN")
        assert kit.order(pending).side == "BUY"
        assert kit.usdt()[1] == kit.order(pending).quantity * D("47.5")


class TestReleaseOnEachPartialFill:
    """The alternative that one client's author saw signs of (wire § 7.3)."""

    def test_the_pending_leg_grows(self):
        kit = Kit(release_on="partial")
        kit.quote("SELL", "48", "0.4")
        kit.listen()
        working, pending = kit.oto("48", "1", "49")
        kit.pass_ms(5_000)
        assert (kit.status(pending), kit.order(pending).quantity) == ("NEW", D("0.3999"))
        kit.quote("SELL", "48", "0.6")
        assert (kit.status(working), kit.order(pending).quantity) == ("FILLED", D("0.9999"))
        kit.pass_ms(5_000)
        kit.exchange.take(KOGE, "BUY", D(5), D(50), kit.now)
        assert kit.status(pending) == "FILLED"
        assert kit.tokens()[1] == 0

    def test_sold_out_but_not_done_while_more_may_come(self):
        kit = Kit(release_on="partial")
        kit.quote("SELL", "48", "0.4")
        kit.listen()
        working, pending = kit.oto("48", "1", "48.5")
        kit.pass_ms(5_000)
        kit.exchange.take(KOGE, "BUY", D(5), D(50), kit.now)
        assert (kit.status(pending), kit.order(pending).cumulative) == ("PARTIALLY_FILLED", D("0.3999"))
        kit.cancel(working)
        assert kit.status(pending) == "FILLED"
        assert kit.told()[-1] == (pending, "NEW", "FILLED")

    def test_it_may_even_hit_its_own_working_leg(self):
        kit = Kit(release_on="partial")
        kit.quote("SELL", "48", "0.4")
        working, pending = kit.oto("48", "1", "47")
        kit.pass_ms(10_000)
        assert kit.status(working) == "FILLED"
        assert kit.exchange.self_matches
        assert kit.order(pending).remaining == D("0.9999") - kit.order(pending).cumulative

    def test_done_when_a_last_fill_brings_nothing_more(self):
        for size, last in (("1.0001", "FILLED"), ("1.0002", "PARTIALLY_FILLED")):
            kit = Kit(release_on="partial")
            kit.quote("SELL", "48", "1")
            _working, pending = kit.oto("48", size, "48.5")
            kit.pass_ms(5_000)
            kit.exchange.take(KOGE, "BUY", D(5), D(50), kit.now)
            assert kit.status(pending) == "PARTIALLY_FILLED"
            kit.quote("SELL", "48", "0.0001")
            assert (kit.status(pending), kit.order(pending).quantity) == (last, D("0.9999"))

    def test_growth_that_is_refused_leaves_what_there_is(self):
        kit = Kit(Fault(kind="refuse_release", skip=1, times=1), release_on="partial")
        kit.quote("SELL", "48", "0.4")
        _working, pending = kit.oto("48", "1", "48.5")
        kit.pass_ms(5_000)
        kit.exchange.take(KOGE, "BUY", D(5), D(50), kit.now)
        kit.quote("SELL", "48", "0.6")
        assert (kit.status(pending), kit.order(pending).quantity) == ("FILLED", D("0.3999"))
        assert kit.tokens() == (D("0.6"), D(0))


class TestCancels:
    def test_a_fill_that_comes_first_wins(self):
        kit = Kit(cancel_ms=(300, 300))
        market(kit)
        kit.listen()
        order_id = kit.place("BUY", "48", "1")
        kit.pass_ms(300)
        assert kit.cancel(order_id)["success"]
        kit.pass_ms(5_000)
        assert kit.told()[-1] == (order_id, "TRADE", "FILLED")

    def test_all_of_an_account_and_of_nobody_else(self):
        kit = Kit()
        kit.oto("40", "1", "50")
        kit.place("BUY", "41", "1")
        other = kit.place("BUY", "41", "1", user="bob")
        assert kit.data("POST", "/bapi/defi/v1/private/alpha-trade/order/cancel-all", {}) is True
        assert kit.open_orders() == []
        assert kit.status(other) == "NEW"
        assert kit.usdt() == (D(10_000), D(0))

    def test_old_form_with_base_and_quote_asset(self):
        kit = Kit()
        order_id = kit.place("BUY", "41", "1")
        body = {"orderId": order_id, "baseAsset": "ALPHA_22", "quoteAsset": "USDT"}
        kit.data("POST", "/bapi/asset/v1/private/alpha-trade/order/cancel", body)
        assert kit.status(order_id) == "CANCELED"

    def test_by_the_exchange_itself(self):
        kit = Kit()
        kit.listen()
        working, pending = kit.oto("40", "1", "50")
        kit.exchange.end_order(KOGE, int(working), kit.now, "EXPIRED")
        kit.exchange.end_order(KOGE, int(working), kit.now, "EXPIRED")
        assert kit.told()[2:] == [(working, "EXPIRED", "EXPIRED"), (pending, "CANCELED", "CANCELED")]


def test_split_fills_share_the_trade_id_and_differ_in_event_and_page_id():
    kit = Kit(split_fill_share=1.0)
    market(kit)
    kit.listen()
    order_id = kit.place("BUY", "48", "1")
    kit.pass_ms(1_000)
    fills = [r for r in kit.reports() if r["x"] == "TRADE"]
    assert len(fills) == 2
    assert len({r["t"] for r in fills}) == 1
    assert len({r["id"] for r in fills}) == 2
    rows = kit.trades(order_id)
    assert [row["pageId"] for row in rows] == [str(r["id"]) for r in reversed(fills)], "newest first"
    assert [row["lastTrade"] for row in rows] == [True, False]
    (agg,) = kit.agg_trades()
    assert (agg["q"], agg["f"], agg["l"]) == ("1.00000000", int(fills[0]["t"]), int(fills[0]["t"]))


def test_or_each_fill_has_its_own_trade_id_and_page_id():
    kit = Kit(split_fill_share=1.0, trade_ids="fill", page_ids="own")
    market(kit)
    kit.listen()
    order_id = kit.place("BUY", "48", "1")
    kit.pass_ms(1_000)
    rows = kit.trades(order_id)
    assert rows[0]["tradeId"] != rows[1]["tradeId"]
    assert {row["pageId"] for row in rows}.isdisjoint({str(r["id"]) for r in kit.reports()})
    (agg,) = kit.agg_trades()
    assert agg["l"] == agg["f"] + 1


def test_two_accounts_that_meet_are_counted():
    kit = Kit()
    kit.exchange.deposit("bob", "alpha", "ALPHA_22", D(1), kit.now)
    sale = kit.place("SELL", "48", "1", user="bob")
    kit.pass_ms(1_000)
    bought = kit.place("BUY", "48", "1")
    kit.pass_ms(1_000)
    assert kit.exchange.self_matches == [(KOGE, int(bought), int(sale))]
    assert kit.exchange.statistics().self_matches == 1
    assert {kit.trades(bought)[0]["tradeId"]} == {kit.trades(sale, user="bob")[0]["tradeId"]}


def test_two_live_pairs_at_once_are_noticed():
    kit = Kit()
    kit.oto("40", "1", "50")
    second, _ = kit.oto("41", "1", "50")
    assert len(kit.exchange.live_pairs("alice")) == 2
    kit.cancel(second)
    assert len(kit.exchange.live_pairs("alice")) == 1
    assert kit.exchange.max_live_pairs("alice") == 2
    assert kit.exchange.max_live_pairs("nobody") == 0
    assert kit.exchange.live_pairs("nobody") == ()


def test_an_order_entering_a_halted_market_waits():
    kit = Kit()
    market(kit)
    halt = kit.faults.add(Fault(kind="halt"))
    assert kit.quote("BUY", "47", "1") is None
    assert kit.exchange.take(KOGE, "BUY", D(1), D(50), kit.now) == 0
    kit.faults.clear()
    order_id = kit.place("BUY", "48", "1")
    kit.faults.add(halt)
    kit.pass_ms(10_000)
    assert kit.status(order_id) == "NEW"
    kit.faults.remove(halt)
    kit.pass_ms(1_500)
    assert kit.status(order_id) == "FILLED"


def test_partial_fill_fault_gives_a_part_now_and_the_rest_later():
    kit = Kit(Fault(kind="partial_fill", part=D("0.3"), seconds=2, times=1))
    market(kit)
    kit.listen()
    order_id = kit.place("BUY", "48", "1")
    kit.pass_ms(1_000)
    assert kit.order(order_id).cumulative == D("0.3")
    kit.pass_ms(2_000)
    assert kit.status(order_id) == "FILLED"
    assert [r["X"] for r in kit.reports()] == ["NEW", "PARTIALLY_FILLED", "FILLED"]
