"""What a trader's decisions rest on at this moment, gathered from all its parts (domain/gate.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actors.domain import gate

if TYPE_CHECKING:
    from actors.trader import Trader


def facts_of(trader: Trader) -> gate.Facts:
    now = trader.now()
    quote = trader.markets.quote()
    return gate.Facts(
        user=trader.world.user,
        config=trader.book.config,
        wanted=trader.book.wanted,
        pauses=tuple(trader.book.pauses.values()),
        day=trader.book.day,
        market=trader.book.market,
        quote=quote,
        feed_down_mono=trader.markets.down_mono,
        now_ms=now.wall_ms,
        now_mono=now.mono_ms,
        started_mono=trader.started_mono,
        reconciled=trader.outlook.reconciled,
        stream_mono=trader.outlook.stream_mono,
        ever_streamed=trader.outlook.ever_streamed,
        closed_mono=trader.book.closed_mono,
        free=trader.purse.free,
        held=trader.purse.held,
        short_since_mono=trader.purse.short_since,
        throttled_until_mono=trader.outlook.throttled_until,
        skew_ms=trader.world.skew_ms(),
        store_down=trader.world.store_down(),
        price_age_max_ms=int(trader.settings.price_age_s_max * 1000),
        credit_lag_ms=int(trader.settings.credit_lag_s * 1000),
    )
