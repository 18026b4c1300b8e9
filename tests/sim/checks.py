"""What must always hold, and what must hold once the world is healed (reliability § 2.5).

Onlookers check while the world runs, at the exchange and at the disk: neither believes what the daemon says of itself.
They note a violation instead of raising it, because they stand in other people's tasks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import msgspec
import trio

from actors.domain.day import date_of
from actors.domain.trading import AUTO_RESUMABLE
from actors.messages import TraderRecord
from actors.paper.api import Request
from actors.paper.orders import Fill, Order
from actors.rows import AuditRow, ConfigRow, FillRow, OrderRow, PairRow, PauseRow, Row, UserRow
from supervisor.lifecycle import Happened
from tests.sim.options import SETTLED_S
from tests.sim.world import Onlooker, World, balance_of

AT_ONCE_S = 2.0
"""What somebody else writes about a user (CRASHED, a forced stop) may cross an intent on its way to the store."""

LIES = frozenset({"edit_body", "edit_frame"})
"""Faults that make the exchange contradict itself."""

OTO, PLAIN = "/oto-order/place", "/order/place"  # the ends of paths


class OneLivePair(Onlooker):
    """NFR-003, at the exchange, on every event.

    A ghost, an order that the exchange accepts long after its absence was proven, makes two; never a third.
    """

    def __init__(self, world: World) -> None:
        self._world = world

    def moved(self) -> None:
        exchange = self._world.exchange
        most = 2 if self._world.options.ghosts else 1
        for user in self._world.options.users:
            if exchange.max_live_pairs(user.name) > most:
                self._world.violate(f"more than {most} live pairs: {exchange.live_pairs(user.name)}", user.name)


class DurableFirst(Onlooker):
    """Each placement that reaches the exchange was durable before, is the one that was meant, and comes once."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._sent: set[tuple[str, str]] = set()

    def asked(self, request: Request, account: str | None) -> None:
        if request.method != "POST" or account is None or account not in self._world.names:
            return
        if request.path.endswith(OTO):
            self._pair(account, msgspec.json.decode(request.body))
        elif request.path.endswith(PLAIN):
            self._sale(account, msgspec.json.decode(request.body))

    def _pair(self, user: str, body: dict[str, Any]) -> None:
        asked = (Decimal(body["workingPrice"]), Decimal(body["workingQuantity"]), Decimal(body["pendingPrice"]))
        for pair in reversed(self._world.disk.of(PairRow, user)):
            if (user, pair.pair_id) not in self._sent and (pair.buy_price, pair.quantity, pair.sell_price) == asked:
                self._sent.add((user, pair.pair_id))
                return
        self._world.violate(f"a placement without a durable intent, or a second time: {body}", user)

    def _sale(self, user: str, body: dict[str, Any]) -> None:
        asked = (body["side"], Decimal(body["price"]), Decimal(body["quantity"]))
        for pair in reversed(self._world.disk.of(PairRow, user)):
            for sale in msgspec.json.decode(pair.sales):
                key = (user, f"{pair.pair_id} sale {sale['number']}")
                if key not in self._sent and ("SELL", Decimal(sale["price"]), Decimal(sale["quantity"])) == asked:
                    self._sent.add(key)
                    return
        self._world.violate(f"a sale without a durable intent, or a second time: {body}", user)


