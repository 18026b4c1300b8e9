"""Replies of the order calls, in all the ways they may be odd."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.domain.orders import TERMINAL, OrderView
from actors.errors import ProtocolChanged
from actors.exchange import orders
from tests.exchange.own import data_of, raw

D = Decimal
KEY = {"symbol": "ALPHA_7USDT", "order_id": "700010"}


def view(order_id: str = "1", **changes: object) -> OrderView:
    plain = OrderView(
        symbol="ALPHA_7USDT",
        order_id=order_id,
        list_id=None,
        position=None,
        side="BUY",
        status="NEW",
        price=D("2.5"),
        quantity=D(20),
        executed=D(0),
        executed_quote=None,
        created_ms=1000,
        updated_ms=1000,
    )
    return msgspec.structs.replace(plain, **changes)


# -- placing


def test_ids_may_be_numbers_or_texts():
    assert orders.read_oto_ids(data_of("oto_placed_numbers")) == ("700001", "700002")
    assert orders.read_oto_ids(data_of("oto_placed_texts")) == ("700001", "700002")
    assert orders.read_order_id(data_of("placed_text")) == "700003"
    assert orders.read_order_id(data_of("placed_number")) == "700003"


@pytest.mark.parametrize(
    "text",
    [
        "null", "{}", '"1"', '{"workingOrderId": 1}', '{"workingOrderId": 1, "pendingOrderId": null}',
        '{"workingOrderId": 1, "pendingOrderId": ""}', '{"workingOrderId": 1, "pendingOrderId": 0}',
        '{"workingOrderId": 5, "pendingOrderId": "5"}', '{"workingOrderId": -1, "pendingOrderId": 2}',
        '{"workingOrderId": 1.5, "pendingOrderId": 2}', '{"workingOrderId": true, "pendingOrderId": 2}',
        '{"workingOrderId": "a b", "pendingOrderId": 2}', '["1", "2"]',
    ],
)  # fmt: skip
def test_an_oto_reply_without_two_ids_is_unreadable(text):
    with pytest.raises(ProtocolChanged):
        orders.read_oto_ids(raw(text))


@pytest.mark.parametrize("text", ["null", "{}", '""', "0", "-1", "1.5", "true", '"null"', '"-1"', '"1\\n2"', "[]"])
def test_a_place_reply_without_an_id_is_unreadable(text):
    with pytest.raises(ProtocolChanged):
        orders.read_order_id(raw(text))


# -- rows


def test_a_page_of_history_in_its_variants():
    working, held, cancelled, odd = orders.read_orders(data_of("history_page"))
    assert (working.position, working.list_id, working.created_ms) == ("working", "88", 1760000000111)
    assert (held.position, held.list_id, held.created_ms, held.quantity) == ("pending", "88", None, 0)
    assert (held.status, held.executed_quote) == ("PENDING", None)
    assert (cancelled.order_id, cancelled.price, cancelled.list_id) == ("700012", D("2.6"), None)
    assert (cancelled.created_ms, cancelled.updated_ms) == (1760000000222, 1760000000333)
    assert (odd.status, odd.created_ms, odd.updated_ms) == ("EXPIRED_BY_A_NEW_RULE", None, None)
    assert (odd.list_id, odd.position) == ("91", None), "another kind of list is not ours to manage"


def test_a_held_leg_is_dated_by_its_partner():
    merged = orders.merge_orders(orders.read_orders(data_of("history_page")))
    assert [(one.order_id, one.created_ms) for one in merged] == [
        ("700010", 1760000000111),
        ("700011", 1760000000111),
        ("700012", 1760000000222),
        ("700013", None),
    ]


def test_lists_of_two_symbols_do_not_date_each_other():
    mine = view("1", list_id="5", created_ms=None)
    other = view("2", list_id="5", symbol="ALPHA_8USDT")
    assert orders.date_by_partner([mine, other])[0].created_ms is None


@pytest.mark.parametrize(
    "text",
    [
        "null",  # no list is not an empty list: absence would be proven with it
        "{}",
        "[null]",
        '[{"orderId": "1"}]',
        '[{"orderId":"1","symbol":"A","side":"HOLD","status":"NEW","price":"1","origQty":"1","executedQty":"0"}]',
        '[{"orderId":"1","symbol":"A","side":"BUY","status":"NEW","price":"-1","origQty":"1","executedQty":"0"}]',
        '[{"orderId":"1","symbol":"A","side":"BUY","status":5,"price":"1","origQty":"1","executedQty":"0"}]',
        '[{"orderId":"","symbol":"A","side":"BUY","status":"NEW","price":"1","origQty":"1","executedQty":"0"}]',
        '[{"orderId":"1","symbol":"A","side":"BUY","status":"NEW","price":"1","origQty":"1","executedQty":"0","time":"1"}]',
    ],
)
def test_one_odd_row_fails_the_list(text):
    with pytest.raises(ProtocolChanged):
        orders.read_orders(raw(text))


def test_a_missing_field_is_named_with_its_place():
    with pytest.raises(ProtocolChanged, match=r"missing required field `executedQty` - at `\$\[0\]` \[order rows"):
        orders.read_orders(raw('[{"orderId":"1","symbol":"A","side":"BUY","status":"NEW","price":"1","origQty":"1"}]'))


# -- merging


def test_of_two_views_the_one_with_more_executed_counts():
    less, more = view(executed=D(5), updated_ms=2000), view(executed=D(8), updated_ms=1500)
    assert orders.merge_orders([less, more]) == orders.merge_orders([more, less]) == (more,)


def test_a_final_status_stays_whatever_the_times_say():
    cancelled, resting = view(status="CANCELED", updated_ms=None), view(updated_ms=9000)
    assert orders.merge_orders([cancelled, resting]) == (cancelled,)
    assert orders.merge_orders([resting, cancelled]) == (cancelled,)


def test_what_only_the_earlier_view_says_is_kept():
    open_row = view(list_id="5", position="pending", created_ms=700)
    done_row = view(status="FILLED", executed=D(20), created_ms=None)
    (merged,) = orders.merge_orders([open_row, done_row])
    assert (merged.status, merged.list_id, merged.position, merged.created_ms) == ("FILLED", "5", "pending", 700)


def test_equal_ids_of_two_symbols_are_two_orders():
    assert len(orders.merge_orders([view("1"), view("1", symbol="ALPHA_8USDT")])) == 2


views = st.builds(
    view,
    st.sampled_from(["1", "2", "10"]),
    status=st.sampled_from(["NEW", "PARTIALLY_FILLED", "FILLED", "CANCELED", "ODD"]),
    executed=st.integers(0, 3).map(D),
    list_id=st.sampled_from([None, "5"]),
    created_ms=st.none() | st.integers(1, 3),
    updated_ms=st.none() | st.integers(1, 3),
)


@given(st.lists(views, max_size=8), st.randoms())
def test_merging_keeps_every_order_once_and_its_furthest_state(rows, rng):
    merged = {one.order_id: one for one in orders.merge_orders(rows)}
    assert set(merged) == {row.order_id for row in rows}
    for row in rows:
        assert merged[row.order_id].executed >= row.executed
        if row.status in TERMINAL and row.executed == merged[row.order_id].executed:
            assert merged[row.order_id].status in TERMINAL
    shuffled = list(rows)
    rng.shuffle(shuffled)
    again = {one.order_id: one for one in orders.merge_orders(shuffled)}
    assert {key: one.executed for key, one in again.items()} == {key: one.executed for key, one in merged.items()}


# -- fills


def test_fills_come_oldest_first_by_page_id_as_a_number():
    fills = orders.read_executions(data_of("fills_newest_first"), **KEY)
    assert [fill.fill_id for fill in fills] == ["9999999999", "10000000001", "10000000002"]
    assert [fill.trade_id for fill in fills] == ["499", "501", "501"], "a match id repeats"
    assert sum(fill.quantity for fill in fills) == 20
    assert sum(fill.quote for fill in fills) == 50
    assert {fill.source for fill in fills} == {"rest"}


def row(**changes: object) -> str:
    plain = {
        "symbol": "ALPHA_7USDT", "orderId": "700010", "tradeId": "1", "pageId": "2", "price": "1", "qty": "1",
        "quoteQty": "1", "commission": "0", "commissionAsset": "USDT", "time": 5,
    }  # fmt: skip
    return msgspec.json.encode({**plain, **changes}).decode()


def test_no_fills_are_no_fills():
    assert orders.read_executions(raw("[]"), **KEY) == ()


def test_a_repeated_row_counts_once():
    assert len(orders.read_executions(raw(f"[{row()},{row()}]"), **KEY)) == 1


def test_a_commission_of_nothing_needs_no_asset():
    (fill,) = orders.read_executions(raw(f"[{row(commissionAsset=None)}]"), **KEY)
    assert (fill.commission, fill.commission_asset) == (0, "")


@pytest.mark.parametrize(
    ("text", "difference"),
    [
        (row(price="0"), "without price or quantity"),
        (row(qty="0"), "without price or quantity"),
        (row(orderId="700011"), "another order"),
        (row(symbol="ALPHA_8USDT"), "another order"),
        (row(pageId="x"), "pageId"),
        (row(pageId=None), "pageId"),
        (row(pageId="1\n"), "pageId"),
        (row(commission="1", commissionAsset=None), "commission in no asset"),
        (f"{row()},{row(qty='2')}", "two different fills"),
    ],
)
def test_a_fill_that_cannot_be_booked_is_a_change_of_protocol(text, difference):
    with pytest.raises(ProtocolChanged, match=difference):
        orders.read_executions(raw(f"[{text}]"), **KEY)
