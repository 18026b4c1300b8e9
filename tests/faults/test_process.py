"""F46 to F58: what befalls actors and the process (../shared/reliability.md § 1).

Elsewhere: F51, F52 tests/supervisor (liveness, stop); F56 tests/supervisor/test_mailbox.py; F57 tests/adapters
(test_duck_files.py); SIGKILL and SIGSTOP of real processes tests/system/test_two_processes.py.
"""

from __future__ import annotations

from decimal import Decimal as D

import pytest
import trio

from actors.errors import AskFailed, Refusal
from actors.paper.faults import Fault
from tests.faults.kit import PASSIVE, Intents, Mood, crash, phase_of, resumes_and_trades, watched
from tests.sim.menu import OTO
from tests.sim.stage import tell
from tests.sim.world import Onlooker


class Births(Onlooker):
    """How often each child has been started."""

    def __init__(self):
        self.of = {}

    def happened(self, it):
        if it.what == "started":
            self.of[it.path] = self.of.get(it.path, 0) + 1


def test_f46_a_trader_that_raises_is_restarted_alone():
    async def script(stage):
        await stage.until(lambda: all(stage.outcomes(user) for user in stage.world.names))
        births = Births()
        stage.world.onlookers.append(births)
        await stage.until(lambda: phase_of(stage) in ("working", "selling"))
        stage.crash("traders/alice")
        await stage.until(lambda: births.of.get("traders/alice") == 1)
        await resumes_and_trades(stage)
        assert births.of == {"traders/alice": 1}

    tell(script, users=2)


def test_f47_a_trader_that_dies_again_and_again_is_given_up_and_its_pair_is_followed_all_the_same():
    async def script(stage):
        await stage.until(lambda: phase_of(stage) == "working" and stage.outcomes("bob"))
        while "CRASHED" not in stage.pauses():
            crash(stage, "traders/alice")
            await trio.sleep(0.3)
        assert stage.live_orders(), "its pair rests at the exchange"
        closed = len(stage.outcomes("bob"))
        await stage.until(lambda: stage.outcomes() == ["cancelled"], within_s=400)
        assert len(stage.outcomes("bob")) > closed
        assert stage.pauses("bob") == []
        await trio.sleep(30)
        assert len(stage.pairs()) == 1, "nothing new is opened"
        stage.world.commanded["traders/alice"] += 1
        await stage.world.daemon.restart("traders/alice")
        with trio.fail_after(60):
            while stage.pauses():
                try:
                    await stage.resume()
                except (AskFailed, Refusal):
                    await trio.sleep(1)
        await stage.pairs_closed(2, within_s=300)

    config = PASSIVE | {"timeout_seconds": D(20)}
    tell(script, users=2, each=(config, {}))


def test_f48_nothing_is_placed_while_the_store_is_down():
    async def script(stage):
        await stage.pairs_closed(1)
        requests = watched(stage)
        crashed_s = trio.current_time()
        stage.crash("store")
        await stage.until(lambda: "store" in stage.world.daemon.running())
        assert [when for when in requests.placements() if when > crashed_s] == []
        await stage.pairs_closed(3)

    tell(script)


def test_f48_a_store_that_cannot_be_kept_alive_ends_the_process():
    async def script(stage):
        await stage.pairs_closed(1)
        life = stage.world.life
        while not life.ended.is_set():
            crash(stage, "store")
            await trio.sleep(0.2)
        assert life.error is not None, "the process ends with an error, and systemd starts it again"
        await stage.world.start_daemon()
        await resumes_and_trades(stage)

    tell(script, allowed_deaths=("ChildExhausted",))


@pytest.mark.parametrize("path", ["feeds/KOGE", "keeper", "tokens"])
def test_f49_f50_an_actor_that_is_back_at_once_pauses_nobody(path):
    async def script(stage):
        await stage.pairs_closed(1)
        stage.crash(path)
        await stage.pairs_closed(4)
        assert stage.pauses() == []

    tell(script)


def test_f49_a_feed_that_does_not_come_back_pauses_its_users():
    async def script(stage):
        await stage.pairs_closed(1)
        while "FEED_DISCONNECTED" not in stage.pauses():
            crash(stage, "feeds/KOGE")
            await trio.sleep(0.5)
        stage.world.commanded["feeds/KOGE"] += 1
        await stage.world.daemon.restart("feeds/KOGE")
        await resumes_and_trades(stage)

    tell(script)


@pytest.mark.parametrize("when", ["intent", "arrival", "acceptance"])
def test_f53_f55_killed_around_a_placement_every_accepted_order_is_known(when):
    class AtArrival(Onlooker):
        def __init__(self, stage):
            self.stage = stage

        def asked(self, request, account):
            if when == "arrival" and request.path.endswith(OTO):
                self.strike()

        def handled(self, request, account, response):
            if when == "acceptance" and request.path.endswith(OTO):
                self.strike()

        def strike(self):
            self.stage.world.onlookers.remove(self)
            self.stage.world.life.kill()

    async def script(stage):
        life = stage.world.life
        if when == "intent":
            stage.world.onlookers.append(Intents(lambda row: row.number == 1 and life.kill()))
        else:
            stage.world.onlookers.append(AtArrival(stage))
        await life.ended.wait()
        await trio.sleep(3)
        await stage.world.start_daemon()
        await stage.pairs_closed(2)
        assert stage.outcomes()[0] == ("absent" if when == "intent" else "completed")

    tell(script)


def test_f53_killed_right_after_a_cancel_has_left_it_is_known_as_our_own():
    """The cancel was durable before it left, so its effect is nobody else's deed."""

    async def script(stage):
        await stage.phase("cancelling")
        await stage.kill_and_restart()
        await stage.pairs_closed(1)
        assert stage.outcomes()[0] == "cancelled"
        assert stage.pauses() == []

    tell(script, config=PASSIVE | {"timeout_seconds": D(5)})


@pytest.mark.parametrize("outcome", ["cancelled", "completed"], ids=["before", "in the air"])
def test_f54_an_order_to_stop_in_the_middle_of_a_placement_leaves_nothing_unknown(outcome):
    """A request that has not left yet never does; one in the air is followed or found."""

    async def script(stage):
        stage.world.onlookers.append(Intents(lambda row: row.number == 1 and stopping.set()))
        requests = watched(stage)
        if outcome == "cancelled":
            await stage.phase("placing")
        else:
            await stopping.wait()
            await trio.sleep(0.1)
        await stage.world.stop_daemon(drain_s=2)
        assert len(requests.placements()) == (outcome == "completed")
        await trio.sleep(1)
        await stage.world.start_daemon()
        await stage.pairs_closed(1)
        assert stage.outcomes()[0] == outcome

    stopping = trio.Event()
    mood = Mood()
    mood.slow_s = 0.5
    tell(script, Fault(kind="late_reply", path=OTO, times=1, seconds=5), before=mood)


def test_f58_orders_that_were_left_for_a_long_time_are_taken_up_at_the_next_start():
    async def script(stage):
        await stage.phase("working")
        life = stage.world.life
        life.kill()
        await life.ended.wait()
        await trio.sleep(300)
        assert len(stage.live_orders()) == 2
        await stage.world.start_daemon()
        await stage.until(stage.shown)
        assert stage.shown().pair is not None, "what is left is shown from the start"
        await stage.pairs_closed(1)
        assert stage.outcomes()[0] == "cancelled"

    tell(script, config=PASSIVE | {"timeout_seconds": D(30)})
