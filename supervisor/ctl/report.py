"""`otoctl report`: one look at what happened, gathered from the published files. Needs no daemon.

Here is what is told; report_text.py says it in a terminal, report_html.py as one file for a browser.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from actors.adapters.duck_schema import DAY_MS, day_text
from actors.adapters.duck_statistics import statistics
from actors.statistics import Statistics, StatisticsRecord
from supervisor.ctl.client import EXIT_FAILED, Trouble
from supervisor.ctl.published import opened

POINTS_MAX: Final = 600  # of a price line: more than that no screen shows apart
TOKENS_MAX: Final = 6  # price charts
HOUR_MS: Final = 3_600_000


class Moment(Struct, frozen=True):
    """The price within one stretch of time."""

    at_ms: int
    low: Decimal
    high: Decimal
    close: Decimal


class OwnFills(Struct, frozen=True, kw_only=True):
    """Own fills of one side within one stretch of time; price: their mean, exact where it was one fill."""

    at_ms: int
    side: str
    count: int
    quantity: Decimal
    price: Decimal


class Market(Struct, frozen=True, kw_only=True):
    token: str
    moments: tuple[Moment, ...]
    fills: tuple[OwnFills, ...]


class OfUser(Struct, frozen=True, kw_only=True):
    """pairs_by_hour: (start of the hour, closed pairs), by intent, hours without any left out."""

    user: str
    statistics: StatisticsRecord
    pairs_by_hour: tuple[tuple[int, int], ...]


class Report(Struct, frozen=True, kw_only=True):
    """since_ms is included, until_ms is not; both are midnights, UTC."""

    instances: tuple[str, ...]
    since_ms: int
    until_ms: int
    users: tuple[OfUser, ...]
    markets: tuple[Market, ...]


def gather(views: Path, *, user: str | None, days: int) -> Report:
    """What the files say of the last `days` days that they know. Raises: Trouble, no records (of this user)."""
    with opened(views) as connection:
        whose, values = ('WHERE "user" = $1', [user]) if user is not None else ("", [])
        ((newest_ms,),) = connection.execute(
            "SELECT max(at_ms) FROM ("
            f"SELECT epoch_ms(max(exchange_time)) AS at_ms FROM fills {whose}"
            f" UNION ALL SELECT epoch_ms(max(intent_at)) FROM pairs {whose})",
            values,
        ).fetchall()
        if newest_ms is None:
            what = f"no records of user '{user}'" if user is not None else "no fills and no pairs are recorded yet"
            raise Trouble(
                f'{what}\n  -> otoctl query "SELECT DISTINCT user FROM pairs" tells who has some', EXIT_FAILED
            )
        until_ms = (newest_ms // DAY_MS + 1) * DAY_MS
        since_ms = until_ms - days * DAY_MS
        span = [since_ms, until_ms]
        names = (
            [user]
            if user is not None
            else _column(connection, f'SELECT DISTINCT "user" FROM pairs WHERE {_in("intent_at")}', span)
        )
        return Report(
            instances=tuple(_column(connection, f"SELECT DISTINCT instance FROM pairs WHERE {_in('intent_at')}", span)),
            since_ms=since_ms,
            until_ms=until_ms,
            users=tuple(_of_user(connection, name, since_ms, until_ms) for name in sorted(names)),
            markets=_markets(connection, user, since_ms, until_ms),
        )


def _of_user(connection: Any, user: str, since_ms: int, until_ms: int) -> OfUser:
    hours = connection.execute(
        f"SELECT epoch_ms(intent_at) // {HOUR_MS} * {HOUR_MS} AS hour, count(*) FROM pairs"
        f" WHERE {_in('intent_at')} AND \"user\" = $3 AND status = 'closed' GROUP BY 1 ORDER BY 1",
        [since_ms, until_ms, user],
    ).fetchall()
    asked = Statistics(user=user, since_ms=since_ms, until_ms=until_ms)
    return OfUser(user=user, statistics=statistics(connection, asked, until_ms - 1), pairs_by_hour=tuple(hours))


def _markets(connection: Any, user: str | None, since_ms: int, until_ms: int) -> tuple[Market, ...]:
    """The tokens with most fills, each over the time in which there were any."""
    mine, values = (' AND "user" = $3', [since_ms, until_ms, user]) if user is not None else ("", [since_ms, until_ms])
    traded = connection.execute(
        "SELECT token, epoch_ms(min(exchange_time)), epoch_ms(max(exchange_time)) FROM fills"
        f" WHERE {_in('exchange_time')}{mine} GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT {TOKENS_MAX}",
        values,
    ).fetchall()
    return tuple(_market(connection, token, mine, values, first, last) for token, first, last in traded)


def _market(connection: Any, token: str, mine: str, values: list[Any], first_ms: int, last_ms: int) -> Market:
    air_ms = max((last_ms - first_ms) // 50, 5_000)
    since_ms, until_ms = first_ms - air_ms, last_ms + air_ms
    step_ms = max((until_ms - since_ms) // POINTS_MAX // 1000, 1) * 1000
    stretch = f"$1 + (epoch_ms({{}}) - $1) // {step_ms} * {step_ms}"
    moments = connection.execute(
        f"SELECT {stretch.format('second')} AS at_ms, CAST(min(low) AS VARCHAR), CAST(max(high) AS VARCHAR),"
        f" CAST(arg_max(close, second) AS VARCHAR) FROM price_1s WHERE {_in('second')} AND token = $3"
        " GROUP BY 1 ORDER BY 1",
        [since_ms, until_ms, token],
    ).fetchall()
    fills = connection.execute(
        f"SELECT {stretch.format('exchange_time')} AS at_ms, side, count(*), CAST(sum(quantity) AS VARCHAR),"
        " CAST(sum(quote_quantity) AS VARCHAR), CAST(min(price) AS VARCHAR), CAST(max(price) AS VARCHAR) FROM fills"
        f" WHERE {_in('exchange_time')}{mine} AND token = ${len(values) + 1} GROUP BY 1, 2 ORDER BY 1, 2",
        [since_ms, until_ms, *values[2:], token],
    ).fetchall()
    return Market(
        token=token,
        moments=tuple(Moment(at_ms, *map(Decimal, prices)) for at_ms, *prices in moments),
        fills=tuple(
            OwnFills(
                at_ms=at_ms,
                side=side,
                count=count,
                quantity=Decimal(quantity),
                price=Decimal(low) if low == high else Decimal(quote) / Decimal(quantity),
            )
            for at_ms, side, count, quantity, quote, low, high in fills
        ),
    )


def days_of(report: Report) -> tuple[str, ...]:
    """All UTC days of the report, oldest first."""
    return tuple(day_text(number) for number in range(report.since_ms // DAY_MS, report.until_ms // DAY_MS))


def _column(connection: Any, sql: str, values: list[Any]) -> list[Any]:
    return sorted(value for (value,) in connection.execute(sql, values).fetchall())


def _in(column: str) -> str:
    at = "make_timestamptz(CAST({} AS BIGINT) * 1000)"
    return f"{column} >= {at.format('$1')} AND {column} < {at.format('$2')}"
