"""Answers to what operators ask of the records: one pair, audit, price bars (duck_queries.py)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import duckdb

from actors import messages, rows
from actors.adapters.duck_retention import LEAVING
from actors.adapters.duck_schema import Kind, from_record, select_list
from actors.errors import StoreRefused

Connection = duckdb.DuckDBPyConnection

LIMIT_MAX: Final = 1000  # as in duck_queries.py
NOTICES_MAX: Final = 10_000  # owed at once, and pauses in force: some MB
DETAIL_MAX: Final = 1000  # orders, fills or changes of one pair: a pair has some ten of each

COUNTED: Final = "quote_quantity * CAST(mul_point AS DECIMAL(10,2))"  # see duck_loading.py


def show_pair(connection: Connection, question: messages.ShowPair, now_ms: int) -> messages.PairDetail | None:
    values = [question.user, question.pair_id]
    found = _rows(connection, rows.PairRow, _PAIR, values)
    if not found:
        return None
    return messages.PairDetail(
        pair=found[0],
        orders=_rows(connection, rows.OrderRow, f"{_PAIR} ORDER BY created_at, order_id LIMIT {DETAIL_MAX}", values),
        fills=_rows(connection, rows.FillRow, f"{_PAIR} ORDER BY exchange_time, fill_id LIMIT {DETAIL_MAX}", values),
        changes=_rows(connection, rows.StateChangeRow, f"{_PAIR} ORDER BY seq LIMIT {DETAIL_MAX}", values),
    )


def list_audit(connection: Connection, question: messages.ListAudit, now_ms: int) -> tuple[int, tuple[Any, ...]]:
    where, values = _bounded(question, "happened_at", of="user")
    return _page(connection, rows.AuditRow, question, where, values, "happened_at DESC, audit_id DESC")


def list_prices(connection: Connection, question: messages.ListPrices, now_ms: int) -> tuple[int, tuple[Any, ...]]:
    where, values = _bounded(question, "second", of="token")
    return _page(connection, rows.PriceRow, question, where, values, "second DESC")


def load_notices(connection: Connection, question: messages.LoadNotices, now_ms: int) -> tuple[rows.NoticeRow, ...]:
    where = "ended_at IS NULL OR notice_id IN (SELECT unnest(CAST($1 AS VARCHAR[])))"
    return _rows(
        connection, rows.NoticeRow, f"{where} ORDER BY happened_at, notice_id LIMIT {NOTICES_MAX}", [question.ids]
    )


ANSWERS: dict[Kind, Callable[[Connection, Any, int], Any]] = {
    messages.ShowPair: show_pair,
    messages.ListAudit: list_audit,
    messages.ListPrices: list_prices,
    messages.LoadNotices: load_notices,
}

_PAIR = '"user" = $1 AND pair_id = $2'
_Where = tuple[str, list[Any]]


def _bounded(question: Any, by: str, *, of: str = "user") -> _Where:
    """The condition, with its values: since_ms is included, until_ms is not; None bounds nothing."""
    where, values = ["true"], []
    for value, condition in (
        (getattr(question, of), f'"{of}" = ${{}}'),
        (question.since_ms, f"{by} >= make_timestamptz(CAST(${{}} AS BIGINT) * 1000)"),
        (question.until_ms, f"{by} < make_timestamptz(CAST(${{}} AS BIGINT) * 1000)"),
    ):
        if value is not None:
            values.append(value)
            where.append(condition.format(len(values)))
    return " AND ".join(where), values


def _page(
    connection: Connection, kind: Kind, question: Any, where: str, values: list[Any], order: str
) -> tuple[int, tuple[Any, ...]]:
    if question.page < 1 or not 1 <= question.limit <= LIMIT_MAX:
        what = f"no such page: page {question.page}, limit {question.limit}"
        raise StoreRefused(what, where=kind.TABLE, do=f"pages count from 1, limit goes up to {LIMIT_MAX}")
    ((total,),) = connection.execute(f"SELECT count(*) FROM {_source(kind)} WHERE {where}", values).fetchall()
    skipped = (question.page - 1) * question.limit
    if skipped >= total:
        return total, ()
    return total, _rows(connection, kind, f"{where} ORDER BY {order} LIMIT {question.limit} OFFSET {skipped}", values)


def _rows(connection: Connection, kind: Kind, where: str, values: Sequence[Any] = ()) -> tuple[Any, ...]:
    found = connection.execute(
        f"SELECT {select_list(kind)} FROM {_source(kind)} WHERE {where}", list(values)
    ).fetchall()
    return tuple(from_record(kind, record) for record in found)


def _source(kind: Kind) -> str:
    """Where all rows of this kind are, those of days that have left this file included (duck_retention.py)."""
    return f"recorded_{kind.TABLE}" if kind.TABLE in LEAVING else str(kind.TABLE)
