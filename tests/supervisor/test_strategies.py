"""Who restarts with whom: one_for_one, one_for_all, rest_for_one, with simultaneous crashes and crashes meanwhile."""

from __future__ import annotations

import pytest
import trio

from actors.errors import ChildExhausted
from tests.supervisor.stage import Stage, group, play

NAMES = "abcd"
STRATEGIES = ["one_for_one", "one_for_all", "rest_for_one"]


def affected(strategy: str, *dead: str) -> str:
    """Who restarts when these die."""
    match strategy:
        case "one_for_one":
            return "".join(sorted(dead))
        case "one_for_all":
            return NAMES
        case _:
            return NAMES[NAMES.index(min(dead)) :]


def children(stage: Stage, **options):
    options.setdefault("exhausted", "escalate")
    options.setdefault("stop_s_max", 5)
    return [stage.child(name, **options) for name in NAMES]


def incarnations(stage: Stage) -> dict[str, int]:
    return {name: stage.incarnation(name) for name in NAMES}


def after(once: str) -> dict[str, int]:
    return {name: 2 if name in once else 1 for name in NAMES}


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("dead", NAMES)
def test_one_crash(strategy, dead):
    async def scene(stage: Stage) -> None:
        async with stage.running(*children(stage), strategy=strategy):
            stage.diary.clear()
            stage.post(dead, "crash")
            await trio.sleep(1)
            who = affected(strategy, dead)
            assert incarnations(stage) == after(who)
            others = who.replace(dead, "")
            assert stage.names("down") == [dead, *reversed(others)], "not in reverse"
            assert stage.names("ready") == list(who), "not in order"
            assert [stage.node(name).restarts for name in NAMES] == [int(name == dead) for name in NAMES]

    play(scene)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("dead", ["ab", "ad", "bc", "cd", "abcd"])
def test_simultaneous_crashes_are_one_restart(strategy, dead):
    async def scene(stage: Stage) -> None:
        async with stage.running(*children(stage, stop_s_max=0), strategy=strategy):
            for name in dead:
                stage.post(name, "crash")
            await trio.sleep(1)
            assert incarnations(stage) == after(affected(strategy, *dead))
            assert all(stage.state(name) == "running" for name in NAMES)
            assert {it.path for it in stage.told if it.what == "crashed"} <= set(dead)
            assert 1 <= sum(stage.node(name).restarts for name in NAMES) <= len(dead)

    play(scene)


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_a_crash_of_an_unaffected_member_during_the_delay_widens_the_restart(strategy):
    async def scene(stage: Stage) -> None:
        async with stage.running(*children(stage, delay_s=10, jitter=0), strategy=strategy):
            stage.post("c", "crash")
            await trio.sleep(5)
            assert stage.state("c") == "delaying"
            if strategy == "rest_for_one":
                stage.post("b", "crash")
            await trio.sleep(4)
            assert stage.state("c") == "delaying"
            await trio.sleep(7)
            assert incarnations(stage) == after(affected(strategy, "b", "c"))

    play(scene)


def test_a_crash_of_an_earlier_member_while_the_later_ones_are_taken_down_is_not_forgotten():
    async def scene(stage: Stage) -> None:
        async with stage.running(*children(stage), strategy="rest_for_one"):
            stage.post("d", ("sleep", 3))  # it takes its time to stop
            await stage.settle()
            stage.post("c", "crash")
            await trio.sleep(1)
            assert stage.state("d") == "stopping"
            stage.post("b", "crash")
            await trio.sleep(10)
            assert incarnations(stage) == after("bcd")
            assert all(stage.state(name) == "running" for name in NAMES)

    play(scene)


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_a_failed_start_in_the_middle_of_a_group_restart_begins_it_again(strategy):
    async def scene(stage: Stage) -> None:
        plan = {"a": [], "b": ["ok", "1", "ok"], "c": ["ok", "fail"], "d": []}
        members = [stage.child(name, *plan[name], exhausted="escalate", delay_s=0.5, jitter=0) for name in NAMES]
        async with stage.running(*members, strategy=strategy):
            stage.post("b", "crash")
            await trio.sleep(20)
            assert all(stage.state(name) == "running" for name in NAMES)
            expected = {"one_for_all": (3, 3, 3, 2), "rest_for_one": (1, 2, 3, 2)}[strategy]
            assert tuple(incarnations(stage).values()) == expected
            assert (stage.node("b").restarts, stage.node("c").restarts) == (1, 1), "a failed restart is its own death"

    play(scene)


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_a_crash_while_others_are_taken_down_is_no_second_restart(strategy):
    async def scene(stage: Stage) -> None:
        async with stage.running(*children(stage), strategy=strategy):
            stage.post("d", ("sleep", 1), "crash")  # it dies while it is asked to stop
            await stage.settle()
            stage.post("b", "crash")
            await trio.sleep(10)
            assert incarnations(stage) == after(affected(strategy, "b"))
            assert stage.node("d").restarts == 0
            assert stage.node("d").last_crash is not None

    play(scene)


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_a_crash_of_a_started_member_during_the_group_restart(strategy):
    """b is ready again and dies while c still starts: the next round takes all affected down once more."""

    async def scene(stage: Stage) -> None:
        members = [stage.child(name, *({"c": ["ok", "5"]}.get(name, [])), exhausted="escalate") for name in NAMES]
        async with stage.running(*members, strategy=strategy):
            stage.post("b", "crash")
            await trio.sleep(2)
            assert (stage.state("b"), stage.state("c")) == ("running", "starting")
            stage.post("b", "crash")
            await trio.sleep(20)
            assert all(stage.state(name) == "running" for name in NAMES)
            assert stage.incarnation("b") == 3

    play(scene)


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_a_used_up_budget_ends_a_coupled_group(strategy):
    async def scene(stage: Stage) -> None:
        async def then() -> None:
            for _ in range(3):
                await trio.sleep(1)
                stage.post("b", "crash")

        raised = await stage.outcome(group(*children(stage, intensity=2), strategy=strategy), then)
        assert isinstance(raised, ChildExhausted)
        assert raised.where == "b"
        assert stage.incarnation("b") == 3

    play(scene)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("restart", ["transient", "temporary"])
