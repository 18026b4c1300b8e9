"""The paper exchange and this room speak one language: a whole pair, from placing to the fills, through both."""

from __future__ import annotations

import random
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
import trio

from actors.adapters.exchange import PrivateGateway, PublicGateway
from actors.domain.orders import Accepted, NoAnswer, OrderReport, Refused
from actors.errors import ExchangeTrouble
from actors.exchange import news
from actors.exchange.stream import read_frame
from actors.exchange.subscribing import agg_trade_stream, book_ticker_stream, full_depth_stream, user_stream
from actors.paper.api import Request
from actors.paper.faults import Faults
from actors.paper.listing import demo_listing
from actors.paper.machine import Exchange
from actors.paper.rules import Rules
from actors.ports import HttpReply

D = Decimal
T0 = 1_795_176_000_000  # 2026-11-20T12:00:00Z


class Clock:
    def __init__(self) -> None:
        self.ms = T0

    def now_ms(self) -> int:
        return self.ms


class Direct:
    """Http without a network: each request is handled by the machine, a ms later than the one before."""

    def __init__(self, exchange: Exchange, clock: Clock, account: str | None = None) -> None:
        self.exchange, self.clock, self.account = exchange, clock, account

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        lane: str = "read",
    ) -> HttpReply:
        await trio.lowlevel.checkpoint()
        self.clock.ms += 1
        cookies = {} if self.account is None else {"paper_account": self.account}
        response = self.exchange.handle(
            Request(method=method, path=path, query=dict(query or {}), headers={}, cookies=cookies, body=body or b""),
            self.clock.ms,
        )
        headers = {name.lower(): value for name, value in response.headers}
        return HttpReply(status=response.status, headers=headers, body=response.body, elapsed_s=0.001)


class World:
    def __init__(self, **rules: Any) -> None:
        rng = random.Random(1)
        self.clock = Clock()
        self.exchange = Exchange(
            listing=demo_listing(), rules=Rules(**rules), faults=Faults(rng=rng), rng=rng, now_ms=T0
        )
        self.public = PublicGateway(Direct(self.exchange, self.clock))
        self.alice = PrivateGateway(Direct(self.exchange, self.clock, "alice"), self.clock)

    def pass_s(self, seconds: float) -> None:
        self.clock.ms += int(seconds * 1000)
        self.exchange.advance(self.clock.ms)

    def messages(self) -> list[Any]:
        return [read_frame(frame.payload) for frame in self.exchange.take_frames() if frame.payload]


@pytest.mark.parametrize(
    "rules",
    [
        {},
        {"oto_row_times": True, "history_total": True, "history_order": "oldest"},
        {"key_shape": "object", "alpha_bucket": "locked", "split_fill_share": 1.0},
        {"key_shape": "bare", "page_ids": "own", "trade_ids": "fill", "split_fill_share": 1.0},
    ],
)
async def test_a_pair_is_placed_filled_and_found_again(rules):
    world = World(**rules)
    koge = next(one for one in await world.public.instruments() if one.symbol == "ALPHA_22USDT")
    key = await world.alice.listen_key()
    assert world.exchange.subscribe(user_stream(key), public=False, now_ms=world.clock.ms)
    price = D(48)
    assert world.exchange.limit(koge.symbol, "SELL", price, D(100), world.clock.ms) is not None
    assert world.exchange.limit(koge.symbol, "BUY", price - 1, D(100), world.clock.ms) is not None

    outcome = await world.alice.place_oto(koge, buy_price=price, sell_price=price - 1, quantity=D("1.04"))
    assert isinstance(outcome, Accepted)
    working, pending = outcome.order_ids
    world.pass_s(30)

    reports = [message for message in world.messages() if isinstance(message, OrderReport)]
    assert {report.order_id for report in reports} == {working, pending}
    assert {report.position for report in reports} == {"working", "pending"}
    last = {report.order_id: report for report in reports}
    assert {last[working].status, last[pending].status} == {"FILLED"}

    assert await world.alice.open_orders() == ()
    views = {view.order_id: view for view in await world.alice.history(start_ms=T0, end_ms=world.clock.ms)}
    for order_id in (working, pending):
        fills = await world.alice.executions(koge.symbol, order_id)
        streamed = [report.execution for report in reports if report.order_id == order_id and report.execution]
        assert sum(fill.quantity for fill in fills) == last[order_id].cumulative == views[order_id].executed
        assert sum(fill.quote for fill in fills) == last[order_id].cumulative_quote == views[order_id].executed_quote
        assert sum(fill.commission for fill in fills) == sum(fill.commission for fill in streamed)
        assert views[order_id].created_ms is not None
        assert views[order_id].list_id == last[order_id].list_id
    assert sum(balance.total for balance in await world.alice.wallets() if balance.asset == "USDT") > 0
    assert await world.alice.user_volume() == last[working].cumulative_quote
    dust = {balance.asset: balance.free for balance in await world.alice.alpha_wallet()}
    assert 0 <= dust.get("ALPHA_22", D(0)) < koge.filters.step_size


