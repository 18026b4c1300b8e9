"""F1 to F21: what the network does (../shared/reliability.md § 1). TLS (F20): tests/adapters/test_dialer.py."""

from __future__ import annotations

from decimal import Decimal as D

import pytest
import trio

from actors.paper.faults import Fault
from tests.faults.kit import (
    HTTP,
    PASSIVE,
    WS,
    Intents,
    cut,
    heal,
    resumes_and_trades,
    watched,
    wires,
    with_weather,
)
from tests.sim.menu import OTO
from tests.sim.stage import tell


@pytest.mark.parametrize("how", ["refused", "silent"])
def test_f1_f2_a_pair_whose_request_finds_no_connection_was_never_sent(how):
    async def script(stage):
        stage.world.onlookers.append(Intents(lambda row: row.number == 2 and cut(stage, HTTP, how)))
        await stage.paused("EXCHANGE_UNREACHABLE")
        assert stage.outcomes()[1] == "refused", "definitely not sent: no proof is needed"
        heal(stage)
        await resumes_and_trades(stage)

    tell(script, before=with_weather)


def test_f1_nobody_is_asked_in_a_hurry_while_the_exchange_cannot_be_reached():
    async def script(stage):
        await stage.phase("working")
        cut(stage, HTTP, "refused")
        dialed, began_s = [], trio.current_time()
        weather = stage.world.net.weather
        weather.dial = lambda port, machine: dialed.append(port) or weather.dials.get(port)
        await stage.paused("EXCHANGE_UNREACHABLE")
        await trio.sleep(60)
        assert len(dialed) < (trio.current_time() - began_s) / 1.5
        heal(stage)
        await stage.resume()

    tell(script, config=PASSIVE | {"timeout_seconds": D(30)}, before=with_weather)


@pytest.mark.parametrize(("whole", "outcome"), [(False, "absent"), (True, "completed")], ids=["a byte", "all of it"])
def test_f3_a_connection_that_breaks_while_the_request_is_sent_leaves_the_outcome_open(whole, outcome):
    async def script(stage):
        weather, sends = stage.world.net.weather, []

        def tear(wire, side, size):
            """The client sends head and body apart; after the last byte the exchange has all of it."""
            if wire.port != HTTP or side != "client":
                return None
            sends.append(size)
            if whole and len(sends) == 1:
                return None
            weather.tear = None
            return size if whole else 1

        stage.world.onlookers.append(Intents(lambda row: setattr(weather, "tear", tear) if row.number == 1 else None))
        await stage.phase("unresolved")
        await stage.pairs_closed(2)
        assert stage.outcomes()[0] == outcome

    # the stream must not tell before the look does
    tell(script, Fault(kind="drop_frame", stream="alpha@", times=2), before=with_weather)


def test_f8_no_order_leaves_between_the_loss_of_the_stream_and_the_resume():
    async def script(stage):
        await stage.pairs_closed(1)
        requests = watched(stage)
        for wire in wires(stage, WS):
            wire.end()
        await stage.paused("ORDERS_DISCONNECTED")
        lost_s = trio.current_time()
        await trio.sleep(60)
        assert [when for when in requests.placements() if when > lost_s] == []
        await resumes_and_trades(stage)

    tell(script)


def test_f9_a_stream_that_is_silently_dead_is_found_by_our_own_ping():
    async def script(stage):
        await stage.pairs_closed(1)
        held_s = trio.current_time()
        for wire in wires(stage, WS):
            wire.hold()
        await stage.paused("ORDERS_DISCONNECTED")
        assert trio.current_time() - held_s < 45, stage.pauses()  # stale_s is 30
        await stage.paused("FEED_DISCONNECTED")
        await resumes_and_trades(stage)

    tell(script)


def test_f10_a_stream_that_is_connected_and_tells_nothing_is_found_by_polling():
    async def script(stage):
        await stage.paused("ORDERS_DISCONNECTED")
        await stage.pairs_closed(1)
        stage.world.faults.clear()
        await resumes_and_trades(stage)

    tell(script, Fault(kind="drop_frame", stream="alpha@"))


def test_f11_a_handshake_that_is_never_answered_pauses_and_nothing_is_placed():
    async def script(stage):
        stage.world.net.weather.dials[WS] = "silent"
        await stage.paused("ORDERS_DISCONNECTED")
        assert stage.orders() == ()
        heal(stage)
        await stage.until(lambda: stage.shown().stream_connected)
        await resumes_and_trades(stage)

    def before(world):
        with_weather(world)
        world.net.weather.dials[WS] = "silent"

    tell(script, before=before)


