"""A daemon made of snapshots, for tests of the control room: three users, a store that answers, traders that obey."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import trio
from msgspec.structs import replace

from actors.domain.instrument import Filters, Instrument, Market, Token
from actors.domain.orders import Balance
from actors.domain.quotes import Quote
from actors.domain.trading import Pause, TradingConfig
from actors.errors import AskTimeout, Refusal, TokenError
from actors.exchange.account import UserScore
from actors.messages import (
    CancelPair,
    FeedSnapshot,
    ForgetToken,
    JudgeTwins,
    ListAudit,
    ListCatalogue,
    Listed,
    ListenKey,
    ListOrders,
    ListPairs,
    ListPrices,
    PairDetail,
    PairGlance,
    PauseTrading,
    Progress,
    RefreshTokens,
    Resolve,
    ResumeTrading,
    ShowPair,
    ShowToken,
    StartTrading,
    StopTrading,
    Traded,
    TraderSnapshot,
    UserRecord,
)
from actors.rows import AuditRow, CredentialRow, FillRow, OrderRow, PairRow, PriceRow, StateChangeRow, UserRow
from actors.statistics import DayFigures, Statistics, StatisticsRecord, Wear
from actors.tally import Tally
from supervisor.access import Access
from supervisor.control.office import Levers
from supervisor.keyring import Checked, Rotated
from supervisor.lifecycle import Node
from supervisor.mailbox import MailboxStatistics
from supervisor.people import Changed, Changes
from supervisor.tree import Answer, Did
from supervisor.users import Applied, Secrets

D = Decimal
TEN_MS = 1_795_168_800_000  # 2026-11-20T10:00:00.000Z
PAIR_ID = "alice-2026-11-20-7"


def node(path: str, **changes: Any) -> Node:
    """A running actor of the tree."""
    told = Node(
        path=path,
        kind="actor",
        state="running",
        incarnation=1,
        restarts=0,
        uptime_s=61.23,
        mailbox=MailboxStatistics(depth=0, high=14, capacity=4096, in_hand=0, posted=99, overflows=0, lost=0),
        last_crash=None,
        waiting_for=None,
    )
    return replace(told, **changes)


class FixedWall:
    def __init__(self, at_ms: int = TEN_MS) -> None:
        self.at_ms = at_ms

    def now_ms(self) -> int:
        return self.at_ms


class QuietLog:
    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, Any]]] = []

    def bind(self, **new_values: Any) -> QuietLog:
        return self

    def debug(self, event: str, **kw: Any) -> None:
        self.lines.append(("debug", event, kw))

    def info(self, event: str, **kw: Any) -> None:
        self.lines.append(("info", event, kw))

    def warning(self, event: str, **kw: Any) -> None:
        self.lines.append(("warning", event, kw))

    def error(self, event: str, **kw: Any) -> None:
        self.lines.append(("error", event, kw))


def snapshot(user: str = "alice", **changes: Any) -> TraderSnapshot:
    """The one of the contract's example."""
    told = TraderSnapshot(
        user=user,
        token="KOGE",
        wanted="running",
        phase="partially_filled",
        waiting=None,
        pauses=(),
        since_ms=TEN_MS,
        pair=PairGlance(
            pair_id=f"{user}-2026-11-20-7",
            buy_price=D("48.0241"),
            sell_price=D("47.9761"),
            quantity=D("1.0411"),
            filled=D("0.4"),
            sold=D(0),
            intent_ms=TEN_MS,
        ),
        progress=Progress(
            day="2026-11-20",
            volume=D("319.05"),
            counted_volume=D("319.05"),
            target=D("500"),
            target_points=None,
            percent=D("63.81"),
            pairs=6,
            pairs_to_go=4,
            wear=D("0.11"),
            fees=(("USDT", D("0.03")),),
            closed_volume=D("300"),
        ),
        symbol="ALPHA_22USDT",
        decision="place: volume 319.05 of 500 at 48.0241",
        stream_connected=True,
        incarnation_ms=TEN_MS,
    )
    return replace(told, **changes)


