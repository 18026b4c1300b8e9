"""Each restart kind × each way to end: what becomes of the child, and of those beside it."""

from __future__ import annotations

import signal

import pytest
import trio

from actors.errors import ChildExhausted
from supervisor.spec import ChildSpec
from tests.supervisor.stage import Boom, Stage, group, play

NORMAL = ["return", "own scope"]
ABNORMAL = ["crash", "crash later", "group", "nested group", "beside"]
AGAIN, DOWN = ("running", 2), ("stopped", 1)
TABLE = [
    *[("permanent", end, AGAIN) for end in NORMAL + ABNORMAL],
    *[("transient", end, DOWN) for end in NORMAL],
    *[("transient", end, AGAIN) for end in ABNORMAL],
    *[("temporary", end, DOWN) for end in NORMAL + ABNORMAL],
]


@pytest.mark.parametrize(("restart", "end", "then"), TABLE)
def test_ending(restart, end, then):
    async def scene(stage: Stage) -> None:
        async with stage.running(stage.child("a"), stage.child("b", restart=restart), stage.child("c")):
            stage.post("b", end)
            await trio.sleep(1)
            assert (stage.state("b"), stage.incarnation("b")) == then
            assert stage.incarnation("a") == stage.incarnation("c") == 1, "strangers were disturbed"
            assert ("crashed" in stage.whats("b")) is (end in ABNORMAL)

    play(scene)


@pytest.mark.parametrize(("end", "leaves"), [("crash", 1), ("group", 2), ("nested group", 3), ("beside", 1)])
def test_an_exception_group_is_one_death_with_all_its_leaves_told(end, leaves):
    async def scene(stage: Stage) -> None:
        async with stage.running(stage.child("a")):
            stage.post("a", end)
            await trio.sleep(1)
            (crash,) = [it for it in stage.told if it.what == "crashed"]
            assert 1 <= len(crash.errors) <= leaves  # a sibling may be cancelled before it raises
            assert all(isinstance(error, Boom | KeyError) for error in crash.errors)
            assert stage.node("a").restarts == 1

    play(scene)


@pytest.mark.parametrize(
    ("end", "error"), [("interrupt", KeyboardInterrupt), ("exit", SystemExit), ("exit in group", SystemExit)]
)
def test_an_exit_stops_the_tree_in_order_and_reaches_the_caller(end, error):
    async def scene(stage: Stage) -> None:
        async def then() -> None:
            await trio.sleep(1)
            stage.post("b", end)

        spec = group(stage.child("a", stop_s_max=5), stage.child("b"), stage.child("c", stop_s_max=5))
        raised = await stage.outcome(spec, then)
        assert type(raised) is error, "wrapped, or another one"
        assert stage.names("down") == ["b", "c", "a"]
        assert stage.names("up") == ["a", "b", "c"], "somebody was started again"

    play(scene)


def test_an_exit_while_the_tree_starts_starts_nobody_else():
    async def scene(stage: Stage) -> None:
        async def then() -> None:
            await trio.sleep(1)
            stage.post("a", "exit")

        raised = await stage.outcome(group(stage.child("a"), stage.child("b", "5"), stage.child("c")), then)
        assert type(raised) is SystemExit
        assert stage.names("up") == ["a", "b"]
        assert stage.names("down") == ["a", "b"]

    play(scene)


def test_an_interrupt_of_the_callers_task_stops_in_order():
    """What trio does with Ctrl-C when nobody else runs: the main task's wait raises KeyboardInterrupt."""

    async def scene(stage: Stage) -> None:
        stage.make(group(stage.child("a", stop_s_max=5), stage.child("b", stop_s_max=5)))
        await stage.tree.run()

    async def main(stage: Stage) -> None:
        async def interrupt() -> None:
            await trio.sleep(1)
            signal.raise_signal(signal.SIGINT)  # handled by trio: nobody but the main task gets it

        async with trio.open_nursery() as nursery:
            nursery.start_soon(protected(interrupt))
            with pytest.raises(KeyboardInterrupt):
                await scene(stage)
        assert stage.names("down") == ["b", "a"]

    play(main, range(5))


def protected(function):
    return trio.lowlevel.enable_ki_protection(function)


def test_the_budget_belongs_to_the_child():
    """Six deaths within the window park it; five do not, however many its neighbour had."""

    async def scene(stage: Stage) -> None:
        async with stage.running(stage.child("a", delay_s=0.1), stage.child("b", delay_s=0.1)):
            for _ in range(5):
                stage.post("a", "crash")
                stage.post("b", "crash")
                await trio.sleep(3)
            assert stage.state("a") == stage.state("b") == "running"
            stage.post("a", "crash")
            await trio.sleep(3)
            assert (stage.state("a"), stage.state("b")) == ("parked", "running")
            assert stage.node("a").last_crash.type == "Boom"

    play(scene)


def test_an_essential_child_ends_the_tree():
    async def scene(stage: Stage) -> None:
        async def then() -> None:
            await trio.sleep(1)
            stage.post("store", "crash", "crash")

        store = stage.child("store", exhausted="escalate", intensity=1)
        raised = await stage.outcome(group(stage.child("a"), store, stage.child("c")), then)
        assert isinstance(raised, ChildExhausted)
        assert raised.where == "store"
        assert isinstance(raised.__cause__, Boom), "the original error is lost"
        assert stage.names("down")[-3:] == ["store", "c", "a"]

    play(scene)


def test_a_child_that_cancelled_itself_is_not_dead_for_others():
    """A stray Cancelled, kept and raised where no scope of its own is cancelled, is no death."""

    async def scene(stage: Stage) -> None:
        async def stray(inbox, *, task_status) -> None:
            task_status.started()
            try:
                with trio.CancelScope() as scope:
                    scope.cancel()
                    try:
                        await trio.sleep_forever()
                    except trio.Cancelled as cancelled:
                        kept.append(cancelled)
                        raise
            finally:
                if kept:
                    raise kept[0]

        kept: list[trio.Cancelled] = []
        child = ChildSpec(name="a", start=stray, restart="transient")
        async with stage.running(child, stage.child("b")):
            await trio.sleep(1)
            assert stage.state("a") == "stopped"
            assert "crashed" not in stage.whats("a")
            assert stage.incarnation("b") == 1

    play(scene, range(10))