async def test_a_resting_pair_stands_in_open_orders_until_it_is_cancelled():
    world = World()
    koge = next(one for one in await world.public.instruments() if one.symbol == "ALPHA_22USDT")
    outcome = await world.alice.place_oto(koge, buy_price=D(40), sell_price=D(50), quantity=D(1))
    assert isinstance(outcome, Accepted)
    world.pass_s(5)
    views = {view.order_id: view for view in await world.alice.open_orders()}
    assert outcome.order_ids[0] in views
    assert all(view.created_ms is not None for view in views.values()), "a held leg is dated by its partner"
    assert await world.alice.cancel(koge.symbol, outcome.order_ids[0]) == Accepted(())
    world.pass_s(5)
    assert await world.alice.open_orders() == ()
    again = await world.alice.cancel(koge.symbol, outcome.order_ids[0])
    assert isinstance(again, Refused)


@pytest.mark.parametrize("refusal_status", [200, 400])
async def test_what_the_filters_forbid_is_refused_by_known_codes(refusal_status):
    world = World(refusal_status=refusal_status)
    koge = next(one for one in await world.public.instruments() if one.symbol == "ALPHA_22USDT")
    too_small = await world.alice.place_limit(koge, side="BUY", price=D("0.01"), quantity=koge.filters.step_size)
    too_dear = await world.alice.place_limit(koge, side="BUY", price=D(48), quantity=D(20_000))
    assert isinstance(too_small, Refused)
    assert isinstance(too_dear, Refused)


@pytest.mark.parametrize("login_status", [200, 401])
async def test_without_a_cookie_the_session_is_lost(login_status):
    world = World(login_status=login_status)
    stranger = PrivateGateway(Direct(world.exchange, world.clock), world.clock)
    koge = next(one for one in await world.public.instruments() if one.symbol == "ALPHA_22USDT")
    outcome = await stranger.place_oto(koge, buy_price=D(40), sell_price=D(50), quantity=D(1))
    assert isinstance(outcome, NoAnswer)
    assert outcome.trouble == "session"
    with pytest.raises(ExchangeTrouble) as caught:
        await stranger.open_orders()
    assert caught.value.trouble == "session"


async def test_public_lists_and_streams_are_understood():
    world = World()
    symbol = "ALPHA_22USDT"
    assert "KOGE" in {token.name for token in await world.public.tokens()}
    assert world.public.unreadable == {"token list": ()}
    assert await world.public.fee_rate(symbol) == (D("0.0001"), D("0.0001"))
    for stream in (agg_trade_stream(symbol), book_ticker_stream(symbol), full_depth_stream(symbol)):
        assert world.exchange.subscribe(stream, public=True, now_ms=world.clock.ms)
    world.exchange.limit(symbol, "SELL", D(48), D(5), world.clock.ms)
    world.exchange.limit(symbol, "BUY", D(47), D(5), world.clock.ms)
    world.exchange.take(symbol, "BUY", D(1), D(48), world.clock.ms)
    world.pass_s(1)
    kinds = {type(message) for message in world.messages()}
    assert kinds == {news.AggTrade, news.Book, news.DepthUpdate}
    (trade, *_) = await world.public.trades(symbol)
    assert (trade.price, trade.quantity) == (D(48), D(1))
