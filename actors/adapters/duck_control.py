"""Answers to what operators ask of the records: totals, one pair, audit, price bars (duck_queries.py)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Final

import duckdb

from actors import messages, rows
from actors.adapters.duck_retention import LEAVING
from actors.adapters.duck_schema import Kind, from_record, plain_decimal, select_list
from actors.errors import StoreRefused

Connection = duckdb.DuckDBPyConnection

LIMIT_MAX: Final = 1000  # as in duck_queries.py
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


def totals(connection: Connection, question: messages.Totals, now_ms: int) -> messages.TotalsRecord:
    fills, orders, pairs = (_bounded(question, by) for by in ("exchange_time", "created_at", "intent_at"))
    traded = {
        side: messages.Traded(fills=count, quantity=_sum(quantity), quote=_sum(quote))
        for side, count, quantity, quote in connection.execute(
            "SELECT side, count(*), CAST(sum(quantity) AS VARCHAR), CAST(sum(quote_quantity) AS VARCHAR)"
            f" FROM recorded_fills WHERE {fills[0]} GROUP BY 1",
            fills[1],
        ).fetchall()
    }
    ((counted,),) = connection.execute(
        f"SELECT CAST(sum({COUNTED}) AS VARCHAR) FROM recorded_fills WHERE {fills[0]} AND side = 'BUY'", fills[1]
    ).fetchall()
    ((first, last),) = connection.execute(
        f"SELECT epoch_ms(min(exchange_time)), epoch_ms(max(exchange_time)) FROM recorded_fills WHERE {fills[0]}",
        fills[1],
    ).fetchall()
    fees = connection.execute(
        "SELECT commission_asset, CAST(sum(commission) AS VARCHAR) FROM recorded_fills"
        f" WHERE {fills[0]} GROUP BY 1 HAVING sum(commission) <> 0 ORDER BY 1",
        fills[1],
    ).fetchall()
    ((bought, wear),) = connection.execute(
        "SELECT CAST(sum(buy_quote) AS VARCHAR), CAST(sum(wear) AS VARCHAR) FROM recorded_pairs"
        f" WHERE {pairs[0]} AND status = 'closed'",
        pairs[1],
    ).fetchall()
    return messages.TotalsRecord(
        bought=traded.get("BUY", messages.Traded()),
        sold=traded.get("SELL", messages.Traded()),
        counted_volume=_sum(counted),
        closed=(_sum(bought), _sum(wear)),
        outcomes=_counted(connection, "coalesce(outcome, 'live')", "recorded_pairs", pairs),
        statuses=_counted(connection, "status", "recorded_orders", (f"{orders[0]} AND pair_id IS NOT NULL", orders[1])),
        fees=tuple((asset, _sum(amount)) for asset, amount in fees),
        first_ms=first,
        last_ms=last,
    )


def list_audit(connection: Connection, question: messages.ListAudit, now_ms: int) -> tuple[int, tuple[Any, ...]]:
    where, values = _bounded(question, "happened_at", of="user")
    return _page(connection, rows.AuditRow, question, where, values, "happened_at DESC, audit_id DESC")


def list_prices(connection: Connection, question: messages.ListPrices, now_ms: int) -> tuple[int, tuple[Any, ...]]:
    where, values = _bounded(question, "second", of="token")
    return _page(connection, rows.PriceRow, question, where, values, "second DESC")


ANSWERS: dict[Kind, Callable[[Connection, Any, int], Any]] = {
    messages.ShowPair: show_pair,
    messages.Totals: totals,
    messages.ListAudit: list_audit,
    messages.ListPrices: list_prices,
}

_PAIR = '"user" = $1 AND pair_id = $2'
_Where = tuple[str, list[Any]]


def _bounded(question: Any, by: str, *, of: str = "user") -> _Where:
    """The condition, with its values: since_ms is included, until_ms is not; None bounds nothing."""
    where, values = ["true"], []
    for value, condition in (
        (getattr(question, of), f'"{of}" = ${{}}'),
        (question.since_ms, f"{by} >= make_timestamptz(${{}} * 1000)"),
        (question.until_ms, f"{by} < make_timestamptz(${{}} * 1000)"),
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


def _counted(connection: Connection, word: str, table: str, bounds: _Where) -> tuple[tuple[str, int], ...]:
    return tuple(
        connection.execute(
            f"SELECT {word}, count(*) FROM {table} WHERE {bounds[0]} GROUP BY 1 ORDER BY 1", bounds[1]
        ).fetchall()
    )


def _rows(connection: Connection, kind: Kind, where: str, values: Sequence[Any] = ()) -> tuple[Any, ...]:
    found = connection.execute(
        f"SELECT {select_list(kind)} FROM {_source(kind)} WHERE {where}", list(values)
    ).fetchall()
    return tuple(from_record(kind, record) for record in found)


def _source(kind: Kind) -> str:
    """Where all rows of this kind are, those of days that have left this file included (duck_retention.py)."""
    return f"recorded_{kind.TABLE}" if kind.TABLE in LEAVING else str(kind.TABLE)


def _sum(text: str | None) -> Decimal:
    return Decimal(0) if text is None else plain_decimal(text)
