"""Ports: all that an actor may ask of the world. Protocols only; the real ones are in actors/adapters and supervisor.

Time: trio's clock for intervals and deadlines, `Wall` for dates. Randomness: a seeded `random.Random` handed in. Bytes:
`Dialer`, below `Http` and `Sockets`. Blocking work: `Database`. Nothing here may be reached by another way, so that the
whole daemon runs under a virtual clock over simulated streams.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from decimal import Decimal
from typing import Any, Literal, Protocol, TypeVar

import trio
from msgspec import Struct

from actors.domain.instrument import Instrument, Market, Token
from actors.domain.orders import Balance, Execution, OrderView, Outcome, Side
from actors.domain.quotes import Quote, Trade
from actors.errors import StoreRefused
from actors.exchange.account import UserScore
from actors.rows import Row

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
T_contra = TypeVar("T_contra", contravariant=True)

Lane = Literal["order", "cancel", "reconcile", "read", "public"]
"""Who goes first when requests are rationed: cancel and reconcile have permits and pool slots of their own."""


class Wall(Protocol):
    """The wall clock: an epoch plus trio's time, re-anchored when the system clock steps."""

    def now_ms(self) -> int:
        """Milliseconds since 1970 UTC."""
        ...


class Dialer(Protocol):
    """Byte streams to host:port; paces websocket connects (300 per 5 minutes and address, wire § 10.2)."""

    async def dial(self, host: str, port: int, *, tls: bool, websocket: bool = False) -> trio.abc.Stream:
        """Raises: NotSent, when no connection came about (refused, DNS, TLS failure, time-out)."""
        ...


class HttpReply(Struct, frozen=True, kw_only=True):
    """headers: names in lower case. elapsed_s: from handing the request over to the last byte, trio time."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    elapsed_s: float


class Http(Protocol):
    """One HTTP session: a user's (cookies, own permits), or the public one. Permits are awaited inside."""

    async def request(
        self,
        method: Literal["GET", "POST"],
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        lane: Lane = "read",
    ) -> HttpReply:
        """Any HTTP status is a reply. Raises: NotSent (certainly nothing left), NoReply (it may have been processed).

        A time-out of the whole call and a cancelled call count as NoReply once the request was handed over.
        """
        ...


class Socket(Protocol):
    """An open web socket; pings are its own affair. Always drained into a bounded queue of its own."""

    async def send(self, text: str) -> None:
        """Raises StreamLost."""
        ...

    async def receive(self) -> bytes:
        """The next data frame. Raises StreamLost: closed, no frame and no pong for stale_s, or its queue overflowed."""
        ...


class Sockets(Protocol):
    def connect(self, url: str, *, stale_s: float) -> AbstractAsyncContextManager[Socket]:
        """Raises on entry: StreamLost when no socket came about within the connect deadline."""
        ...


class PublicExchange(Protocol):
    """Public calls of the exchange. All raise ExchangeError."""

    async def tokens(self) -> tuple[Token, ...]: ...

    async def instruments(self) -> tuple[Instrument, ...]: ...

    async def trades(self, symbol: str, *, start_ms: int | None = None, limit: int = 1000) -> tuple[Trade, ...]:
        """Aggregate trades, ascending by id. Without start_ms the newest `limit`."""
        ...

    async def fee_rate(self, symbol: str) -> tuple[Decimal, Decimal]:
        """(buyer, seller) commission as a fraction: 0.0001 is 0.01 % (wire § 12.1)."""
        ...


class PrivateExchange(Protocol):
    """Private calls of one user. Placing never raises: every ending is one of the three outcomes (design § 4)."""

    async def place_oto(
        self, instrument: Instrument, *, buy_price: Decimal, sell_price: Decimal, quantity: Decimal
    ) -> Outcome:
        """Working BUY with a pending SELL. The payment amount is price × quantity cut to 8 decimals (wire § 5.3)."""
        ...

    async def place_limit(
        self, instrument: Instrument, *, side: Side, price: Decimal, quantity: Decimal
    ) -> Outcome: ...

    async def cancel(self, symbol: str, order_id: str) -> Outcome:
        """Refused: a definite no (e.g. no such order); NoAnswer: ask the state. Safe to repeat."""
        ...

    async def open_orders(self) -> tuple[OrderView, ...]:
        """All open orders of the account, complete. Raises ExchangeError."""
        ...

    async def history(self, *, start_ms: int, end_ms: int, base_asset: str | None = None) -> tuple[OrderView, ...]:
        """Finished and partly filled orders created in the window, paged to the end. Raises ExchangeError."""
        ...

    async def executions(self, symbol: str, order_id: str) -> tuple[Execution, ...]:
        """All fills of an order, ascending (oldest first), source "rest". Raises ExchangeError."""
        ...

    async def wallets(self) -> tuple[Balance, ...]:
        """funding, spot and earn wallets (wire § 4.3). Raises ExchangeError."""
        ...

    async def alpha_wallet(self) -> tuple[Balance, ...]: ...

    async def user_volume(self) -> Decimal: ...

    async def user_score(self) -> UserScore: ...

    async def listen_key(self) -> str: ...


class Rows(Protocol):
    """The way into the store, for one sender: rows are made durable in the order of the calls."""

    async def write(self, rows: Sequence[Row]) -> None:
        """Returns when all rows are on disk. Waits as long as the store cannot write (its restarts included).

        Raises: StoreRefused, when these rows can never be written (they are kept in rejected_rows).
        """
        ...


