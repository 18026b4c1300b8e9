"""What people do while the daemon runs: operators at the control desk, users on the web site."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import msgspec
import trio

from actors.errors import OtodError, Refusal
from actors.messages import (
    CancelPair,
    PauseTrading,
    ResumeTrading,
    StartTrading,
    StopTrading,
    TraderSnapshot,
)
from actors.paper.api import Request
from supervisor.wiring import Daemon
from tests.sim.world import World

ANSWER_S = 15.0
BASE = "/bapi/asset/v1/private/alpha-trade"
HEALER = "healer"


class Hands:
    """Does one thing after the other, each with a deadline, whatever becomes of it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.rng = world.rng("hands")
        self._browsers = 0
        self._does: dict[str, Callable[[str], Awaitable[None]]] = {
            "start": self._start,
            "pause": self._pause,
            "resume": self._resume,
            "stop": self._stop,
            "stop_now": self._stop_now,
            "configure": self._configure,
            "credentials": self._credentials,
            "remove": self._remove,
            "cancel_pair": self._cancel_pair,
            "restart": self._restart,
            "force_stop": self._force_stop,
            "order_by_hand": self._order_by_hand,
            "cancel_by_hand": self._cancel_by_hand,
            "withdraw": self._withdraw,
            "kill_keys": self._kill_keys,
        }

    async def run(self) -> None:
        """Until cancelled."""
        hands = self.world.options.hands
        while hands.acts_per_min:
            await trio.sleep(self.rng.expovariate(hands.acts_per_min / 60))
            await self.act(self.rng.choice(hands.acts), self.rng.choice(self.world.names))

    async def act(self, what: str, user: str) -> None:
        life = self.world.life
        if life is None or not life.begun.is_set():
            return
        self.world.struck[f"hands.{what}"] += 1
        self.world.record.add("debug", "hands", {"do": what, "user": user})
        try:
            with trio.move_on_after(ANSWER_S):
                await self._does[what](user)
        except OtodError as no:
            self.world.record.add("debug", "hands_refused", {"do": what, "user": user, "why": str(no)})

    async def ask(self, user: str, question: object) -> TraderSnapshot | None:
        address = self._daemon().trader(user)
        return None if address is None else await address.ask(question, within_s=ANSWER_S)

    def _daemon(self) -> Daemon:
        """The one that lives now. Raises: Refusal: none does."""
        if self.world.life is None:
            raise Refusal("no daemon lives")
        return self.world.life.daemon

    # -- operators

    async def _start(self, user: str) -> None:
        await self.ask(user, StartTrading("op"))

    async def _pause(self, user: str) -> None:
        await self.ask(user, PauseTrading("op"))

    async def _resume(self, user: str) -> None:
        await self.resume(user, "op")

    async def resume(self, user: str, who: str) -> None:
        self.world.resumes.append((user, who, trio.current_time()))
        await self.ask(user, ResumeTrading(who))

    async def _stop(self, user: str) -> None:
        await self.ask(user, StopTrading("op"))

    async def _stop_now(self, user: str) -> None:
        await self.ask(user, StopTrading("op", now=True))

    async def _cancel_pair(self, user: str) -> None:
        shown = self._daemon().snapshot(user)
        if shown is not None and shown.pair is not None:
            await self.ask(user, CancelPair(shown.pair.pair_id, "op"))

    async def _configure(self, user: str) -> None:
        keys = {
            "order_amount": self.rng.choice(("11", "30", "100")),
            "interval_seconds": self.rng.choice(("1", "3")),
            "token": self.rng.choice(self.world.options.tokens),
        }
        await self._daemon().people.configure(user, keys, unset=("order_quantity",), force=True, who="op")

    async def _credentials(self, user: str) -> None:
        """The same account, in a browser that calls itself otherwise (F77)."""
        self._browsers += 1
        await self._apply(user, with_trading=False)

    async def _remove(self, user: str) -> None:
        """Takes a user out, with a live pair or without (F75), and lets him come back."""
        people = self._daemon().people
        self.world.commanded[f"traders/{user}"] += 1
        self.world.browsers[user] = None, trio.current_time()  # he may come back with the next life, as he began
        await people.remove(user, drain=self.rng.random() < 0.5, who="op")
        self.world.record.add("debug", "hands_removed", {"user": user})
        await trio.sleep(self.rng.uniform(0, 5))
        await self._apply(user, with_trading=True)

    async def _apply(self, user: str, *, with_trading: bool) -> None:
        secrets = {"cookies": {"paper_account": user}, "headers": {"x-browser": f"b{self._browsers}"}}
        table: dict[str, Any] = {"credentials": secrets}
        if with_trading:
            options = next(one for one in self.world.options.users if one.name == user)
            table["trading"] = {
                key: str(value) if isinstance(value, Decimal) else value
                for key, value in msgspec.structs.asdict(options.trading).items()
                if value is not None
            }
        self.world.browsers[user] = None, trio.current_time()  # either ones, as long as it is not known
        await self._daemon().people.apply({"users": {user: table}}, force=True, dry_run=False, who="op")
        self.world.browsers[user] = secrets["headers"]["x-browser"], trio.current_time()

    async def _restart(self, user: str) -> None:
        path = self.rng.choice((f"traders/{user}", "keeper", "tokens", "store"))
        self.world.commanded[path] += 1
        await self._daemon().restart(path)

    async def _force_stop(self, user: str) -> None:
        self.world.commanded[f"traders/{user}"] += 1
        await self._daemon().force_stop(user, "op")

    # -- users on the web site

    async def _order_by_hand(self, user: str) -> None:
        """A plain order of the user's own, at a price where it rests or fills."""
        await trio.lowlevel.checkpoint()
        exchange, listing = self.world.exchange, self.world.listing
        token = next(one.trading.token for one in self.world.options.users if one.name == user)
        base = next(row.alpha_id for row in listing.tokens if row.ticker == token)
        symbol = f"{base}USDT"
        instrument = listing.by_symbol[symbol]
        bid, _ = exchange.best(symbol)
        if bid is None:
            return
        tick, step = instrument.filters.tick_size, instrument.filters.step_size
        price = bid * Decimal(self.rng.choice(("0.98", "1.002"))) // tick * tick
        quantity = Decimal(12) / price // step * step
        body = {
            "baseAsset": base,
            "quoteAsset": "USDT",
            "side": "BUY",
            "price": f"{price:f}",
            "quantity": f"{quantity:f}",
            "orderType": "LIMIT",
            "paymentDetails": [{"amount": f"{_payment(price, quantity):f}", "paymentWalletType": "CARD"}],
        }
        self.request(user, "POST", f"{BASE}/order/place", body)

    def request(self, user: str, method: str, path: str, body: object) -> bytes:
        """Past the daemon, straight to the exchange."""
        request = Request(
            method=method,
            path=path,
            query={},
            headers={},
            cookies={"paper_account": user},
            body=msgspec.json.encode(body),
        )
        return self.world.exchange.handle(request, self.world.exchange.now_ms).body

    async def _cancel_by_hand(self, user: str) -> None:
        await trio.lowlevel.checkpoint()
        exchange = self.world.exchange
        standing = [order for order in exchange.audit(user).orders if not order.over]
        if standing:
            order = self.rng.choice(standing)
            exchange.end_order(order.symbol, order.order_id, exchange.now_ms)

    async def _withdraw(self, user: str) -> None:
        """Most of the money goes elsewhere for some seconds."""
        exchange = self.world.exchange
        free = exchange.audit(user).wallets.wallets["funding"]["USDT"][0]
        exchange.deposit(user, "funding", "USDT", -free, exchange.now_ms)
        try:
            await trio.sleep(self.rng.uniform(1, 12))
        finally:
            exchange = self.world.exchange
            exchange.deposit(user, "funding", "USDT", free, exchange.now_ms)

    async def _kill_keys(self, user: str) -> None:
        await trio.lowlevel.checkpoint()
        exchange = self.world.exchange
        exchange.kill_keys(user, exchange.now_ms, notice=self.rng.random() < 0.5)

    # -- whoever puts things right in the end

    async def heal(self, user: str) -> bool:
        """One attempt to get a user trading again; True if nothing stands in the way any more."""
        if self.world.life is None or not self.world.life.begun.is_set():
            return False
        shown = self._daemon().snapshot(user)
        try:
            if user not in self._daemon().users():
                await self._apply(user, with_trading=True)
            for path in self._parked():
                if path == f"traders/{user}" or not path.startswith("traders/"):
                    self.world.commanded[path] += 1
                    await self._daemon().restart(path)
            if shown is None:
                return False
            if shown.pauses:
                await self.resume(user, HEALER)
            if shown.wanted == "stopped":
                await self.ask(user, StartTrading(HEALER))
        except OtodError as no:
            self.world.record.add("debug", "heal_refused", {"user": user, "why": str(no)})
        return not shown.pauses and shown.wanted == "running"

    def _parked(self) -> list[str]:
        """Actors that died too often; an operator starts them again."""
        found, left = [], [self._daemon().tree()]
        while left:
            node = left.pop()
            left += node.children
            if node.state == "parked":
                found.append(node.path)
        return found


def _payment(price: Decimal, quantity: Decimal) -> Decimal:
    """Price times quantity, cut to eight decimals (wire § 5.3)."""
    return (price * quantity // Decimal("1e-8")) * Decimal("1e-8")
