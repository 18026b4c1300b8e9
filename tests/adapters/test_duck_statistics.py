"""Statistics of a user: sums to the last digit, days with their targets, points, times, all within a period."""

from __future__ import annotations

from decimal import Decimal as D

import pytest

from actors import rows
from actors.statistics import DayFigures, Statistics, Wear, mean_price, points, together
from tests.adapters.duck_rows import DAY, HOUR_MS, NOON_MS, database, fill, order, pair

DAY_MS = 24 * HOUR_MS
MIDNIGHT_MS = NOON_MS - 12 * HOUR_MS
ODD = D("123456789012345.123456789012345678")


@pytest.fixture
async def db(tmp_path):
    made = database(tmp_path)
    await made.open()
    yield made
    await made.close()


def closed(number, days_ago=0, **changes):
    begun = NOON_MS - days_ago * DAY_MS
    told = {"status": "closed", "outcome": "completed", "buy_quote": D(50), "wear": D("0.15"), "wear_fee": D("0.01"),
            "wear_spread": D("0.1"), "wear_slippage": D("-0.02"), "wear_unwind": D(0), "wear_dust": D("0.06"),
            "intent_at": begun, "closed_at": begun + number * 1000}  # fmt: skip
    return pair(number, **told | changes)


async def test_prices_of_several_tokens_have_no_common_mean(db):
    dear, cheap = {"quantity": D(2), "quote_quantity": D(96)}, {"token": "CHEAP", "symbol": "ALPHA_9USDT"}
    await db.commit(
        [
            [
                fill("1", **dear), fill("2", side="SELL", **dear),
                fill("1", quantity=D(1000), quote_quantity=D("0.5"), mul_point=D(2), **cheap),
            ]
        ]
    )  # fmt: skip
    found = await db.query(Statistics(user="alice"))
    assert [(each.token, mean_price(each.bought), mean_price(each.sold)) for each in found.by_token] == [
        ("CHEAP", D("0.0005"), None), ("KOGE", D(48), D(48)),
    ]  # fmt: skip
    assert (found.mean_buy_price, found.mean_sell_price) == (None, None)
    assert (found.bought.fills, found.bought.quote, found.sold.quote) == (2, D("96.5"), D(96))
    assert found.counted_volume == 96 * 4 + 1
    alone = await db.query(Statistics(user="nobody"))
    assert (alone.by_token, alone.mean_buy_price) == ((), None)


async def test_everything_that_is_asked_of_a_period(db):
    await db.commit(
        [
            [
                fill("1", quantity=D(2), quote_quantity=ODD, commission=D("0.0002"), mul_point=D(1)),
                fill("2", quantity=D(1), quote_quantity=D("1E-18"), commission=D("0.0001"), mul_point=D(1)),
                fill("3", side="SELL", quantity=D("2.9"), quote_quantity=D("139"), commission=D("0.0139"),
                     commission_asset="USDT", exchange_time=NOON_MS + 5),
                fill("4", user="bob"),
                order("1", status="FILLED"), order("2", status="FILLED"), order("3", status="CANCELED"),
                order("4", pair_id=None, leg=None),
                closed(1), closed(3), closed(5, outcome="unwound", wear_unwind=D("0.02"), wear=D("0.17")),
                pair(7, status="selling", wear=D(9)),
                rows.UserDayRow(user="alice", day=DAY, target_volume=D(500), target_points=None, done_at=NOON_MS + 9),
            ]
        ]
    )  # fmt: skip
    found = await db.query(Statistics(user="alice"))
    assert found.bought.quote == D("123456789012345.123456789012345679")
    assert (found.bought.fills, found.sold.fills, found.sold.quote) == (2, 1, D(139))
    assert found.counted_volume == found.bought.quote
    assert found.wear == Wear(volume=D(150), total=D("0.47"), fee=D("0.03"), spread=D("0.3"), slippage=D("-0.06"),
                              unwind=D("0.02"), dust=D("0.18"))  # fmt: skip
    assert found.wear.bps == pytest.approx(D("31.33"), abs=D("0.01"))
    assert found.outcomes == (("completed", 2), ("live", 1), ("unwound", 1))
    assert found.statuses == (("CANCELED", 1), ("FILLED", 2))
    assert found.fees == (("KOGE", D("0.0003")), ("USDT", D("0.0139")))
    assert (found.pair_ms_mean, found.pair_ms_median, found.pair_ms_max) == (2000, 2000, 3000)
    assert (found.first_ms, found.last_ms) == (NOON_MS, NOON_MS + 5)
    assert mean_price(found.sold) == pytest.approx(D(139) / D("2.9"))
    (day,) = found.days
    assert (day.day, day.pairs, day.target, day.done_ms, day.wear) == (DAY, 3, D(500), NOON_MS + 9, found.wear)


