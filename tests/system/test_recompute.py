"""Statistics, recomputed in plain Python from the exchange's own log of the same run: nothing of the store is used.

What the log cannot know is the book at the intent, so the parts spread and slippage are checked as one: what is left of
the wear without the others. Three seeds, or as many as OTOD_SEEDS says.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import duckdb
import pytest
import trio

from actors.adapters.duck_statistics import statistics
from actors.statistics import Statistics, StatisticsRecord, mean_price
from supervisor.ctl.report import gather
from tests.adapters.duck_rows import StillWall, database
from tests.system.audit import exchange_of
from tests.system.processes import otod

pytestmark = pytest.mark.system

SEEDS = range(1, int(os.environ.get("OTOD_SEEDS", "3")) + 1)
NEAR = Fraction(1, 10**12)
"""For what was divided: a mean price is rounded to 18 decimals, then multiplied by quantities up to ten million."""


class Told:
    """One account's statistics out of the exchange's orders and fills."""

    def __init__(self, audit) -> None:
        orders = {order.order_id: order for order in audit.orders}
        self.count, self.quantity, self.quote = Counter(), defaultdict(Decimal), defaultdict(Decimal)
        self.fees, self.days, self.counted = defaultdict(Decimal), defaultdict(Decimal), defaultdict(Decimal)
        self.statuses = Counter(order.status for order in audit.orders)
        pairs: dict[int, Pair] = {}
        latest, pair_of = 0, {}
        for order in audit.orders:  # by creation; an order without a list is a sale of what the latest pair left
            latest = order.list_id or latest
            pair_of[order.order_id] = pairs.setdefault(latest, Pair())
            pairs[latest].take_order(order)
        for fill in audit.fills:
            self.count[fill.side] += 1
            self.quantity[fill.side] += fill.quantity
            self.quote[fill.side] += fill.quote
            self.fees[fill.commission_asset] += fill.commission
            pair_of[fill.order_id].take_fill(fill, unwinding=orders[fill.order_id].list_id == 0)
            if fill.side == "BUY":
                day = datetime.fromtimestamp(fill.time_ms // 1000, UTC).date().isoformat()
                self.days[day] += fill.quote
                self.counted[day] += fill.quote * (fill.mul_point or 1)
        self.first_ms, self.last_ms = audit.fills[0].time_ms, audit.fills[-1].time_ms
        self.pairs = list(pairs.values())

    def points(self) -> dict[str, int]:
        return {day: max(n for n in range(100) if 2**n <= max(volume, 1)) for day, volume in self.counted.items()}


class Pair:
    def __init__(self) -> None:
        self.bought = self.sold = self.base_fee = self.paid = self.got = self.quote_fee = Fraction(0)
        self.unwound, self.sell_price, self.sales = Fraction(0), Fraction(0), 0

    def take_order(self, order) -> None:
        if order.position == "OTO_PENDING":
            self.sell_price = Fraction(order.price)
        self.sales += order.list_id == 0

    def take_fill(self, fill, *, unwinding: bool) -> None:
        if fill.side == "BUY":
            self.bought += Fraction(fill.quantity)
            self.paid += Fraction(fill.quote)
            self.base_fee += Fraction(fill.commission)
        else:
            self.sold += Fraction(fill.quantity)
            self.got += Fraction(fill.quote)
            self.quote_fee += Fraction(fill.commission)
        if unwinding:
            self.unwound += Fraction(fill.quantity) * (self.sell_price - Fraction(fill.price))

    @property
    def outcome(self) -> str:
        return "cancelled" if not self.bought else "unwound" if self.sales else "completed"

    @property
    def wear(self) -> Fraction:
        return self.paid - (self.got - self.quote_fee)

    @property
    def fee(self) -> Fraction:
        return self.base_fee * self.paid / self.bought + self.quote_fee if self.bought else Fraction(0)

    @property
    def dust(self) -> Fraction:
        return (self.bought - self.base_fee - self.sold) * self.paid / self.bought if self.bought else Fraction(0)


def assert_equal(found: StatisticsRecord, told: Told) -> None:
    for side, traded in (("BUY", found.bought), ("SELL", found.sold)):
        assert (traded.fills, traded.quantity, traded.quote) == (
            told.count[side],
            told.quantity[side],
            told.quote[side],
        )
        mean = mean_price(traded)
        assert mean is not None
        assert abs(Fraction(mean) - Fraction(told.quote[side]) / Fraction(told.quantity[side])) < NEAR
    assert found.counted_volume == sum(told.counted.values())
    assert dict(found.fees) == dict(told.fees)
    assert dict(found.statuses) == dict(told.statuses)
    assert dict(found.outcomes) == Counter(pair.outcome for pair in told.pairs)
    assert (found.first_ms, found.last_ms) == (told.first_ms, told.last_ms)
    wear = found.wear
    assert Fraction(wear.total) == sum(pair.wear for pair in told.pairs)
    assert Fraction(wear.volume) == sum(pair.paid for pair in told.pairs)
    assert abs(Fraction(wear.fee) - sum(pair.fee for pair in told.pairs)) < NEAR
    assert abs(Fraction(wear.dust) - sum(pair.dust for pair in told.pairs)) < NEAR
    assert Fraction(wear.unwind) == sum(pair.unwound for pair in told.pairs)
    assert wear.fee + wear.spread + wear.slippage + wear.unwind + wear.dust == wear.total
    assert {day.day: day.volume for day in found.days if day.volume} == told.days
    assert {day.day: day.points for day in found.days if day.volume} == told.points()
    assert found.points_sum == sum(told.points().values())
    for day in found.days:
        assert day.percent is not None
        assert day.percent >= 100 or day.day != max(told.days)
        assert day.pairs == len(told.pairs) or len(told.days) > 1


def assert_views_equal(connection: duckdb.DuckDBPyConnection, user: str, told: Told) -> None:
    volume, counted, wear, pairs = connection.execute(
        'SELECT sum(volume), sum(counted_volume), sum(wear), sum(pairs) FROM daily WHERE "user" = $1', [user]
    ).fetchall()[0]
    assert (volume, counted) == (told.quote["BUY"], sum(told.counted.values()))
    assert (Fraction(wear), pairs) == (sum(pair.wear for pair in told.pairs), len(told.pairs))
    points = connection.execute('SELECT CAST(day AS VARCHAR), points FROM daily_points WHERE "user" = $1', [user])
    assert dict(points.fetchall()) == told.points()
    progress = connection.execute('SELECT CAST(day AS VARCHAR), volume FROM progress WHERE "user" = $1', [user])
    assert {day: volume for day, volume in progress.fetchall() if volume} == told.days


def traded_to_the_end(seed: int, token: str, tmp_path: Path) -> Path:
    """A state directory in which all targets were reached.

    A market that falls through the floor of an unwinding leaves a pair open, for a person to decide about (exit 1, and
    who it is): then another one is taken, for what is compared here are pairs that have come to their end.
    """
    for market in (seed, seed + 1000, seed + 2000):
        state_dir = tmp_path / f"s{market}"
        words = ("--seed", str(market), "--token", token, "--state-dir", str(state_dir))
        ended = otod("paper", "--no-view", "--speed", "20", *words)
        if ended.returncode == 0:
            return state_dir
        assert (ended.returncode, "INVENTORY_LEFT" in ended.stdout) == (1, True), ended.stderr[-2000:]
    raise AssertionError(f"three markets of {token} fell through the floor")


@pytest.mark.parametrize("seed", SEEDS)
def test_statistics_are_what_the_exchange_saw(seed: int, tmp_path: Path) -> None:
    token = ("KOGE", "LUMI", "PICO")[seed % 3]  # mulPoint 1, 4, 2
    state_dir = traded_to_the_end(seed, token, tmp_path)
    exchange = exchange_of(state_dir / "paper")
    told = {account: Told(exchange.audit(account)) for account in exchange.accounts()}
    now_ms = max(each.last_ms for each in told.values())
    views = state_dir / "analytics" / "views.sql"
    reported = {each.user: each.statistics for each in gather(views, user=None, days=2).users}
    assert reported.keys() == told.keys()

    async def live() -> dict[str, StatisticsRecord]:
        db = database(state_dir, instance="paper", wall=StillWall(now_ms))
        await db.open()
        try:
            return {user: await db.query(Statistics(user=user)) for user in told}
        finally:
            await db.close()

    with duckdb.connect() as connection:
        connection.execute(views.read_text())
        for user, found in trio.run(live).items():
            assert_equal(found, told[user])
            assert statistics(connection, Statistics(user=user), now_ms) == found
            assert reported[user] == found
            assert_views_equal(connection, user, told[user])
