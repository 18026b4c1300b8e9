"""What was captured comes out of the machine again, to the last digit and key (wire § 7.1, § 12.5)."""

from __future__ import annotations

import random
from decimal import Decimal as D

import pytest

from actors.paper.listing import Listed, Listing, instrument
from tests.paper.kit import Kit
from tests.shared import needs_shared, wire

A373 = "ALPHA_373USDT"
A971 = "ALPHA_971USDT"


class Scripted(random.Random):
    """Draws these 128-bit numbers first: the listen key and the client ids of the capture."""

    def __init__(self, *numbers: str) -> None:
        super().__init__(1)
        self.script = [int(number, 16) for number in numbers]

    def getrandbits(self, k: int) -> int:
        return self.script.pop(0) if k == 128 and self.script else super().getrandbits(k)


def listing() -> Listing:
    tokens = [
        Listed(alpha_id=alpha_id, ticker=alpha_id, name=alpha_id, chain_id="56", contract=f"0x{n:040x}", price=D(price))
        for n, (alpha_id, price) in enumerate([("ALPHA_373", "0.2269"), ("ALPHA_971", "0.000005665")])
    ]
    return Listing(
        tokens,
        [
            instrument("ALPHA_373", max_quantity="4180602"),
            instrument("ALPHA_971", decimals=9, step="0.10", quantity_decimals=2, max_quantity="9999999999"),
        ],
    )


@pytest.fixture
def captured() -> list[dict]:
    names = ["1_working_new", "2_pending_held", "3_working_filled", "4_pending_released", "5_pending_partial"]
    return [wire(f"stream_execution_report_{name}")["frame"] for name in [*names, "6_pending_filled"]]


def play_first_round_trip() -> Kit:
    """ALPHA_373, 2025-09-28: BUY 869.56 at 0.23, pending SELL at 0.0001, both sides crossing the market at once."""
    kit = Kit(
        listing=listing(),
        rng=Scripted(
            "00112233445566778899aabbccddeeff", "164e079573c1491795e1ee245d5ed293", "732ffda298914d2590743f2d4be9241e"
        ),
        now=1759043608334,
        entry_ms=(847, 847),
        released_entry_ms=(1315, 1315),
        fill_frame_ms=(159, 159),
    )
    kit.listen()
    kit.quote("SELL", "0.22690469", "5000", A373)
    kit.quote("BUY", "0.22690468", "200", A373)
    kit.quote("BUY", "0.22690468", "9000", A373)
    for counter, last in {"event": 12501197285, "list": 89863104}.items():
        kit.exchange.skip_ids(counter, last)
    kit.exchange.skip_ids(f"order:{A373}", 51481848)
    kit.exchange.skip_ids(f"trade:{A373}", 798490)
    kit.oto("0.23", "869.56", "0.0001", A373)
    kit.exchange.skip_ids("event", 12501200713)
    kit.pass_ms(847)
    kit.rules.fill_frame_ms = (182, 182)
    kit.exchange.skip_ids("event", 12501205151)
    kit.pass_ms(1315)
    return kit


@needs_shared
def test_the_six_frames_of_the_captured_pair_field_by_field(captured):
    frames = play_first_round_trip().frames("alpha@")
    assert [frame.pop("due") for frame in frames] == [frame["data"]["E"] for frame in captured]
    assert frames == captured
    assert [list(frame["data"]) for frame in frames] == [list(frame["data"]) for frame in captured], (
        "same order of keys"
    )


def test_first_round_trip_costs_what_the_sheet_says():
    """Spent 197.30724223, received 197.26708343, dust 0.003044 tokens: loss 0.04015880 (wire § 12.5)."""
    kit = play_first_round_trip()
    free, locked = kit.usdt()
    assert D(10_000) - free == D("0.04015880")
    assert not locked
    assert kit.tokens("ALPHA_373") == (D("0.003044"), D(0))
    assert kit.exchange.ledger()["fees"] == {"ALPHA_373": D("0.08695600"), "USDT": D("0.01972868")}


