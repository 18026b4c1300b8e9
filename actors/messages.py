"""What actors say to each other: questions (asked, answered), news (posted), and the snapshots they publish.

Who may send what to whom: design § 2. Amounts Decimal, times ms since 1970 UTC.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

from msgspec import Struct

from actors.domain.instrument import Instrument, Market, Token
from actors.domain.orders import Side
from actors.domain.trading import Pause, Phase, TradingConfig, WaitingFor, Wanted
from actors.permits import Blocked as Blocked
from actors.permits import Granted as Granted
from actors.permits import Over as Over
from actors.permits import OwnOrder as OwnOrder
from actors.permits import Permit as Permit
from actors.permits import Resting as Resting
from actors.permits import RestingPair as RestingPair
from actors.rows import CredentialRow, FillRow, OrderRow, PairRow, PauseRow, Row, StateChangeRow, UserRow

# -- to the store (asked; the mailbox of kind "rows")


class Write(Struct, frozen=True):
    """→ None once durable; refused with StoreRefused if these rows can never be written."""

    rows: tuple[Row, ...]


class LoadUsers(Struct, frozen=True):
    """→ tuple[UserRecord, ...], removed users left out, by name."""


class LoadTrader(Struct, frozen=True):
    """→ TraderRecord: all that a new incarnation needs. day: "2026-11-20"."""

    user: str
    day: str


class LoadTraders(Struct, frozen=True):
    """→ dict[user, TraderRecord | StoreError]: as LoadTrader for each, in one read. The store's own question."""

    users: tuple[str, ...]
    day: str


class LoadNotices(Struct, frozen=True):
    """→ tuple[NoticeRow, ...] that somebody is still owed, oldest first, and those with one of the ids."""

    ids: tuple[str, ...] = ()


class LoadTokens(Struct, frozen=True):
    """→ (tuple[TokenRow, ...], tuple[InstrumentRow, ...])."""


class ListOrders(Struct, frozen=True, kw_only=True):
    """→ (total, tuple[OrderRow, ...]) newest first. since/until bound created_at; page counts from 1."""

    user: str
    status: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    page: int = 1
    limit: int = 50


class ListPairs(Struct, frozen=True, kw_only=True):
    """→ (total, tuple[PairRow, ...]) newest first. since/until bound intent_at."""

    user: str
    status: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    page: int = 1
    limit: int = 50


class DayTotals(Struct, frozen=True):
    """→ DayRecord of one user's UTC day, from fills and closed pairs."""

    user: str
    day: str


class ShowPair(Struct, frozen=True):
    """→ PairDetail, or None: this user has no such pair."""

    user: str
    pair_id: str


class ListAudit(Struct, frozen=True, kw_only=True):
    """→ (total, tuple[AuditRow, ...]) newest first. user None: of everybody. since/until bound happened_at."""

    user: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    page: int = 1
    limit: int = 50


class ListPrices(Struct, frozen=True, kw_only=True):
    """→ (total, tuple[PriceRow, ...]) newest first: one-second bars in which something was traded."""

    token: str
    since_ms: int | None = None
    until_ms: int | None = None
    page: int = 1
    limit: int = 50


class PairDetail(Struct, frozen=True, kw_only=True):
    """One pair with all that belongs to it, oldest first."""

    pair: PairRow
    orders: tuple[OrderRow, ...]
    fills: tuple[FillRow, ...]
    changes: tuple[StateChangeRow, ...]


class Traded(Struct, frozen=True, kw_only=True):
    """Fills of one side: base quantity and quote, both exact."""

    fills: int = 0
    quantity: Decimal = Decimal(0)
    quote: Decimal = Decimal(0)


class UserRecord(Struct, frozen=True, kw_only=True):
    user: UserRow
    config: TradingConfig | None
    revision: int  # 0: no configuration yet
    credentials: Literal["none", "valid", "invalid"]
    ciphertext: bytes | None
    pauses: tuple[PauseRow, ...]  # in force
    sealed: CredentialRow | None = None  # the row of the credentials, None for none


