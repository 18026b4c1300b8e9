"""A trader's loop without its tasks: messages are handed to it one by one, and what it spawns is only noted."""

from __future__ import annotations

from decimal import Decimal
from random import Random

import trio
from msgspec.structs import replace

from actors import desk
from actors.book import Book
from actors.domain import day as days
from actors.domain.orders import Balance
from actors.domain.quotes import Quote
from actors.domain.trading import TradingConfig
from actors.messages import DayRecord, Granted, TraderRecord, UserRecord
from actors.ports import Asked, FeedLink
from actors.rows import UserRow
from actors.trader import Trader
from supervisor.mailbox import Cell
from tests.actors.fakes import EPOCH_MS, ListEvents, ListLog, ListRows, VirtualWall, market

D = Decimal
CONFIG = TradingConfig(
    token="KOGE", target_volume=D(500), order_amount=D(50), buy_offset=D("0.05"), sell_offset=D("-0.05")
)


class Post:
    """An address that keeps what was posted."""

    def __init__(self):
        self.posted = []

    def post(self, message):
        self.posted.append(message)


class Reply:
    def __init__(self):
        self.value = self.error = None

    def answer(self, value):
        self.value = value

    def refuse(self, error):
        self.error = error


class FakeFeeds:
    """links: by symbol, made when they are first used."""

    def __init__(self):
        self.links = {}

    def use(self, user, market):
        return self.links.setdefault(market.instrument.symbol, FeedLink(Cell(), Post()))

    def release(self, user):
        pass


class Nursery:
    def __init__(self):
        self.started = []

    def start_soon(self, task, *args, name=None):
        name = name if name is not None and name != "task" else getattr(task, "__name__", name)
        self.started.append((getattr(getattr(task, "func", task), "__name__", name), args))


def quote(price="48", symbol="ALPHA_22USDT", **changes):
    now_ms = EPOCH_MS + round(trio.current_time() * 1000)
    return Quote(
        symbol=symbol, price=D(price), agg_id=1, trade_ms=now_ms, confirmed_ms=now_ms, bid=None, ask=None,
        range_percent=D(0), connected=True, **changes,
    )  # fmt: skip


def record(**changes):
    """Of a user who wants to trade; changes: of the TraderRecord."""
    user = UserRow(user="alice", wanted="running", created_at=EPOCH_MS, updated_at=EPOCH_MS)
    whole = UserRecord(user=user, config=CONFIG, revision=1, credentials="valid", ciphertext=None, pauses=())
    day = DayRecord(
        day=days.date_of(EPOCH_MS), volume=D(0), counted_volume=D(0), pairs=0, wear=D(0), fees=(), last_number=0,
        done_at=None,
    )  # fmt: skip
    made = TraderRecord(record=whole, day=day, open_pairs=(), orders=(), fills=(), last_seq=0)
    return replace(made, **changes)


class Kit:
    """trader: its loop, one message at a time. rows: what it wrote, as (rows, then)."""

    def __init__(self, *, draining=lambda: False, **changes):
        self.feeds, self.keeper, self.nursery = FakeFeeds(), Post(), Nursery()
        world = desk.World(
            user="alice", exchange=None, store=Post(), rows=ListRows(), tokens=Post(), keeper=self.keeper,
            feeds=self.feeds, key=Cell(), snapshot=Cell(), sockets=None, wall=VirtualWall(), rng=Random(1),
            log=ListLog(), events=ListEvents(), draining=draining,
        )  # fmt: skip
        self.trader = Trader(world, desk.Settings(ws_user="ws://x"), Book(world, record(**changes)))
        self.trader.nursery = self.nursery
        self.trader.after()

    @property
    def book(self):
        return self.trader.book

    def say(self, message):
        self.trader.handle(message)
        self.trader.after()

    def ask(self, question):
        reply = Reply()
        self.say(desk.Command(Asked(question, reply)))
        return reply

    def spawned(self, name):
        """The arguments of every task of this name so far."""
        return [args for started, args in self.nursery.started if started == name]

    def looked(self, *orders):
        """The look that is in the air ends."""
        self.say(desk.Surveyed(self.trader.now(), EPOCH_MS - 3_600_000, tuple(orders)))

    def acked(self):
        """Everything written so far is durable."""
        waiting, self.trader.tasks._rows = self.trader.tasks._rows, []
        self.trader.tasks.unwritten_since = None
        self.say(desk.Acked(tuple(what for _, then in waiting for what in then)))
        return [row for rows, _ in waiting for row in rows]

    def link(self, symbol="ALPHA_22USDT"):
        return self.feeds.links[symbol]

    def ready(self, price="48"):
        """Its token is known, its streams are connected, the exchange was heard."""
        self.say(desk.Resolved("KOGE", market()))
        self.link().quotes.publish(quote(price))
        self.say(desk.StreamUp())
        self.looked()

    def funded(self, free=10_000):
        held = Balance(asset="USDT", wallet="funding", free=D(free), frozen=D(0))
        self.say(desk.BalanceRead((held,), self.trader.now().mono_ms))

    def permitted(self):
        """The pair it has asked for last."""
        (_, plan) = self.spawned("permit")[-1]
        self.say(desk.Permitted(plan, Granted()))
        return plan
