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
            log.info("fill", pair_id=row.pair_id, leg=row.leg, price=row.price, quantity=row.quantity)
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
                log.info(
                    "pair_closed", pair_id=row.pair_id, outcome=row.outcome, buy_quote=row.buy_quote,
                    sell_quote=row.sell_quote, wear=row.wear, wear_bps=row.wear_bps,
                )  # fmt: skip
            events.emit(
                f"pair.{user}", "pair", pair_id=row.pair_id, status=row.status, outcome=row.outcome,
                buy_quote=row.buy_quote, sell_quote=row.sell_quote, wear=row.wear,
            )  # fmt: skip
            events.emit(f"progress.{user}", "progress", day=day.date, volume=day.volume, pairs=day.pairs, wear=day.wear)
        case _:
            pass