MARKET = Market(
    token=Token(alpha_id="ALPHA_22", name="KOGE"),
    instrument=Instrument(
        symbol="ALPHA_22USDT",
        base_asset="ALPHA_22",
        quote_asset="USDT",
        status="TRADING",
        price_precision=8,
        quantity_precision=4,
        base_precision=8,
        quote_precision=8,
        filters=Filters(
            tick_size=D("0.0001"),
            min_price=D("0.0001"),
            max_price=D(100000),
            step_size=D("0.0001"),
            min_quantity=D("0.0001"),
            max_quantity=D(100000),
        ),
    ),
    fetched_ms=TEN_MS,
)
FEED = FeedSnapshot(market=MARKET, connected=True, connected_since_ms=TEN_MS, trades_seen=3, register=())
QUOTE = Quote(
    symbol="ALPHA_22USDT",
    price=D("48.00210000"),
    agg_id=7,
    trade_ms=TEN_MS - 200,
    confirmed_ms=TEN_MS,
    bid=D("48"),
    ask=D("48.01"),
    range_percent=D("0.3141"),
    connected=True,
)
ORDER = OrderRow(
    user="alice",
    token="KOGE",
    symbol="ALPHA_22USDT",
    pair_id=PAIR_ID,
    order_id="51481849",
    leg="working",
    side="BUY",
    price=D("48.024100000000000000"),
    quantity=D("1.0411"),
    executed_quantity=D("1.0411"),
    executed_quote=D("49.997"),
    status="FILLED",
    created_at=TEN_MS,
    updated_at=TEN_MS + 5,
)
PAIR = PairRow(
    user="alice",
    token="KOGE",
    symbol="ALPHA_22USDT",
    pair_id=PAIR_ID,
    number=7,
    reference_price=D("48"),
    buy_price=D("48.0241"),
    sell_price=D("47.9761"),
    quantity=D("1.0411"),
    status="closed",
    outcome="completed",
    buy_quote=D("50"),
    sell_quote=D("49.98"),
    wear=D("0.02"),
    wear_bps=D("4.0001"),
    intent_at=TEN_MS,
    placed_at=TEN_MS + 10,
    closed_at=TEN_MS + 900,
)


class TraderBox:
    """A trader's mailbox: obeys at once, or is wedged (never answers in time)."""

    def __init__(self, daemon: FakeDaemon, user: str) -> None:
        self.daemon = daemon
        self.user = user
        self.asked: list[Any] = []
        self.wedged = False

    def post(self, message: Any) -> None:
        raise AssertionError(message)

    async def ask(self, question: Any, *, within_s: float | None = None) -> TraderSnapshot:
        self.asked.append(question)
        await trio.lowlevel.checkpoint()
        if self.wedged:
            assert within_s is not None
            await trio.sleep(within_s)
            raise AskTimeout(f"no answer within {within_s} s", where=f"traders/{self.user}")
        told = self._obey(question, self.daemon.snapshots[self.user])
        self.daemon.snapshots[self.user] = told
        return told

    def _obey(self, question: Any, told: TraderSnapshot) -> TraderSnapshot:
        match question:
            case StartTrading():
                if told.pauses:
                    reason = told.pauses[0].reason
                    raise Refusal(f"paused {reason}", code="PAUSED", where=f"traders/{self.user}", do="resume it first")
                return replace(told, wanted="running")
            case StopTrading():
                return replace(told, wanted="stopped")
            case PauseTrading(_, detail):
                return replace(told, pauses=(Pause(reason="OPERATOR", since_ms=TEN_MS, detail=detail),))
            case ResumeTrading():
                return replace(told, pauses=())
            case CancelPair(pair_id):
                if told.pair is None or told.pair.pair_id != pair_id:
                    raise Refusal(f"{pair_id} is not live", code="PAIR_UNKNOWN", where=f"traders/{self.user}")
                return replace(told, phase="cancelling")
            case JudgeTwins():
                return told
        raise AssertionError(question)


