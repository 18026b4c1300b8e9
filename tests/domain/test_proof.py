"""Proofs: which orders may be ours, and when nothing is (design § 4)."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from actors.domain.absorb import wanted_pair
from actors.domain.pair import new_pair
from actors.domain.proof import (
    CREATED_BEFORE_MS,
    Absence,
    Look,
    Wanted,
    candidates,
    proven,
    suspects,
    with_clean_look,
    with_sighting,
)
from tests.domain.pairkit import (
    HELD,
    PENDING,
    PLACED,
    PLAN,
    RULES,
    SYMBOL,
    WALL_MS,
    WORKING,
    D,
    at,
    report,
    sale_report,
    sale_view,
    view,
)

WANTED = wanted_pair(new_pair(PLAN, RULES))
SALE = Wanted(symbol=SYMBOL, side="SELL", price=D("0.2"), quantity=D(5), intent_ms=WALL_MS, oto=False)
NO_WORDS = {"list_id": None, "position": None}


def look(ms, *orders, since=WALL_MS - 60_000):
    return Look(started=at(ms), since_ms=since, orders=orders)


def counted(*looks, doubt_ms=0):
    absence = Absence(doubt_ms=at(doubt_ms).mono_ms)
    for one in looks:
        absence = with_clean_look(absence, one, WALL_MS)
    return absence


# -- absence


@pytest.mark.parametrize(
    ("times", "is_proven"),
    [
        ((7_000, 14_000, 18_000, 20_000), True),
        ((7_000, 14_000, 18_000, 19_999), False),
        ((7_000, 14_000, 20_000), False),
        ((0, 1, 2, 3, 4, 5), False),
        ((0, 1, 2, 20_000), True),
        ((20_000, 20_000, 20_000, 20_000), False),
        ((), False),
    ],
)
def test_absence_needs_enough_looks_and_the_last_of_them_after_the_settle_time(times, is_proven):
    absence = counted(*(look(ms) for ms in times))
    assert proven(absence, looks=4, settle_ms=20_000) is is_proven


def test_a_look_that_began_before_the_doubt_does_not_count():
    assert counted(look(99), doubt_ms=100).clean == 0
    assert counted(look(100), doubt_ms=100).clean == 1


def test_f30_a_look_that_does_not_reach_back_to_the_intent_does_not_count():
    assert counted(look(1, since=WALL_MS - CREATED_BEFORE_MS + 1)).clean == 0
    assert counted(look(1, since=WALL_MS - CREATED_BEFORE_MS)).clean == 1


def test_one_look_told_twice_counts_once():
    assert counted(look(5), look(5)).clean == 1


def test_a_sighting_starts_the_counting_anew():
    absence = with_sighting(counted(look(1), look(20_000)))
    assert (absence.clean, absence.last_ms) == (0, None)
    absence = with_clean_look(absence, look(30_000), WALL_MS)
    assert not proven(absence, looks=4, settle_ms=20_000)


# -- candidates


def test_the_working_leg_is_found_in_reports_and_in_rows():
    assert candidates(WANTED, (PLACED, HELD), ()) == (WORKING,)
    assert candidates(WANTED, (), (view(), view("pending", "PENDING"))) == (WORKING,)
    assert candidates(WANTED, (PLACED,), (view(),)) == (WORKING,)


@pytest.mark.parametrize(
    "change",
    [
        {"symbol": "ALPHA_22USDT"}, {"side": "SELL"}, {"price": D("0.2300001")}, {"quantity": D("869.57")},
        {"created_ms": WALL_MS - CREATED_BEFORE_MS - 1},
    ],
)  # fmt: skip
def test_every_word_of_the_request_must_be_the_same(change):
    assert candidates(WANTED, (replace(PLACED, **change),), (view(**change),)) == ()


def test_amounts_are_compared_as_decimals_and_clocks_may_differ_a_little():
    alike = {"price": D("0.23000"), "quantity": D("869.5600"), "created_ms": WALL_MS - CREATED_BEFORE_MS}
    assert candidates(WANTED, (replace(PLACED, **alike),), (view(**alike),)) == (WORKING,)


def test_f67_an_order_like_ours_that_is_older_by_our_clock_is_suspect():
    old = {"created_ms": WALL_MS - 3_600_000}
    assert suspects(WANTED, (replace(PLACED, **old),), ()) == (WORKING,)
    assert suspects(WANTED, (), (view(**old),)) == (WORKING,)
    assert suspects(WANTED, (PLACED,), (view(),)) == (), "that one is a candidate"
    assert suspects(WANTED, (), (view("working", "CANCELED", **old),)) == (), "dead, and it bought nothing"
    assert suspects(WANTED, (), (view("working", "CANCELED", 5, **old),)) == (WORKING,)
    assert suspects(WANTED, (), (view(price=D(9), **old),)) == ()


def test_a_row_without_a_time_may_be_ours():
    assert candidates(WANTED, (), (view(created_ms=None),)) == (WORKING,)


def test_a_list_whose_other_leg_sells_at_another_price_is_not_ours():
    assert candidates(WANTED, (), (view(), view("pending", "PENDING", price=D("0.3")))) == ()


def test_a_plain_order_is_not_ours_where_rows_name_lists():
    plain, other = view(**NO_WORDS), view(order_id="5", list_id="77", price=D(9))
    assert candidates(WANTED, (), (plain, other)) == ()
    assert candidates(WANTED, (), (plain,)) == (WORKING,), "the server of 2025 named none (wire § 4.1)"


def test_a_plain_report_is_never_the_working_leg():
    assert candidates(WANTED, (replace(PLACED, **NO_WORDS),), ()) == ()


def test_a_sale_is_a_plain_order():
    assert candidates(SALE, (sale_report("1", 5, "0.2"),), (sale_view("2", 5, "0.2"),)) == ("1", "2")
    in_list = {"list_id": "3"}
    assert candidates(SALE, (sale_report("1", 5, "0.2", **in_list),), (sale_view("2", 5, "0.2", **in_list),)) == ()
    pending = report("pending", quantity=D(5), price=D("0.2"))
    assert candidates(SALE, (pending,), ()) == ()


def test_candidates_are_told_in_the_order_of_their_ids():
    rows = [view(order_id=order_id, list_id=order_id) for order_id in ("100", "99", PENDING)]
    assert candidates(WANTED, (), rows) == ("99", "100", PENDING)
