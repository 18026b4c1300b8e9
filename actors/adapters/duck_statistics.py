"""Statistics of one user, by SQL over fills, orders, pairs and user_days: of the live database or of published files.

Sums are exact DECIMAL(38,18), handed over as text; what is divided is divided in Python's decimals.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any, Final

import duckdb

from actors.adapters.duck_schema import DAY_MS, day_text, plain_decimal
from actors.domain.money import total
from actors.messages import Traded
from actors.statistics import PARTS, POINTS_DAYS, DayFigures, OfToken, Statistics, StatisticsRecord, Wear, points

Connection = duckdb.DuckDBPyConnection

COUNTED: Final = "quote_quantity * CAST(mul_point AS DECIMAL(10,2))"  # see duck_queries.py
_WEAR: Final = ("buy_quote", "wear", *(f"wear_{part}" for part in PARTS))
_WEAR_SUMS: Final = ", ".join(f"CAST(sum({name}) AS VARCHAR)" for name in _WEAR)
_GATHERED: Final = ("fills", "orders", "pairs")
_Bounds = tuple[int | None, int | None]


def answer(connection: Connection, question: Statistics, now_ms: int) -> StatisticsRecord:
    """From the live database, days that have left it included (duck_retention.py).

    A dozen questions follow, and each would open the files of all these days: so the user's rows are gathered first.
    """
    if not connection.execute("SELECT 1 FROM days WHERE left_at IS NOT NULL LIMIT 1").fetchall():
        return statistics(connection, question, now_ms)
    for table in _GATHERED:
        connection.execute(
            f'CREATE OR REPLACE TEMP TABLE asked_{table} AS SELECT * FROM recorded_{table} WHERE "user" = $1',
            [question.user],
        ).fetchall()
    found = statistics(connection, question, now_ms, prefix="asked_")
    for table in _GATHERED:
        connection.execute(f"DROP TABLE asked_{table}").fetchall()
    return found


def statistics(connection: Connection, question: Statistics, now_ms: int, *, prefix: str = "") -> StatisticsRecord:
    """prefix: of the names of fills, orders and pairs. Raises: duckdb.Error."""
    tables = _Tables(connection, prefix, question.user)
    bounds = question.since_ms, question.until_ms
    days = tables.days(bounds)
    last_day = (now_ms if question.until_ms is None else min(question.until_ms - 1, now_ms)) // DAY_MS
    counted = tables.counted_by_day((last_day - POINTS_DAYS + 1) * DAY_MS, (last_day + 1) * DAY_MS)
    by_token, counted_volume, first_ms, last_ms = tables.fills(bounds)
    mean_ms, median_ms, max_ms = tables.durations(bounds)
    return StatisticsRecord(
        bought=_together(each.bought for each in by_token),
        sold=_together(each.sold for each in by_token),
        by_token=by_token,
        counted_volume=counted_volume,
        wear=tables.wear(bounds),
        outcomes=tables.count("pairs", "coalesce(outcome, 'live')", "intent_at", bounds),
        statuses=tables.count("orders", "status", "created_at", bounds, "pair_id IS NOT NULL"),
        fees=tables.fees(bounds),
        pair_ms_mean=mean_ms,
        pair_ms_median=median_ms,
        pair_ms_max=max_ms,
        first_ms=first_ms,
        last_ms=last_ms,
        days=days,
        points_today=points(counted.get(last_day, Decimal(0))),
        points_sum=sum(map(points, counted.values())),
    )


def _together(each: Iterable[Traded]) -> Traded:
    several = list(each)
    return Traded(
        fills=sum(traded.fills for traded in several),
        quantity=total(*(traded.quantity for traded in several)),
        quote=total(*(traded.quote for traded in several)),
    )


class _Tables:
    """The tables of one user."""

    def __init__(self, connection: Connection, prefix: str, user: str) -> None:
        self._connection = connection
        self._prefix = prefix
        self._user = user

    def fills(self, bounds: _Bounds) -> tuple[tuple[OfToken, ...], Decimal, int | None, int | None]:
        """By token; the counted volume; the first and the last moment."""
        sides = self._ask(
            "SELECT token, side, count(*), CAST(sum(quantity) AS VARCHAR), CAST(sum(quote_quantity) AS VARCHAR),"
            f" CAST(sum({COUNTED}) AS VARCHAR), epoch_ms(min(exchange_time)), epoch_ms(max(exchange_time))"
            " FROM {fills} WHERE {mine} GROUP BY 1, 2 ORDER BY 1",
            "exchange_time",
            bounds,
        )
        traded = {
            (token, side): Traded(fills=count, quantity=_sum(quantity), quote=_sum(quote))
            for token, side, count, quantity, quote, *_ in sides
        }
        return (
            tuple(
                OfToken(
                    token=token,
                    bought=traded.get((token, "BUY"), Traded()),
                    sold=traded.get((token, "SELL"), Traded()),
                )
                for token in dict.fromkeys(row[0] for row in sides)
            ),
            total(*(_sum(row[5]) for row in sides if row[1] == "BUY")),
            min((row[6] for row in sides), default=None),
            max((row[7] for row in sides), default=None),
        )

    def fees(self, bounds: _Bounds) -> tuple[tuple[str, Decimal], ...]:
        paid = self._ask(
            "SELECT commission_asset, CAST(sum(commission) AS VARCHAR) FROM {fills} WHERE {mine}"
            " GROUP BY 1 HAVING sum(commission) <> 0 ORDER BY 1",
            "exchange_time",
            bounds,
        )
        return tuple((asset, _sum(amount)) for asset, amount in paid)

    def wear(self, bounds: _Bounds) -> Wear:
        ((*sums,),) = self._ask(
            f"SELECT {_WEAR_SUMS} FROM {{pairs}} WHERE {{mine}} AND status = 'closed'", "intent_at", bounds
        )
        return _wear(sums)

    def durations(self, bounds: _Bounds) -> tuple[int | None, int | None, int | None]:
        """Mean, median and longest, ms, of pairs that completed."""
        took = "epoch_ms(closed_at) - epoch_ms(intent_at)"
        ((mean, median, longest),) = self._ask(
            f"SELECT CAST(round(avg({took})) AS BIGINT), CAST(round(median({took})) AS BIGINT), max({took})"
            " FROM {pairs} WHERE {mine} AND outcome = 'completed'",
            "intent_at",
            bounds,
        )
        return mean, median, longest

    def count(
        self, table: str, word: str, by: str, bounds: _Bounds, condition: str = "true"
    ) -> tuple[tuple[str, int], ...]:
        return tuple(
            self._ask(
                f"SELECT {word}, count(*) FROM {{{table}}} WHERE {{mine}} AND {condition} GROUP BY 1 ORDER BY 1",
                by,
                bounds,
            )
        )

    def counted_by_day(self, since_ms: int, until_ms: int) -> dict[int, Decimal]:
        """Counted volume by day number."""
        found = self._ask(
            f"SELECT {_day('exchange_time')}, CAST(sum({COUNTED}) AS VARCHAR) FROM {{fills}}"
            " WHERE {mine} AND side = 'BUY' GROUP BY 1",
            "exchange_time",
            (since_ms, until_ms),
        )
        return {day: _sum(counted) for day, counted in found}

    def days(self, bounds: _Bounds) -> tuple[DayFigures, ...]:
        """Days on which something was bought, a pair begun, or a target noted."""
        bought = {
            day: (_sum(volume), _sum(counted))
            for day, volume, counted in self._ask(
                f"SELECT {_day('exchange_time')}, CAST(sum(quote_quantity) AS VARCHAR), CAST(sum({COUNTED}) AS VARCHAR)"
                " FROM {fills} WHERE {mine} AND side = 'BUY' GROUP BY 1",
                "exchange_time",
                bounds,
            )
        }
        closed = {
            day: (count, _wear(sums))
            for day, count, *sums in self._ask(
                f"SELECT {_day('intent_at')}, count(*), {_WEAR_SUMS} FROM {{pairs}}"
                " WHERE {mine} AND status = 'closed' GROUP BY 1",
                "intent_at",
                bounds,
            )
        }
        targets = {
            day: (None if volume is None else plain_decimal(volume), goal, done_ms)
            for day, volume, goal, done_ms in self._ask(
                "SELECT CAST(day - DATE '1970-01-01' AS INTEGER), CAST(target_volume AS VARCHAR), target_points,"
                " epoch_ms(done_at) FROM user_days WHERE {mine}",
                "make_timestamptz(CAST(day - DATE '1970-01-01' AS BIGINT) * 86400000000)",
                _whole_days(bounds),
            )
        }
        figures = []
        for day in sorted({*bought, *closed, *targets}):
            volume, counted = bought.get(day, (Decimal(0), Decimal(0)))
            count, wear = closed.get(day, (0, Wear()))
            target_volume, target_points, done_ms = targets.get(day, (None, None, None))
            figures.append(
                DayFigures(
                    day=day_text(day),
                    volume=volume,
                    counted_volume=counted,
                    target_volume=target_volume,
                    target_points=target_points,
                    done_ms=done_ms,
                    pairs=count,
                    wear=wear,
                )
            )
        return tuple(figures)

    def _ask(self, sql: str, by: str, bounds: _Bounds) -> list[Any]:
        """{fills}, {orders}, {pairs}: the tables; {mine}: of this user, `by` within the bounds."""
        values: list[Any] = [self._user]
        mine = '"user" = $1'
        for value, comparison in zip(bounds, (">=", "<"), strict=True):
            if value is not None:
                values.append(value)
                mine += f" AND {by} {comparison} make_timestamptz(CAST(${len(values)} AS BIGINT) * 1000)"
        names = {name: f"{self._prefix}{name}" for name in ("fills", "orders", "pairs")}
        return self._connection.execute(sql.format(mine=mine, **names), values).fetchall()


def _whole_days(bounds: _Bounds) -> _Bounds:
    """A day's target is told if any of the day is within the bounds."""
    since_ms, until_ms = bounds
    return (None if since_ms is None else since_ms // DAY_MS * DAY_MS), until_ms


def _day(column: str) -> str:
    return f"CAST(epoch_ms({column}) // {DAY_MS} AS INTEGER)"


def _wear(sums: list[str | None]) -> Wear:
    names = ("volume", "total", *PARTS)
    return Wear(**dict(zip(names, map(_sum, sums), strict=True)))


def _sum(text: str | None) -> Decimal:
    return Decimal(0) if text is None else plain_decimal(text)
