"""F59 to F66: what the disk does (../shared/reliability.md § 1). Real files: tests/adapters/test_duck_*.py (F59, F62 to
F64), tests/system/test_store_kill.py; a real full file system: tests/system/test_troubles.py."""

from __future__ import annotations

from decimal import Decimal as D

import pytest
import trio

from actors.errors import Refusal
from tests.faults.kit import PASSIVE, STUCK_SALE, Mood, phase_of, resumes_and_trades, watched
from tests.sim.stage import tell


def test_f59_f66_while_nothing_can_be_written_nothing_is_placed():
    """Full, or mounted read-only: the same to us."""
    mood = Mood()

    async def script(stage):
        await stage.until(lambda: all(stage.outcomes(user) for user in stage.world.names))
        for user in stage.world.names:
            await stage.until(lambda user=user: stage.shown(user).pair is None)
        requests = watched(stage)
        mood.full = True
        full_s = trio.current_time()
        reasons = lambda user: [pause.reason for pause in stage.shown(user).pauses]  # noqa: E731  they cannot be durable
        await stage.until(lambda: all("STORE_UNAVAILABLE" in reasons(user) for user in stage.world.names))
        assert trio.current_time() - full_s < 25
        with pytest.raises(Refusal, match="waiting for the store"):
            await stage.resume()
        await trio.sleep(30)
        assert [when for when in requests.placements() if when > full_s + 0.1] == []
        mood.full = False
        for user in stage.world.names:
            await resumes_and_trades(stage, user)

    tell(script, users=2, before=mood)


def test_f59_an_intent_that_cannot_be_written_never_becomes_an_order():
    mood = Mood()

    async def script(stage):
        await stage.pairs_closed(1)
        orders = len(stage.orders())
        mood.slow_s = 0.5
        await stage.until(lambda: phase_of(stage) == "placing")
        mood.full = True
        await trio.sleep(60)
        assert len(stage.orders()) == orders
        mood.full, mood.slow_s = False, 0.0
        await stage.until(lambda: stage.shown().pair is None)
        await resumes_and_trades(stage)
        assert "absent" not in stage.outcomes()

    tell(script, before=mood)


@pytest.mark.parametrize("crash", ["", "traders/alice", "process"])
def test_f60_fills_of_a_live_pair_are_kept_while_the_disk_is_full(crash):
    mood = Mood()

    async def script(stage):
        await stage.phase("working")
        mood.full = True
        await stage.until(lambda: not stage.live_orders(), within_s=60)  # both legs have filled meanwhile
        await trio.sleep(20)
        if crash == "process":
            life = stage.world.life
            life.kill()
            await life.ended.wait()
            mood.full = False
            await stage.world.start_daemon()
        elif crash:
            stage.crash(crash)
            await trio.sleep(5)
        mood.full = False
        await stage.pairs_closed(1)
        assert stage.outcomes() == ["completed"]
        await resumes_and_trades(stage)

    tell(script, before=mood)


def test_f60_a_pair_that_runs_out_of_time_is_cancelled_although_nothing_can_be_written():
    mood = Mood()

    async def script(stage):
        await stage.phase("working")
        mood.full = True
        await stage.until(lambda: not stage.live_orders(), within_s=30)
        mood.full = False
        await resumes_and_trades(stage)
        assert stage.outcomes()[0] == "cancelled"

    tell(script, before=mood, config=PASSIVE | {"timeout_seconds": D(5)})


@pytest.mark.parametrize("breaks", [1, 3])
def test_f61_a_database_that_gives_up_is_opened_again_and_nothing_acknowledged_is_lost(breaks):
    mood = Mood()

    async def script(stage):
        await stage.until(lambda: phase_of(stage) in ("working", "selling"))
        mood.breaks = breaks
        await stage.until(lambda: not mood.breaks)
        await stage.pairs_closed(3, within_s=300)

    tell(script, before=mood, allowed_deaths=("StoreLost",), config={"auto_resume": ("STORE_UNAVAILABLE",)})


def test_f62_what_the_newest_commit_held_is_read_again_if_it_is_gone_after_a_power_loss():
    """A torn tail opens with the last commit silently missing: the looks reach back beyond it."""
    mood = Mood()
    mood.keeps = True

    async def script(stage):
        await stage.phase("selling")
        life = stage.world.life
        life.kill()
        await life.ended.wait()
        stage.world.disk._tables = mood.before
        await stage.world.start_daemon()
        await stage.pairs_closed(2, within_s=300)

    tell(script, before=mood, config=STUCK_SALE | {"timeout_seconds": D(10)})


def test_f65_a_disk_that_takes_seconds_costs_time_and_nothing_else():
    mood = Mood()
    mood.slow_s = 3.0

    async def script(stage):
        await stage.pairs_closed(3, within_s=300)
        assert stage.outcomes()[:3] == ["completed"] * 3
        assert stage.pauses() == []

    tell(script, before=mood)
