"""What a trader tells the log and the bus of the rows that it writes: one event per row, one full line per pair."""

from __future__ import annotations

from actors.domain.day import Day
from actors.ports import Events, Log
from actors.rows import FillRow, OrderRow, PairRow, Row
from actors.tally import Tally


def tell(row: Row, day: Day, *, user: str, events: Events, log: Log, tally: Tally) -> None:
    """day: the user's day as it is with this row. Rows that nobody waits for are not told. Fills are counted, too."""
    match row:
        case FillRow():
            tally.fills[row.leg, row.source] += 1
            if row.source != "stream":
                tally.differences["fill" if row.source == "rest" else "synthetic_fill"] += 1
            log.info(
                "fill", pair_id=row.pair_id, order_id=row.order_id, leg=row.leg, side=row.side, price=row.price,
                quantity=row.quantity, source=row.source,
            )  # fmt: skip
            events.emit(
                f"fill.{user}", "fill", pair_id=row.pair_id, order_id=row.order_id, leg=row.leg, side=row.side,
                price=row.price, quantity=row.quantity, quote=row.quote_quantity, fill_id=row.fill_id,
            )  # fmt: skip
        case OrderRow():
            events.emit(
                f"order.{user}", "order", pair_id=row.pair_id, order_id=row.order_id, leg=row.leg,
                status=row.status, executed=row.executed_quantity,
            )  # fmt: skip
        case PairRow():
            if row.status == "closed":
                _tell_closed(row, day, log)
            events.emit(
                f"pair.{user}", "pair", pair_id=row.pair_id, status=row.status, outcome=row.outcome,
                buy_quote=row.buy_quote, sell_quote=row.sell_quote, wear=row.wear,
            )  # fmt: skip
            events.emit(f"progress.{user}", "progress", day=day.date, volume=day.volume, pairs=day.pairs, wear=day.wear)
        case _:
            pass


def _tell_closed(row: PairRow, day: Day, log: Log) -> None:
    """One full line: what was wanted, what came of it, what it cost and how long it took."""
    closed_at = row.intent_at if row.closed_at is None else row.closed_at
    log.info(
        "pair_closed", pair_id=row.pair_id, token=row.token, symbol=row.symbol, outcome=row.outcome,
        reference_price=row.reference_price, buy_price=row.buy_price, sell_price=row.sell_price, quantity=row.quantity,
        buy_quote=row.buy_quote, sell_quote=row.sell_quote, counted_volume=row.counted_volume,
        wear=row.wear, wear_bps=row.wear_bps, wear_fee=row.wear_fee, wear_spread=row.wear_spread,
        wear_slippage=row.wear_slippage, wear_unwind=row.wear_unwind, wear_dust=row.wear_dust,
        cancel_cause=row.cancel_cause, took_ms=closed_at - row.intent_at, day_volume=day.volume, day_pairs=day.pairs,
    )  # fmt: skip
