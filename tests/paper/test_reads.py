"""What an account can read of its orders, and what it could read a moment ago (wire § 4, reliability F28 to F30)."""

from __future__ import annotations

import pytest

from actors.paper.faults import Fault
from actors.paper.private import A1, D1
from tests.paper.kit import KOGE, T0, D, Kit
from tests.shared import needs_shared, wire


def finished(count: int = 5, gap_ms: int = 1_000, **rules) -> tuple[Kit, list[str]]:
    """Orders created `gap_ms` apart from T0 on, all cancelled."""
    kit, ids = Kit(**rules), []
    for _ in range(count):
        ids.append(kit.place("BUY", "40", "1"))
        kit.cancel(ids[-1])
        kit.pass_ms(gap_ms)
    return kit, ids


class TestHistory:
    def test_pages_are_newest_first_and_a_short_one_ends_them(self):
        kit, ids = finished(5)
        pages = [[row["orderId"] for row in kit.history(page=page, rows=2)] for page in (1, 2, 3, 4)]
        assert pages == [ids[:-3:-1], ids[2:0:-1], ids[:1], []]

    def test_or_oldest_first(self):
        kit, ids = finished(3, history_order="oldest")
        assert [row["orderId"] for row in kit.history()] == ids

    def test_total_may_stand_at_top_level(self):
        kit, _ = finished(3, history_total=True)
        document = kit.document("GET", f"{D1}/order/get-order-history-merge", page=1, rows=2)
        assert (len(document["data"]), document["total"]) == (2, 3)

    def test_rows_are_at_most_500(self):
        kit, _ = finished(520, gap_ms=1)
        assert len(kit.history(rows=1000)) == 500
        assert len(kit.history(rows=500, page=2)) == 20

    def test_start_and_end_bound_the_creation_both_inclusive(self):
        kit, ids = finished(5)
        rows = kit.history(startTime=T0 + 1_000, endTime=T0 + 3_000)
        assert [row["orderId"] for row in rows] == ids[3:0:-1]
        assert kit.history(startTime=T0 + 4_001) == []

    def test_status_side_and_asset_filters(self):
        kit, (first, *_) = finished(2)
        kit.quote("SELL", "0.2", "100", "ALPHA_901USDT")
        bought = kit.place("BUY", "0.2", "10", "ALPHA_901USDT")
        kit.pass_ms(1_000)
        sold = kit.place("SELL", "0.3", "1", "ALPHA_901USDT")
        kit.cancel(sold, "ALPHA_901USDT")
        assert [row["orderId"] for row in kit.history(orderStatus="FILLED,EXPIRED")] == [bought]
        assert [row["orderId"] for row in kit.history(side="SELL")] == [sold]
        assert {row["orderId"] for row in kit.history(baseAsset="ALPHA_901")} == {bought, sold}
        assert first in {row["orderId"] for row in kit.history(baseAsset="", side="", orderStatus="")}

    def test_only_what_is_over_or_partly_filled(self):
        kit = Kit()
        kit.quote("SELL", "48", "0.4")
        resting = kit.place("BUY", "40", "1")
        partial = kit.place("BUY", "48", "1")
        kit.pass_ms(1_000)
        assert [row["orderId"] for row in kit.history()] == [partial]
        assert {row["orderId"] for row in kit.open_orders()} == {resting, partial}, "one order may stand in both"
        assert [row["orderId"] for row in kit.history(orderStatus="NEW")] == [resting]

    def test_an_unreleased_leg_may_have_no_row(self):
        for shown in (True, False):
            kit = Kit(history_shows_unreleased=shown)
            working, pending = kit.oto("40", "1", "50")
            kit.cancel(working)
            assert {row["orderId"] for row in kit.history()} == ({working, pending} if shown else {working})

    @pytest.mark.parametrize(
        "query",
        [{"page": 0}, {"rows": 0}, {"page": "one"}, {"startTime": "-1"}, {"kind": "MARKET"}, {"rows": "9" * 20}],
    )
    def test_nonsense_is_refused(self, query):
        kit = Kit()
        assert kit.code("GET", f"{D1}/order/get-order-history-merge", **query) == "000002"

    def test_both_paths_answer(self):
        kit, ids = finished(1)
        rows = kit.data("GET", f"{D1}/order/get-order-history-web", kind="LIMIT")
        assert [row["orderId"] for row in rows] == ids


