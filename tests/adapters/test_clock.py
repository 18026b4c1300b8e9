"""The scaled clock and the re-anchored wall."""

from __future__ import annotations

import math
from functools import partial

import pytest
import trio

from actors.adapters import clock
from actors.adapters.clock import SpeedClock, WallClock

NOON_MS = 1_795_176_000_000  # 2026-11-20T12:00:00Z


class Recorder:
    """ports.Events and ports.Log in one, for what was said."""

    def __init__(self):
        self.said = []

    def emit(self, topic, kind, **payload):
        self.said.append((topic, kind, payload))

    def warning(self, event, **kw):
        self.said.append(("log", event, kw))


def test_speed_clock_scales_time_and_sleeps():
    real_s = [100.0]
    fast = SpeedClock(20, monotonic=lambda: real_s[0])
    real_s[0] = 500.0
    fast.start_clock()
    assert fast.current_time() == 0
    real_s[0] = 500.5
    assert fast.current_time() == pytest.approx(10)
    assert fast.deadline_to_sleep_time(30.0) == pytest.approx(1.0)
    assert fast.deadline_to_sleep_time(math.inf) == math.inf


@pytest.mark.parametrize("rate", [0, -1])
def test_speed_clock_refuses_a_rate_that_stands_still_or_runs_back(rate):
    with pytest.raises(AssertionError):
        SpeedClock(rate)


def test_a_trio_run_under_a_speed_clock_sleeps_shorter_in_reality():
    async def main():
        real_s = clock.time.perf_counter()
        await trio.sleep(10)
        return trio.current_time(), clock.time.perf_counter() - real_s

    virtual_s, real_s = trio.run(main, clock=SpeedClock(1000))
    assert virtual_s >= 10
    assert real_s < 5


async def test_wall_moves_with_trio_time(autojump_clock):
    wall = WallClock.virtual(NOON_MS)
    await trio.sleep(3600.25)
    assert wall.now_ms() == NOON_MS + 3_600_250


async def test_speed_wall_starts_at_the_later_of_now_and_the_last_record():
    assert WallClock.speed(NOON_MS, system_ms=lambda: NOON_MS - 5).now_ms() == pytest.approx(NOON_MS, abs=5)
    ahead = NOON_MS + 86_400_000
    assert WallClock.speed(ahead, system_ms=lambda: NOON_MS).now_ms() == pytest.approx(ahead, abs=50)


async def test_real_wall_shows_the_system_time():
    assert WallClock.real().now_ms() == pytest.approx(clock.system_now_ms(), abs=200)


@pytest.mark.parametrize("step_ms", [1001, 3_600_000, -1001, -86_400_000])
async def test_wall_is_reanchored_by_a_step_of_more_than_a_second(autojump_clock, step_ms):
    wall = WallClock.real(system_ms=lambda: NOON_MS)
    await trio.sleep(10)
    assert wall.check(NOON_MS + 10_000 + step_ms) == step_ms
    assert wall.now_ms() == NOON_MS + 10_000 + step_ms
    await trio.sleep(1)
    assert wall.now_ms() == NOON_MS + 11_000 + step_ms
    assert wall.check(NOON_MS + 11_000 + step_ms) is None


@pytest.mark.parametrize("step_ms", [0, 1000, -1000])
async def test_wall_ignores_small_differences(autojump_clock, step_ms):
    wall = WallClock.real(system_ms=lambda: NOON_MS)
    assert wall.check(NOON_MS + step_ms) is None
    assert wall.now_ms() == NOON_MS


@pytest.mark.parametrize("wall_of", [WallClock.virtual, partial(WallClock.speed, system_ms=lambda: 0)])
async def test_speed_and_virtual_walls_never_follow_the_system(autojump_clock, wall_of):
    wall = wall_of(NOON_MS)
    assert wall.check(NOON_MS + 86_400_000) is None
    assert wall.now_ms() == NOON_MS
    said = Recorder()
    await clock.watch(wall, said, said)  # returns: there is nothing to follow
    assert said.said == []


async def test_f67_watch_tells_each_step_once(nursery, autojump_clock):
    begun_s, offset_ms = trio.current_time(), [0]

    def system_ms():
        return NOON_MS + round((trio.current_time() - begun_s) * 1000) + offset_ms[0]

    wall, said = WallClock.real(system_ms=system_ms), Recorder()
    nursery.start_soon(partial(clock.watch, wall, said, said, system_ms=system_ms))
    await trio.sleep(5.5)
    assert said.said == []
    offset_ms[0] = 7_200_000  # two hours ahead
    await trio.sleep(5)
    assert [(topic, kind) for topic, kind, _ in said.said] == [("log", "clock_stepped"), ("system", "clock_stepped")]
    assert said.said[1][2] == {"step_ms": 7_200_000, "now_ms": NOON_MS + 6000 + 7_200_000}
    assert wall.now_ms() == system_ms()
    nursery.cancel_scope.cancel()
