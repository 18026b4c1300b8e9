"""A trader's markets: what its tokens are, as the catalogue says, and the feed of the one it trades."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import trio

from actors import desk
from actors.domain.quotes import Quote
from actors.ports import FeedLink

if TYPE_CHECKING:
    from actors.trader import Trader


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

        A live pair keeps the feed it has: its guard knows the pair's orders, and it is told there that they are over.
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
        if market is None or self._symbol == market.instrument.symbol or (book.live and self.link is not None):
            return
        self._symbol = market.instrument.symbol
        self.link = trader.world.feeds.use(trader.world.user, market)
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
        """Wakes the loop with each quote; however many come meanwhile, it sees the newest."""
        seen = 0
        while self.link is link:
            seen = await link.quotes.changed(seen)
            self._trader.post(desk.Quoted(trio.current_time()))
            await trio.lowlevel.checkpoint()
