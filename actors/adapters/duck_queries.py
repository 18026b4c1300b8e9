"""Answers to the Load…/List… questions of actors/messages.py, from the typed tables.

What belongs to the past is read from the views recorded_… (duck_retention.py), which also know what has left the file.
Every function reads through the connection it is given, inside one transaction, so that its parts fit together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Final

import duckdb
import msgspec

from actors import messages, rows
from actors.adapters import duck_control, duck_statistics
from actors.adapters.duck_schema import DAY_MS, Kind, day_number, from_record, plain_decimal, select_list
from actors.domain.trading import TradingConfig
from actors.errors import IntegrityError, StoreRefused
from actors.statistics import Statistics

Connection = duckdb.DuckDBPyConnection

LIMIT_MAX: Final = 1000  # of a page: a longer fetch would hold the event loop's lock for several ms
RECENT_PAIRS_MAX: Final = 50
RECENT_MS: Final = 3_600_000
OWN_ORDERS_MS: Final = 48 * 3_600_000

COUNTED: Final = "quote_quantity * CAST(mul_point AS DECIMAL(10,2))"
"""quote × mul_point as DECIMAL(38,20): two factors of DECIMAL(38,18) would leave room for two digits only."""


def answer(connection: Connection, question: Any, now_ms: int) -> Any:
    """Raises: StoreRefused, no such question, user or page; IntegrityError, a stored document cannot be read."""
    kind = type(question)
    if kind not in _ANSWERS:
        raise StoreRefused(f"the store has no answer to {kind.__name__}", do="ask one of actors/messages.py")
    return _ANSWERS[kind](connection, question, now_ms)


def load_users(connection: Connection, question: messages.LoadUsers, now_ms: int) -> tuple[messages.UserRecord, ...]:
    users = _rows(connection, rows.UserRow, "NOT removed ORDER BY 1")
    return tuple(_user_record(connection, user) for user in users)


def load_trader(connection: Connection, question: messages.LoadTrader, now_ms: int) -> messages.TraderRecord:
    found = _rows(connection, rows.UserRow, '"user" = $1', [question.user])
    if not found:
        raise StoreRefused(f"no user {question.user!r}", where="users", do="create the user first")
    open_pairs = _rows(
        connection, rows.PairRow, "\"user\" = $1 AND status <> 'closed' ORDER BY intent_at, number", [question.user]
    )
    recent_pairs = _rows(
        connection,
        rows.PairRow,
        f"\"user\" = $1 AND status = 'closed' AND {_time('closed_at', '>=')}"
        f" ORDER BY closed_at DESC, number DESC LIMIT {RECENT_PAIRS_MAX}",
        [question.user, now_ms - RECENT_MS],
    )[::-1]
    of_pairs = [question.user, [pair.pair_id for pair in (*open_pairs, *recent_pairs)]]
    own = connection.execute(
        'SELECT symbol, order_id, pair_id FROM orders WHERE "user" = $1 AND pair_id IS NOT NULL'
        f" AND {_time('created_at', '>=')} ORDER BY created_at, order_id",
        [question.user, now_ms - OWN_ORDERS_MS],
    ).fetchall()
    ((last,),) = connection.execute(
        'SELECT epoch_ms(max(happened_at)) FROM state_changes WHERE "user" = $1', [question.user]
    ).fetchall()
    return messages.TraderRecord(
        record=_user_record(connection, found[0]),
        day=_day_record(connection, question.user, question.day),
        open_pairs=open_pairs,
        recent_pairs=recent_pairs,
        orders=_rows(connection, rows.OrderRow, f"{_OF_PAIRS} ORDER BY created_at, order_id", of_pairs),
        fills=_rows(connection, rows.FillRow, f"{_OF_PAIRS} ORDER BY exchange_time, fill_id", of_pairs),
        own_orders=tuple(own),
        last_durable_ms=last,
    )


def load_tokens(
    connection: Connection, question: messages.LoadTokens, now_ms: int
) -> tuple[tuple[rows.TokenRow, ...], tuple[rows.InstrumentRow, ...]]:
    return (
        _rows(connection, rows.TokenRow, "true ORDER BY alpha_id"),
        _rows(connection, rows.InstrumentRow, "true ORDER BY symbol"),
    )


def list_orders(connection: Connection, question: messages.ListOrders, now_ms: int) -> tuple[int, tuple[Any, ...]]:
    return _page(connection, rows.OrderRow, question, by="created_at", then="updated_at DESC, order_id DESC")


def list_pairs(connection: Connection, question: messages.ListPairs, now_ms: int) -> tuple[int, tuple[Any, ...]]:
    return _page(connection, rows.PairRow, question, by="intent_at", then="number DESC")


def day_totals(connection: Connection, question: messages.DayTotals, now_ms: int) -> messages.DayRecord:
    return _day_record(connection, question.user, question.day)


_ANSWERS: dict[Kind, Callable[[Connection, Any, int], Any]] = {
    messages.LoadUsers: load_users,
    messages.LoadTrader: load_trader,
    messages.LoadTokens: load_tokens,
    messages.ListOrders: list_orders,
    messages.ListPairs: list_pairs,
    messages.DayTotals: day_totals,
    **duck_control.ANSWERS,
    Statistics: duck_statistics.answer,
}

_OF_PAIRS = '"user" = $1 AND pair_id IN (SELECT unnest(CAST($2 AS VARCHAR[])))'


def _rows(
    connection: Connection, kind: Kind, where: str, values: Sequence[Any] = (), *, source: str = ""
) -> tuple[Any, ...]:
    records = connection.execute(
        f"SELECT {select_list(kind)} FROM {source or kind.TABLE} WHERE {where}", list(values)
    ).fetchall()
    return tuple(from_record(kind, record) for record in records)


def _page(connection: Connection, kind: Kind, question: Any, *, by: str, then: str) -> tuple[int, tuple[Any, ...]]:
    """One page, newest first; since_ms is included, until_ms is not."""
    if question.page < 1 or not 1 <= question.limit <= LIMIT_MAX:
        raise StoreRefused(
            f"no such page: page {question.page}, limit {question.limit}",
            where=kind.TABLE,
            do=f"pages count from 1, limit goes up to {LIMIT_MAX}",
        )
    where, values = ['"user" = $1'], [question.user]
    for value, condition in (
        (question.status, "status = ${}"),
        (question.since_ms, f"{by} >= make_timestamptz(${{}} * 1000)"),
        (question.until_ms, f"{by} < make_timestamptz(${{}} * 1000)"),
    ):
        if value is not None:
            values.append(value)
            where.append(condition.format(len(values)))
    found = " AND ".join(where)
    source = f"recorded_{kind.TABLE}"
    ((total,),) = connection.execute(f"SELECT count(*) FROM {source} WHERE {found}", values).fetchall()
    skipped = (question.page - 1) * question.limit
    if skipped >= total:
        return total, ()
    order = f" ORDER BY {by} DESC, {then} LIMIT {question.limit} OFFSET {skipped}"
    return total, _rows(connection, kind, found + order, values, source=source)


def _user_record(connection: Connection, user: rows.UserRow) -> messages.UserRecord:
    configs = connection.execute(
        'SELECT revision, document FROM configs WHERE "user" = $1 ORDER BY revision DESC LIMIT 1', [user.user]
    ).fetchall()
    credentials = _rows(connection, rows.CredentialRow, "\"user\" = $1 AND state <> 'removed'", [user.user])
    revision, config = 0, None
    if configs:
        revision, document = configs[0]
        try:
            config = msgspec.json.decode(document, type=TradingConfig)
        except (msgspec.ValidationError, msgspec.DecodeError) as error:
            raise IntegrityError(
                f"the stored configuration cannot be read: {error}",
                where=f"user {user.user}, revision {revision}",
                do="start the version of otod that wrote it, or restore a backup",
            ) from error
    return messages.UserRecord(
        user=user,
        config=config,
        revision=revision,
        credentials=credentials[0].state if credentials else "none",
        ciphertext=credentials[0].ciphertext if credentials else None,
        sealed=credentials[0] if credentials else None,
        pauses=_rows(
            connection, rows.PauseRow, '"user" = $1 AND ended_at IS NULL ORDER BY since_at, reason', [user.user]
        ),
    )


def _day_record(connection: Connection, user: str, day: str) -> messages.DayRecord:
    start_ms = day_number(day) * DAY_MS
    span = [user, start_ms, start_ms + DAY_MS]
    ((volume, counted),) = connection.execute(
        f"SELECT CAST(sum(quote_quantity) AS VARCHAR), CAST(sum({COUNTED}) AS VARCHAR) FROM recorded_fills"
        f" WHERE \"user\" = $1 AND side = 'BUY' AND {_within('exchange_time')}",
        span,
    ).fetchall()
    fees = connection.execute(
        "SELECT commission_asset, CAST(sum(commission) AS VARCHAR) FROM recorded_fills"
        f' WHERE "user" = $1 AND {_within("exchange_time")} GROUP BY 1 ORDER BY 1',
        span,
    ).fetchall()
    ((pairs, wear, closed),) = connection.execute(
        "SELECT count(*), CAST(sum(wear) AS VARCHAR), CAST(sum(buy_quote) AS VARCHAR) FROM recorded_pairs"
        f" WHERE \"user\" = $1 AND status = 'closed' AND {_within('intent_at')}",
        span,
    ).fetchall()
    # The number is that of the id's day, which midnight may part from the day of the intent.
    ((last_number,),) = connection.execute(
        'SELECT max(number) FROM recorded_pairs WHERE "user" = $1'
        f" AND (({_within('intent_at')}) OR starts_with(pair_id, $4))",
        [*span, f"{user}-{day}-"],
    ).fetchall()
    done = connection.execute(
        'SELECT epoch_ms(done_at) FROM user_days WHERE "user" = $1 AND day = CAST($2 AS DATE)', [user, day]
    ).fetchall()
    return messages.DayRecord(
        day=day,
        volume=_sum(volume),
        counted_volume=_sum(counted),
        pairs=pairs,
        wear=_sum(wear),
        closed_volume=_sum(closed),
        fees=tuple((asset, _sum(amount)) for asset, amount in fees),
        last_number=last_number or 0,
        done_at=done[0][0] if done else None,
    )


def _time(column: str, comparison: str) -> str:
    return f"{column} {comparison} make_timestamptz($2 * 1000)"


def _within(column: str) -> str:
    return f"{column} >= make_timestamptz($2 * 1000) AND {column} < make_timestamptz($3 * 1000)"


def _sum(text: str | None) -> Decimal:
    return Decimal(0) if text is None else plain_decimal(text)