def test_the_end_of_a_member_that_is_not_needed_again_restarts_nobody(strategy, restart):
    async def scene(stage: Stage) -> None:
        async with stage.running(*children(stage, restart=restart), strategy=strategy):
            stage.post("b", "return" if restart == "transient" else "crash")
            await trio.sleep(1)
            assert incarnations(stage) == after("")
            assert [stage.state(name) for name in NAMES] == ["running", "stopped", "running", "running"]

    play(scene)


@pytest.mark.parametrize(("restart", "again"), [("transient", 2), ("temporary", 1)])
def test_a_group_restart_starts_what_had_returned_but_nothing_temporary(restart, again):
    async def scene(stage: Stage) -> None:
        options = {"exhausted": "escalate"}
        members = [
            stage.child("a", **options),
            stage.child("b", restart=restart, **options),
            stage.child("c", **options),
        ]
        async with stage.running(*members, strategy="one_for_all"):
            stage.post("b", "return")
            await trio.sleep(1)
            stage.post("a", "crash")
            await trio.sleep(1)
            assert [stage.incarnation(name) for name in "abc"] == [2, again, 2]

    play(scene)


def test_a_group_restart_leaves_down_what_an_operator_stopped():
    async def scene(stage: Stage) -> None:
        async with stage.running(*children(stage), strategy="one_for_all") as tree:
            await tree.stop_child("c")
            stage.post("a", "crash")
            await trio.sleep(1)
            assert incarnations(stage) == {"a": 2, "b": 2, "c": 1, "d": 2}
            assert (await tree.start("c")).did == "started"
            assert incarnations(stage) == {"a": 2, "b": 2, "c": 2, "d": 2}

    play(scene)


def test_a_group_restart_waits_for_a_stuck_member_rather_than_start_it_twice():
    async def scene(stage: Stage) -> None:
        async with stage.running(*children(stage, stop_s_max=0, stuck_s=1), strategy="one_for_all"):
            stage.post("c", ("shield", 50))
            await stage.settle()
            stage.post("a", "crash")
            await trio.sleep(40)
            assert [stage.state(name) for name in NAMES] == ["stopped", "stopped", "stuck", "stopped"]
            await trio.sleep(20)
            assert incarnations(stage) == after(NAMES)
            assert all(stage.state(name) == "running" for name in NAMES)

    play(scene)


def test_the_delay_of_a_group_restart_ends_at_once_when_an_operator_says_so():
    async def scene(stage: Stage) -> None:
        async with stage.running(*children(stage, delay_s=20, jitter=0), strategy="one_for_all") as tree:
            stage.post("a", "crash")
            await trio.sleep(1)
            assert [stage.state(name) for name in NAMES] == ["delaying"] * 4
            assert (await tree.start("b")).did == "started"
            await trio.sleep(1)
            assert trio.current_time() == pytest.approx(2)
            assert incarnations(stage) == after(NAMES)

    play(scene)


def test_stopping_in_the_middle_of_a_group_restart():
    async def scene(stage: Stage) -> None:
        async with stage.running(*children(stage, delay_s=20), strategy="one_for_all"):
            stage.post("a", "crash")
            await trio.sleep(1)
        assert trio.current_time() == pytest.approx(1)
        assert incarnations(stage) == after("")

    play(scene)
