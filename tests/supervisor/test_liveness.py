"""Liveness: an actor without a sign of life is replaced; a task that blocks the loop is named."""

from __future__ import annotations

import time

import pytest
import trio

from supervisor.bus import EventBus
from supervisor.liveness import Blocked, LoopWatch, owner_of, watched
from supervisor.spec import ChildSpec
from tests.control.daemon import FixedWall, QuietLog
from tests.supervisor.stage import Stage, family, play


def test_an_actor_without_progress_is_replaced_and_it_counts_as_a_death():
    async def scene(stage: Stage) -> None:
        async with stage.running(stage.child("a", progress_s_max=8), stage.child("b", progress_s_max=8)):
            stage.post("a", "hang")
            await trio.sleep(7.9)
            assert stage.incarnation("a") == 1
            await trio.sleep(2.2)
            assert (stage.state("a"), stage.incarnation("a"), stage.node("a").restarts) == ("running", 2, 1)
            crash = stage.node("a").last_crash
            assert crash.type == "NoProgress"
            assert "stage.py" in crash.message, "where it hung is not said"
            assert stage.incarnation("b") == 1

    play(scene)


def test_waiting_for_messages_is_a_sign_of_life():
    async def scene(stage: Stage) -> None:
        async with stage.running(stage.child("a", progress_s_max=1)):
            await trio.sleep(1000)
            assert stage.incarnation("a") == 1

    play(scene, range(5))


def test_a_busy_actor_lives_as_long_as_it_takes_finishes_or_beats():
    async def scene(stage: Stage) -> None:
        async def start(inbox, *, task_status) -> None:
            with stage.life("a"):
                task_status.started()
                for _ in range(20):
                    await trio.sleep(0.9)
                    inbox.beat()
                await trio.sleep_forever()

        async with stage.running(
            stage.child("b", progress_s_max=1), ChildSpec(name="a", start=start, progress_s_max=1, delay_s=0)
        ):
            stage.post("b", *[("sleep", 0.9)] * 20)
            await trio.sleep(18)
            assert stage.incarnation("a") == stage.incarnation("b") == 1
            await trio.sleep(1.5)
            assert (stage.incarnation("a"), stage.incarnation("b")) == (2, 1)

    play(scene, range(10))


def test_an_actor_that_hangs_and_shields_itself_is_stuck_and_never_doubled():
    async def scene(stage: Stage) -> None:
        async with stage.running(family(stage.child("a", progress_s_max=4, stuck_s=1), stage.child("b"))):
            stage.post("family/a", ("shield", 100))
            await trio.sleep(50)
            assert (stage.state("family/a"), stage.incarnation("family/a")) == ("stuck", 1)
            assert stage.whats("family/a")[-1] == "stuck"
            await trio.sleep(100)
            assert (stage.state("family/a"), stage.incarnation("family/a")) == ("running", 2)
            assert stage.incarnation("family/b") == 1

    play(scene)


class Steps:
    """A clock for the instrument: each task decides how long its steps take."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_a_task_that_blocks_the_loop_is_named_with_its_incarnation():
    clock, told = Steps(), []
    watch = LoopWatch(now=clock, tell=told.append, blocked_s_max=0.1)

    async def below() -> None:
        clock.now_s += 0.3
        await trio.lowlevel.checkpoint()
        clock.now_s += 0.05
        await trio.sleep_forever()

    async def main() -> None:
        async def child() -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(below)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(child, name="traders/alice#3")
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()

    trio.run(main, instruments=[watch])
    (blocked,) = told
    assert isinstance(blocked, Blocked)
    assert (blocked.child, blocked.took_s) == ("traders/alice#3", pytest.approx(0.3))
    assert blocked.task.endswith("below")
    assert "test_liveness.py" in blocked.at
    assert watch.statistics().blocked == 1
    assert watch.statistics().longest_child == "traders/alice#3"


def test_a_loop_that_is_blocked_is_a_log_line_and_an_event_and_many_are_few_lines():
    clock, log, events = Steps(), QuietLog(), EventBus(FixedWall(), boot="b")
    clock.now_s = 5000.0  # up for long: the step that puts the watch in place is not blamed for that

    async def slow() -> None:
        for _ in range(30):  # of 0.3 s each
            clock.now_s += 0.3
            await trio.lowlevel.checkpoint()

    async def main() -> None:
        with watched(log, events, now=clock) as watch:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(slow, name="feeds/KOGE#2")
            assert watch.statistics().blocked == 30
        clock.now_s += 100
        await trio.lowlevel.checkpoint()  # nobody watches any more
        assert watch.statistics().blocked == 30

    trio.run(main)
    lines = [kw for level, event, kw in log.lines if (level, event) == ("warning", "loop_blocked")]
    assert (lines[0]["child"], lines[0]["took_ms"], lines[0]["times"]) == ("feeds/KOGE#2", 300, 1)
    assert "test_liveness.py" in lines[0]["place"]
    assert len(lines) == 8, "one a second"
    assert [event.kind for event in events.recent] == ["loop_blocked"] * 8


def test_a_task_outside_of_the_tree_is_nobodys():
    async def main() -> None:
        assert owner_of(trio.lowlevel.current_task()) == ""

    trio.run(main)


def test_steps_within_bounds_are_not_told():
    told = []
    watch = LoopWatch(now=time.perf_counter, tell=told.append, blocked_s_max=60)
    trio.run(trio.sleep, 0, instruments=[watch])
    assert told == []
    assert watch.statistics().longest_s > 0