DAY = DayFigures(
    day="2026-11-19",
    volume=D("510"),
    counted_volume=D("510"),
    target_volume=D("500"),
    done_ms=TEN_MS - 60_000_000,
    pairs=10,
    wear=Wear(volume=D(500), total=D("0.2"), fee=D("0.1"), spread=D("0.05"), slippage=D("-0.01"), dust=D("0.06")),
)
STATISTICS = StatisticsRecord(
    bought=Traded(fills=10, quantity=D(10), quote=D("480.5")),
    sold=Traded(fills=9, quantity=D(9), quote=D("431")),
    counted_volume=D(961),
    wear=Wear(volume=D(450), total=D("0.09"), fee=D("0.04"), spread=D("0.05")),
    outcomes=(("completed", 9), ("live", 1)),
    statuses=(("FILLED", 19), ("NEW", 1)),
    fees=(("USDT", D("0.04")),),
    pair_ms_mean=2500,
    pair_ms_median=2000,
    pair_ms_max=5000,
    first_ms=TEN_MS - 5000,
    last_ms=TEN_MS,
    days=(DAY,),
    points_today=9,
    points_sum=17,
)


class StoreBox:
    def __init__(self) -> None:
        self.asked: list[Any] = []

    def post(self, message: Any) -> None:
        raise AssertionError(message)

    async def ask(self, question: Any, *, within_s: float | None = None) -> Any:
        self.asked.append(question)
        await trio.lowlevel.checkpoint()
        match question:
            case ListOrders():
                return 12, (ORDER,)
            case ListPairs():
                return 1, (PAIR,)
            case Statistics():
                return STATISTICS
            case ShowPair(_, pair_id):
                change = StateChangeRow(
                    user="alice", pair_id=PAIR_ID, happened_at=TEN_MS, seq=1, from_phase="idle", event="Begin",
                    to_phase="placing",
                )  # fmt: skip
                return (
                    PairDetail(pair=PAIR, orders=(ORDER,), fills=(FILL,), changes=(change,))
                    if pair_id == PAIR_ID
                    else None
                )
            case ListAudit():
                row = AuditRow(
                    audit_id="a", happened_at=TEN_MS, who="1000:7", user="alice", action="config.set", after="{}"
                )
                return 1, (row,)
            case ListPrices(token=token):
                bar = PriceRow(
                    token=token, second=TEN_MS, open=D(48), high=D(49), low=D(47), close=D("48.5"), quantity=D(3),
                    quote_quantity=D(144), trades=2,
                )  # fmt: skip
                return 1, (bar,)
        raise AssertionError(question)


FILL = FillRow(
    user="alice", token="KOGE", symbol="ALPHA_22USDT", pair_id=PAIR_ID, order_id="51481849", leg="working", side="BUY",
    price=D("48.02"), quantity=D("1.0411"), quote_quantity=D("49.99"), commission=D("0.0001"),
    commission_asset="ALPHA_22", mul_point=D(4), fill_id="1", trade_id="7", source="stream", exchange_time=TEN_MS,
    recorded_at=TEN_MS,
)  # fmt: skip


class TokensBox:
    """A catalogue of KOGE, which is in use, and AIOT; DEAD cannot be traded, TWIN is ambiguous."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.forgotten: list[str] = []

    def post(self, message: Any) -> None:
        raise AssertionError(message)

    async def ask(self, question: Any, *, within_s: float | None = None) -> Any:
        self.asked.append(question)
        await trio.lowlevel.checkpoint()
        match question:
            case ListCatalogue(find=find, every=every):
                both = (self._listed("KOGE"), self._listed("AIOT")) if every else (self._listed("KOGE"),)
                return tuple(one for one in both if find in one.token.name)
            case RefreshTokens():
                return None
            case Resolve(token=word, tradable=tradable):
                self._check(word)
                if word == "DEAD" and tradable:
                    raise TokenError("DEAD ALPHA_9 is delisted", code="REFUSED")
                return MARKET
            case ShowToken(token=word):
                self._check(word)
                return self._listed(word.upper())
            case ForgetToken(token=word):
                self.forgotten.append(word)
                return True
        raise AssertionError(question)

    def _check(self, word: str) -> None:
        if word == "TWIN":
            raise TokenError("2 tokens carry the name 'TWIN'", where="ALPHA_1, ALPHA_2", code="TOKEN_AMBIGUOUS")
        if word.upper() not in ("KOGE", "AIOT", "DEAD"):
            raise TokenError(f"no token '{word}'")

    def _listed(self, name: str) -> Listed:
        token = replace(MARKET.token, name=name, alpha_id="ALPHA_22" if name == "KOGE" else "ALPHA_9")
        return Listed(
            token=token,
            instrument=None if name == "DEAD" else MARKET.instrument,
            trouble="is delisted" if name == "DEAD" else None,
            warnings=(),
            fetched_ms=TEN_MS,
            asked=True,
        )


class Wallets:
    """A user's exchange that tells what it is given, or raises it."""

    def __init__(self) -> None:
        self.held: Any = (
            Balance(asset="USDT", wallet="funding", free=D("9950"), frozen=D(50)),
            Balance(asset="USDT", wallet="spot", free=D(0), frozen=D(0)),
        )
        self.tokens: Any = (Balance(asset="ALPHA_22", wallet="alpha", free=D("1.5"), frozen=D(0)),)
        self.volume: Any = D("1276.200000001")
        self.rows: Any = ()
        self.score: Any = UserScore(score=D(182), start_ms=TEN_MS, end_ms=TEN_MS, days=(), spent=())

    async def _told(self, what: Any) -> Any:
        await trio.lowlevel.checkpoint()
        if isinstance(what, Exception):
            raise what
        return what

    async def wallets(self) -> Any:
        return await self._told(self.held)

    async def alpha_wallet(self) -> Any:
        return await self._told(self.tokens)

    async def user_volume(self) -> Any:
        return await self._told(self.volume)

    async def user_score(self) -> Any:
        return await self._told(self.score)

    async def history(self, *, start_ms: int, end_ms: int, base_asset: str | None = None) -> Any:
        return await self._told(self.rows)


