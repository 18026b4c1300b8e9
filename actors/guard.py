"""A trader's side of the self-trade guard: what it asks the feed of its token, and how it waits when it is refused.

The feed holds the register of all own resting orders (domain/crossing.py); this asks it once per quote, before a pair
and before each sale that unwinds one, and brings unwinding pairs the fresh price that they wait for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from actors.domain import oto, unwind
from actors.domain.pair import Plan, accounts
from actors.domain.pricing import sale_price
from actors.messages import Blocked, Granted, Over, OwnOrder
from actors.ports import Address

if TYPE_CHECKING:
    from actors.trader import Trader

ASK_AGAIN_MS = 1_000
"""Below the guard's CLAIM_MS (domain/crossing.py): whoever asks more rarely loses its place in the queue."""


class Guard:
    """blocked: the order that stands in the way, None: nothing does, as far as was asked."""

    def __init__(self, trader: Trader) -> None:
        self._trader = trader
        self.blocked: Blocked | None = None
        self._asking = False
        self._asked_at: Address | None = None
        self._answered_mono = 0
        self._asked_version = 0

    def ask_for(self, plan: Plan) -> None:
        """May this pair be placed? The answer comes to the loop as desk.Permitted."""
        if self._may_ask():
            self._trader.tasks.decided_s = self._trader.turn_s
            self._ask(self._trader.tasks.permit, plan)

    def price_sales(self) -> None:
        """An unwinding pair that waits for a price gets it, if the price is fresh and its sale crosses nobody."""
        trader, now = self._trader, self._trader.now()
        quote = trader.markets.quote()
        if quote is None or not quote.connected or not self._may_ask():
            return
        if now.wall_ms - max(quote.trade_ms, quote.confirmed_ms) > trader.settings.price_age_s_max * 1000:
            return
        for pair_id, state in trader.book.live.items():
            if unwind.wants_price(state, now.mono_ms) and quote.symbol == oto.pair_of(state).plan.symbol:
                assert isinstance(state, oto.Unwinding), state
                pair = state.live.pair
                config, filters = pair.rules.config, pair.rules.instrument.filters
                price, _ = sale_price(quote.price, state.rung, config, accounts(pair).average_buy, filters)
                order = OwnOrder("SELL", price)
                self._ask(trader.tasks.permit_sale, pair_id, order, oto.Priced(quote.price))
                return

    def granted(self, answer: Granted | Blocked) -> bool:
        """Takes an answer. A blocked trader asks again with the next quote: the feed publishes one whenever an order
        that stood in somebody's way is over."""
        self._asking = False
        self.blocked = answer if isinstance(answer, Blocked) else None
        self._answered_mono = self._trader.now().mono_ms
        return self.blocked is None

    def failed(self, pair_id: str) -> None:
        """The feed gave no answer: it is being restarted. It may still find the question, and note what is asked."""
        self._asking = False
        self.withdraw(pair_id)

    def withdraw(self, pair_id: str) -> None:
        """What was permitted, or may yet be, is not placed: nobody is to wait for it."""
        if self._asked_at is not None:
            self._asked_at.post(Over(self._trader.world.user, pair_id))

    def over(self, pair_id: str) -> None:
        """No order of this pair can rest any more."""
        link = self._trader.markets.link
        if link is not None:
            link.address.post(Over(self._trader.world.user, pair_id))

    def _may_ask(self) -> bool:
        """Once per quote, and at the latest after ASK_AGAIN_MS."""
        link = self._trader.markets.link
        if link is None or self._asking:
            return False
        news = link.quotes.version > self._asked_version
        return self.blocked is None or news or self._trader.now().mono_ms - self._answered_mono >= ASK_AGAIN_MS

    def _ask(self, task: object, *args: object) -> None:
        link = self._trader.markets.link
        assert link is not None, "asked without a feed"
        self._asking, self._asked_at = True, link.address
        self._asked_version = link.quotes.version
        self._trader.spawn(task, link.address, *args)