class DayRecord(Struct, frozen=True, kw_only=True):
    """volume: nominal BUY quote; counted_volume: × mul_point. wear: of closed pairs. pairs: closed pairs of the day.

    fees: (asset, amount). last_number: the highest pair number of the day, 0 if none.
    """

    day: str
    volume: Decimal
    counted_volume: Decimal
    pairs: int
    wear: Decimal
    closed_volume: Decimal = Decimal(0)  # BUY quote of the closed pairs of the day
    fees: tuple[tuple[str, Decimal], ...]
    last_number: int
    done_at: int | None


class TraderRecord(Struct, frozen=True, kw_only=True):
    """open_pairs: not closed, oldest first, with all their orders and fills."""

    record: UserRecord
    day: DayRecord
    open_pairs: tuple[PairRow, ...]
    recent_pairs: tuple[PairRow, ...] = ()  # closed within the last hour before `now`, oldest first, at most 50
    orders: tuple[OrderRow, ...]  # of open_pairs and recent_pairs
    fills: tuple[FillRow, ...]  # of open_pairs and recent_pairs
    own_orders: tuple[tuple[str, str, str], ...] = ()  # (symbol, order id, pair id), created in the last 48 h
    near: tuple[DayRecord, ...] = ()  # of the days before and after, for a clock that is set
    last_seq: int  # of the trader's newest state change or audit row, 0: there is none


# -- to a trader (asked)


class StartTrading(Struct, frozen=True):
    """→ TraderSnapshot. Refused (PAUSED) while a pause is in force."""

    who: str


class PauseTrading(Struct, frozen=True):
    """→ TraderSnapshot, adds OPERATOR."""

    who: str
    detail: str = ""


class ResumeTrading(Struct, frozen=True):
    """→ TraderSnapshot, removes all pauses whose cause is gone, else refused naming the rest."""

    who: str


class StopTrading(Struct, frozen=True):
    """→ TraderSnapshot. now: cancel and unwind at once."""

    who: str
    now: bool = False


class CancelPair(Struct, frozen=True):
    """→ TraderSnapshot; refused PAIR_UNKNOWN unless it is the live pair."""

    pair_id: str
    who: str


class JudgeTwins(Struct, frozen=True):
    """→ TraderSnapshot. order_id: of several that could be the pair's, the one that is; None: none of them is."""

    pair_id: str
    order_id: str | None
    who: str


class Configure(Struct, frozen=True):
    """→ TraderSnapshot. The configuration is durable already; it takes effect with the next pair."""

    config: TradingConfig
    revision: int
    who: str


class Describe(Struct, frozen=True):
    """→ TraderSnapshot. Name and address are durable already; the trader writes them along with its user's wish."""

    display_name: str
    email: str


class SessionRenewed(Struct, frozen=True):
    """News: the user's credentials were replaced."""


class Drain(Struct, frozen=True):
    """News: the daemon is about to stop; follow what lives, open nothing new."""


# -- to the token catalogue


class Resolve(Struct, frozen=True):
    """Short name or alphaId → Market. Refused with TokenError: unknown, ambiguous, delisted, offline, not sellable.

    tradable False: also one that can no longer be traded is answered (an open pair has to be followed to its end).
    """

    token: str
    tradable: bool = True


class ListTokens(Struct, frozen=True):
    """→ tuple[Market, ...] of the tokens in use or asked for so far."""


class ListCatalogue(Struct, frozen=True):
    """→ tuple[Listed, ...] by name. find: part of a name or alphaId. every: also those that nobody asked for."""

    find: str = ""
    every: bool = False


class ShowToken(Struct, frozen=True):
    """Short name or alphaId → Listed, tradable or not. Refused with TokenError: unknown, ambiguous."""

    token: str


