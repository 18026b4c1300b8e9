"""Replies of the order calls: ids of placed orders, rows of open orders and history, fills (wire § 4)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Raw, Struct

from actors.domain.orders import TERMINAL, Execution, OrderView, Side
from actors.exchange.numbers import Amount
from actors.exchange.shapes import Counter, Id, Millis, Shape, Word, changed, text_of

NO_LIST = "-1"  # orderListId of an order that belongs to none
Position = Literal["working", "pending"]
_POSITIONS: dict[str, Position] = {"OTO_WORKING": "working", "OTO_PENDING": "pending"}
_ORDER_ID = re.compile(r"[0-9A-Za-z_-]{1,64}", re.ASCII).fullmatch


def position_of(contingency: str | None, word: str | None) -> Position | None:
    """Which leg; None on plain orders and for unknown words, which are not ours to manage (wire § 7.6)."""
    if contingency not in (None, "OTO") or word is None:
        return None
    return _POSITIONS.get(word)


def list_of(identifier: str | int | None) -> str | None:
    """The list id as text; None where there is no list ("-1", "", 0 or absent)."""
    return None if identifier in (None, NO_LIST, -1, "", "0", 0) else text_of(identifier)


# -- placing


class _OtoIds(Struct):
    workingOrderId: str | int
    pendingOrderId: str | int


_oto_ids: Shape[_OtoIds] = Shape(_OtoIds, of="OTO place reply (wire § 4)")
_plain_id: Shape[str | int] = Shape(str | int, of="place reply (wire § 4)")


def read_oto_ids(data: Raw) -> tuple[str, str]:
    """(working, pending). Raises: ProtocolChanged: the order exists, but we do not know which it is."""
    wire = _oto_ids.read(data)
    working, pending = _order_id(wire.workingOrderId), _order_id(wire.pendingOrderId)
    if working == pending:
        raise changed(_oto_ids.of, "both legs have the same id")
    return working, pending


def read_order_id(data: Raw) -> str:
    """Raises: ProtocolChanged, as read_oto_ids."""
    return _order_id(_plain_id.read(data))


def _order_id(identifier: str | int) -> str:
    text = text_of(identifier)
    if _ORDER_ID(text) is None or text in ("0", NO_LIST, "null"):
        raise changed("place reply (wire § 4)", "the order id is empty or no id")
    return text


# -- open orders and history


class _OrderRow(Struct):
    orderId: Id
    symbol: Word
    side: Side
    status: Word
    price: Amount
    origQty: Amount
    executedQty: Amount
    cumQuote: Amount | None = None
    time: Millis | None = None
    updateTime: Millis | None = None
    workingTime: Annotated[int, Meta(ge=-1, le=253_402_300_799_999)] | None = None
    orderListId: str | int | None = None
    contingencyType: Word | None = None
    contingencyOrderPosition: Word | None = None


_order_rows: Shape[list[_OrderRow]] = Shape(list[_OrderRow], of="order rows (wire § 4.1)")


def read_orders(data: Raw) -> list[OrderView]:
    """Rows of one reply, as sent: neither merged nor dated by partner.

    Raises: ProtocolChanged; one odd row is enough, and so is `null` instead of a list. An incomplete list of orders is
    worse than none: absence would be proven with it.
    """
    return [_view(row) for row in _order_rows.read(data)]


def _view(row: _OrderRow) -> OrderView:
    created = row.time or (row.workingTime if row.workingTime is not None and row.workingTime > 0 else None)
    return OrderView(
        symbol=row.symbol,
        order_id=text_of(row.orderId),
        list_id=list_of(row.orderListId),
        position=position_of(row.contingencyType, row.contingencyOrderPosition),
        side=row.side,
        status=row.status,
        price=row.price,
        quantity=row.origQty,
        executed=row.executedQty,
        executed_quote=row.cumQuote,
        created_ms=created,
        updated_ms=row.updateTime or None,
    )


def merge_orders(views: Iterable[OrderView]) -> tuple[OrderView, ...]:
    """One view per (symbol, order id), dated, in the order of their creation (undated ones last).

    The same order may stand in open orders and in history, or on two pages. Of two views the later one in the order's
    life counts: quantities only grow and a final status stays (also when the clock of `updateTime` says otherwise).
    """
    newest: dict[tuple[str, str], OrderView] = {}
    for view in views:
        key = (view.symbol, view.order_id)
        known = newest.get(key)
        newest[key] = view if known is None else _joined(known, view)
    dated = date_by_partner(tuple(newest.values()))
    return tuple(sorted(dated, key=_when))


def _when(view: OrderView) -> tuple[bool, int, int, str]:
    """Ids grow with time, as numbers: a shorter one is older."""
    return (view.created_ms is None, view.created_ms or 0, len(view.order_id), view.order_id)


def _joined(one: OrderView, other: OrderView) -> OrderView:
    """The later of two views of one order; what never changes and only the earlier one says is kept."""
    late, early = (other, one) if _age(other) > _age(one) else (one, other)
    return msgspec.structs.replace(
        late,
        created_ms=late.created_ms if late.created_ms is not None else early.created_ms,
        list_id=late.list_id if late.list_id is not None else early.list_id,
        position=late.position if late.position is not None else early.position,
    )


def _age(view: OrderView) -> tuple[Decimal, bool, int]:
    return (view.executed, view.status in TERMINAL, view.updated_ms or 0)


def date_by_partner(views: Sequence[OrderView]) -> tuple[OrderView, ...]:
    """Gives a leg without times the time of the other leg of its list: a held leg has none of its own (wire § 4.1)."""
    by_list: dict[tuple[str, str], int] = {}
    for view in views:
        if view.list_id is not None and view.created_ms is not None:
            key = (view.symbol, view.list_id)
            by_list[key] = min(view.created_ms, by_list.get(key, view.created_ms))
    return tuple(
        msgspec.structs.replace(view, created_ms=by_list.get((view.symbol, view.list_id)))
        if view.created_ms is None and view.list_id is not None
        else view
        for view in views
    )


# -- fills


class _TradeRow(Struct):
    symbol: Word
    orderId: Id
    tradeId: Id
    pageId: Annotated[str, Meta(pattern=r"^[0-9]{1,40}\Z")] | Counter
    price: Amount
    qty: Amount
    quoteQty: Amount
    commission: Amount
    time: Millis
    commissionAsset: Word | None = None


_trade_rows: Shape[list[_TradeRow]] = Shape(list[_TradeRow], of="user-trades (wire § 4.2)")


def read_executions(data: Raw, *, symbol: str, order_id: str) -> tuple[Execution, ...]:
    """All fills of one order, oldest first: ascending by pageId as a number; rows come newest first.

    Raises: ProtocolChanged, also for a row of another order, or with nothing bought or sold: neither is booked.
    """
    fills: dict[int, Execution] = {}
    for row in _trade_rows.read(data):
        if (row.symbol, text_of(row.orderId)) != (symbol, order_id):
            raise changed(_trade_rows.of, f"a row of another order among those of {symbol} {order_id}")
        if row.price <= 0 or row.qty <= 0:
            raise changed(_trade_rows.of, f"a fill of {symbol} {order_id} without price or quantity")
        if row.commissionAsset is None and row.commission > 0:
            raise changed(_trade_rows.of, f"a fill of {symbol} {order_id} with a commission in no asset")
        fill = Execution(
            fill_id=text_of(row.pageId),
            trade_id=text_of(row.tradeId),
            price=row.price,
            quantity=row.qty,
            quote=row.quoteQty,
            commission=row.commission,
            commission_asset=row.commissionAsset or "",  # of a commission of nothing
            time_ms=row.time,
            source="rest",
        )
        if fills.setdefault(int(row.pageId), fill) != fill:
            raise changed(_trade_rows.of, f"two different fills of {symbol} {order_id} with one pageId")
    return tuple(fills[number] for number in sorted(fills))
