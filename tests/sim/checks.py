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

from actors.domain.gate import AUTO_RESUME_MS
from actors.domain.trading import AUTO_RESUMABLE
from actors.messages import TraderRecord
from actors.paper.api import Request
from actors.rows import ConfigRow, FillRow, OrderRow, PairRow, PauseRow, Row, UserRow
from supervisor.lifecycle import Happened
from tests.sim.conduct import conduct
from tests.sim.rest import LIES
from tests.sim.world import Onlooker, World

AT_ONCE_S = 2.0
"""What somebody else writes about a user (CRASHED, a forced stop) may cross an intent on its way to the store."""

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
            meant = pair.status != "closed" and (pair.buy_price, pair.quantity, pair.sell_price) == asked
            if meant and (user, pair.pair_id) not in self._sent:
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
        self._removed: set[str] = set()  # their pauses end with them
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
                (self._removed.add if row.removed else self._removed.discard)(row.user)
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
            if 0 <= row.ended_at - row.since_at < AUTO_RESUME_MS and not self._world.options.process.steps_per_min:
                self._world.violate(f"{row.reason} ended by itself after {row.ended_at - row.since_at} ms", row.user)
        elif row.user not in self._removed and not self._world.resumed_at(row.user, row.ended_by or ""):
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
        *conduct(world),
    ]
    if all(fault.kind not in LIES for fault in world.options.faults):
        found.append(NothingContradicts(world))
    return [*found, NothingIsWrong(world)] if calm else found
