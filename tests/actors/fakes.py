"""Stand-ins for the world of a feed or a catalogue: scripted sockets, a REST side that answers from lists, a log."""

from __future__ import annotations

from contextlib import asynccontextmanager
from decimal import Decimal

import msgspec
import trio

from actors.domain.instrument import Filters, Instrument, Market, Token
from actors.domain.quotes import Trade
from actors.errors import StreamLost

D = Decimal
EPOCH_MS = 1_790_000_000_000


class VirtualWall:
    """An epoch plus trio's virtual time."""

    def now_ms(self) -> int:
        return EPOCH_MS + round(trio.current_time() * 1000)


class ListLog:
    """Keeps what was logged: (level, event, fields)."""

    def __init__(self):
        self.lines = []

    def bind(self, **new_values):
        return self

    def _keep(self, level):
        return lambda event, **kw: self.lines.append((level, event, kw))

    def __getattr__(self, level):
        assert level in ("debug", "info", "warning", "error"), level
        return self._keep(level)

    def events(self):
        return [event for _, event, _ in self.lines]


class ListEvents:
    def __init__(self):
        self.emitted = []

    def emit(self, topic, kind, **payload):
        msgspec.json.encode(payload)
        self.emitted.append((topic, kind, payload))


class FakeSocket:
    """Frames go in by `tell`, come out of `receive`; `break_off` loses it."""

    def __init__(self, url):
        self.url = url
        self.sent = []
        self.closed = False
        self._in, self._out = trio.open_memory_channel(100_000)

    async def send(self, text):
        await trio.lowlevel.checkpoint()
        self.sent.append(msgspec.json.decode(text))

    async def receive(self):
        frame = await self._out.receive()
        if isinstance(frame, Exception):
            raise frame
        return frame

    def tell(self, message):
        self._in.send_nowait(message if isinstance(message, bytes) else msgspec.json.encode(message))

    def acknowledge(self):
        self.tell({"result": None, "id": self.sent[-1]["id"]})

    def break_off(self, why="closed by the peer"):
        self._in.send_nowait(StreamLost(why, where="fake"))


class FakeSockets:
    """Every connect becomes a FakeSocket in `opened`. refuse: so many fail first. grouped: as a nursery would."""

    def __init__(self, *, acknowledges=True, refuse=0, grouped=False):
        self.opened = []
        self.attempts_s = []
        self.acknowledges = acknowledges
        self.refuse = refuse
        self.grouped = grouped

    @asynccontextmanager
    async def connect(self, url, *, stale_s):
        await trio.lowlevel.checkpoint()
        self.attempts_s.append(trio.current_time())
        if self.refuse > 0:
            self.refuse -= 1
            raise StreamLost("refused", where=url)
        socket = FakeSocket(url)
        self.opened.append(socket)
        if self.acknowledges:
            socket.tell({"id": 1})
        try:
            if self.grouped:
                async with trio.open_nursery():
                    yield socket
            else:
                yield socket
        finally:
            socket.closed = True

    @property
    def last(self):
        return self.opened[-1]


class FakePublic:
    """REST side: `trades_known` is the tape; `failures` are raised first, one per call; delay_s per call."""

    def __init__(self, trades=()):
        self.trades_known = list(trades)
        self.failures = []
        self.calls = []
        self.delay_s = 0.0
        self.token_list = ()
        self.instrument_list = ()

    async def _call(self, name, **kw):
        self.calls.append((name, trio.current_time(), kw))
        await trio.sleep(self.delay_s)
        if self.failures:
            error = self.failures.pop(0)
            if error is not None:
                raise error

    def count(self, name):
        return sum(call[0] == name for call in self.calls)

    async def trades(self, symbol, *, start_ms=None, limit=1000):
        await self._call("trades", start_ms=start_ms, limit=limit)
        if start_ms is None:
            return tuple(self.trades_known[-limit:])
        return tuple([trade for trade in self.trades_known if trade.time_ms >= start_ms][:limit])

    async def tokens(self):
        await self._call("tokens")
        return tuple(self.token_list)

    async def instruments(self):
        await self._call("instruments")
        return tuple(self.instrument_list)


class ListRows:
    """The store as seen by one sender: keeps what was written; `failures` are raised first; waits until it `works`."""

    def __init__(self):
        self.written = []
        self.writes = []
        self.failures = []
        self.works = trio.Event()
        self.works.set()

    async def write(self, rows):
        await trio.lowlevel.checkpoint()
        await self.works.wait()
        if self.failures:
            raise self.failures.pop(0)
        self.writes.append(list(rows))
        self.written.extend(rows)


def trade(agg_id, age_s=0.0, price="48", quantity="1") -> Trade:
    """A trade that happened age_s before the epoch (the start of the virtual time)."""
    return Trade(
        agg_id=agg_id,
        price=D(price),
        quantity=D(quantity),
        time_ms=EPOCH_MS - round(age_s * 1000),
        buyer_maker=False,
    )


def agg_trade_frame(agg_id, at_ms, price="48", quantity="1", symbol="ALPHA_22USDT"):
    data = {"e": "aggTrade", "E": at_ms, "T": at_ms, "s": symbol, "a": agg_id, "p": price, "q": quantity}
    return {"stream": f"{symbol.lower()}@aggTrade", "data": {**data, "f": agg_id, "l": agg_id, "m": False}}


def book_frame(update_id, bid, ask, symbol="ALPHA_22USDT"):
    data = {"e": "bookTicker", "E": 1, "T": 1, "u": update_id, "s": symbol, "b": bid, "B": "5", "a": ask, "A": "5"}
    return {"stream": f"{symbol.lower()}@bookTicker", "data": data}


def instrument(alpha_id="ALPHA_22", *, quote="USDT", status="TRADING") -> Instrument:
    return Instrument(
        symbol=f"{alpha_id}{quote}",
        base_asset=alpha_id,
        quote_asset=quote,
        status=status,
        price_precision=8,
        quantity_precision=8,
        base_precision=8,
        quote_precision=8,
        filters=Filters(
            tick_size=D("0.00000001"),
            min_price=D("0.00000001"),
            max_price=D(1000),
            step_size=D("0.0001"),
            min_quantity=D("0.0001"),
            max_quantity=D(9999999),
        ),
    )


def market(alpha_id="ALPHA_22", name="KOGE") -> Market:
    return Market(token=Token(alpha_id=alpha_id, name=name), instrument=instrument(alpha_id), fetched_ms=EPOCH_MS)