class PausesHold(Onlooker):
    """FR-016: a pause is ended by an operator who asked for it, or by the trader where the user has opted in; no pair
    begins while one is in force, or while the user is stopped."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._paused: dict[str, dict[tuple[str, int], PauseRow]] = {}
        self._wanted: dict[str, str] = {}
        self._begun: set[tuple[str, str]] = set()
        self._since_s: dict[str, float] = {}  # when a user's newest pause or stop became durable
        self._wrong: dict[str, dict[str, str]] = {}  # by user and pair: begun at a wrong moment, but not placed so far
        self._auto: dict[str, tuple[str, ...]] = {}
        self.ended: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()

    def wrote(self, row: Any) -> None:
        match row:
            case PauseRow():
                self._pause(row)
            case UserRow():
                if self._wanted.get(row.user) != row.wanted:
                    self._since_s[row.user] = trio.current_time()
                self._wanted[row.user] = row.wanted
            case ConfigRow():
                self._auto[row.user] = tuple(msgspec.json.decode(row.document).get("auto_resume", ()))
            case PairRow():
                self._pair(row)

    def asked(self, request: Request, account: str | None) -> None:
        """What must not be begun must not be placed; an intent that is cancelled before it leaves begins nothing."""
        if account is not None and self._wrong.get(account) and request.path.endswith(OTO):
            self._world.violate(next(iter(self._wrong[account].values())), account)

    def _pair(self, row: PairRow) -> None:
        if (row.user, row.pair_id) in self._begun:
            if row.status == "closed":
                self._wrong.get(row.user, {}).pop(row.pair_id, None)
            return
        self._begun.add((row.user, row.pair_id))
        paused = [reason for reason, _ in self._paused.get(row.user, {})]
        stopped = self._wanted.get(row.user) != "running"
        if row.status != "closed" and (paused or stopped):
            what = f"pair {row.pair_id} begun while " + (f"paused: {paused}" if paused else "stopped")
            if trio.current_time() - self._since_s[row.user] > AT_ONCE_S:
                self._world.violate(what, row.user)
            self._wrong.setdefault(row.user, {})[row.pair_id] = what

    def _pause(self, row: PauseRow) -> None:
        standing = self._paused.setdefault(row.user, {})
        key = (row.reason, row.since_at)
        if row.ended_at is None:
            if key not in standing:
                self.reasons[row.reason] += 1
                self._since_s[row.user] = trio.current_time()
            standing[key] = row
            return
        standing.pop(key, None)
        self.ended[row.reason] += 1
        if row.ended_by == f"traders/{row.user}":
            if row.reason not in AUTO_RESUMABLE or row.reason not in self._auto.get(row.user, ()):
                self._world.violate(f"{row.reason} ended by itself", row.user)
        elif (row.user, row.ended_by) not in self._world.resumes:
            self._world.violate(f"{row.reason} ended by {row.ended_by}, who did not ask for it", row.user)


class NothingBreaks(Onlooker):
    """An actor dies of what was done to it, and of nothing else; or for want of a store that has given up for good."""

    def __init__(self, world: World, allowed: tuple[str, ...]) -> None:
        self._world, self._allowed = world, ("InjectedCrash", *allowed)
        self._storeless: object = None  # the life that ends because its store died too often

    def happened(self, it: Happened) -> None:
        if it.what == "stopped" and it.path == "store" and it.why.startswith("died"):
            self._storeless = self._world.life
        if it.what != "crashed":
            return
        for error in it.errors:
            name = type(error).__name__
            if name == "ActorCrashed" and self._storeless is not None and self._storeless is self._world.life:
                continue
            if name not in self._allowed:
                user = it.path.removeprefix("traders/") if it.path.startswith("traders/") else None
                self._world.violate(f"{it.path} died of {type(error).__name__}: {error}", user)


class AcknowledgedStays(Onlooker):
    """What a writer was told to be durable is on the disk at that moment; and a trader that comes after is told of all
    that it must go on with: its open pairs with their orders and fills, its pauses, what its user wants."""

    def __init__(self, world: World) -> None:
        self._world = world

    def acked(self, rows: tuple[Row, ...]) -> None:
        for row in rows:
            if self._world.disk.came(row) is None:
                self._world.violate(f"acknowledged, and not durable: {row}", getattr(row, "user", None))

    def loaded(self, user: str, record: TraderRecord, since: int) -> None:
        told = (*record.open_pairs, *record.orders, *record.fills, *record.record.pauses, record.record.user)
        ids = {id(row) for row in told}
        for row in self._owed(user):
            came = self._world.disk.came(row)
            if came is not None and came <= since and id(row) not in ids:
                self._world.violate(f"durable, and not told to the trader: {row}", user)

    def _owed(self, user: str) -> Iterator[Any]:
        disk = self._world.disk
        pairs = [pair for pair in disk.of(PairRow, user) if pair.status != "closed"]
        yield from pairs
        ids = {pair.pair_id for pair in pairs}
        for kind in (OrderRow, FillRow):
            yield from (row for row in disk.of(kind, user) if row.pair_id in ids)  # type: ignore[attr-defined]
        yield from (pause for pause in disk.of(PauseRow, user) if pause.ended_at is None)
        yield from disk.of(UserRow, user)


class BystandersLive(Onlooker):
    """A crash restarts the actor that crashed and nobody else (F46)."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._life: object = None
        self._up: set[str] = set()

    def happened(self, it: Happened) -> None:
        if self._world.life is not self._life:
            self._life, self._up = self._world.life, set()
        match it.what:
            case "ready":
                self._up.add(it.path)
            case "crashed" | "removed":
                self._up.discard(it.path)
            case "stopped" if self._asked_for(it.path):
                self._up.discard(it.path)
            case "started" if it.path in self._up and not self._asked_for(it.path):
                self._world.violate(f"{it.path} was restarted without a crash or command of its own")
            case _:
                pass

    def _asked_for(self, path: str) -> bool:
        """Each command is good for one end."""
        asked = self._world.commanded[path] > 0
        self._world.commanded[path] -= asked
        return asked


