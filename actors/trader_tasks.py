"""What a trader does in the background: each task asks the world one thing and tells the loop how it ended.

So the trader is never deaf: pause, stop, fills and clock ticks are handled while a request is in the air (design § 3).
A task that dies with its incarnation leaves nothing behind: the next one looks at the exchange first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import trio

from actors.desk import (
    Acked,
    BalanceRead,
    Broken,
    PairNews,
    PermitFailed,
    Permitted,
    ReadFailed,
    Resolved,
    ResolveFailed,
    RowsRefused,
    SalePermitted,
    Surveyed,
    World,
)
from actors.domain import oto
from actors.domain.day import DAY_MS
from actors.domain.orders import OrderView
from actors.domain.pair import Pair, Plan
from actors.domain.proof import Instant
from actors.errors import AskFailed, ExchangeError, ProtocolChanged, StoreRefused, TokenError
from actors.exchange.orders import merge_orders
from actors.messages import OwnOrder, Permit, Resolve
from actors.ports import Address
from actors.rows import Row

PASSES_MAX = 4
"""Two passes of a look must agree (F29); an account that changes for so many passes is looked at again later."""

ANSWER_S = 5.0
"""An actor of ours answers within microseconds; one that does not within this is being restarted."""

Post = Callable[[object], None]


class Tasks:
    """post: hands a message to the trader's loop; now: this moment on both clocks."""

    def __init__(self, world: World, post: Post, now: Callable[[], Instant]) -> None:
        self._world = world
        self._post = post
        self._now = now
        self._rows: list[tuple[tuple[Row, ...], tuple[object, ...]]] = []
        self._more = trio.Event()
        self.unwritten_since: int | None = None  # mono_ms since when rows wait for the store
        self.decided_s = trio.current_time()  # when what led to the newest question for a permit was heard

    # -- requests that act

    async def place(self, pair: Pair) -> None:
        plan = pair.plan
        self._world.tally.quote_to_order_s.observe(trio.current_time() - self.decided_s)
        outcome = await self._world.exchange.place_oto(
            pair.rules.instrument, buy_price=plan.buy_price, sell_price=plan.sell_price, quantity=plan.quantity
        )
        self._post(PairNews(plan.pair_id, oto.PlaceEnded(outcome)))

    async def place_sale(self, pair: Pair, number: int) -> None:
        leg = pair.sales[number - 1].leg
        outcome = await self._world.exchange.place_limit(
            pair.rules.instrument, side="SELL", price=leg.price, quantity=leg.quantity
        )
        self._post(PairNews(pair.plan.pair_id, oto.SaleEnded(number, outcome)))

    async def cancel(self, pair: Pair, order_id: str) -> None:
        outcome = await self._world.exchange.cancel(pair.plan.symbol, order_id)
        self._post(PairNews(pair.plan.pair_id, oto.CancelEnded(order_id, outcome)))

    # -- reads

    async def survey(self, since_ms: int, *, thorough: bool) -> None:
        """One look at the account: open orders and history since then; thorough: two equal passes."""
        exchange, started = self._world.exchange, self._now()
        previous: tuple[OrderView, ...] | None = None
        try:
            for _ in range(PASSES_MAX):
                open_orders = await exchange.open_orders()
                end_ms = self._now().wall_ms + DAY_MS
                history = await exchange.history(start_ms=since_ms, end_ms=end_ms)
                views = merge_orders((*open_orders, *history))
                if not thorough or views == previous:
                    self._post(Surveyed(started, since_ms, views))
                    return
                previous = views
        except (ExchangeError, ProtocolChanged) as error:
            self._failed("look", error)
        else:
            text = f"no two equal passes in {PASSES_MAX}: the account keeps changing"
            self._post(ReadFailed("look", "unreadable", text, None))

    async def executions(self, pair: Pair, order_id: str) -> None:
        try:
            found = await self._world.exchange.executions(pair.plan.symbol, order_id)
        except (ExchangeError, ProtocolChanged) as error:
            self._post(PairNews(pair.plan.pair_id, oto.ExecutionsFailed(order_id, str(error))))
            self._failed("executions", error)
        else:
            self._post(PairNews(pair.plan.pair_id, oto.ExecutionsRead(order_id, found)))

    async def balance(self) -> None:
        asked = self._now().mono_ms
        try:
            balances = await self._world.exchange.wallets()
        except (ExchangeError, ProtocolChanged) as error:
            self._failed("balance", error)
        else:
            self._post(BalanceRead(balances, asked))

    def _failed(self, what: str, error: ExchangeError | ProtocolChanged) -> None:
        if isinstance(error, ProtocolChanged):
            self._post(Broken("PROTOCOL_CHANGED", str(error)))
            self._post(ReadFailed(what, "unreadable", str(error), None))
        else:
            self._post(ReadFailed(what, error.trouble, str(error), error.retry_after_s))

    async def resolve(self, token: str, *, tradable: bool) -> None:
        try:
            market = await self._world.tokens.ask(Resolve(token, tradable), within_s=30.0)
        except TokenError as error:
            self._post(ResolveFailed(token, str(error), final=True))
        except AskFailed as error:
            self._post(ResolveFailed(token, str(error), final=False))
        else:
            self._post(Resolved(token, market))

    # -- the self-trade guard

    async def permit(self, feed: Address, plan: Plan) -> None:
        orders = (OwnOrder("BUY", plan.buy_price), OwnOrder("SELL", plan.sell_price))
        question = Permit(self._world.user, plan.pair_id, orders)
        try:
            answer = await feed.ask(question, within_s=ANSWER_S)
        except AskFailed as error:
            self._post(PermitFailed(str(error), plan.pair_id))
        else:
            self._post(Permitted(plan, answer))

    async def permit_sale(self, feed: Address, pair_id: str, order: OwnOrder, priced: oto.Priced) -> None:
        try:
            answer = await feed.ask(Permit(self._world.user, pair_id, (order,)), within_s=ANSWER_S)
        except AskFailed as error:
            self._post(PermitFailed(str(error), pair_id))
        else:
            self._post(SalePermitted(pair_id, priced, answer))

    # -- rows

    def write(self, rows: Sequence[Row], then: tuple[object, ...] = ()) -> None:
        """Rows to make durable, in the order of the calls; then come back as Acked."""
        if not rows and not then:
            return
        self._rows.append((tuple(rows), then))
        if self.unwritten_since is None:
            self.unwritten_since = self._now().mono_ms
        self._more.set()

    @property
    def written(self) -> bool:
        return self.unwritten_since is None

    async def outbox(self) -> None:
        """Never returns. All that waits goes out together; a slow store makes this task wait, not the trader."""
        while True:
            await self._more.wait()
            self._more = trio.Event()
            batch, self._rows = self._rows, []
            try:
                await self._world.rows.write([row for rows, _ in batch for row in rows])
            except StoreRefused:
                await self._one_by_one(batch)
            else:
                self._post(Acked(tuple(what for _, then in batch for what in then)))
            self.unwritten_since = self._now().mono_ms if self._rows else None

    async def _one_by_one(self, batch: Iterable[tuple[tuple[Row, ...], tuple[object, ...]]]) -> None:
        """One of them is wrong: the others must not suffer for it, and what waits for it must never be told."""
        for rows, then in batch:
            try:
                await self._world.rows.write(rows)
            except StoreRefused as error:
                self._post(RowsRefused(str(error), then))
            else:
                self._post(Acked(then))