class ForgetToken(Struct, frozen=True):
    """→ bool: it stood in the list of tokens asked for, and stands there no more. Refused as ShowToken."""

    token: str


class Listed(Struct, frozen=True, kw_only=True):
    """trouble: why it cannot be traded, None if it can. asked: somebody uses it or asked for it."""

    token: Token
    instrument: Instrument | None
    trouble: str | None
    warnings: tuple[str, ...]
    fetched_ms: int
    asked: bool


class RefreshTokens(Struct, frozen=True):
    """→ None, after token list and exchange info were read anew. Also news after a filter refusal."""


# -- to the keeper


class KeepKey(Struct, frozen=True):
    """News: this user needs a listen key from now on."""

    user: str


class DropKey(Struct, frozen=True):
    user: str


class KeyRefused(Struct, frozen=True):
    """News from a trader: its key no longer opens the stream; get another."""

    user: str
    key: str


# -- to the notifier


class TellTest(Struct, frozen=True):
    """Tell everybody, by every way, that this is a test → tuple[Told, ...], one per target."""

    who: str = ""


class Told(Struct, frozen=True):
    """error: why this target could not be told, None: it was."""

    target: str
    error: str | None


# -- published in Latest cells


class ListenKey(Struct, frozen=True, kw_only=True):
    """key None: none could be had; trouble says why. A secret: never logged."""

    key: str | None
    since_ms: int  # this key since
    renewed_ms: int
    trouble: str | None = None

    def __repr__(self) -> str:
        return f"ListenKey(since_ms={self.since_ms}, renewed_ms={self.renewed_ms}, trouble={self.trouble!r})"


class Waiting(Struct, frozen=True, kw_only=True):
    wait: WaitingFor
    since_ms: int
    detail: str = ""


class PairGlance(Struct, frozen=True, kw_only=True):
    pair_id: str
    buy_price: Decimal
    sell_price: Decimal
    quantity: Decimal
    filled: Decimal  # of the working leg
    sold: Decimal
    intent_ms: int


class Progress(Struct, frozen=True, kw_only=True):
    """target: USDT (2^points with target_points, then percent and pairs_to_go count counted_volume)."""

    day: str
    volume: Decimal
    counted_volume: Decimal
    target: Decimal
    target_points: int | None
    percent: Decimal
    pairs: int
    pairs_to_go: int
    wear: Decimal
    fees: tuple[tuple[str, Decimal], ...] = ()
    closed_volume: Decimal | None = None  # BUY quote of the closed pairs: what their wear is set against


class TraderSnapshot(Struct, frozen=True, kw_only=True):
    """What anybody may know of a trader without asking it; replaced whole after each step that changed it."""

    user: str
    token: str | None
    wanted: Wanted
    phase: Phase
    waiting: Waiting | None
    pauses: tuple[Pause, ...]
    since_ms: int  # in this phase
    pair: PairGlance | None
    progress: Progress | None
    own_orders: tuple[RestingPair, ...] = ()  # for a restarted feed's register
    symbol: str | None = None
    decision: str = ""  # the last decision in words, with its inputs
    last_fill: FillRow | None = None
    stream_connected: bool = False
    reconciled: bool = False  # with what the exchange says, since this incarnation began or lost its stream
    incarnation_ms: int = 0


class FeedSnapshot(Struct, frozen=True, kw_only=True):
    """What anybody may know of a feed."""

    market: Market
    connected: bool
    connected_since_ms: int | None
    trades_seen: int
    register: tuple[tuple[str, str, Side, Decimal], ...]  # user, pair id, side, price
    waiting: int = 0  # users whose permit was refused and who may ask again
    losses: int = 0  # disconnects that traders saw
    failures: int = 0  # connects that did not come about
    frames_ignored: int = 0  # none of ours
    bars_dropped: int = 0  # the store was too slow, or refused them
    confirmations: int = 0  # quiet markets confirmed by REST
