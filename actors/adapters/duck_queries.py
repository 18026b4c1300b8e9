"""Answers to the Load…/List… questions of actors/messages.py, from the typed tables.

What belongs to the past is read from the views recorded_… (duck_retention.py), which also know what has left the file.
Every function reads through the connection it is given, inside one transaction, so that its parts fit together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import duckdb

from actors import messages, rows
from actors.adapters import duck_control, duck_loading, duck_statistics
from actors.adapters.duck_schema import Kind, from_record, select_list
from actors.errors import StoreError, StoreRefused
from actors.statistics import Statistics

Connection = duckdb.DuckDBPyConnection

LIMIT_MAX: Final = 1000  # of a page: a longer fetch would hold the event loop's lock for several ms


def answer(connection: Connection, question: Any, now_ms: int) -> Any:
    """Raises: StoreRefused, no such question, user or page; IntegrityError, a stored document cannot be read."""
    kind = type(question)
    if kind not in _ANSWERS:
        raise StoreRefused(f"the store has no answer to {kind.__name__}", do="ask one of actors/messages.py")
    return _ANSWERS[kind](connection, question, now_ms)


def load_users(connection: Connection, question: messages.LoadUsers, now_ms: int) -> tuple[messages.UserRecord, ...]:
    return duck_loading.load_users(connection)


def load_trader(connection: Connection, question: messages.LoadTrader, now_ms: int) -> messages.TraderRecord:
    found = duck_loading.load_traders(connection, [question.user], question.day, now_ms)[question.user]
    if isinstance(found, StoreError):
        raise found
    return found


def load_traders(
    connection: Connection, question: messages.LoadTraders, now_ms: int
) -> dict[str, messages.TraderRecord | StoreError]:
    return duck_loading.load_traders(connection, question.users, question.day, now_ms)


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
    return duck_loading.day_records(connection, [question.user], question.day)[question.user]


_ANSWERS: dict[Kind, Callable[[Connection, Any, int], Any]] = {
    messages.LoadUsers: load_users,
    messages.LoadTrader: load_trader,
    messages.LoadTraders: load_traders,
    messages.LoadTokens: load_tokens,
    messages.ListOrders: list_orders,
    messages.ListPairs: list_pairs,
    messages.DayTotals: day_totals,
    **duck_control.ANSWERS,
    Statistics: duck_statistics.answer,
}


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
        (question.since_ms, f"{by} >= make_timestamptz(CAST(${{}} AS BIGINT) * 1000)"),
        (question.until_ms, f"{by} < make_timestamptz(CAST(${{}} AS BIGINT) * 1000)"),
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
