"""A trader's markets: what its tokens are, as the catalogue says, and the feed of the one it trades."""

from __future__ import annotations

from functools import partial
from math import inf
from typing import TYPE_CHECKING

import trio

from actors import desk
from actors.domain import gate, unwind
from actors.domain.quotes import Quote
from actors.messages import Resting
from actors.ports import FeedLink
from actors.snapshots import resting

if TYPE_CHECKING:
    from actors.trader import Trader


CALM_S = 0.5
"""Between two quotes for a trader with nothing to decide: a pause that a quote calls for is due within seconds, and
nothing is placed before it (SC-009)."""


class Markets:
    """link: the feed of the user's token, None until that is known. down_mono: since when it shows no connection."""

    def __init__(self, trader: Trader) -> None:
        self._trader = trader
        self.link: FeedLink | None = None
        self.down_mono: int | None = None
        self._symbol: str | None = None
        self._asked: set[str] = set()

    def look_up(self) -> None:
        """Asks for what is needed and not known; joins the feed of the live pair's market, else of the user's token.

        A live pair keeps the feed of its token: that knows the pair's orders, and is told that they are over. (Not so
        the one of another token, which a ghost of the token before finds: it needs a price to be sold at.)
        """
        trader, book = self._trader, self._trader.book
        if not trader.outlook.retry_over():
            return
        for name, tradable in book.unresolved(trader.now().mono_ms):
            if name not in self._asked:
                self._asked.add(name)
                trader.spawn(partial(trader.tasks.resolve, name, tradable=tradable))
        if not book.live and not book.recovered:
            return  # whose market is to be joined is not known yet
        market = book.market if not book.live else book.market_of_live()
        if market is None or self._symbol in (market.instrument.symbol, *book.live_symbols()):
            return
        self._symbol = market.instrument.symbol
        self.link = trader.world.feeds.use(trader.world.user, market)
        # What an earlier incarnation was permitted and never began is over (F46).
        self.link.address.post(Resting(trader.world.user, resting(book)))
        trader.spawn(self._follow, self.link)

    def resolved(self, found: desk.Resolved) -> None:
        self._asked.discard(found.asked)
        self._trader.book.resolved(found.asked, found.market, self._trader.now().mono_ms)

    def failed(self, failed: desk.ResolveFailed) -> None:
        self._asked.discard(failed.asked)
        self._trader.outlook.retry_later()
        if failed.final:
            self._trader.book.pause("TOKEN_UNAVAILABLE", failed.text)

    def quote(self) -> Quote | None:
        """The newest, noting since when the feed has been without a connection."""
        quote = self.link.quotes.value if self.link is not None else None
        if quote is None or quote.connected:
            self.down_mono = None
        elif self.down_mono is None:
            self.down_mono = self._trader.now().mono_ms
        return quote

    async def _follow(self, link: FeedLink) -> None:
        """Wakes the loop with each quote that may lead to something; however many come, it sees the newest."""
        seen, told_s = 0, -inf
        while self.link is link:
            await link.quotes.changed(seen)
            due_s = told_s + self._calm_s()
            if self._trader.guard.blocked is None:
                if due_s > trio.current_time():
                    await trio.sleep_until(due_s)
            else:
                await self._until_same_again(link, due_s)
            seen, told_s = link.quotes.version, trio.current_time()
            self._trader.post(desk.Quoted(told_s))
            await trio.lowlevel.checkpoint()

    async def _until_same_again(self, link: FeedLink, due_s: float) -> None:
        """The same quote again: an order that stood in somebody's way is over (actors/feed.py)."""
        with trio.move_on_at(due_s):
            while True:
                shown = link.quotes.value
                await link.quotes.changed(link.quotes.version)
                if link.quotes.value == shown:
                    return

    def _calm_s(self) -> float:
        """A busy token has a dozen quotes a second, and most traders nothing to decide: whatever they do next looks at
        the newest one anyway. Who may place, or waits for a price to sell at, hears of each."""
        trader = self._trader
        mono_ms = trader.now().mono_ms
        if any(unwind.wants_price(state, mono_ms) for state in trader.book.live.values()):
            return 0.0
        return CALM_S if trader.busy() or trader.guard.blocked is not None or _rests(trader.decision) else 0.0


def _rests(decision: gate.Decision | None) -> bool:
    """No quote ends this: it is for an operator, the next day, or a time that the alarm knows."""
    if isinstance(decision, gate.Wait):
        return decision.wait in ("interval", "rate")
    return isinstance(decision, gate.Rest)
