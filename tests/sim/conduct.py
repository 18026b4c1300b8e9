"""How the daemon behaves while the world runs: it looks before it acts, heeds what was configured, keeps its hands off
what is not its own, and shows nothing that is not so. Onlookers, as in checks.py."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import msgspec
import trio

from actors.domain.day import date_of
from actors.domain.trading import TradingConfig
from actors.paper.api import Request, Response
from actors.rows import AuditRow, ConfigRow, CredentialRow, FillRow, OrderRow, PairRow, PauseRow, RetractFill, UserRow
from supervisor.lifecycle import Happened
from tests.sim.world import Onlooker, World

OTO, CANCEL = "/oto-order/place", "/order/cancel"  # the ends of paths
OPEN_ORDERS, HISTORY, WALLETS = "/get-open-order", "/get-order-history-merge", "/get-wallet-asset"

HEEDED_S = 15.0
"""A configuration that was in force so short a time ago may still be what a pair was planned with."""

RENEWED_S = 75.0
"""Requests may be so long on their way; later ones carry the newest credentials."""

UNDER_WAY_S = 15.0
"""A placement that nobody waits for any more does not arrive later."""

FLOOR_SLACK = Decimal("0.5")
"""Percent: fills that come later move the average that a sale was priced with."""

READ_EVERY_S = 1.0

AMOUNT_SLACK = Decimal("1.2")
"""An amount below the exchange's minimum, or below what its steps allow, is raised to that."""


class LooksFirst(Onlooker):
    """Before a pair is begun its trader has heard the exchange in this life, and has read the balance since the last
    pair; before a pause is ended for an operator, the exchange was heard after he had asked."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._heard_s: dict[str, float] = {}
        self._removed: set[str] = set()  # their pauses end with them
        self._counted: set[str] = set()  # who has read the balance since the last pair
        self._begun: set[tuple[str, str]] = set()

    def happened(self, it: Happened) -> None:
        if it.what == "ready" and it.path.startswith("traders/"):
            user = it.path.removeprefix("traders/")
            self._heard_s.pop(user, None)
            self._counted.discard(user)

    def handled(self, request: Request, account: str | None, response: Response) -> None:
        if account is None or account not in self._world.names or response.status != 200:
            return
        if request.path.endswith(OPEN_ORDERS):
            self._heard_s[account] = trio.current_time()
        elif request.path.endswith(HISTORY):
            since_ms = int(request.query.get("startTime", "0"))
            self._world.looks[account].append((trio.current_time(), self._world.exchange.now_ms, since_ms))
        elif request.path.endswith(WALLETS):
            self._counted.add(account)

    def wrote(self, row: Any) -> None:
        if isinstance(row, UserRow):
            (self._removed.add if row.removed else self._removed.discard)(row.user)
        if isinstance(row, PauseRow) and row.ended_at is not None and row.user not in self._removed:
            self._ended(row)
        if not isinstance(row, PairRow) or (row.user, row.pair_id) in self._begun:
            return
        self._begun.add((row.user, row.pair_id))
        if row.user not in self._heard_s:
            self._world.violate(f"pair {row.pair_id} was begun before the exchange was heard", row.user)
        if row.user not in self._counted:
            self._world.violate(f"pair {row.pair_id} was begun before the balance was read", row.user)
        self._counted.discard(row.user)

    def _ended(self, row: PauseRow) -> None:
        asked_s = self._world.resumed_at(row.user, row.ended_by or "")
        if asked_s and self._heard_s.get(row.user, -1.0) < min(asked_s):
            self._world.violate(f"{row.reason} ended before the exchange was heard", row.user)


class HandsOff(Onlooker):
    """What the user has placed on the site is never cancelled (F37)."""

    def __init__(self, world: World) -> None:
        self._world = world

    def asked(self, request: Request, account: str | None) -> None:
        if account is None or account not in self._world.names or not request.path.endswith(CANCEL):
            return
        body = msgspec.json.decode(request.body)
        if (body["symbol"], int(body["orderId"])) in self._world.by_hand(account):
            self._world.violate(f"a foreign order is cancelled: {body}", account)


class HeedsConfiguration(Onlooker):
    """A pair is of the token, size and prices that are configured, comes after the interval, and not for a target that
    is reached. Judged by a pair's first row, with the rows that were durable by then."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._configs: dict[str, list[tuple[float, TradingConfig]]] = {name: [] for name in world.names}
        self._begun: set[tuple[str, str]] = set()
        self._closed: dict[str, PairRow] = {}

    def happened(self, it: Happened) -> None:
        if it.path.startswith("traders/") and it.what == "ready":
            self._closed.pop(it.path.removeprefix("traders/"), None)  # a new incarnation does not wait

    def wrote(self, row: Any) -> None:
        if isinstance(row, ConfigRow):
            config = msgspec.json.decode(row.document, type=TradingConfig)
            self._configs[row.user].append((trio.current_time(), config))
        elif isinstance(row, PairRow):
            if (row.user, row.pair_id) not in self._begun:
                self._begun.add((row.user, row.pair_id))
                self._judge(row)
            if row.status == "closed":
                self._closed[row.user] = row

    def _judge(self, pair: PairRow) -> None:
        wrong = [tuple(self._wrong(pair, config)) for config in self._in_force(pair.user)]
        if all(wrong):  # by every configuration that it may have been planned with
            self._world.violate(f"pair {pair.pair_id} {wrong[-1][0]}", pair.user)

    def _in_force(self, user: str) -> Iterator[TradingConfig]:
        configs = self._configs[user]
        for number, (_, config) in enumerate(configs, start=1):
            if number == len(configs) or configs[number][0] > trio.current_time() - HEEDED_S:
                yield config

    def _wrong(self, pair: PairRow, config: TradingConfig) -> Iterator[str]:
        world, amount = self._world, pair.buy_price * pair.quantity
        if pair.token != config.token:
            yield f"is of {pair.token}, configured is {config.token}"
            return
        if config.order_amount is not None and amount > max(config.order_amount, Decimal(10)) * AMOUNT_SLACK:
            yield f"is of {amount} USDT, configured are {config.order_amount}"
        filters = world.listing.by_symbol[pair.symbol].filters
        for price, offset in ((pair.buy_price, config.buy_offset), (pair.sell_price, config.sell_offset)):
            meant = pair.reference_price * (100 + offset) / 100
            if abs(price - meant) > 2 * filters.tick_size:
                yield f"is at {price}, configured is {offset} % from {pair.reference_price}"
        day = pair.pair_id.removeprefix(f"{pair.user}-").rsplit("-", 1)[0]
        fills = [f for f in world.disk.of(FillRow, pair.user) if f.side == "BUY" and date_of(f.exchange_time) == day]
        volume = sum((fill.quote_quantity for fill in fills), Decimal(0))
        if config.target_volume is not None and volume >= config.target_volume:
            yield f"was begun with {volume} bought, the target is {config.target_volume}"
        last = self._closed.get(pair.user)
        waited_ms = pair.intent_at - last.closed_at if last is not None and last.closed_at is not None else None
        steady = not world.options.process.steps_per_min
        if steady and waited_ms is not None and 0 <= waited_ms < config.interval_seconds * 1000 - 1:
            yield f"was begun {waited_ms} ms after the last one, configured are {config.interval_seconds} s"