def test_f14_old_reports_that_come_again_with_a_new_subscription_change_nothing():
    async def script(stage):
        for count in (1, 2, 3):
            await stage.pairs_closed(count)
            for wire in wires(stage, WS):
                wire.reset()
            await stage.paused("ORDERS_DISCONNECTED")
            await stage.until(lambda: stage.shown().stream_connected)
            await trio.sleep(5)
            assert set(stage.pauses()) <= {"ORDERS_DISCONNECTED", "FEED_DISCONNECTED"}
            await resumes_and_trades(stage)

    tell(script, rules={"replay_frames": 12})


def test_f16_the_users_of_a_lost_price_feed_pause_and_others_trade_on():
    async def script(stage):
        await stage.until(lambda: all(stage.outcomes(user) for user in ("alice", "bob")))
        lost = stage.world.faults.add(Fault(kind="disconnect", stream="alpha_22usdt@"))
        await stage.paused("FEED_DISCONNECTED")
        before = len(stage.outcomes("bob"))
        await stage.until(lambda: len(stage.outcomes("bob")) > before + 2)
        assert stage.pauses("bob") == []
        stage.world.faults.remove(lost)
        await trio.sleep(10)
        await resumes_and_trades(stage)

    tell(script, users=2, tokens=("KOGE", "LUMI"))


def test_f17_a_feed_that_is_connected_and_tells_no_trade_is_lost():
    async def script(stage):
        await stage.pairs_closed(1)
        mute = stage.world.faults.add(Fault(kind="drop_frame", stream="@aggTrade"))
        await stage.paused("FEED_DISCONNECTED", within_s=200)
        await stage.until(lambda: stage.shown().pair is None)
        pairs = len(stage.pairs())
        await trio.sleep(60)
        assert len(stage.pairs()) == pairs
        stage.world.faults.remove(mute)
        await trio.sleep(30)
        await resumes_and_trades(stage)

    tell(script)


def test_f18_latencies_of_seconds_double_nothing():
    async def script(stage):
        await stage.pairs_closed(1)
        requests = watched(stage)
        stage.world.net.weather.delays_s = (0.5, 2.5)
        await trio.sleep(90)
        heal(stage)
        assert requests.placements(), "it still trades, if slowly"
        await resumes_and_trades(stage)

    tell(script, before=with_weather, config={"volatility_threshold": D(50)})


def test_f19_users_whose_links_stall_one_by_one_pause_alone():
    async def script(stage):
        names = stage.world.names
        await stage.until(lambda: all(stage.outcomes(user) for user in names), within_s=300)
        told = []
        links = wires(stage, WS)
        stage.world.rng("clog").shuffle(links)
        for wire in links:
            before = {user: set(stage.pauses(user)) for user in names}
            wire.hold()
            await trio.sleep(40)
            wire.release()
            new = {user: set(stage.pauses(user)) - before[user] for user in names}
            told.append(sorted(user for user in names if "ORDERS_DISCONNECTED" in new[user]))
        await trio.sleep(20)
        assert sorted(told) == [[], ["alice"], ["bob"], ["carol"]], "three order streams and one feed"
        for user in names:
            await resumes_and_trades(stage, user)

    tell(script, users=3)


def test_f21_a_portal_that_answers_everything_is_believed_in_nothing():
    async def script(stage):
        await stage.pairs_closed(1)
        orders = len(stage.orders())
        portal = stage.world.faults.add(Fault(kind="html_body"))
        await stage.until(lambda: stage.pauses())
        await trio.sleep(60)
        assert len(stage.orders()) == orders, "no page is taken for an order"
        stage.world.faults.remove(portal)
        await stage.until(lambda: stage.shown().phase not in ("unresolved", "placing"), within_s=200)
        await resumes_and_trades(stage)

    tell(script)


@pytest.mark.parametrize("path", ["get-open-order", "order-history", "wallet-asset"])
def test_f6_f7_a_read_that_is_cut_off_is_thrown_away_and_asked_again(path):
    async def script(stage):
        await stage.pairs_closed(2)
        assert stage.outcomes()[:2] == ["completed"] * 2
        assert stage.world.faults.fired["truncated_body"] == 2

    tell(script, Fault(kind="truncated_body", path=path, times=2), Fault(kind="lost_reply", path=OTO, times=1))
