"""What we lean on in trio and pytest-trio: private names of the scheduler, and traps of the virtual clock."""

from __future__ import annotations

import random
import time

import pytest
import trio
import trio.testing
from trio._core import _run


def history(seed: int) -> list[int]:
    """The order in which ten tasks that wake at the same instants run, under a seeded scheduler."""
    order: list[int] = []

    async def worker(number: int) -> None:
        for _ in range(5):
            await trio.sleep(1)
            order.append(number)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(worker, number)

    _run._r.seed(seed)
    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    return order


@pytest.fixture
def deterministic(monkeypatch):
    monkeypatch.setattr(_run, "_ALLOW_DETERMINISTIC_SCHEDULING", True)
    state = _run._r.getstate()
    yield
    _run._r.setstate(state)


def test_the_private_names_of_the_scheduler_exist():
    assert isinstance(_run._ALLOW_DETERMINISTIC_SCHEDULING, bool)
    assert isinstance(_run._r, random.Random)


def test_one_seed_is_one_history_and_another_seed_another(deterministic):
    assert [history(seed) for seed in range(5)] == [history(seed) for seed in range(5)]
    assert len({tuple(history(seed)) for seed in range(5)}) == 5


def test_a_worker_thread_counts_as_idle_so_an_autojump_clock_runs_away():
    """Hence no thread in the simulated world (reliability § 2.3)."""

    async def main() -> float:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ticker)
            await trio.to_thread.run_sync(time.sleep, 0.05)
            leapt_s = trio.current_time()
            nursery.cancel_scope.cancel()
        return leapt_s

    async def ticker() -> None:
        for _ in range(10**9):
            await trio.sleep(1)

    assert trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0)) > 10


async def test_a_deadline_can_be_moved_while_somebody_waits_inside_its_scope(autojump_clock):
    """limits.Turnstile hands the timer from one waiter to the next like this."""
    ended_s = []

    async def wait(scope):
        with scope:
            await trio.sleep_forever()
        ended_s.append(trio.current_time())

    begun_s = trio.current_time()
    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope()
        nursery.start_soon(wait, scope)
        await trio.sleep(5)
        scope.deadline = begun_s + 7
        await trio.sleep(1)
        scope.deadline = begun_s + 20
    assert ended_s == [begun_s + 20]


async def test_a_timer_that_has_fired_is_not_undone_by_an_event_of_the_same_instant(autojump_clock):
    """keeper.UserKey looks at its event again after a time-out for this reason."""
    both = 0
    for _ in range(200):
        event, due_s, fired = trio.Event(), trio.current_time() + 1, []

        async def wait(event=event, due_s=due_s, fired=fired):
            with trio.move_on_at(due_s) as scope:
                await event.wait()
            fired.append(scope.cancelled_caught)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.sleep_until(due_s)
            event.set()
        both += fired == [True]
    assert both > 0


async def test_a_closed_channel_is_drained_before_it_ends(autojump_clock):
    """So a lost web socket still hands out the frames before the loss."""
    send, receive = trio.open_memory_channel[int](8)
    for number in range(3):
        send.send_nowait(number)
    send.close()
    assert [number async for number in receive] == [0, 1, 2]
    with pytest.raises(trio.EndOfChannel):
        await receive.receive()


async def test_a_nursery_left_without_the_body_s_exception_does_not_wrap_it(autojump_clock):
    """websocket._Connecting leaves its nursery like this, so that a body's error comes out as itself."""
    manager = trio.open_nursery()
    nursery = await manager.__aenter__()
    nursery.start_soon(trio.sleep_forever)

    async def body():
        try:
            raise ValueError("mine")
        finally:
            nursery.cancel_scope.cancel()
            await manager.__aexit__(None, None, None)

    with pytest.raises(ValueError, match="mine"):
        await body()


@pytest.fixture
async def indirect(autojump_clock):
    await trio.lowlevel.checkpoint()
    return trio.lowlevel.current_clock()


async def test_a_clock_fixture_counts_only_if_the_test_itself_asks_for_it(indirect):
    """pytest-trio: a test that gets autojump_clock through another fixture runs in real time."""
    assert not isinstance(indirect, trio.testing.MockClock)


def test_a_virtual_clock_can_leap_where_it_is_asked_how_long_to_sleep():
    """actors/adapters/sim.py replaces two methods of the instance: trio asks for the time to sleep only when nothing
    can run, and takes the clock's word for what time it is after that."""
    clock = trio.testing.MockClock()
    leaps = []

    def leap(deadline: float) -> float:
        leaps.append(deadline)
        clock._virtual_base = min(deadline, 3600)
        return 0

    clock.current_time = lambda: clock._virtual_base  # type: ignore[method-assign]
    clock.deadline_to_sleep_time = leap  # type: ignore[method-assign]

    async def main() -> float:
        for _ in range(100):
            await trio.lowlevel.checkpoint()
        assert not leaps
        await trio.sleep(3600)
        return trio.current_time()

    assert trio.run(main, clock=clock) == 3600
    assert leaps[0] == 3600
