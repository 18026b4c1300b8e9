"""The words inside a trader: what its tasks tell its loop, and the ports it was given."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from msgspec import Struct, field

from actors.domain import oto
from actors.domain.instrument import Market
from actors.domain.orders import Balance, OrderReport, OrderView
from actors.domain.pair import Plan
from actors.domain.proof import Instant
from actors.domain.trading import PauseReason
from actors.errors import Trouble
from actors.messages import Blocked, Granted, ListenKey, TraderSnapshot
from actors.ports import (
    Address,
    Asked,
    Events,
    Feeds,
    Latest,
    Log,
    PrivateExchange,
    Rows,
    Sockets,
    Wall,
)
from actors.tally import Tally


class Settings(Struct, frozen=True, kw_only=True):
    """The daemon's patience with the exchange (etc/otod.toml: market, placement, exchange). Seconds."""

    ws_user: str
    stale_s: float = 30.0
    price_age_s_max: float = 60.0
    settle_s: float = 20.0
    looks: int = 4
    poll_s: float = 15.0
    credit_lag_s: float = 10.0
    store_slow_s: float = 10.0  # rows that are not durable after so long: the user is told (F59, F65)
    rotate_s: float = 81_000.0  # a socket lives at most 24 h (wire § 10.2)


class World(Struct, frozen=True, kw_only=True):
    """All that a trader may ask of the world."""

    user: str
    exchange: PrivateExchange
    store: Address
    rows: Rows
    tokens: Address
    keeper: Address
    feeds: Feeds
    key: Latest[ListenKey]
    snapshot: Latest[TraderSnapshot]
    sockets: Sockets
    wall: Wall
    rng: Random
    log: Log
    events: Events
    skew_ms: Callable[[], int | None] = lambda: None  # the exchange's clock minus ours; None: not measured yet
    draining: Callable[[], bool] = lambda: False  # the daemon is about to stop: nothing new is opened
    store_down: Callable[[], bool] = lambda: False  # the store says that it cannot write
    tally: Tally = field(default_factory=Tally)


# -- what tasks tell the loop


class Command(Struct, frozen=True):
    asked: Asked


class News(Struct, frozen=True):
    """Of another actor: what was posted to the mailbox."""

    message: object


class PairNews(Struct, frozen=True):
    pair_id: str
    event: oto.Event


class Heard(Struct, frozen=True):
    report: OrderReport


class StreamUp(Struct, frozen=True):
    pass


class StreamDown(Struct, frozen=True):
    why: str


class Broken(Struct, frozen=True):
    """Something that deserves a pause, found by a task."""

    reason: PauseReason
    detail: str


class Quoted(Struct, frozen=True):
    """at_s: trio time at which the trader's own task woke with the quote."""

    at_s: float


class Acked(Struct, frozen=True):
    """Rows are on disk. then: what waited for them, in order."""

    then: tuple[object, ...]


class RowsRefused(Struct, frozen=True):
    """then: what waited for the rows and must not be told."""

    text: str
    then: tuple[object, ...] = ()


class BalanceRead(Struct, frozen=True):
    """Wallets as read; asked_mono: when the question left."""

    balances: tuple[Balance, ...]
    asked_mono: int


class ReadFailed(Struct, frozen=True):
    """A read of the exchange failed. what: "balance", "look", "executions"."""

    what: str
    trouble: Trouble
    text: str
    retry_after_s: float | None


class Permitted(Struct, frozen=True):
    plan: Plan
    answer: Granted | Blocked


class SalePermitted(Struct, frozen=True):
    pair_id: str
    event: oto.Priced
    answer: Granted | Blocked


class PermitFailed(Struct, frozen=True):
    """The feed gave no answer, or may give one later that nobody hears."""

    text: str
    pair_id: str


class Resolved(Struct, frozen=True):
    """asked: the name that was looked up."""

    asked: str
    market: Market


class ResolveFailed(Struct, frozen=True):
    asked: str
    text: str
    final: bool  # the catalogue refused; else it could not answer


class Surveyed(Struct, frozen=True):
    """A complete look at the account."""

    started: Instant
    since_ms: int
    orders: tuple[OrderView, ...]


class Woke(Struct, frozen=True):
    """The alarm rang."""