class NothingContradicts(Onlooker):
    """An exchange that tells no lies is never accused of one."""

    def __init__(self, world: World) -> None:
        self._world = world

    def wrote(self, row: Any) -> None:
        if isinstance(row, PauseRow) and row.reason == "LEDGER_MISMATCH":
            self._world.violate(f"accused for nothing: {row.detail}", row.user)


class NothingIsWrong(Onlooker):
    """In a world without trouble: nobody is paused but for the market, every pair is completed."""

    def __init__(self, world: World) -> None:
        self._world = world

    def wrote(self, row: Any) -> None:
        if isinstance(row, PauseRow) and row.reason != "PRICE_VOLATILITY":
            self._world.violate(f"paused for nothing: {row.reason}: {row.detail}", row.user)
        if isinstance(row, PairRow) and row.outcome not in (None, "completed", "unwound", "cancelled"):
            self._world.violate(f"pair {row.pair_id} ended as {row.outcome}", row.user)


def standing_checks(world: World, *, allowed_deaths: tuple[str, ...] = (), calm: bool = False) -> list[Onlooker]:
    """allowed_deaths: names of errors that actors may die of. calm: nothing whatever is done to this world."""
    found = [
        OneLivePair(world),
        DurableFirst(world),
        PausesHold(world),
        NothingBreaks(world, allowed_deaths),
        BystandersLive(world),
        AcknowledgedStays(world),
    ]
    if all(fault.kind not in LIES for fault in world.options.faults):
        found.append(NothingContradicts(world))
    return [*found, NothingIsWrong(world)] if calm else found


# -- once healed and at rest


def at_rest(world: World) -> Iterator[tuple[str, str | None]]:
    """(what is wrong, whose) once nothing lives: records against the exchange's own, to the last decimal."""
    yield from _conserved(world)
    yield from _among_users(world)
    for user in world.names:
        audit = world.exchange.audit(user)
        yield from ((what, user) for what in _fills(world, user, audit.fills))
        yield from ((what, user) for what in _orders(world, user, audit.orders))
        yield from ((what, user) for what in _pairs(world, user, audit.fills))
        yield from ((what, user) for what in _progress(world, user, audit.fills))
        yield from ((what, user) for what in _holdings(world, user))
    yield from _audited(world)
    yield from _no_more_than_needed(world)


def _among_users(world: World) -> Iterator[tuple[str, str | None]]:
    """The two legs of one pair may meet where the exchange releases a leg early; two users of ours never, but for a
    ghost: nobody knows of it until it is there."""
    owners = {order.key: name for name in world.names for order in world.exchange.audit(name).orders}
    for symbol, taker, maker in world.exchange.self_matches:
        users = owners[symbol, taker], owners[symbol, maker]
        unknown = {key for user in users for key in (*world.by_hand(user), *_ghosts(world, user))}
        if users[0] != users[1] and not {(symbol, taker), (symbol, maker)} & unknown:
            yield f"{users[0]}'s order {taker} traded with {users[1]}'s order {maker}", users[0]