class SalesKeepToTheFloor(Onlooker):
    """Unwinding never sells further below what was paid than the user allows."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._judged: set[tuple[str, str, int]] = set()
        self._floor = {user.name: user.trading.unwind_floor_percent for user in world.options.users}

    def wrote(self, row: Any) -> None:
        if not isinstance(row, PairRow) or row.sales == "[]":
            return
        for sale in msgspec.json.decode(row.sales):
            if (row.user, row.pair_id, sale["number"]) not in self._judged:
                self._judged.add((row.user, row.pair_id, sale["number"]))
                self._judge(row, Decimal(sale["price"]))

    def _judge(self, pair: PairRow, price: Decimal) -> None:
        fills = [f for f in self._world.disk.of(FillRow, pair.user) if (f.pair_id, f.side) == (pair.pair_id, "BUY")]
        bought = sum((fill.quantity for fill in fills), Decimal(0))
        paid = sum((fill.quote_quantity for fill in fills), Decimal(0))
        if bought and price < paid / bought * (100 - self._floor[pair.user] - FLOOR_SLACK) / 100:
            self._world.violate(f"pair {pair.pair_id} is sold at {price}, it was bought at {paid / bought}", pair.user)


class ForeignOrdersPause(Onlooker):
    """Once it is on record that somebody else has an open order in the user's token, no pair begins before a pause has
    said so (F37)."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._known: set[tuple[str, str, str]] = set()
        self._owed: dict[str, str] = {}
        self._symbols: dict[str, tuple[float, str]] = {}  # of the user's token, and since when
        self._paused: set[str] = set()

    def happened(self, it: Happened) -> None:
        if it.what == "ready":  # a new incarnation judges by its own look, which shows what is still open
            self._owed.pop(it.path.removeprefix("traders/"), None)

    def wrote(self, row: Any) -> None:
        match row:
            case ConfigRow():
                self._symbols[row.user] = trio.current_time(), self._symbol(msgspec.json.decode(row.document)["token"])
            case PauseRow(reason="EXTERNAL_ORDER"):
                (self._paused.discard if row.ended_at is not None else self._paused.add)(row.user)
                self._owed.pop(row.user, None)
            case UserRow(removed=True):
                self._owed.pop(row.user, None)
            case OrderRow(pair_id=None) if (row.user, row.symbol, row.order_id) not in self._known:
                self._known.add((row.user, row.symbol, row.order_id))
                since_s, symbol = self._symbols[row.user]
                settled = trio.current_time() > since_s + HEEDED_S
                if settled and row.symbol == symbol and row.status == "NEW" and row.user not in self._paused:
                    self._owed[row.user] = row.order_id
            case PairRow(status="placing") if row.user in self._owed:
                what = f"pair {row.pair_id} after foreign order {self._owed.pop(row.user)}, which has paused nobody"
                self._world.violate(what, row.user)
            case _:
                pass

    def _symbol(self, token: str) -> str:
        return next(f"{one.alpha_id}USDT" for one in self._world.listing.tokens if one.ticker == token)


