"""Replay: a tape's prints happen again, and orders in their way get what the real market would have given them."""

from __future__ import annotations

import gzip
import io
import zipfile
from contextlib import suppress
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.errors import ConfigError
from actors.paper.market import Traded
from actors.paper.recording import NOTIONAL_UNIT, RATIO_UNIT, read_recording
from actors.paper.replay import TapeMarket
from tests.paper.test_market import KOGE, START_MS, instrument
from tests.paper.toy_venue import USER, ToyVenue, run
from tests.shared import SHARED, needs_shared

HEADER = "agg_trade_id,price,quantity,first_trade_id,last_trade_id,transact_time,is_buyer_maker"
T0 = 1_723_161_255_000
TICK = Decimal("0.00000001")


def csv(*trades, header=True):
    """trades: (ms after T0, price, quantity, aggressor sold)."""
    lines = [HEADER] if header else []
    for number, (at_ms, price, quantity, sold) in enumerate(trades, 1):
        lines.append(f"{number},{price},{quantity},{number},{number},{T0 + at_ms},{str(sold).lower()}")
    return ("\n".join(lines) + "\n").encode()


def koge(price="48", **changes):
    return Traded(instrument=instrument(**changes), price=Decimal(price))


def market(*trades, price="48", **options):
    return TapeMarket(read_recording("t", csv(*trades)), [koge(price)], START_MS, **options)


def outside_prints(venue):
    """(ms, price, quantity, aggressor) of the prints, parts at one price in one ms added up."""
    merged = []
    for item in venue.prints:
        key = (item.at_ms - START_MS, item.price, item.aggressor)
        if merged and merged[-1][0] == key:
            merged[-1][1] += item.quantity
        else:
            merged.append([key, item.quantity])
    return [(*key[:2], quantity, key[2]) for key, quantity in merged]


# -- reading


SAMPLE = ((0, "100.0", "2", True), (5, "101.5", "0.5", False))