def _ghosts(world: World, user: str) -> Iterator[tuple[str, int]]:
    """Orders that the exchange accepted so long after their intent that their absence was proven."""
    if not world.options.ghosts:
        return
    intents = {pair.pair_id: pair.intent_at for pair in world.disk.of(PairRow, user)}
    pair_of = {(row.symbol, row.order_id): row.pair_id for row in world.disk.of(OrderRow, user)}
    for order in world.exchange.audit(user).orders:
        intent_ms = intents.get(pair_of.get((order.symbol, str(order.order_id))) or "")
        if intent_ms is not None and order.created_ms - intent_ms > SETTLED_S * 1000:
            yield order.key


def _fills(world: World, user: str, fills: tuple[Fill, ...]) -> Iterator[str]:
    by_hand = world.by_hand(user)
    theirs = Counter(
        (f.symbol, str(f.order_id), f.side, f.price, f.quantity, f.quote, f.commission, f.commission_asset,
         str(f.trade_id), f.time_ms)
        for f in fills
        if (f.symbol, f.order_id) not in by_hand
    )  # fmt: skip
    ours = Counter(
        (f.symbol, f.order_id, f.side, f.price, f.quantity, f.quote_quantity, f.commission, f.commission_asset,
         f.trade_id, f.exchange_time)
        for f in world.disk.of(FillRow, user)
    )  # fmt: skip
    yield from (f"lost fill {fill}" for fill in (theirs - ours).elements())
    yield from (f"invented or doubled fill {fill}" for fill in (ours - theirs).elements())


def _orders(world: World, user: str, orders: tuple[Order, ...]) -> Iterator[str]:
    rows = {(row.symbol, row.order_id): row for row in world.disk.of(OrderRow, user)}
    by_hand = world.by_hand(user)
    for order in orders:
        row = rows.get((order.symbol, str(order.order_id)))
        if order.key in by_hand:
            if row is not None and row.pair_id is not None:
                yield f"foreign order {order.order_id} counted as of {row.pair_id}"
            if row is not None and (row.status, row.executed_quantity) != (order.status, order.cumulative):
                told = f"{row.status}, {row.executed_quantity} executed"
                yield f"foreign order {order.order_id} is {told}, at the exchange {order.status}, {order.cumulative}"
        elif row is None:
            yield f"order {order.order_id} ({order.side} {order.quantity} at {order.price}) is not known"
        elif row.pair_id is None:
            yield f"own order {order.order_id} counted as foreign"
        elif (row.executed_quantity, row.executed_quote) != (order.cumulative, order.cumulative_quote):
            told = f"{row.executed_quantity} for {row.executed_quote}"
            yield f"order {order.order_id} has {told}, the exchange {order.cumulative} for {order.cumulative_quote}"
        elif row.status != order.status and not (order.position == "OTO_PENDING" and not order.released):
            yield f"order {order.order_id} is {row.status}, at the exchange {order.status}"


def _pairs(world: World, user: str, fills: tuple[Fill, ...]) -> Iterator[str]:
    pair_of = {(row.symbol, row.order_id): row.pair_id for row in world.disk.of(OrderRow, user)}
    for pair in world.disk.of(PairRow, user):
        if pair.status != "closed":
            yield f"pair {pair.pair_id} is still {pair.status}"
            continue
        own = [f for f in fills if pair_of.get((f.symbol, str(f.order_id))) == pair.pair_id]
        bought = sum((f.quote for f in own if f.side == "BUY"), Decimal(0))
        sold = sum((f.quote for f in own if f.side == "SELL"), Decimal(0))
        fees = sum((f.commission for f in own if f.side == "SELL"), Decimal(0))
        if (pair.buy_quote, pair.sell_quote) != (bought, sold):
            yield f"pair {pair.pair_id}: {pair.buy_quote} bought, {pair.sell_quote} sold, not {bought}, {sold}"
        if pair.outcome in ("completed", "unwound") and pair.wear != bought - (sold - fees):
            yield f"pair {pair.pair_id}: wear {pair.wear}, not {bought - (sold - fees)}"