class PeopleBox:
    """The place of changes: notes what it was asked for; what it really does: test_people.py."""

    def __init__(self, daemon: FakeDaemon) -> None:
        self.daemon = daemon
        self.asked: list[tuple[Any, ...]] = []

    @asynccontextmanager
    async def holding(self, names: Any) -> AsyncIterator[None]:
        await trio.lowlevel.checkpoint()
        yield

    async def _done(self, user: str, *what: Any) -> Changed:
        await trio.lowlevel.checkpoint()
        self.asked.append((user, *what))
        return Changed(record=self.daemon.records()[user], changed={"email": ("", "a@b")})

    async def create(self, user: str, display_name: Any, email: Any, who: str) -> Changed:
        self.daemon.records()[user] = record(user)
        return await self._done(user, display_name, email, who)

    async def update(self, user: str, display_name: Any, email: Any, who: str) -> Changed:
        return await self._done(user, display_name, email, who)

    async def remove(self, user: str, *, drain: bool, who: str) -> UserRecord:
        return (await self._done(user, drain, who)).record

    async def configure(self, user: str, keys: Any, *, unset: Any, revision: Any, force: bool, who: str) -> Changed:
        return await self._done(user, keys, unset, revision, force, who)

    async def apply(self, document: Any, *, force: bool, dry_run: bool, who: str) -> Changes:
        await trio.lowlevel.checkpoint()
        self.asked.append((document, force, dry_run, who))
        differences = {"alice": {"order_amount": ("50", "60")}}
        applied = Applied(created=(), changed=("alice",), unchanged=(), differences=differences)
        return Changes(applied=applied, warnings=("look",))


class KeyringBox:
    def __init__(self) -> None:
        self.handed: list[tuple[Any, ...]] = []
        self.valid: bool | None = True

    async def hand_over(self, user: str, secrets: Secrets, who: str) -> CredentialRow:
        await trio.lowlevel.checkpoint()
        self.handed.append((user, dict(secrets.cookies), dict(secrets.headers), who))
        return CredentialRow(user=user, ciphertext=b"x", key_id="k1", stored_at=TEN_MS)

    async def check(self, user: str, who: str) -> Checked:
        await trio.lowlevel.checkpoint()
        row = CredentialRow(user=user, ciphertext=b"x", key_id="k1", stored_at=TEN_MS - 61_000)
        return Checked(valid=self.valid, row=row, checked_ms=TEN_MS, detail="the exchange accepted them")

    async def rotate(self, who: str) -> Rotated:
        await trio.lowlevel.checkpoint()
        return Rotated(key_id="k2", resealed=3, resumed=False, unreadable=(), old_keys_dropped=True)


