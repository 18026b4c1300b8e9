"""Decoding the frames of both web sockets (wire § 6).

`read_frame` turns one frame into one message of `news.py`. Data frames are told apart by `data.e`; unknown ones are
kept as `Unknown` so that they can be counted, acknowledgements come in two forms, and a frame that is no JSON ends the
connection (`StreamLost`) rather than pausing anybody: a damaged line is no change of protocol.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from actors.domain.quotes import BookTicker, Trade
from actors.errors import StreamLost
from actors.exchange.news import (
    Ack,
    AggTrade,
    Batch,
    Book,
    ContractKline,
    DayFigures,
    DepthUpdate,
    KeyLapsed,
    Kline,
    Message,
    ServerShutdown,
    SingleTrade,
    StreamRefused,
    TokenPrice,
    TokenPrices,
    Unknown,
)
from actors.exchange.numbers import Amount, Figure, Signed
from actors.exchange.reports import read_report
from actors.exchange.shapes import Counter, Millis, Shape, Word, changed, redact

FRAME_MAX = 4 * 1024 * 1024  # bytes; the longest known frame lists some 400 tokens in about 100 kB


class _Error(Struct):
    code: str | int | None = None
    msg: str | None = None


class _Frame(Struct):
    stream: str | None = None
    data: Raw | UnsetType = UNSET
    id: int | str | UnsetType | None = UNSET
    error: _Error | UnsetType | None = UNSET
    e: str | None = None  # a data object without the wrapper


class _Head(Struct):
    e: str | None = None


_frame: msgspec.json.Decoder[_Frame] = msgspec.json.Decoder(_Frame)
_head: msgspec.json.Decoder[_Head] = msgspec.json.Decoder(_Head)
_ARRAY = ord("[")
_TOP = re.compile(r"@depth(?:5|10|20)(?:@|$)").search
_array: msgspec.json.Decoder[list[Raw]] = msgspec.json.Decoder(list[Raw])


def read_frame(frame: bytes) -> Message:
    """One frame as one message.

    Raises: StreamLost, the frame is no JSON object or absurdly long; ProtocolChanged, a known kind of message lacks a
    required field or has another type there. Neither text holds a listen key.
    """
    if len(frame) > FRAME_MAX:
        raise StreamLost(f"a frame of {len(frame)} bytes", where="web socket", do="reconnect")
    try:
        outer = _frame.decode(frame)
    except msgspec.ValidationError as error:
        raise changed("stream frame (wire § 6.1)", str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise StreamLost("a frame that is no JSON", where="web socket", do="reconnect") from None
    if isinstance(outer.data, Raw):
        return _data(outer.stream or "", outer.data)
    if isinstance(outer.error, _Error):
        return StreamRefused(_request_id(outer), redact(str(outer.error.code)), redact(outer.error.msg or ""))
    if outer.e is not None:
        return _one(outer.stream or "", Raw(frame))
    if outer.id is not UNSET and outer.stream is None:
        return Ack(_request_id(outer))
    return Unknown(_kind_of(outer.stream or ""), "")


def _request_id(outer: _Frame) -> int | str | None:
    return None if isinstance(outer.id, UnsetType) else outer.id


def _data(stream: str, data: Raw) -> Message:
    if memoryview(data)[0] == _ARRAY:
        return Batch(tuple(_one(stream, raw) for raw in _array.decode(data)))
    return _one(stream, data)


def _one(stream: str, data: Raw) -> Message:
    try:
        word = _head.decode(data).e
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):  # e is no text, or data no object
        word = None
    reader = _READERS.get(word) if word is not None else None
    if reader is not None:
        return reader(data)
    if word == "depthUpdate":
        return _read_depth_update(data, top=_TOP(stream) is not None)
    return Unknown(_kind_of(stream), redact(word or ""))


def _kind_of(stream: str) -> str:
    """The stream's name without what makes it one of many, so that counting by it stays bounded and keeps secrets."""
    head, _, tail = stream[:256].partition("@")
    if head == "alpha":
        return "alpha@***"
    if head == "came":
        return redact(f"came@{tail.rpartition('@')[2]}")
    return redact(f"*@{tail}" if tail else head)


# -- readers, one per data.e


class _AggTrade(Struct):
    s: Word
    E: Millis
    a: Counter
    p: Amount
    q: Amount
    T: Millis
    m: bool = False


class _Trade(Struct):
    s: Word
    E: Millis
    t: Counter
    p: Amount
    q: Amount
    T: Millis
    m: bool = False


class _BookTicker(Struct):
    s: Word
    E: Millis
    T: Millis
    u: Counter
    b: Amount
    B: Amount
    a: Amount
    A: Amount


class _DayFigures(Struct):
    s: Word
    E: Millis
    c: Figure
    o: Figure
    h: Figure
    l: Figure  # noqa: E741 - the wire's name
    v: Figure
    q: Figure
    P: Signed | None = None
    w: Figure | None = None
    n: Counter | None = None


class _KlineBar(Struct):
    i: Word
    o: Figure
    c: Figure
    h: Figure
    l: Figure  # noqa: E741 - the wire's name
    v: Figure
    t: Millis | None = None
    T: Millis | None = None
    q: Figure | None = None
    n: Counter | None = None
    x: bool | None = None
    ot: Millis | None = None
    ct: Millis | None = None