def _progress(world: World, user: str, fills: tuple[Fill, ...]) -> Iterator[str]:
    shown = world.life.daemon.snapshot(user) if world.life is not None else None
    if shown is None or shown.progress is None:
        return
    by_hand = world.by_hand(user)
    own = [f for f in fills if (f.symbol, f.order_id) not in by_hand and f.side == "BUY"]
    volume = sum((f.quote for f in own if date_of(f.time_ms) == shown.progress.day), Decimal(0))
    if shown.progress.volume != volume:
        yield f"progress shows {shown.progress.volume} bought on {shown.progress.day}, the exchange {volume}"
    points = sum((f.quote * world.listing.token_of(f.symbol).mul_point for f in own
                  if date_of(f.time_ms) == shown.progress.day), Decimal(0))  # fmt: skip
    if shown.progress.counted_volume != points:
        yield f"progress counts {shown.progress.counted_volume} for points, the exchange {points}"
    closed = [
        p for p in world.disk.of(PairRow, user) if p.status == "closed" and f"-{shown.progress.day}-" in p.pair_id
    ]
    wear = sum((p.wear for p in closed if p.wear is not None), Decimal(0))
    if shown.progress.wear != wear:
        yield f"progress shows wear {shown.progress.wear}, the pairs {wear}"


def _holdings(world: World, user: str) -> Iterator[str]:
    """What the user had from elsewhere is still there."""
    options = next(one for one in world.options.users if one.name == user)
    for asset, amount in world.holdings(options):
        left = balance_of(world.exchange, user, asset)
        if world.rules.commission_from_free:  # then the exchange itself takes it from what the user has (wire § 7.4)
            fills = world.exchange.audit(user).fills
            left += sum((fill.commission for fill in fills if fill.commission_asset == asset), Decimal(0))
        if left < amount:
            yield f"{amount - left} {asset} of the user's own holdings are gone"


def _conserved(world: World) -> Iterator[tuple[str, str | None]]:
    exchange = world.exchange
    sums: dict[str, Decimal] = {}
    for name in exchange.accounts():
        audit = exchange.audit(name)
        for assets in audit.wallets.wallets.values():
            for asset, (free, locked) in assets.items():
                sums[asset] = sums.get(asset, Decimal(0)) + free + locked
        for asset, amount in audit.incoming.items():
            sums[asset] = sums.get(asset, Decimal(0)) + amount
    ledger = exchange.ledger()
    for column, sign in (("fees", 1), ("external", 1), ("deposited", -1)):
        for asset, amount in ledger[column].items():
            sums[asset] = sums.get(asset, Decimal(0)) + sign * amount
    yield from ((f"money is not conserved: {amount} {asset}", None) for asset, amount in sums.items() if amount)


def _audited(world: World) -> Iterator[tuple[str, str | None]]:
    """Every pause and every end of one has an audit row of its own; who is removed takes his pauses along."""
    audit = world.disk.all(AuditRow)
    told = Counter((row.user, row.action, row.after if row.action == "pause" else row.before) for row in audit)
    removed = {(row.user, row.happened_at) for row in audit if row.action == "user.remove"}
    happened: Counter[tuple[str | None, str, str | None]] = Counter()
    for pause in world.disk.all(PauseRow):
        happened[pause.user, "pause", pause.reason] += 1
        if pause.ended_at is not None and (pause.user, pause.ended_at) not in removed:
            happened[pause.user, "resume", pause.reason] += 1
    for (user, what, reason), times in (happened - told).items():
        yield f"{times} times {what} of {reason} is not in the audit", user


def _no_more_than_needed(world: World) -> Iterator[tuple[str, str | None]]:
    """One trader for each user, a feed for each token in use: what was removed or changed leaves no actor behind."""
    if world.life is None:
        return
    families = {node.path: {child.path for child in node.children} for node in world.life.daemon.tree().children}
    configs = {row.user: row for row in sorted(world.disk.all(ConfigRow), key=lambda row: row.revision)}
    tokens = {msgspec.json.decode(configs[user].document)["token"] for user in world.names}
    for family, needed in (("traders", world.names), ("feeds", tokens)):
        if surplus := sorted(families[family] - {f"{family}/{name}" for name in needed}):
            yield f"nobody needs {', '.join(surplus)}", None