def play_second_round_trip() -> Kit:
    """ALPHA_971, 2026-05-21: 52938 bought and 52932.70 sold at 0.000005665; step 0.10, commissions of 2 decimals."""
    kit = Kit(listing=listing(), now=1779385878732 - 99, entry_ms=(99, 99))
    kit.quote("SELL", "0.000005665", "9999999", A971)
    kit.exchange.skip_ids(f"order:{A971}", 3570337)
    kit.exchange.skip_ids(f"trade:{A971}", 216929)
    kit.place("BUY", "0.0000057", "52938", A971)
    kit.exchange.skip_ids("event", 59232870422)
    kit.pass_ms(99)
    return kit


@needs_shared
def test_user_trades_row_of_the_second_round_trip():
    kit = play_second_round_trip()
    assert kit.trades("3570338", A971) == wire("rest_user_trades_buy")["response"]["data"]


def test_second_round_trip_costs_what_the_sheet_says():
    """Bought for 0.29989377, commission 5.29, free exactly 52932.71, sold for 0.29986374, loss 0.00006002."""
    kit = play_second_round_trip()
    assert kit.tokens("ALPHA_971") == (D("52932.71"), D(0))
    kit.exchange.take(A971, "BUY", D(10_000_000), D("0.000005665"), kit.now)
    kit.quote("BUY", "0.000005665", "9999999", A971)
    order_id = kit.place("SELL", "0.0000056", "52932.7", A971)
    kit.pass_ms(99)
    (row,) = kit.trades(order_id, A971)
    assert (row["qty"], row["quoteQty"], row["commission"]) == ("52932.70", "0.29986374", "0.00002999")
    assert D(10_000) - kit.usdt()[0] == D("0.00006002")
    assert kit.tokens("ALPHA_971") == (D("0.01"), D(0))


@needs_shared
def test_history_row_of_a_filled_plain_order():
    """avgPrice is rounded to nearest at the tick and trailing zeros are stripped (wire § 12.4)."""
    expected = wire("rest_order_history_filled")["response"]["data"][0]
    kit = Kit(listing=listing(), now=expected["time"], entry_ms=(99, 99))
    kit.quote("SELL", "0.000005925", "1685487.9", A971)
    kit.exchange.skip_ids(f"order:{A971}", int(expected["orderId"]) - 1)
    kit.place("BUY", expected["price"], expected["origQty"], A971)
    kit.pass_ms(99)
    assert kit.history() == [expected]


@needs_shared
def test_history_row_of_a_cancelled_order_has_what_was_captured():
    expected = wire("rest_order_history_canceled")["response"]["data"][0]
    kit = Kit(listing=listing())
    kit.exchange.deposit("alice", "alpha", "ALPHA_971", D(expected["origQty"]), kit.now)
    kit.exchange.skip_ids(f"order:{A971}", int(expected["orderId"]) - 1)
    order_id = kit.place("SELL", expected["price"], expected["origQty"], A971)
    assert kit.cancel(order_id, A971) == wire("rest_order_cancel")["response"]
    (row,) = kit.history()
    assert row | expected == row


@needs_shared
@pytest.mark.parametrize("sample", ["rest_order_place_buy", "rest_order_place_sell", "rest_oto_place_a971"])
def test_requests_are_taken_as_the_web_page_typed_them(sample):
    """Numbers and text alike; the reply's ids have the type of the capture."""
    captured = wire(sample)
    kit = Kit(listing=listing())
    kit.exchange.deposit("alice", "alpha", "ALPHA_971", D("1790972.6"), kit.now)
    path = captured["meta"]["http"].split()[1]
    reply = kit.document("POST", path, captured["request"])
    shape = captured["response"]
    assert reply | {"data": shape["data"]} == shape
    assert type(reply["data"]) is type(shape["data"])
    if isinstance(shape["data"], dict):
        assert {name: type(value) for name, value in reply["data"].items()} == {
            name: type(value) for name, value in shape["data"].items()
        }