class _Kline(Struct):
    k: _KlineBar
    s: Word | None = None
    E: Millis | None = None
    ca: str | None = None


class _DepthUpdate(Struct):
    s: Word
    E: Millis
    T: Millis
    U: Counter
    u: Counter
    pu: Counter
    b: tuple[tuple[Amount, Amount], ...]
    a: tuple[tuple[Amount, Amount], ...]


class _TokenRow(Struct):
    ca: str
    p: Figure
    t: Millis


class _TokenList(Struct):
    d: list[_TokenRow]


_agg_trade: Shape[_AggTrade] = Shape(_AggTrade, of="aggTrade (wire § 6.3)")
_trade: Shape[_Trade] = Shape(_Trade, of="trade (wire § 6.3)")
_book_ticker: Shape[_BookTicker] = Shape(_BookTicker, of="bookTicker (wire § 6.3)")
_day_figures: Shape[_DayFigures] = Shape(_DayFigures, of="24hrTicker (wire § 6.3)")
_kline: Shape[_Kline] = Shape(_Kline, of="kline (wire § 6.3)")
_depth_update: Shape[_DepthUpdate] = Shape(_DepthUpdate, of="depthUpdate (wire § 6.3)")
_token_list: Shape[_TokenList] = Shape(_TokenList, of="tickerList (wire § 6.3)")


def _read_agg_trade(data: Raw) -> AggTrade:
    wire = _agg_trade.read(data)
    if not wire.p:
        raise changed(_agg_trade.of, f"trade {wire.a} of {wire.s} has no price")
    trade = Trade(agg_id=wire.a, price=wire.p, quantity=wire.q, time_ms=wire.T, buyer_maker=wire.m)
    return AggTrade(wire.s, wire.E, trade)


def _read_trade(data: Raw) -> SingleTrade:
    wire = _trade.read(data)
    return SingleTrade(
        symbol=wire.s,
        sent_ms=wire.E,
        trade_id=wire.t,
        price=wire.p,
        quantity=wire.q,
        time_ms=wire.T,
        buyer_maker=wire.m,
    )


def _read_book_ticker(data: Raw) -> Book:
    wire = _book_ticker.read(data)
    ticker = BookTicker(
        bid=wire.b, bid_quantity=wire.B, ask=wire.a, ask_quantity=wire.A, update_id=wire.u, time_ms=wire.T
    )
    return Book(wire.s, wire.E, ticker)


def _read_day_figures(data: Raw) -> DayFigures:
    wire = _day_figures.read(data)
    return DayFigures(
        symbol=wire.s,
        sent_ms=wire.E,
        last=wire.c,
        open=wire.o,
        high=wire.h,
        low=wire.l,
        volume=wire.v,
        quote_volume=wire.q,
        change_percent=wire.P,
        average=wire.w,
        trades=wire.n,
    )


def _read_kline(data: Raw) -> Kline | ContractKline:
    """Two shapes under one word: bars of a contract have `ca`, and `ot`, `ct` instead of `t`, `T`."""
    wire = _kline.read(data)
    bar = wire.k
    if wire.ca is not None and bar.ot is not None and bar.ct is not None:
        return ContractKline(
            contract=wire.ca,
            interval=bar.i,
            start_ms=bar.ot,
            end_ms=bar.ct,
            open=bar.o,
            high=bar.h,
            low=bar.l,
            close=bar.c,
            volume=bar.v,
        )
    if wire.s is None or wire.E is None or bar.t is None or bar.T is None or bar.x is None:
        raise changed(_kline.of, "neither a bar of a symbol (s, E, k.t, k.T, k.x) nor of a contract (ca, k.ot, k.ct)")
    if bar.q is None or bar.n is None:
        raise changed(_kline.of, "a bar of a symbol without k.q or k.n")
    return Kline(
        symbol=wire.s,
        sent_ms=wire.E,
        interval=bar.i,
        start_ms=bar.t,
        end_ms=bar.T,
        open=bar.o,
        high=bar.h,
        low=bar.l,
        close=bar.c,
        volume=bar.v,
        quote_volume=bar.q,
        trades=bar.n,
        closed=bar.x,
    )


def _read_depth_update(data: Raw, *, top: bool) -> DepthUpdate:
    wire = _depth_update.read(data)
    return DepthUpdate(
        symbol=wire.s,
        sent_ms=wire.E,
        time_ms=wire.T,
        first_id=wire.U,
        last_id=wire.u,
        previous_id=wire.pu,
        bids=wire.b,
        asks=wire.a,
        top=top,
    )


def _read_token_list(data: Raw) -> TokenPrices:
    rows = _token_list.read(data).d
    return TokenPrices(tuple(TokenPrice(contract=row.ca, price=row.p, time_ms=row.t) for row in rows))


_READERS: dict[str, Callable[[Raw], Message]] = {
    "aggTrade": _read_agg_trade,
    "executionReport": read_report,
    "bookTicker": _read_book_ticker,
    "trade": _read_trade,
    "kline": _read_kline,
    "24hrMiniTicker": _read_day_figures,
    "24hrTicker": _read_day_figures,
    "tickerList": _read_token_list,
    "listenKeyExpired": lambda data: KeyLapsed("listenKeyExpired"),
    "eventStreamTerminated": lambda data: KeyLapsed("eventStreamTerminated"),
    "serverShutdown": lambda data: ServerShutdown(),
}