async def test_a_period_begins_with_its_first_ms_and_ends_before_its_last(db):
    await db.commit([[fill(str(n), exchange_time=NOON_MS + n) for n in range(5)]])
    found = await db.query(Statistics(user="alice", since_ms=NOON_MS + 1, until_ms=NOON_MS + 4))
    assert (found.bought.fills, found.first_ms, found.last_ms) == (3, NOON_MS + 1, NOON_MS + 3)


async def test_points_are_counted_by_day_and_summed_over_fifteen_days(db):
    for days_ago, volume in ((0, 31), (1, 32), (14, 64), (15, 1024)):
        await db.commit(
            [[fill(str(days_ago), exchange_time=NOON_MS - days_ago * DAY_MS, quote_quantity=D(volume), mul_point=D(1))]]
        )
    today = await db.query(Statistics(user="alice"))
    assert (today.points_today, today.points_sum) == (4, 4 + 5 + 6)
    yesterday = await db.query(Statistics(user="alice", until_ms=MIDNIGHT_MS))
    assert (yesterday.points_today, yesterday.points_sum) == (5, 5 + 6 + 10)
    assert [day.points for day in today.days] == [10, 6, 5, 4]


async def test_a_day_is_measured_against_its_own_target(db):
    target = {"user": "alice", "target_volume": None, "target_points": None}
    await db.commit(
        [
            [fill("1", quote_quantity=D(200), mul_point=D(4))],
            [fill("2", quote_quantity=D(200), mul_point=D(4), exchange_time=NOON_MS - DAY_MS)],
            [rows.UserDayRow(**target | {"day": DAY, "target_points": 10})],
            [rows.UserDayRow(**target | {"day": "2026-11-19", "target_volume": D(400)})],
            [rows.UserDayRow(**target | {"day": "2026-11-18", "target_volume": D(7)})],
        ]
    )
    found = await db.query(Statistics(user="alice"))
    assert [(day.day, day.target, day.percent) for day in found.days] == [
        ("2026-11-18", D(7), D(0)), ("2026-11-19", D(400), D(50)), (DAY, D(1024), D("78.12")),
    ]  # fmt: skip
    one = await db.query(Statistics(user="alice", since_ms=MIDNIGHT_MS - DAY_MS, until_ms=MIDNIGHT_MS))
    assert [day.day for day in one.days] == ["2026-11-19"]


async def test_somebody_without_records_has_none(db):
    found = await db.query(Statistics(user="nobody"))
    assert (found.bought.fills, found.wear.bps, found.days, found.pair_ms_mean, found.points_sum) == (
        0,
        None,
        (),
        None,
        0,
    )
    assert mean_price(found.bought) is None
    assert DayFigures(day=DAY).percent is None


@pytest.mark.parametrize(("volume", "expected"), [("0", 0), ("1.99", 0), ("2", 1), ("1023.9", 9), ("1024", 10)])
def test_points(volume, expected):
    assert points(D(volume)) == expected


def test_wear_adds_up_exactly():
    one = Wear(volume=ODD, total=D("1E-18"))
    assert together([one, one]) == Wear(volume=D("246913578024690.246913578024691356"), total=D("2E-18"))