class TestRows:
    def test_an_oto_row_is_dated_by_workingTime_only(self):
        kit = Kit()
        kit.quote("SELL", "48", "9")
        working, pending = kit.oto("48", "1", "60")
        rows = {row["orderId"]: row for row in kit.open_orders()}
        assert "time" not in rows[working]
        assert (rows[working]["workingTime"], rows[pending]["workingTime"]) == (T0, 0), "a held leg by its partner"
        assert rows[working]["orderListId"] == rows[pending]["orderListId"] != "-1"
        assert rows[pending]["contingencyOrderPosition"] == "OTO_PENDING"
        kit.pass_ms(1_000)
        (row,) = kit.open_orders()
        assert (row["workingTime"], row["origQty"], row["status"]) == (T0 + 500, "0.9999", "NEW")

    def test_or_carries_times_like_a_plain_one(self):
        kit = Kit(oto_row_times=True)
        kit.oto("40", "1", "60")
        assert [row["time"] for row in kit.open_orders()] == [T0, T0]

    @needs_shared
    def test_a_plain_row_is_the_constructed_sample(self):
        expected = wire("rest_open_orders_constructed")["response"]["data"][0]
        kit = Kit(now=expected["time"])
        kit.exchange.skip_ids("order:ALPHA_902USDT", int(expected["orderId"]) - 1)
        kit.place("BUY", expected["price"], expected["origQty"], "ALPHA_902USDT")
        renamed = {"symbol": "ALPHA_902USDT", "baseAsset": "ALPHA_902", "alphaId": "ALPHA_902"}
        assert kit.open_orders() == [expected | renamed]
        assert list(kit.open_orders()[0]) == list(expected)

    def test_held_legs_may_be_left_out_of_open_orders(self):
        kit = Kit(open_lists_held=False)
        working, _ = kit.oto("40", "1", "60")
        assert [row["orderId"] for row in kit.open_orders()] == [working]

    def test_open_orders_by_side(self):
        kit = Kit()
        working, pending = kit.oto("40", "1", "60")
        assert [row["orderId"] for row in kit.open_orders(side="BUY")] == [working]
        assert [row["orderId"] for row in kit.open_orders(side="SELL")] == [pending]

    def test_detail_is_a_history_row(self):
        kit, (order_id,) = finished(1)
        path = f"{A1}/order/get-order-detail"
        assert kit.data("GET", path, symbol=KOGE, orderId=order_id) == kit.history()[0]
        assert kit.code("GET", path, symbol=KOGE, orderId="77") == "481022"
        assert kit.code("GET", path, user="bob", symbol=KOGE, orderId=order_id) == "481022"

    def test_fills_of_an_unknown_order_or_symbol_are_none(self):
        kit = Kit()
        assert kit.trades("77") == kit.trades("no number") == kit.trades("77", "NO_SUCH") == []


class TestLag:
    def test_an_accepted_order_is_missing_for_a_while(self):
        """F28: one look at open orders proves nothing."""
        kit = Kit(Fault(kind="read_lag", account="alice", seconds=6))
        working, pending = kit.oto("40", "1", "50")
        kit.pass_ms(5_999)
        assert kit.open_orders() == []
        assert kit.open_orders(user="bob") == []
        kit.pass_ms(1)
        assert {row["orderId"] for row in kit.open_orders()} == {working, pending}

    def test_a_lagging_read_shows_each_state_of_the_past(self):
        kit = Kit(Fault(kind="read_lag", seconds=2))
        kit.quote("SELL", "48", "0.4")
        kit.pass_ms(10_000)
        order_id = kit.place("BUY", "48", "1")
        kit.pass_ms(1_000)
        kit.cancel(order_id)
        seen = []
        for _ in range(4):
            seen.append([(row["status"], row["executedQty"]) for row in kit.open_orders()])
            seen.append([row["status"] for row in kit.history()])
            seen.append(len(kit.trades(order_id)))
            kit.pass_ms(750)
        assert seen == [
            [], [], 0,
            [], [], 0,
            [("PARTIALLY_FILLED", "0.4")], ["PARTIALLY_FILLED"], 1,
            [], ["CANCELED"], 1,
        ]  # fmt: skip

    def test_only_one_of_the_lists_may_lag(self):
        kit = Kit(Fault(kind="read_lag", seconds=6, lists="open"))
        order_id = kit.place("BUY", "40", "1")
        kit.pass_ms(7_000)
        kit.cancel(order_id)
        assert [row["orderId"] for row in kit.open_orders()] == [order_id], "open, and over at the same time"
        assert [row["status"] for row in kit.history()] == ["CANCELED"]

    def test_an_order_on_its_way_is_in_neither_list(self):
        """F29: absent from both in one pass proves nothing."""
        kit = Kit(Fault(kind="non_atomic", seconds=3))
        order_id = kit.place("BUY", "40", "1")
        kit.pass_ms(10_000)
        assert [row["orderId"] for row in kit.open_orders()] == [order_id]
        kit.cancel(order_id)
        assert kit.open_orders() == kit.history() == []
        kit.pass_ms(3_000)
        assert [row["orderId"] for row in kit.history()] == [order_id]

    def test_a_short_page_lacks_its_oldest_rows(self):
        """F30."""
        kit, ids = finished(5)
        kit.faults.add(Fault(kind="short_history", rows=2, times=1))
        assert [row["orderId"] for row in kit.history()] == ids[:1:-1]
        assert len(kit.history()) == 5

    def test_lag_sees_a_released_leg_as_it_was_held(self):
        kit = Kit()
        kit.quote("SELL", "48", "9")
        _, pending = kit.oto("48", "1", "60")
        kit.pass_ms(1_000)
        kit.faults.add(Fault(kind="read_lag", seconds=0.9, times=1))
        rows = {row["orderId"]: row for row in kit.open_orders()}
        assert (rows[pending]["status"], rows[pending]["origQty"]) == ("PENDING", "0")
        assert D(kit.open_orders()[0]["origQty"]) == D("0.9999")