@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("pack", ["plain", "gz", "zip"])
def test_both_forms_are_read_from_any_packing(header, pack):
    data = csv(*SAMPLE, header=header)
    if pack == "gz":
        data = gzip.compress(data)
    if pack == "zip":
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("inside.csv", data)
        data = buffer.getvalue()
    tape = read_recording("t", data)
    assert list(tape.at_ms) == [0, 5]
    assert list(tape.ratio) == [RATIO_UNIT, RATIO_UNIT * 1015 // 1000]
    assert list(tape.notional) == [200 * NOTIONAL_UNIT, 5075 * NOTIONAL_UNIT // 100]
    assert list(tape.sold) == [1, 0]


def test_the_exchange_s_own_dump_with_eight_columns_and_microseconds():
    data = b"3,61837.63,0.02,1,1,1735689600000123,True,True\n4,61837.64,0.02,2,2,1735689600007999,False,True\n"
    tape = read_recording("dump", data)
    assert list(tape.at_ms) == [0, 7]
    assert list(tape.sold) == [1, 0]


def test_columns_are_found_by_name_and_further_ones_ignored():
    data = f"extra,is_buyer_maker,transact_time,quantity,price\n-,false,{T0},1,10\n-,true,{T0 + 1},1,20\n\n".encode()
    assert list(read_recording("t", b"\xef\xbb\xbf" + data).ratio) == [RATIO_UNIT, 2 * RATIO_UNIT]


def test_a_time_that_steps_back_a_little_is_taken_for_the_one_before():
    tape = read_recording("t", csv((0, 1, 1, True), (500, 1, 1, True), (400, 1, 1, True), (600, 1, 1, True)))
    assert list(tape.at_ms) == [0, 500, 500, 600]


ROW = f"1,10,1,1,1,{T0},true\n"


@pytest.mark.parametrize(
    ("data", "where", "says"),
    [
        (b"", "bad.csv", "cannot be replayed"),
        (HEADER.encode(), "bad.csv", "cannot be replayed"),
        (csv((0, 1, 1, True)), "bad.csv", "1 trades"),
        (csv((0, 1, 1, True), (0, 1, 1, True)), "bad.csv", "spans some time"),
        (b"recv_us,update_id,bid,bid_qty,ask,ask_qty\n", "bad.csv line 1", "best bids and asks"),
        (b"<html>\n", "bad.csv line 1 column price", HEADER),
        (b"id,price,qty,time\n", "bad.csv line 1 column quantity", HEADER),
        (b"1,2,3\n", "bad.csv line 1", "3 columns"),
        (f"1,10,1,10,{T0},true,true\n".encode(), "bad.csv line 1", "single trades"),
        (f"{ROW}2,10,1\n".encode(), "bad.csv line 2", "3 columns instead of 7"),
        (f"{ROW}1,x,1,1,1,{T0},true\n".encode(), "bad.csv line 2 column price", "'x' is not a positive"),
        (f"{ROW}1,NaN,1,1,1,{T0},true\n".encode(), "bad.csv line 2 column price", "NaN"),
        (f"{ROW}1,1e5,1,1,1,{T0},true\n".encode(), "bad.csv line 2 column price", "1e5"),
        (f"{ROW}1,10,-1,1,1,{T0},true\n".encode(), "bad.csv line 2 column quantity", "-1"),
        (f"{ROW}1,10,0.000,1,1,{T0},true\n".encode(), "bad.csv line 2 column quantity", "0.000"),
        (f"{ROW}1,10,1,1,1,1723161255,true\n".encode(), "bad.csv line 2 column transact_time", "13 digits"),
        (
            f"{ROW}1,10,1,1,1,{T0 - 2000},true\n".encode(),
            "bad.csv line 2 column transact_time",
            "2000 ms earlier than before",
        ),
        (f"{ROW}1,10,1,1,1,{T0},maybe\n".encode(), "bad.csv line 2 column is_buyer_maker", "maybe"),
        (f"{ROW}1,{10**17},1,1,1,{T0},true\n".encode(), "bad.csv line 2 column price", "proportion"),
        (f"1,{10**11},{10**11},1,1,{T0},true\n".encode(), "bad.csv line 1 column quantity", "too much money"),
        (ROW.encode() + b"\xff\xfe,\n", "bad.csv line 2", "not a text file"),
        (b"1" * 2000, "bad.csv line 1", "longer than"),
        (gzip.compress(csv(*SAMPLE))[:-12], "bad.csv", "fetch the file again"),
        (b"PK\x03\x04 no archive", "bad.csv", "fetch the file again"),
    ],
)
def test_a_bad_file_is_refused_naming_place_and_remedy(data, where, says):
    with pytest.raises(ConfigError) as caught:
        read_recording("bad.csv", data)
    assert caught.value.where == where
    assert says in str(caught.value)
    assert caught.value.do


def test_an_archive_holds_exactly_one_readable_file():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a", "")
        archive.writestr("b", "")
    with pytest.raises(ConfigError, match="2 files"):
        read_recording("two.zip", buffer.getvalue())
    locked = io.BytesIO()
    with zipfile.ZipFile(locked, "w") as archive:
        archive.writestr("a.csv", csv(*SAMPLE))
    data = bytearray(locked.getvalue())
    data[data.rindex(b"PK\x01\x02") + 8] |= 1  # the "encrypted" flag of the directory's entry
    with pytest.raises(ConfigError, match="encrypted"):
        read_recording("locked.zip", bytes(data))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_a_tape_or_a_config_error(data):
    for body in (data, HEADER.encode() + b"\n" + data, b"PK" + data, b"\x1f\x8b" + data):
        with suppress(ConfigError):
            assert read_recording("any", body).span_ms > 0


# -- replaying


def test_prints_keep_their_moments_relative_prices_money_and_sides():
    venue = ToyVenue()
    prints = ((0, "100", "2", True), (700, "101", "1", False), (700, "102", "1", False))
    run(market(*prints, once=True), venue, START_MS + 701)
    assert outside_prints(venue) == [
        (0, Decimal("48.00000000"), Decimal("4.1666"), "SELL"),
        (700, Decimal("48.48000000"), Decimal("2.0833"), "BUY"),
        (700, Decimal("48.96000000"), Decimal("2.0833"), "BUY"),
    ]


def test_around_the_last_print_stands_a_book_with_spread_and_depth():
    venue = ToyVenue()
    run(market((0, "100", "20", True), (700, "100", "20", True)), venue, START_MS + 1)
    bid, ask = venue.best(KOGE)
    assert (bid, ask) == (Decimal(48), Decimal("48.0096"))
    for side in ("BUY", "SELL"):
        book = venue.book(KOGE, side)
        assert len(book) == 6
        assert 0.9 < float(book[0].price * book[0].left) / (14 * 2000) < 1.001
        assert len({order.price for order in book}) == 6


def test_whoever_takes_pays_the_spread_and_then_the_depth():
    venue = ToyVenue()
    run(market((0, "100", "2", True), (700, "100", "2", True)), venue, START_MS + 1)
    venue.prints.clear()
    venue.place(KOGE, "BUY", Decimal(50), Decimal(120), START_MS + 1)
    prices = [item.price for item in venue.prints]
    assert prices[0] == Decimal("48.0096")
    assert prices == sorted(prices)
    assert prices[-1] > prices[0]


@pytest.mark.parametrize(("side", "price", "print_"), [("BUY", "47.9", "99"), ("SELL", "48.1", "101")])
@pytest.mark.parametrize("sold", [True, False])
def test_a_print_through_our_price_fills_us_at_our_price(side, price, print_, sold):
    venue, tape = ToyVenue(), market((0, "100", "1", True), (10, print_, "0.00001", sold), once=True)
    run(tape, venue, START_MS + 1)
    venue.place(KOGE, side, Decimal(price), Decimal(500), START_MS + 1)
    run(tape, venue, START_MS + 11)
    ours = [item for item in venue.prints if item.maker == USER]
    assert {item.price for item in ours} == {Decimal(price)}
    assert sum(item.quantity for item in ours) == 500


def test_at_our_price_we_get_what_exceeds_the_queue_ahead():
    # The first print leaves a bid of 14 mean trades at 48; ours joins behind it.
    venue = ToyVenue()
    later = ((30 + number, "110", "1", False) for number in range(60))  # they make the mean trade, and so the queue
    tape = market((0, "100", "1", True), (10, "100", "1", True), (20, "100", "54", True), *later, once=True)
    run(tape, venue, START_MS + 1)
    ahead = venue.book(KOGE, "BUY")[0].left
    venue.place(KOGE, "BUY", Decimal(48), Decimal(1000), START_MS + 1)
    run(tape, venue, START_MS + 11)
    assert not [item for item in venue.prints if item.maker == USER]
    ahead -= Decimal("2.0833")
    run(tape, venue, START_MS + 21)
    ours = [item for item in venue.prints if item.maker == USER]
    assert [item.quantity for item in ours] == [Decimal("112.5") - ahead]
    assert ours[0].price == 48


def test_our_order_at_the_front_of_a_price_of_its_own_is_served_first():
    venue, tape = ToyVenue(), market((0, "100", "1", True), (10, "100.01", "1", True), once=True)
    run(tape, venue, START_MS + 1)
    venue.place(KOGE, "BUY", Decimal("48.0048"), Decimal(1), START_MS + 1)
    run(tape, venue, START_MS + 11)
    assert [item.quantity for item in venue.prints if item.maker == USER] == [1]
    assert outside_prints(venue)[-1][1:] == (Decimal("48.0048"), Decimal("2.0833"), "SELL")


def test_a_side_that_somebody_emptied_stands_again_after_the_next_print():
    venue, tape = ToyVenue(), market((0, "100", "1", True), (10, "100", "1", True), once=True)
    run(tape, venue, START_MS + 1)
    venue.place(KOGE, "BUY", Decimal(60), Decimal(10_000), START_MS + 1)
    venue.book(KOGE, "BUY").clear()
    run(tape, venue, START_MS + 11)
    bid, ask = venue.best(KOGE)
    assert (bid, ask) == (Decimal(48), Decimal("48.0096"))


def test_at_its_end_the_tape_runs_backwards_with_sides_exchanged_then_again():
    venue = ToyVenue()
    run(market((0, "100", "1", True), (30, "101", "1", False), (100, "102", "1", True)), venue, START_MS + 431)
    assert [(at_ms, float(price) / 0.48, side) for at_ms, price, _, side in outside_prints(venue)] == [
        (0, 100, "SELL"),
        (30, 101, "BUY"),
        (100, 102, "SELL"),
        (170, 101, "SELL"),
        (200, 100, "BUY"),
        (230, 101, "BUY"),
        (300, 102, "SELL"),
        (370, 101, "SELL"),
        (400, 100, "BUY"),
        (430, 101, "BUY"),
    ]


def test_once_stops_at_the_end_and_the_book_stays():
    venue, tape = ToyVenue(), market((0, "100", "1", True), (30, "101", "1", False), once=True)
    run(tape, venue, START_MS + 10_000)
    assert tape.due_ms() is None
    assert len(outside_prints(venue)) == 2
    assert all(venue.best(KOGE))


PRINTS = ((0, "100", "1", True), (30, "101", "1", False), (100, "102", "1", True))


@pytest.mark.parametrize("gone_ms", [0, 29, 30, 31, 99, 100, 101, 169, 170, 171, 199, 200, 201, 1234])
def test_entered_later_it_is_where_it_would_have_been(gone_ms):
    whole, late = ToyVenue(), ToyVenue()
    run(market(*PRINTS), whole, START_MS + gone_ms + 500)
    tape = market(*PRINTS, from_ms=START_MS + gone_ms)
    assert tape.due_ms() == START_MS + gone_ms
    run(tape, late, START_MS + gone_ms + 500)
    seen = outside_prints(late)
    before = [item for item in outside_prints(whole) if item[0] <= gone_ms]
    after = [item for item in outside_prints(whole) if item[0] > gone_ms]
    assert seen[0][1:3] == before[-1][1:3]
    assert seen[1:] == after


@pytest.mark.parametrize("gone_ms", [100, 150, 5000])
def test_once_entered_after_its_end_only_the_last_print_comes(gone_ms):
    venue, tape = ToyVenue(), market(*PRINTS, once=True, from_ms=START_MS + gone_ms)
    run(tape, venue, START_MS + 10_000)
    assert [item[1] for item in outside_prints(venue)] == [Decimal("48.96")]
    assert tape.due_ms() is None


def test_a_price_at_the_edge_of_its_grid_still_leaves_a_book():
    item = koge("0.00000003", most="0.00000004")
    tape = TapeMarket(read_recording("t", csv((0, 3, 1, True), (1, 1, 1, False), (2, 9, 9, True))), [item], START_MS)
    venue = ToyVenue()
    run(tape, venue, START_MS + 20)
    bid, ask = venue.best(KOGE)
    assert TICK <= bid < ask <= 4 * TICK


@needs_shared
@pytest.mark.parametrize("name", ["ethusdt-spot-20240808", "btcusdt-spot-20240808", "xrpeth-spot-20191011"])
def test_recorded_tapes_replay_print_by_print(name):
    tape = read_recording(name, (SHARED / "market" / f"{name}.csv.gz").read_bytes())
    venue = ToyVenue()
    run(TapeMarket(tape, [koge()], START_MS, once=True), venue, START_MS + tape.span_ms + 1)
    prints = outside_prints(venue)
    assert {at_ms for at_ms, *_ in prints} == set(tape.at_ms)
    assert len({order.price for order in venue.book(KOGE, "BUY")}) == 6
    moved = [abs(b[1] - a[1]) for a, b in pairwise(prints)]
    assert max(moved) < Decimal(1)


@needs_shared
def test_the_recorded_bookticker_file_is_refused_with_a_hint():
    name = "ethusdt-spot-20240808.bookticker.csv.gz"
    with pytest.raises(ConfigError, match="best bids and asks") as caught:
        read_recording(name, (SHARED / "market" / name).read_bytes())
    assert "aggTrades" in caught.value.do
