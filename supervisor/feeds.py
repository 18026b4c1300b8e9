"""Feeds by use: one child per token that somebody trades, started with its first user and ended after its last.

The last quote and what a feed shows of itself belong to this place, so a restarted feed or trader is connected again at
once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from random import Random
from typing import Any

import trio

from actors import desk, feed
from actors.domain.instrument import Market
from actors.domain.quotes import Quote
from actors.messages import FeedSnapshot, OwnOrder, Resting, TraderSnapshot
from actors.ports import Address, FeedLink
from actors.rows import PairRow
from actors.snapshots import orders_of_row
from actors.store import StoreRows
from supervisor.mailbox import Cell
from supervisor.outfit import Outside
from supervisor.spec import NAME, ChildSpec
from supervisor.tree import Tree

FEED_LINGER_S = 60.0
"""A feed that nobody uses any more is kept so long: a user who changes back and forth costs no reconnect."""

FEED_CAPACITY = 8192
"""Permits and ends of all traders of a token: 1,000 users at once and their last pairs' ends, several times."""

PROGRESS_S_MAX = 30.0
"""A feed whose loop has not come round for so long is stuck: each turn of it takes milliseconds."""


class FeedsByUse:
    """The Feeds of actors/ports.py. nursery: set before the first use. snapshots: of all traders."""

    nursery: trio.Nursery

    def __init__(
        self,
        tree: Tree,
        outside: Outside,
        settings: desk.Settings,
        *,
        ws_public: str,
        store: Address,
        kept: Mapping[str, Any],
        own_rng: Callable[[str], Random],
        snapshots: Callable[[], Iterable[TraderSnapshot]],
    ) -> None:
        self._tree, self._outside, self._settings, self._ws_public = tree, outside, settings, ws_public
        self._store, self._kept, self._own_rng, self._snapshots = store, kept, own_rng, snapshots
        self._quotes: dict[str, Cell[Quote]] = {}  # by symbol, like the next
        self._feeds: dict[str, Cell[FeedSnapshot]] = {}
        self._feed_names: dict[str, str] = {}  # symbol → name of its feed
        self._markets: dict[str, Market] = {}
        self._uses: dict[str, str] = {}  # user → symbol
        self._found: dict[str, tuple[PairRow, ...]] = {}

    def found(self, open_pairs: Mapping[str, tuple[PairRow, ...]]) -> None:
        """What an earlier process left open, by user: their orders count before their traders say so."""
        self._found = dict(open_pairs)

    def reconfigure(self, settings: desk.Settings, kept: Mapping[str, Any]) -> None:
        """From the next incarnation of every feed on."""
        self._settings, self._kept = settings, kept
        for symbol, name in self._feed_names.items():
            self._tree.respec("feeds", self._feed_spec(name, self._markets[symbol]))

    def use(self, user: str, market: Market) -> FeedLink:
        symbol = market.instrument.symbol
        before = self._uses.get(user)
        self._uses[user] = symbol
        if symbol not in self._feed_names:
            token = market.token.name
            taken = token in self._feed_names.values() or not NAME.fullmatch(token)
            name = market.token.alpha_id if taken else token
            self._feed_names[symbol] = name
            self._markets[symbol] = market
            self._quotes[symbol] = Cell()
            self._feeds[symbol] = Cell()
            self._tree.put("feeds", self._feed_spec(name, market))
        if before is not None and before != symbol:
            self.nursery.start_soon(self._retire, before)
        address = self._tree.mailbox(f"feeds/{self._feed_names[symbol]}")
        return FeedLink(self._quotes[symbol], address)

    def release(self, user: str) -> None:
        symbol = self._uses.pop(user, None)
        if symbol is not None:
            if symbol in self._feed_names:  # only a user without a live pair is let go
                self._tree.mailbox(f"feeds/{self._feed_names[symbol]}").post(Resting(user, ()))
            self.nursery.start_soon(self._retire, symbol)

    async def _retire(self, symbol: str) -> None:
        await trio.sleep(FEED_LINGER_S)
        if symbol not in self._uses.values() and symbol in self._feed_names:
            name = self._feed_names.pop(symbol)
            del self._quotes[symbol], self._feeds[symbol], self._markets[symbol]
            await self._tree.remove(f"feeds/{name}")

    def _feed_spec(self, name: str, market: Market) -> ChildSpec:
        symbol = market.instrument.symbol
        outside = self._outside
        return ChildSpec(
            name=name,
            start=partial(
                feed.run,
                market=market,
                quotes=self._quotes[symbol],
                snapshot=self._feeds[symbol],
                sockets=outside.sockets,
                url=self._ws_public,
                public=outside.sessions.public,
                rows=StoreRows(self._store),
                refill=partial(self._resting, symbol),
                wall=outside.wall,
                rng=self._own_rng(f"feeds/{name}"),
                log=outside.log.bind(child=f"feeds/{name}", symbol=symbol),
                events=outside.bus,
                stale_s=self._settings.stale_s,
                price_age_s=self._settings.price_age_s_max,
                rotate_s=self._settings.rotate_s,
                tally=outside.tally,
            ),
            capacity=FEED_CAPACITY,
            progress_s_max=PROGRESS_S_MAX * self._outside.rate,
            **self._kept,
        )

    def _resting(self, symbol: str) -> Iterable[tuple[str, str, Sequence[OwnOrder]]]:
        """Own orders of a symbol, for the register of a feed that starts: as the traders' snapshots show them, and as
        the rows say where a trader has not shown anything yet."""
        known = {shown.user: shown for shown in self._snapshots()}
        for shown in known.values():
            for pair in shown.own_orders:
                if pair.symbol == symbol:
                    yield shown.user, pair.pair_id, pair.orders
        for user, rows in self._found.items():
            for row in rows if user not in known else ():
                if row.symbol == symbol:
                    yield user, row.pair_id, orders_of_row(row)

    def shown(self, token: str) -> tuple[FeedSnapshot | None, Quote | None]:
        """By short name, alphaId or symbol, as far as somebody uses it. A short name in another case means the same,
        where it is that of one token only."""
        found: list[str] = []
        for symbol, cell in self._feeds.items():
            shown = cell.value
            if shown is None:
                continue
            if token in (shown.market.token.name, shown.market.token.alpha_id, symbol):
                return shown, self._quotes[symbol].value
            if shown.market.token.name.casefold() == token.casefold():
                found.append(symbol)
        return (self._feeds[found[0]].value, self._quotes[found[0]].value) if len(found) == 1 else (None, None)

    def all_shown(self) -> dict[str, tuple[FeedSnapshot | None, Quote | None]]:
        """By the feed's name."""
        return {
            name: (self._feeds[symbol].value, self._quotes[symbol].value) for symbol, name in self._feed_names.items()
        }