def every_lever() -> Levers:
    async def notify() -> dict[str, Any]:
        await trio.lowlevel.checkpoint()
        return {"targets": [{"target": "json-1", "told": False, "error": "error 500"}]}

    async def reload() -> dict[str, Any]:
        await trio.lowlevel.checkpoint()
        return {"changed": [], "restarted": [], "restart_needed": False}

    return Levers(
        log_level=lambda level: "info",
        reload=reload,
        drain=lambda why: None,
        notify=notify,
    )


def record(user: str, **changes: Any) -> UserRecord:
    told = UserRecord(
        user=UserRow(user=user, display_name=user.title(), wanted="running", created_at=TEN_MS, updated_at=TEN_MS),
        config=TradingConfig(
            token="KOGE", target_volume=D(500), order_amount=D(50), buy_offset=D("0.05"), sell_offset=D("-0.05")
        ),
        revision=1,
        credentials="valid",
        ciphertext=b"secret",
        pauses=(),
    )
    return replace(told, **changes)


class FakeDaemon:
    """The Office of tests."""

    def __init__(self, users: tuple[str, ...] = ("alice", "bob", "carol")) -> None:
        self.snapshots: dict[str, TraderSnapshot] = {user: snapshot(user) for user in users}
        self.traders: dict[str, TraderBox | None] = {user: TraderBox(self, user) for user in users}
        self.names = list(users)
        self.store = StoreBox()
        self.tokens = TokensBox()
        self.wall = FixedWall()
        self.started_ms = TEN_MS - 61_200
        self.version = "0.1.0"
        self.mode = "paper"
        self.tally = Tally()
        self.access = Access(own_uid=os.geteuid(), operators=[1000], names=lambda uid: frozenset())
        self.levers = Levers()
        self.session_host: str | None = None
        self._records = {user: record(user) for user in users}
        self.wallets = Wallets()
        self.people = PeopleBox(self)
        self.keyring = KeyringBox()
        self.restarted: list[str] = []
        self.did: Did = "restarted"
        self.forced: list[tuple[str, str]] = []
        self.forced_now = False
        self.parked: set[str] = set()
        self.brought_back: list[str] = []
        self.feeds: dict[str, tuple[FeedSnapshot | None, Quote | None]] = {"KOGE": (FEED, QUOTE)}
        feeds = (node("feeds/KOGE"),)
        traders = tuple(node(f"traders/{user}") for user in users)
        self.root = node(
            "",
            kind="group",
            mailbox=None,
            children=(
                node("store"),
                node("feeds", kind="family", mailbox=None, children=feeds),
                node("traders", kind="family", mailbox=None, children=traders),
            ),
        )

    def users(self) -> list[str]:
        return self.names

    def trader(self, user: str) -> TraderBox | None:
        return self.traders.get(user)

    def snapshot(self, user: str) -> TraderSnapshot | None:
        return self.snapshots.get(user)

    async def user_record(self, user: str) -> UserRecord:
        await trio.lowlevel.checkpoint()
        return self._records[user]

    def records(self) -> dict[str, UserRecord]:
        return self._records

    def exchange(self, user: str) -> Wallets:
        return self.wallets

    def feeds_shown(self) -> dict[str, tuple[FeedSnapshot | None, Quote | None]]:
        return self.feeds

    def listen_key(self, user: str) -> ListenKey | None:
        return ListenKey(key="s3cr3t", since_ms=TEN_MS, renewed_ms=TEN_MS)

    def figures(self) -> dict[str, Any]:
        return {"store": None, "requests": {}}

    def feed(self, token: str) -> tuple[FeedSnapshot | None, Quote | None]:
        return self.feeds.get(token, (None, None))

    def tree(self) -> Node:
        return self.root

    async def restart(self, path: str) -> Answer:
        await trio.lowlevel.checkpoint()
        self.restarted.append(path)
        return Answer(path=path, did=self.did, state="running", incarnation=2)

    def given_up(self, user: str) -> bool:
        return user in self.parked

    async def bring_back(self, user: str) -> None:
        await trio.lowlevel.checkpoint()
        self.parked.discard(user)
        self.brought_back.append(user)

    async def force_stop(self, user: str, who: str, *, now: bool = True) -> TraderSnapshot:
        await trio.lowlevel.checkpoint()
        self.forced.append((user, who))
        self.forced_now = now
        self.snapshots[user] = replace(self.snapshots[user], wanted="stopped", phase="reconciling")
        return self.snapshots[user]