class Database(Protocol):
    """The commit port: DuckDB behind a worker thread, inline in simulation. Used by the store actor alone."""

    async def open(self) -> None:
        """Raises: IntegrityError (damaged, foreign, older marker …), StoreError (locked, not writable)."""
        ...

    async def commit(self, groups: Sequence[Sequence[Row]]) -> tuple[StoreRefused | None, ...]:
        """Writes all groups (one per sender's write) in one transaction; durable on return.

        If that fails because of data, the groups are committed one by one and the bad ones answered with their error.
        Raises: StoreError when nothing could be made durable now (full disk): nothing was acknowledged, try again.
        """
        ...

    async def query(self, question: Any) -> Any:
        """Answers one of the Load…/List… questions of actors/messages.py. Raises StoreError."""
        ...

    @property
    def publish_cpu_s(self) -> float:
        """CPU seconds that publications took so far: what the store paces them by. 0 where nothing is published."""
        ...

    async def publish(self) -> bool:
        """Brings the analytics files up to date; False if nothing had changed."""
        ...

    async def checkpoint(self) -> None: ...

    async def close(self) -> None: ...


class Vault(Protocol):
    """Credentials at rest. The user id is bound into the plaintext, so that a row cannot be moved to another user."""

    @property
    def key_id(self) -> str: ...

    @property
    def keys(self) -> int:
        """How many keys open; the first one seals. More than one while the key is being changed."""
        ...

    @property
    def where(self) -> str: ...

    @property
    def writable(self) -> bool:
        """Whether add_key and drop_old_keys may be used: the key file is the daemon's own."""
        ...

    def add_key(self) -> None:
        """From now on a new key seals. Durable on return. Raises StoreError."""
        ...

    def drop_old_keys(self) -> None:
        """Only the sealing key is left. Durable on return. Raises StoreError."""
        ...

    def seal(self, user: str, secret: Mapping[str, Any]) -> bytes: ...

    def open(self, user: str, ciphertext: bytes) -> Mapping[str, Any]:
        """Raises IntegrityError: wrong key, damaged, or another user's."""
        ...


class Latest(Protocol[T]):
    """One place, newest wins; it belongs to the supervisor and outlives the incarnations of writer and readers."""

    @property
    def value(self) -> T | None: ...

    @property
    def version(self) -> int:
        """0 before the first publish, then one more with each."""
        ...

    def publish(self, value: T) -> None: ...

    async def changed(self, seen: int) -> int:
        """Waits until version > seen, returns the version."""
        ...


class Reply(Protocol[T_contra]):
    """The asker's side of a question, held by the reader. The first answer counts, later ones are dropped."""

    def answer(self, value: T_contra) -> None: ...

    def refuse(self, error: Exception) -> None: ...


class Asked(Struct, frozen=True):
    """A question in a mailbox: take it, then answer or refuse it, perhaps later."""

    question: Any
    reply: Reply[Any]


class Stop(Struct, frozen=True):
    """The supervisor's request, taken after everything posted before it: finish what you hold and return.

    Only a child whose spec gives it time (stop_s_max > 0) gets it; after stop_s_max it is cancelled.
    """


class Inbox(Protocol):
    """The reader's side of a mailbox. Yields news as they were posted, questions as `Asked`, at last perhaps `Stop`."""

    async def take(self) -> Any:
        """Raises MailboxFull when it overflowed: let it end the incarnation."""
        ...

    def finish(self) -> None:
        """The message(s) taken since the last finish are done with; until then they are in hand."""
        ...

    def beat(self) -> None:
        """A sign of life, for a reader that is busy for long without taking or finishing anything."""
        ...


class Address(Protocol):
    """The sender's side of a mailbox."""

    def post(self, message: Any) -> None:
        """News: never waits; if the mailbox is full the reader pays (its incarnation ends)."""
        ...

    async def ask(self, question: Any, *, within_s: float | None = None) -> Any:
        """Returns the answer; raises what the reader refused with, ActorCrashed, or AskTimeout.

        Waits for a place when the mailbox is full. within_s None: no deadline (rows for the store).
        """
        ...


class FeedLink(Struct, frozen=True):
    """What a trader knows of the feed of its token."""

    quotes: Latest[Quote]
    address: Address  # takes messages.Permit (ask), messages.Over (post)


class Feeds(Protocol):
    """Feeds by use, owned by the wiring."""

    def use(self, user: str, market: Market) -> FeedLink:
        """From now on `user` needs this market's feed (and no other): it is started if it does not run."""
        ...

    def release(self, user: str) -> None: ...


class Events(Protocol):
    """Lossy, counted: control's PUB, the notifier and the log listen."""

    def emit(self, topic: str, kind: str, **payload: Any) -> None:
        """topic: "pair.alice", "actor", … (contract § 3). payload: JSON-able; Decimals as they are."""
        ...


class Event(Protocol):
    """One event as it was told: see Events.emit."""

    @property
    def topic(self) -> str: ...

    @property
    def kind(self) -> str: ...

    @property
    def at_ms(self) -> int: ...

    @property
    def payload(self) -> Mapping[str, Any]: ...


class Hearing(Protocol):
    """One listener's queue of events; the oldest are dropped when it is full (counted)."""

    async def take(self) -> Event: ...


class Notices(Protocol):
    """The ways to people: chat services, mail, web hooks. Targets are known by names that hold no secret."""

    async def send(self, target: str, title: str, text: str) -> None:
        """Raises: NotTold. May take some seconds; cancelling it does not take the message back."""
        ...


class Log(Protocol):
    """structlog's bound logger, as far as actors use it. Events, not prose: log.info("pair_closed", wear=wear)."""

    def bind(self, **new_values: Any) -> Log: ...
    def debug(self, event: str, **kw: Any) -> Any: ...
    def info(self, event: str, **kw: Any) -> Any: ...
    def warning(self, event: str, **kw: Any) -> Any: ...
    def error(self, event: str, **kw: Any) -> Any: ...


class Started(Protocol):
    """trio's task_status: the actor is ready."""

    def started(self) -> None: ...
