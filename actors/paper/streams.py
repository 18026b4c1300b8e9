"""The public streams (wire § 6): who listens to what, and what they are told.

Depth streams remember which levels were touched since their last event and say all of them, also those that changed
back, so that a client can chain events by `pu` (wire § 6.4).
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Literal

from msgspec import Struct

from actors.domain.instrument import Instrument
from actors.domain.orders import Side
from actors.paper.book import Book, Level
from actors.paper.listing import Listing
from actors.paper.numbers import fixed, quotient
from actors.paper.outbox import Outbox
from actors.paper.rules import Range, Rules
from actors.paper.tape import Print, Tape
from actors.paper.timetable import Timetable

Pace = Literal[0, 100, 500]
SYMBOL_STREAM = re.compile(
    r"(?P<symbol>alpha_\d+[a-z]+)@"
    r"(?:(?P<plain>aggTrade|trade|bookTicker|ticker|miniTicker|kline_\w+)"
    r"|(?P<depth>fulldepth|depth(?:5|10|20)?)@(?P<pace>0|100|500)ms)"
)
SILENT = re.compile(r"came@.+|!(?:bookTicker|miniTicker@arr|ticker@arr)")
"""Streams of wire § 6.2 that are acknowledged and never speak here: nobody in this project reads them."""

TICKER_EVERY_MS = 1_000


class DepthStream(Struct):
    """One depth stream. levels: 0 = incremental, all levels; else the best so many. previous: `u` of its last event."""

    name: str
    pace_ms: int
    levels: int
    previous: int
    first: int | None = None  # `U` of the event in the making
    touched: set[tuple[Side, int]] = set()


class Broadcast:
    def __init__(
        self, listing: Listing, rules: Rules, rng: random.Random, outbox: Outbox, timetable: Timetable
    ) -> None:
        self._listing = listing
        self._rules = rules
        self._rng = rng
        self._outbox = outbox
        self._timetable = timetable
        self._depth: dict[str, dict[str, DepthStream]] = {}  # symbol → name → stream
        self._tickers: set[str] = set()
        self._best: dict[str, tuple[str, str, str, str]] = {}

    def subscribe(
        self, stream: str, book_of: Callable[[str], Book], tape_of: Callable[[str], Tape], now_ms: int
    ) -> bool:
        """Somebody listens to a stream. False: no such stream; it is silent, as an unknown one is on spot."""
        found = SYMBOL_STREAM.fullmatch(stream)
        symbol = found["symbol"].upper() if found else ""
        if found is None or symbol not in self._listing.by_symbol:
            return bool(SILENT.fullmatch(stream))
        if found["depth"]:
            levels = int(found["depth"][5:] or 0) if found["depth"].startswith("depth") else 0
            streams = self._depth.setdefault(symbol, {})
            if stream not in streams:
                update_id = book_of(symbol).update_id
                streams[stream] = DepthStream(stream, int(found["pace"]), levels, update_id)
        elif found["plain"] in ("ticker", "miniTicker") and stream not in self._tickers:
            self._tickers.add(stream)
            self._timetable.at(now_ms, lambda at_ms: self._tick(stream, symbol, tape_of(symbol), at_ms))
        return True

    def unsubscribed(self, stream: str) -> None:
        """Perhaps nobody listens to it any more."""
        found = SYMBOL_STREAM.fullmatch(stream)
        if found and not self._outbox.heard(stream, public=True):
            self._depth.get(found["symbol"].upper(), {}).pop(stream, None)

    def traded(self, symbol: str, item: Print, trade_ids: list[tuple[int, Decimal]]) -> None:
        """A print happened. trade_ids: (id, quantity) of the trades that it sums up."""
        instrument = self._listing.by_symbol[symbol]
        lower = symbol.lower()
        name = f"{lower}@aggTrade"
        if self._outbox.heard(name, public=True):
            data = {"e": "aggTrade", "E": 0, "s": symbol} | print_row(item, instrument)
            self._send(name, symbol, data, item.time_ms, self._rules.agg_frame_ms)
        name = f"{lower}@trade"
        if self._outbox.heard(name, public=True):
            price = fixed(item.price, instrument.price_precision)
            for trade_id, quantity in trade_ids:
                size = fixed(quantity, instrument.quantity_precision)
                data = {"e": "trade", "E": 0, "T": item.time_ms, "s": symbol, "t": trade_id, "p": price, "q": size}
                self._send(name, symbol, data | {"m": item.buyer_maker}, item.time_ms, self._rules.public_frame_ms)

    def settled(self, book: Book, now_ms: int) -> None:
        """The book came to rest after a change, with a new update_id."""
        lower = book.symbol.lower()
        name = f"{lower}@bookTicker"
        if self._outbox.heard(name, public=True):
            self._book_ticker(name, book, now_ms)
        for stream in self._depth.get(book.symbol, {}).values():
            stream.touched |= book.touched
            if stream.first is None:
                stream.first = book.update_id
                if stream.pace_ms:
                    due_ms = now_ms - now_ms % stream.pace_ms + stream.pace_ms
                    self._timetable.at(due_ms, lambda at_ms, stream=stream: self._flush(stream, book, at_ms))  # type: ignore[misc]
            if not stream.pace_ms:
                self._flush(stream, book, now_ms)
        book.touched.clear()

    # -- inside

    def _book_ticker(self, name: str, book: Book, now_ms: int) -> None:
        bid, ask = book.bids.best(), book.asks.best()
        instrument = self._listing.by_symbol[book.symbol]
        bid_price, bid_quantity = level_row(bid, instrument)
        ask_price, ask_quantity = level_row(ask, instrument)
        best = (bid_price, bid_quantity, ask_price, ask_quantity)
        if self._best.get(book.symbol) == best:
            return
        self._best[book.symbol] = best
        data = {"e": "bookTicker", "E": 0, "T": now_ms, "u": book.update_id, "s": book.symbol}
        data |= {"b": bid_price, "B": bid_quantity, "a": ask_price, "A": ask_quantity}
        self._send(name, book.symbol, data, now_ms, self._rules.public_frame_ms)

    def _flush(self, stream: DepthStream, book: Book, now_ms: int) -> None:
        if self._depth.get(book.symbol, {}).get(stream.name) is not stream:
            return  # everybody left while its event was in the making; whoever came since starts anew
        instrument = self._listing.by_symbol[book.symbol]
        data = {
            "e": "depthUpdate",
            "E": 0,
            "T": now_ms,
            "U": stream.first,
            "u": book.update_id,
            "pu": stream.previous,
            "s": book.symbol,
        }
        if stream.levels:
            bids, asks = book.depth(stream.levels)
            data |= {"b": [level_row(level, instrument) for level in bids]}
            data |= {"a": [level_row(level, instrument) for level in asks]}
        else:
            data |= {"b": touched_rows(stream, book, "BUY", instrument)}
            data |= {"a": touched_rows(stream, book, "SELL", instrument)}
        stream.previous, stream.first, stream.touched = book.update_id, None, set()
        self._send(stream.name, book.symbol, data, now_ms, self._rules.public_frame_ms)

    def _tick(self, stream: str, symbol: str, tape: Tape, now_ms: int) -> None:
        """One event of a ticker stream, and the next a second later while somebody listens."""
        if not self._outbox.heard(stream, public=True):
            self._tickers.discard(stream)
            return
        self._timetable.at(now_ms + TICKER_EVERY_MS, lambda at_ms: self._tick(stream, symbol, tape, at_ms))
        row = ticker_figures(tape, self._listing.by_symbol[symbol], now_ms)
        if row is None:
            return
        mini = {"c": row["lastPrice"], "o": row["openPrice"], "h": row["highPrice"], "l": row["lowPrice"]}
        mini |= {"v": row["volume"], "q": row["quoteVolume"]}
        if stream.endswith("@miniTicker"):
            data: dict[str, Any] = {"e": "24hrMiniTicker", "E": 0, "s": symbol} | mini
        else:
            data = {"e": "24hrTicker", "E": 0, "s": symbol, "p": row["priceChange"], "P": row["priceChangePercent"]}
            data |= {"w": row["weightedAvgPrice"], "Q": row["lastQty"]} | mini
            data |= {"O": row["openTime"], "C": row["closeTime"], "F": row["firstId"], "L": row["lastId"]}
            data["n"] = row["count"]
        self._send(stream, symbol, data, now_ms, self._rules.public_frame_ms)

    def _send(self, name: str, symbol: str, data: dict[str, Any], now_ms: int, delay: Range) -> None:
        due_ms = self._outbox.in_turn(name, now_ms + self._rng.randint(*delay), public=True)
        data["E"] = due_ms
        self._outbox.send(name, data, due_ms, public=True, symbol=symbol)


def print_row(item: Print, instrument: Instrument) -> dict[str, Any]:
    """a, p, q, f, l, T, m: of REST and of the stream alike."""
    return {
        "a": item.agg_id,
        "p": fixed(item.price, instrument.price_precision),
        "q": fixed(item.quantity, instrument.quantity_precision),
        "f": item.first_id,
        "l": item.last_id,
        "T": item.time_ms,
        "m": item.buyer_maker,
    }


def level_row(level: Level | None, instrument: Instrument) -> tuple[str, str]:
    """(price, quantity) of a level; zeros where a side is empty."""
    if level is None:
        return ("0", "0")
    return (fixed(level.price, instrument.price_precision), fixed(level.quantity, instrument.quantity_precision))


def touched_rows(stream: DepthStream, book: Book, side: Side, instrument: Instrument) -> list[tuple[str, str]]:
    """Touched levels of one side, ascending by price; a level that is gone has quantity "0"."""
    levels = book.side(side).levels
    rows = []
    for ticks in sorted(ticks for touched, ticks in stream.touched if touched == side):
        level = levels.get(ticks)
        gone = (fixed(Decimal(ticks).scaleb(-book.decimals), instrument.price_precision), "0")
        rows.append(level_row(level, instrument) if level else gone)
    return rows


def ticker_figures(tape: Tape, instrument: Instrument, now_ms: int) -> dict[str, Any] | None:
    """The rolling 24 h in the keys of REST's ticker (wire § 3.5); None before the first trade."""
    day = tape.day(now_ms)
    if day is None:
        return None
    places = instrument.price_precision
    change = day.close - day.open
    last = tape.prints[-1]
    return {
        "symbol": instrument.symbol,
        "priceChange": fixed(change, places),
        "priceChangePercent": fixed(quotient(change * 100, day.open), 3),
        "weightedAvgPrice": fixed(quotient(day.quote, day.volume), places),
        "lastPrice": fixed(day.close, places),
        "lastQty": fixed(last.quantity, instrument.quantity_precision),
        "openPrice": fixed(day.open, places),
        "highPrice": fixed(day.high, places),
        "lowPrice": fixed(day.low, places),
        "volume": fixed(day.volume, instrument.quantity_precision),
        "quoteVolume": fixed(day.quote, 8),
        "openTime": now_ms - 86_400_000,
        "closeTime": now_ms,
        "firstId": day.first_id,
        "lastId": day.last_id,
        "count": day.trades,
    }
