"""The feed of a token, over scripted sockets and a virtual clock."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from random import Random

import pytest
import trio

from actors import feed
from actors.domain.money import ZERO
from actors.errors import MailboxFull, NoReply, Refusal, StoreRefused
from actors.messages import Blocked, Granted, LoadTokens, Over, OwnOrder, Permit
from actors.ports import Stop
from supervisor.mailbox import Cell, Mailbox
from tests.actors.fakes import (
    EPOCH_MS,
    D,
    FakePublic,
    FakeSockets,
    ListEvents,
    ListLog,
    ListRows,
    VirtualWall,
    agg_trade_frame,
    book_frame,
    market,
    trade,
)


class World:
    """One feed and everything it talks to."""

    def __init__(self, nursery):
        self.nursery = nursery
        self.inbox = Mailbox("feeds/KOGE", capacity=64)
        self.quotes = Cell()
        self.snapshot = Cell()
        self.sockets = FakeSockets()
        self.public = FakePublic([trade(7, age_s=5, price="48")])
        self.rows = ListRows()
        self.log = ListLog()
        self.events = ListEvents()
        self.live_pairs = []
        self.wall = VirtualWall()

    async def start(self, nursery=None, **options):
        await (nursery or self.nursery).start(
            partial(
                feed.run,
                self.inbox,
                market=market(),
                quotes=self.quotes,
                snapshot=self.snapshot,
                sockets=self.sockets,
                url="ws://127.0.0.1:1/stream",
                public=self.public,
                rows=self.rows,
                refill=lambda: self.live_pairs,
                wall=self.wall,
                rng=Random(1),
                log=self.log,
                events=self.events,
                **options,
            )
        )

    async def connected(self):
        seen = 0
        while self.quote is None or not self.quote.connected:
            seen = await self.quotes.changed(seen)

    @property
    def quote(self):
        return self.quotes.value

    def tell_trade(self, agg_id, price="48", quantity="1"):
        self.sockets.last.tell(agg_trade_frame(agg_id, self.wall.now_ms(), price, quantity))

    async def settle(self):
        await trio.sleep(0.05)


@pytest.fixture
def world(nursery):
    return World(nursery)


class TestQuotes:
    async def test_subscribes_to_trades_and_best_prices_in_lower_case(self, world, autojump_clock):
        await world.start()
        await world.connected()
        assert world.sockets.last.sent == [
            {"method": "SUBSCRIBE", "params": ["alpha_22usdt@aggTrade", "alpha_22usdt@bookTicker"], "id": 1}
        ]

    async def test_the_price_at_connect_is_that_of_rest(self, world, autojump_clock):
        await world.start()
        await world.connected()
        assert (world.quote.price, world.quote.agg_id, world.quote.bid) == (48, 7, None)
        assert world.quote.confirmed_ms >= EPOCH_MS

    async def test_each_trade_makes_a_quote_at_once(self, world, autojump_clock):
        await world.start()
        await world.connected()
        seen = world.quotes.version
        world.tell_trade(8, "48.5")
        await world.quotes.changed(seen)
        assert (world.quote.price, world.quote.agg_id, world.quote.confirmed_ms) == (D("48.5"), 8, world.wall.now_ms())
        assert trio.current_time() < 0.1

    async def test_best_prices_make_a_quote_when_they_change(self, world, autojump_clock):
        await world.start()
        await world.connected()
        world.sockets.last.tell(book_frame(5, "47.9", "48.1"))
        await world.settle()
        assert (world.quote.bid, world.quote.ask) == (D("47.9"), D("48.1"))
        seen = world.quotes.version
        world.sockets.last.tell(book_frame(6, "47.9", "48.1"))  # quantities only
        world.sockets.last.tell(book_frame(4, "40", "41"))  # late
        await world.settle()
        assert world.quotes.version == seen

    @pytest.mark.parametrize(("bid", "ask"), [("48.2", "48.1"), ("0", "48.1")])
    async def test_crossed_or_empty_best_prices_are_left_out(self, world, autojump_clock, bid, ask):
        await world.start()
        await world.connected()
        world.sockets.last.tell(book_frame(5, bid, ask))
        await world.settle()
        assert (world.quote.bid, world.quote.ask) == (None, None)

    async def test_duplicates_and_late_trades_are_dropped(self, world, autojump_clock):
        await world.start()
        await world.connected()
        world.tell_trade(9, "49")
        world.tell_trade(9, "50")
        world.tell_trade(8, "51")
        await world.settle()
        assert world.quote.price == 49

    async def test_frames_of_others_are_counted_and_ignored(self, world, autojump_clock):
        await world.start()
        await world.connected()
        world.sockets.last.tell(agg_trade_frame(99, EPOCH_MS, "1", symbol="ALPHA_1USDT"))
        world.sockets.last.tell({"stream": "x@y", "data": {"e": "news"}})
        await trio.sleep(2)
        assert world.quote.price == 48
        assert world.snapshot.value.frames_ignored == 2

    async def test_a_token_that_never_traded_has_no_quote_until_it_does(self, world, autojump_clock):
        world.public.trades_known = []
        await world.start()
        await world.settle()
        assert world.quote is None
        assert world.snapshot.value.connected
        world.tell_trade(1, "3")
        await world.settle()
        assert world.quote.price == 3


class TestRange:
    async def test_the_last_minute_is_preloaded(self, world, autojump_clock):
        world.public.trades_known = [trade(1, 70, "30"), trade(2, 50, "48"), trade(3, 20, "50"), trade(4, 1, "49")]
        await world.start()
        await world.connected()
        assert D("4.16") < world.quote.range_percent < D("4.17")  # 48 … 50; the trade at 30 is too old
        assert (world.quote.price, world.quote.agg_id) == (49, 4)

    async def test_a_price_older_than_the_window_is_known_all_the_same(self, world, autojump_clock):
        world.public.trades_known = [trade(1, 7200, "30")]
        await world.start()
        await world.connected()
        assert (world.quote.price, world.quote.range_percent) == (30, 0)

    async def test_the_range_falls_without_a_trade(self, world, autojump_clock):
        world.public.trades_known = [trade(1, 50, "48"), trade(2, 20, "50"), trade(3, 1, "49")]
        await world.start()
        await world.connected()
        await trio.sleep(12)
        assert world.quote.range_percent == D("2.04081633")  # 49 … 50
        await trio.sleep(60)
        assert world.quote.range_percent == 0

    async def test_trades_of_the_stream_and_of_rest_are_joined_by_id(self, world, autojump_clock):
        world.public.delay_s = 5
        world.public.trades_known = [trade(1, 50, "48"), trade(3, 1, "50")]
        await world.start()
        await world.settle()
        world.tell_trade(3, "50")
        world.tell_trade(4, "47")
        await world.settle()
        assert world.quote is None  # nothing is published before the range is known
        await world.connected()
        assert (world.quote.price, world.snapshot.value.trades_seen) == (47, 3)
        assert world.quote.range_percent > 6

    async def test_a_busy_minute_is_read_page_by_page(self, world, autojump_clock):
        world.public.trades_known = [trade(i, 59.9 - i / 100, "40" if i == 5 else "48") for i in range(5500)]
        await world.start()
        await world.connected()
        assert world.quote.range_percent == 20
        assert [call[2]["start_ms"] is None for call in world.public.calls] == [True, False, False, False, False, False]

    async def test_if_rest_does_not_answer_for_a_minute_the_stream_will_do(self, world, autojump_clock):
        world.public.failures = [NoReply("time-out")] * 1000
        await world.start()
        await world.settle()
        world.tell_trade(8, "47")
        await trio.sleep(feed.GAP_S_MAX - 2)
        world.tell_trade(9, "48")
        assert world.quote is None
        await trio.sleep(3)
        assert world.quote.connected
        assert (world.quote.price, world.log.events().count("gap_unread")) == (48, 30)

    async def test_more_trades_than_can_wait_for_the_gap_end_the_line(self, world, autojump_clock, monkeypatch):
        monkeypatch.setattr(feed, "HELD_MAX", 3)
        world.public.delay_s = 20
        await world.start()
        await world.settle()
        for agg_id in range(10, 14):
            world.tell_trade(agg_id)
        await trio.sleep(2)
        assert len(world.sockets.opened) == 2


class TestConnection:
    async def test_a_broken_line_is_seen_at_once(self, world, autojump_clock):
        await world.start()
        await world.connected()
        world.sockets.last.tell(book_frame(5, "47.9", "48.1"))
        await world.settle()
        world.sockets.refuse = 10**6
        lost_ms = world.wall.now_ms()
        seen = world.quotes.version
        world.sockets.last.break_off()
        await world.quotes.changed(seen)
        assert not world.quote.connected
        assert (world.quote.disconnected_since_ms, world.wall.now_ms()) == (lost_ms, lost_ms)
        assert world.quote.bid is None
        assert not world.snapshot.value.connected
        assert ("stream", "feed_disconnected") in [(topic, kind) for topic, kind, _ in world.events.emitted]

    async def test_it_reconnects_and_reads_what_it_missed(self, world, autojump_clock):
        await world.start()
        await world.connected()
        world.tell_trade(8, "48")
        await world.settle()
        world.sockets.last.break_off()
        await world.settle()
        world.public.trades_known += [trade(8, -1, "48"), trade(9, -2, "52"), trade(10, -3, "50")]
        await world.connected()
        assert (world.quote.price, world.quote.agg_id) == (50, 10)
        assert world.quote.range_percent > 8
        assert trio.current_time() < 2
        assert world.snapshot.value.losses == 1

    async def test_delays_grow_are_bounded_and_jittered(self, world, autojump_clock):
        world.sockets.refuse = 12
        await world.start()
        await world.connected()
        at_s = world.sockets.attempts_s
        delays = [later - earlier for earlier, later in pairwise(at_s)]
        for number, delay in enumerate(delays):
            full_s = min(0.5 * 2**number, 30)
            assert full_s / 2 <= delay <= full_s
        assert len({round(delay / min(0.5 * 2**i, 30), 6) for i, delay in enumerate(delays)}) > 6
        assert world.log.events().count("feed_connect_failed") == 12

    async def test_a_line_that_keeps_breaking_is_not_hammered(self, world, autojump_clock):
        await world.start()
        for _ in range(8):
            await world.connected()
            seen = world.quotes.version
            world.sockets.last.break_off()
            await world.quotes.changed(seen)
        assert trio.current_time() > 20

    async def test_no_acknowledgement_is_a_failed_connect(self, world, autojump_clock):
        world.sockets.acknowledges = False
        await world.start()
        await trio.sleep(10.8)
        assert len(world.sockets.opened) == 2
        assert world.sockets.opened[0].closed
        assert world.quote is None

    async def test_a_frame_of_others_proves_nothing(self, world, autojump_clock):
        world.sockets.acknowledges = False
        await world.start()
        await world.settle()
        world.sockets.last.tell({"stream": "x@y", "data": {"e": "news"}})
        await world.settle()
        assert not world.snapshot.value.connected
        world.sockets.last.acknowledge()
        await world.connected()

    async def test_data_prove_the_subscription_too(self, world, autojump_clock):
        world.sockets.acknowledges = False
        await world.start()
        await world.settle()
        world.tell_trade(7, "48")
        await world.connected()
        assert world.quote.agg_id == 7

    @pytest.mark.parametrize(
        "frame",
        [
            b"{no json",
            {"stream": "alpha_22usdt@aggTrade", "data": {"e": "aggTrade", "s": "ALPHA_22USDT", "p": None}},
            {"error": {"code": 2, "msg": "unknown stream"}, "id": 1},
        ],
    )
    async def test_a_frame_that_cannot_be_read_or_a_refusal_ends_the_line(self, world, autojump_clock, frame):
        await world.start()
        await world.connected()
        world.sockets.last.tell(frame)
        await world.settle()
        assert not world.quote.connected
        await world.connected()
        assert len(world.sockets.opened) == 2

    async def test_errors_that_a_nursery_of_the_socket_wrapped_count_the_same(self, world, autojump_clock):
        world.sockets.grouped = True
        await world.start()
        await world.connected()
        world.sockets.last.break_off("gone")
        await world.settle()
        why = [fields["why"] for _, event, fields in world.log.lines if event == "feed_disconnected"]
        assert why == ["gone [fake]"]

    async def test_a_gap_that_is_not_read_when_the_line_breaks_again_is_forgotten(self, world, autojump_clock):
        world.public.delay_s = 1
        await world.start()
        await world.settle()
        world.sockets.last.break_off()
        await trio.sleep(0.7)
        assert len(world.sockets.opened) == 2
        await trio.sleep(0.6)
        assert world.quote is None  # the first read would have come back by now
        await world.connected()


class TestRotation:
    async def test_the_new_line_is_subscribed_before_the_old_one_closes_and_nobody_notices(self, world, autojump_clock):
        await world.start(rotate_s=3600)
        await world.connected()
        versions = []

        async def watch():
            seen = 0
            while True:
                seen = await world.quotes.changed(seen)
                versions.append(world.quote.connected)

        world.nursery.start_soon(watch)
        first = world.sockets.last
        while len(world.sockets.opened) == 1:
            assert not first.closed
            await trio.sleep(1)
        assert 0.9 * 3600 <= trio.current_time() <= 3601
        await trio.sleep(1)
        assert first.closed
        assert not world.sockets.last.closed
        assert all(versions)
        world.tell_trade(8, "49")
        await world.settle()
        assert world.quote.price == 49
        assert world.snapshot.value.losses == 0

    async def test_while_no_new_line_comes_up_the_old_one_goes_on(self, world, autojump_clock):
        await world.start(rotate_s=3600)
        await world.connected()
        world.sockets.refuse = 10**6
        first = world.sockets.last
        await trio.sleep(4000)
        first.tell(agg_trade_frame(8, world.wall.now_ms(), "49"))
        await world.settle()
        assert (world.quote.price, world.quote.connected) == (49, True)
        world.sockets.refuse = 0
        await trio.sleep(31)
        assert first.closed
        assert world.quote.connected

    async def test_the_exchange_announces_to_close_and_the_line_is_replaced(self, world, autojump_clock):
        await world.start()
        await world.connected()
        first = world.sockets.last
        first.tell({"stream": "", "data": {"e": "serverShutdown"}})
        await world.settle()
        assert first.closed
        assert len(world.sockets.opened) == 2
        assert world.quote.connected
        assert world.snapshot.value.losses == 0


class TestQuietMarket:
    async def test_rest_confirms_that_nothing_newer_exists_before_the_price_counts_as_old(self, world, autojump_clock):
        await world.start()
        await world.connected()
        for _ in range(600):
            await trio.sleep(1)
            assert world.wall.now_ms() - world.quote.confirmed_ms <= 60_000
        assert world.quote.agg_id == 7
        assert 10 <= world.public.count("trades") - 1 <= 13
        assert world.snapshot.value.confirmations == world.public.count("trades") - 1

    async def test_a_busy_market_asks_nobody(self, world, autojump_clock):
        await world.start()
        await world.connected()
        for agg_id in range(8, 68):
            await trio.sleep(10)
            world.tell_trade(agg_id)
        assert world.public.count("trades") == 1

    async def test_a_trade_that_the_stream_did_not_tell_means_that_it_is_mute(self, world, autojump_clock):
        await world.start()
        await world.connected()
        world.public.trades_known.append(trade(8, -20, "49"))
        await trio.sleep(51)
        assert world.log.events().count("feed_disconnected") == 1
        await world.connected()
        assert (world.quote.price, len(world.sockets.opened)) == (49, 2)

    async def test_a_trade_that_is_just_happening_is_only_taken_in(self, world, autojump_clock):
        await world.start()
        await world.connected()
        world.public.trades_known.append(trade(8, -49, "49"))
        await trio.sleep(51)
        assert (world.quote.price, len(world.sockets.opened)) == (49, 1)

    async def test_without_an_answer_the_price_grows_old_and_it_asks_again_at_a_modest_pace(
        self, world, autojump_clock
    ):
        await world.start()
        await world.connected()
        world.public.failures = [NoReply("time-out")] * 1000
        confirmed_ms = world.quote.confirmed_ms
        await trio.sleep(200)
        assert world.quote.confirmed_ms == confirmed_ms
        assert 10 <= world.public.count("trades") <= 17
        world.public.failures = []
        await trio.sleep(12)
        assert world.wall.now_ms() - world.quote.confirmed_ms <= 12_000

    async def test_an_answer_that_comes_after_the_line_broke_confirms_nothing(self, world, autojump_clock):
        await world.start()
        await world.connected()
        world.public.delay_s = 5
        confirmed_ms = world.quote.confirmed_ms
        await trio.sleep(52)
        world.sockets.refuse = 10**6
        world.sockets.last.break_off()
        await trio.sleep(10)
        assert world.quote.confirmed_ms == confirmed_ms


def orders(buy="48.1", sell="47.9"):
    return (OwnOrder("BUY", D(buy)), OwnOrder("SELL", D(sell)))


class TestPermits:
    async def test_are_granted_or_blocked_in_the_order_of_asking(self, world, autojump_clock):
        await world.start()
        assert await world.inbox.ask(Permit("alice", "a-1", orders())) == Granted()
        assert await world.inbox.ask(Permit("bob", "b-1", orders())) == Blocked("alice", "a-1", D("48.1"))
        assert world.snapshot.value.register == (
            ("alice", "a-1", "BUY", D("48.1")),
            ("alice", "a-1", "SELL", D("47.9")),
        )
        assert world.snapshot.value.waiting == 1
        world.inbox.post(Over("alice", "a-1"))
        assert await world.inbox.ask(Permit("bob", "b-1", orders())) == Granted()

    async def test_who_is_blocked_is_woken_when_the_way_may_be_free(self, world, autojump_clock):
        await world.start()
        await world.connected()
        await world.inbox.ask(Permit("alice", "a-1", orders()))
        await world.inbox.ask(Permit("bob", "b-1", orders()))
        seen = world.quotes.version
        world.inbox.post(Over("alice", "a-1"))
        await world.settle()
        assert world.quotes.version == seen + 1

    async def test_are_answered_while_the_network_is_down(self, world, autojump_clock):
        world.sockets.refuse = 10**6
        await world.start()
        assert await world.inbox.ask(Permit("alice", "a-1", orders()), within_s=0.1) == Granted()

    async def test_a_new_incarnation_knows_the_live_pairs(self, world, autojump_clock):
        world.live_pairs = [("alice", "a-1", orders()), ("bob", "b-1", ())]
        await world.start()
        assert (await world.inbox.ask(Permit("carol", "c-1", orders()))).by == "alice"

    async def test_other_questions_are_refused_and_other_news_is_noted(self, world, autojump_clock):
        await world.start()
        with pytest.raises(Refusal):
            await world.inbox.ask(LoadTokens())
        world.inbox.post("hello")
        await world.settle()
        assert "message_ignored" in world.log.events()


class TestIncarnations:
    async def test_a_restart_withholds_but_is_no_disconnect(self, world, autojump_clock):
        async with trio.open_nursery() as first:
            await world.start(first)
            await world.connected()
            first.cancel_scope.cancel()
        assert (world.quote.connected, world.quote.disconnected_since_ms) == (False, None)
        assert not world.snapshot.value.connected
        world.public.trades_known = []
        world.sockets.refuse = 3
        await world.start()
        assert (world.quote.connected, world.quote.disconnected_since_ms) == (False, None)
        await world.connected()
        assert (world.quote.price, world.quote.agg_id) == (48, 7)  # still the only price known

    async def test_a_restart_that_takes_too_long_is_a_disconnect(self, world, autojump_clock):
        async with trio.open_nursery() as first:
            await world.start(first)
            await world.connected()
            first.cancel_scope.cancel()
        world.sockets.refuse = 10**6
        await world.start()
        await trio.sleep(9.9)
        assert world.quote.disconnected_since_ms is None
        await trio.sleep(1.2)
        assert world.quote.disconnected_since_ms is not None
        assert not world.quote.connected

    async def test_nobody_is_told_of_a_disconnect_when_the_incarnation_ends(self, world, autojump_clock):
        shown = []

        async def watch():
            seen = 0
            while True:
                seen = await world.quotes.changed(seen)
                shown.append((world.quote.connected, world.quote.disconnected_since_ms))

        world.nursery.start_soon(watch)
        async with trio.open_nursery() as first:
            await world.start(first)
            await world.connected()
            first.cancel_scope.cancel()
        await world.settle()
        assert {since for _, since in shown} == {None}
        assert "feed_disconnected" not in world.log.events()

    async def test_it_returns_when_asked_to_stop(self, world, autojump_clock):
        with trio.fail_after(1):
            async with trio.open_nursery() as first:
                await world.start(first)
                await world.connected()
                world.inbox.post(Stop())
        assert world.sockets.last.closed

    async def test_an_overflown_mailbox_ends_it(self, world, autojump_clock):
        with pytest.RaisesGroup(MailboxFull, flatten_subgroups=True):
            async with trio.open_nursery() as first:
                await world.start(first)
                for number in range(100):
                    world.inbox.post(Over("alice", f"a-{number}"))


class TestBars:
    async def test_each_second_with_trades_becomes_a_row(self, world, autojump_clock):
        await world.start()
        await world.connected()
        await trio.sleep(10 - trio.current_time())
        for agg_id, price in ((8, "48"), (9, "50"), (10, "49")):
            world.tell_trade(agg_id, price, "0.5")
        await trio.sleep(3)
        bar = world.rows.written[-1]
        assert (bar.token, bar.second, bar.trades) == ("KOGE", EPOCH_MS + 10_000, 3)
        assert (bar.open, bar.high, bar.low, bar.close, bar.quote_quantity) == (48, 50, 48, 49, D("73.5"))

    async def test_the_preloaded_minute_fills_a_hole(self, world, autojump_clock):
        world.public.trades_known = [trade(1, 61, "30"), trade(2, 55, "48"), trade(3, 54.5, "50"), trade(4, 1, "49")]
        await world.start()
        await world.connected()
        await trio.sleep(3)
        assert [(bar.second - EPOCH_MS) // 1000 for bar in world.rows.written] == [-55, -1]

    async def test_a_slow_store_costs_bars_never_quotes(self, world, autojump_clock, monkeypatch):
        monkeypatch.setattr(feed, "BARS_WAITING_MAX", 5)
        world.rows.works = trio.Event()
        await world.start()
        await world.connected()
        for agg_id in range(8, 38):
            world.tell_trade(agg_id, str(agg_id))
            await trio.sleep(1)
        assert world.quote.price == 37
        assert world.snapshot.value.bars_dropped > 10
        world.rows.works.set()
        await trio.sleep(3)
        assert 5 <= len(world.rows.written) <= 8
        assert len(world.rows.writes) < len(world.rows.written)  # what waited went together

    async def test_bars_that_the_store_refuses_are_counted(self, world, autojump_clock):
        world.rows.failures = [StoreRefused("no")]
        await world.start()
        await world.connected()
        world.tell_trade(8)
        await trio.sleep(4)
        world.tell_trade(9)
        await trio.sleep(4)
        assert world.snapshot.value.bars_dropped >= 1
        assert world.rows.written
        assert "bars_refused" in world.log.events()


async def test_a_quote_of_nothing_has_no_range(world, autojump_clock):
    await world.start()
    await world.connected()
    assert world.quote.range_percent == ZERO
