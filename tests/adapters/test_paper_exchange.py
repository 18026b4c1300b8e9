"""The paper exchange as the daemon meets it: real machine, real server, our own gateways, over memory streams."""

from __future__ import annotations

import random
from decimal import Decimal

import msgspec
import pytest
import trio
import trio.testing
from trio_websocket import wrap_client_stream

from actors.adapters.clock import WallClock
from actors.adapters.exchange import PrivateGateway, PublicGateway
from actors.adapters.http import HttpSession
from actors.adapters.limits import Gate, Permits, Turnstile
from actors.adapters.paper import PaperServer
from actors.adapters.paper_journal import MemoryJournal
from actors.adapters.paper_sockets import PUBLIC_PATH, USER_PATH
from actors.domain.orders import Accepted, OrderReport
from actors.exchange.news import AggTrade
from actors.exchange.stream import read_frame
from actors.paper.faults import Faults
from actors.paper.listing import demo_listing
from actors.paper.machine import Exchange
from actors.paper.market import SyntheticMarket, Traded
from actors.paper.rules import Rules
from tests.adapters.wires import MemoryDialer

EPOCH_MS = 1_790_000_000_000
KOGE = "ALPHA_22USDT"


class House:
    """One life of the exchange; the journal is what the next one gets."""

    def __init__(self, nursery, journal, wall):
        self.nursery = nursery
        listing = demo_listing()
        rng = random.Random(5)
        self.exchange = Exchange.restore(
            journal.lines(), listing=listing, rules=Rules(), faults=Faults(rng=rng), rng=rng, now_ms=wall.now_ms()
        )
        price = self.exchange.last_price(KOGE) or listing.price(KOGE)
        koge = Traded(instrument=listing.by_symbol[KOGE], price=price, anchor=listing.price(KOGE))
        self.exchange.market = SyntheticMarket(3, [koge], self.exchange.now_ms)
        self.server = PaperServer(self.exchange, wall, journal)
        self.wall = wall
        nursery.start_soon(self.server.run_clock)

    def session(self, **cookies):
        permits = Permits(Turnstile(Gate(None)), Turnstile(Gate(None)))
        dialer = MemoryDialer(self.nursery, self.server.serve_http)
        return HttpSession("http://127.0.0.1:8701", dialer, permits, cookies=cookies, wall=self.wall)

    async def socket(self, path, *streams):
        ours, theirs = trio.testing.memory_stream_pair()
        self.nursery.start_soon(self.server.serve_ws, theirs)
        socket = await wrap_client_stream(self.nursery, ours, "x", path, message_queue_size=10_000)
        names = ",".join(f'"{name}"' for name in streams)
        await socket.send_message(f'{{"method":"SUBSCRIBE","params":[{names}],"id":1}}')
        assert await socket.get_message() == '{"result":null,"id":1}'
        return socket


@pytest.fixture
async def journal():
    return MemoryJournal()


async def cross(gateway, house):
    """An OTO that crosses the spread with both legs, as the demo's."""
    instrument = house.exchange.listing.by_symbol[KOGE]
    last = house.exchange.last_price(KOGE)
    tick = instrument.filters.tick_size
    return await gateway.place_oto(
        instrument,
        buy_price=(last * Decimal("1.003")).quantize(tick),
        sell_price=(last * Decimal("0.997")).quantize(tick),
        quantity=Decimal("1.0000"),
    )


async def test_pairs_trade_and_every_fill_is_told_once_at_its_time(nursery, autojump_clock, journal):
    house = House(nursery, journal, WallClock.virtual(EPOCH_MS))
    gateway = PrivateGateway(house.session(paper_account="alice"), house.wall)
    key = await gateway.listen_key()
    socket = await house.socket(USER_PATH, f"alpha@{key}")
    reports, lateness_ms = [], []
    filled, fills = trio.open_memory_channel(100)

    async def listen():
        while True:
            report = read_frame((await socket.get_message()).encode())
            assert isinstance(report, OrderReport)
            lateness_ms.append(house.wall.now_ms() - report.sent_ms)
            reports.append(report)
            if report.status == "FILLED":
                filled.send_nowait(report)

    nursery.start_soon(listen)
    for _ in range(5):
        assert isinstance(await cross(gateway, house), Accepted)
        await fills.receive()
        await fills.receive()
    assert set(lateness_ms) <= {0, 1, 2}
    told = sorted(report.execution.quantity for report in reports if report.execution)
    audit = house.exchange.audit("alice")
    assert told == sorted(fill.quantity for fill in audit.fills)
    assert {order.status for order in audit.orders} == {"FILLED"}
    assert house.exchange.max_live_pairs("alice") == 1
    assert await gateway.open_orders() == ()


async def test_the_market_is_seen_by_rest_and_by_stream_alike(nursery, autojump_clock, journal):
    house = House(nursery, journal, WallClock.virtual(EPOCH_MS))
    public = PublicGateway(house.session())
    socket = await house.socket(PUBLIC_PATH, "alpha_22usdt@aggTrade")
    streamed = []
    with trio.move_on_after(30):
        while True:
            message = read_frame((await socket.get_message()).encode())
            assert isinstance(message, AggTrade)
            streamed.append(message.trade)
    assert len(streamed) > 20
    by_id = {trade.agg_id: trade for trade in await public.trades(KOGE)}
    assert all(by_id[trade.agg_id] == trade for trade in streamed)
    assert [trade.agg_id for trade in streamed] == sorted(trade.agg_id for trade in streamed)


async def test_killed_and_restored_it_knows_every_order_and_goes_on(nursery, autojump_clock, journal):
    wall = WallClock.virtual(EPOCH_MS)
    async with trio.open_nursery() as life:
        house = House(life, journal, wall)
        gateway = PrivateGateway(house.session(paper_account="alice"), wall)
        instrument = house.exchange.listing.by_symbol[KOGE]
        far = {"buy_price": Decimal(40), "sell_price": Decimal(60), "quantity": Decimal(1)}
        assert isinstance(await gateway.place_oto(instrument, **far), Accepted)
        await cross(gateway, house)
        await trio.sleep(10)
        await cross(gateway, house)  # killed with this one in the air
        before = house.exchange.audit("alice")
        life.cancel_scope.cancel()
    house = House(nursery, journal, wall)
    after = house.exchange.audit("alice")
    assert msgspec.to_builtins(after) == msgspec.to_builtins(before)
    gateway = PrivateGateway(house.session(paper_account="alice"), wall)
    assert len(await gateway.open_orders()) >= 2
    await trio.sleep(30)
    audit = house.exchange.audit("alice")
    assert sorted({order.status for order in audit.orders}) == ["FILLED", "NEW", "PENDING"]
    assert isinstance(await cross(gateway, house), Accepted)


async def test_without_a_cookie_there_is_no_account(nursery, autojump_clock, journal):
    house = House(nursery, journal, WallClock.virtual(EPOCH_MS))
    reply = await house.session().request("POST", "/bapi/defi/v1/private/alpha-trade/get-listen-key", body=b"{}")
    assert b"100002001" in reply.body
