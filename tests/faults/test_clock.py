"""F67 to F70: what the clocks do (../shared/reliability.md § 1). F67, F68 by proofs: tests/domain; the day that turns:
tests/actors/test_trader_stories.py (F70)."""

from __future__ import annotations

from decimal import Decimal as D

import pytest
import trio

from actors.errors import Refusal
from actors.paper.faults import Fault
from tests.faults.kit import PASSIVE, resumed, resumes_and_trades, watched
from tests.sim.menu import OTO
from tests.sim.options import BEFORE_MIDNIGHT_MS
from tests.sim.stage import tell


@pytest.mark.parametrize("step_ms", [-3_600_000, -900, 900, 3_600_000])
def test_f67_a_wall_clock_that_steps_while_an_outcome_is_unknown_changes_no_verdict(step_ms):
    """The answer is lost, the stream is silent, and the clock is set by an hour: the order is found all the same."""

    async def script(stage):
        await stage.phase("unresolved")
        stage.world.wall.ahead_ms = step_ms
        await trio.sleep(60)
        stage.world.wall.ahead_ms = 0
        await stage.until(lambda: stage.outcomes(), within_s=300)
        assert stage.outcomes()[0] == "completed"
        await resumes_and_trades(stage)

    tell(script, Fault(kind="lost_reply", path=OTO, times=1), Fault(kind="drop_frame", stream="alpha@", times=8),
         Fault(kind="read_lag", seconds=3))  # fmt: skip


def test_f67_timeouts_do_not_follow_the_wall_clock():
    async def script(stage):
        await stage.phase("working")
        began_s = trio.current_time()
        stage.world.wall.ahead_ms = 900
        await stage.pairs_closed(1)
        assert 14 < trio.current_time() - began_s < 25
        stage.world.wall.ahead_ms = 0

    tell(script, config=PASSIVE | {"timeout_seconds": D(15)})


@pytest.mark.parametrize("ahead_ms", [-5_000, 5_000])
def test_f68_clocks_that_are_apart_pause_before_anything_is_placed(ahead_ms):
    async def script(stage):
        await stage.paused("CLOCK_SKEW")
        assert stage.orders() == ()
        with pytest.raises(Refusal, match="clock"):
            await stage.resume()
        stage.world.wall.ahead_ms = 0
        await resumes_and_trades(stage)

    tell(script, before=lambda world: setattr(world.wall, "ahead_ms", ahead_ms))


def test_f69_a_machine_that_slept_places_nothing_in_a_hurry():
    """Both clocks go on, nobody computes: everything that fell due meanwhile falls due at once."""

    async def script(stage):
        await stage.pairs_closed(1)
        requests = watched(stage)
        trio.lowlevel.current_clock().jump(600)
        woke_s = trio.current_time()
        await trio.sleep(5)
        await stage.until(lambda: stage.shown().phase != "reconciling")
        assert len([when for when in requests.placements() if when < woke_s + 5]) <= 1
        await resumed(stage)
        await stage.pairs_closed(3)

    tell(script)


def test_f70_the_day_turns_in_the_middle_of_a_pair_and_each_fill_counts_for_its_own():
    async def script(stage):
        await stage.until(lambda: stage.now_ms() > BEFORE_MIDNIGHT_MS + 235_000, within_s=300)
        await stage.phase("working")
        await stage.until(lambda: stage.shown().progress.day == "2026-11-21")
        await stage.pairs_closed(len(stage.pairs()), within_s=60)
        await stage.until(lambda: stage.shown().progress.volume > 0)

    near = {"buy_offset": D("-0.02"), "sell_offset": D("-0.1"), "timeout_seconds": D(30), "interval_seconds": D(10)}
    tell(script, config=near, start_ms=BEFORE_MIDNIGHT_MS + 180_000)