class NobodyIsDeaf(Onlooker):
    """A pair is placed only by who would hear of its fills."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._read_s = 0.0
        self._heard_s: dict[str, float] = {}

    def moved(self) -> None:
        if trio.current_time() >= self._read_s + READ_EVERY_S and self._world.life is not None:
            self._read_s = trio.current_time()
            for user in self._world.names:
                shown = self._world.life.daemon.snapshot(user)
                if shown is not None and shown.stream_connected:
                    self._heard_s[user] = self._read_s

    def asked(self, request: Request, account: str | None) -> None:
        if account is None or account not in self._world.names or not request.path.endswith(OTO):
            return
        self._read_s = 0.0
        self.moved()
        if (deaf_s := trio.current_time() - self._heard_s.get(account, 0.0)) > UNDER_WAY_S:
            self._world.violate(f"a placement without an order stream for {deaf_s:.0f} s", account)


class NewestCredentials(Onlooker):
    """Once new credentials were accepted, requests carry them (F77), whoever restarts meanwhile."""

    def __init__(self, world: World) -> None:
        self._world = world

    def asked(self, request: Request, account: str | None) -> None:
        browser, since_s = self._world.browsers.get(account or "", (None, 0.0))
        carried = request.headers.get("x-browser")
        if browser is not None and carried != browser and trio.current_time() > since_s + RENEWED_S:
            self._world.violate(f"a request carries credentials {carried}, the newest are {browser}", account)


class ProgressIsSo(Onlooker):
    """Volume that is shown lies between what is durable and what the exchange has filled, at every read (§ 2.5)."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._read_s = 0.0
        self._seen: dict[str, object] = {}

    def moved(self) -> None:
        if trio.current_time() >= self._read_s + READ_EVERY_S and self._world.life is not None:
            self._read_s = trio.current_time()
            for user in self._world.names:
                shown = self._world.life.daemon.snapshot(user)
                if shown is not None and shown.progress is not None and shown is not self._seen.get(user):
                    self._seen[user] = shown
                    self._read(user, shown.progress.day, shown.progress.volume)

    def _read(self, user: str, day: str, volume: Decimal) -> None:
        rows = [row for row in self._world.disk.of(FillRow, user) if row.side == "BUY"]
        durable = sum((row.quote_quantity for row in rows if date_of(row.exchange_time) == day), Decimal(0))
        invented = any(row.source == "synthetic" for row in rows)  # dated by us, so near midnight of another day
        by_hand = self._world.by_hand(user)
        filled = sum(
            (
                fill.quote
                for fill in self._world.exchange.audit(user).fills
                if fill.side == "BUY"
                and (fill.symbol, fill.order_id) not in by_hand
                and (invented or date_of(fill.time_ms) == day)
            ),
            Decimal(0),
        )
        if not durable <= volume <= filled:
            self._world.violate(f"progress shows {volume}, durable are {durable}, filled {filled}", user)


class WishesAudited(Onlooker):
    """Who starts or stops a user is on record with it: the entry comes with the same rows."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._wanted: dict[str, str] = {}
        self._owed: dict[str, str] = {}

    def wrote(self, row: Any) -> None:
        user = getattr(row, "user", None)
        if isinstance(row, AuditRow):
            self._owed.pop(row.user or "", None)
        elif user in self._owed and not isinstance(row, ConfigRow | CredentialRow | PauseRow | RetractFill):
            self._world.violate(f"{self._owed.pop(user)} is not in the audit", user)
        if isinstance(row, UserRow):
            if self._wanted.get(row.user, row.wanted) != row.wanted:
                self._owed[row.user] = f"the wish for {row.wanted}"
            self._wanted[row.user] = row.wanted


def conduct(world: World) -> list[Onlooker]:
    return [
        LooksFirst(world),
        HandsOff(world),
        HeedsConfiguration(world),
        SalesKeepToTheFloor(world),
        ForeignOrdersPause(world),
        NobodyIsDeaf(world),
        NewestCredentials(world),
        ProgressIsSo(world),
        WishesAudited(world),
    ]
