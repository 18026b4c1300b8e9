"""Giving up: park or escalate, levels of budgets, last resort, significant children."""

from __future__ import annotations

import pytest
import trio

from actors.errors import ActorCrashed, ChildExhausted
from supervisor.spec import ChildSpec
from tests.supervisor.stage import Boom, Stage, family, group, play


async def crash(stage: Stage, path: str, times: int) -> None:
    """Lets it die so often, each time once it runs."""
    for _ in range(times):
        stage.post(path, "crash")
        await trio.sleep(1)


@pytest.mark.parametrize("intensity", [0, 1, 3])
def test_a_child_parks_with_one_death_more_than_its_intensity(intensity):
    async def scene(stage: Stage) -> None:
        async with stage.running(stage.child("a", intensity=intensity), stage.child("b")):
            await crash(stage, "a", intensity)
            assert stage.state("a") == "running"
            await crash(stage, "a", 1)
            assert (stage.state("a"), stage.incarnation("a")) == ("parked", intensity + 1)
            assert stage.whats("a")[-1] == "parked"
            await trio.sleep(10_000)
            assert stage.state("a") == "parked", "it came back by itself"
            assert stage.node("a").last_crash.message == "a was told to"
            assert stage.incarnation("b") == 1

    play(scene)


def test_deaths_leave_the_window():
    async def scene(stage: Stage) -> None:
        async with stage.running(stage.child("a", intensity=2, period_s=10)):
            for _ in range(20):
                stage.post("a", "crash")
                await trio.sleep(5)
                assert stage.state("a") == "running"
            assert stage.incarnation("a") == 21
            assert stage.node("a").restarts == 1

    play(scene, range(10))


def test_a_parked_child_starts_with_a_fresh_budget():
    async def scene(stage: Stage) -> None:
        async with stage.running(stage.child("a", intensity=1)) as tree:
            await crash(stage, "a", 2)
            assert stage.state("a") == "parked"
            answer = await tree.start("a")
            assert (answer.did, answer.state, answer.incarnation) == ("started", "running", 3)
            await crash(stage, "a", 1)
            assert stage.state("a") == "running"

    play(scene)


def test_a_parked_child_stays_parked_when_its_group_restarts():
    async def scene(stage: Stage) -> None:
        inner = group(
            stage.child("a", intensity=0), stage.child("b", intensity=0, exhausted="escalate"), name="inner", delay_s=0
        )
        async with stage.running(inner):
            await crash(stage, "inner/a", 1)
            await crash(stage, "inner/b", 1)
            assert [stage.state(f"inner/{name}") for name in "ab"] == ["parked", "running"]
            assert stage.incarnation("inner") == 2

    play(scene)


def test_levels_multiply():
    """A child with 2 restarts in a group with 1: (2 + 1) × (1 + 1) deaths end the tree."""

    async def scene(stage: Stage) -> None:
        async def then() -> None:
            for deaths in range(1, 7):
                await trio.sleep(1)
                assert stage.incarnation("inner/a") == deaths
                assert stage.incarnation("inner/b") == (1 if deaths <= 3 else 2), "the group was restarted once"
                stage.post("inner/a", "crash")

        inner = group(
            stage.child("a", intensity=2, exhausted="escalate"), stage.child("b"), name="inner", intensity=1, delay_s=0
        )
        raised = await stage.outcome(group(stage.child("z"), inner), then)
        assert isinstance(raised, ChildExhausted)
        assert raised.where == "inner"
        assert isinstance(raised.__cause__, ChildExhausted)
        assert isinstance(raised.__cause__.__cause__, Boom)

    play(scene)


def test_a_group_may_park():
    async def scene(stage: Stage) -> None:
        members = [stage.child(name, intensity=0, exhausted="escalate") for name in "ab"]
        inner = group(*members, name="inner", strategy="one_for_all", intensity=0, exhausted="park")
        async with stage.running(stage.child("z"), inner) as tree:
            await crash(stage, "inner/a", 1)
            assert [stage.state(path) for path in ("inner", "inner/a", "inner/b")] == ["parked", "stopped", "stopped"]
            with pytest.raises(ActorCrashed):
                await tree.mailbox("inner/b").ask("anybody there")
            assert (await tree.start("inner")).did == "started"
            assert [stage.state(path) for path in ("inner", "inner/a", "inner/b")] == ["running"] * 3
            assert await tree.mailbox("inner/b").ask("anybody there") == "b"
            assert stage.incarnation("z") == 1

    play(scene)


def test_one_members_crash_loop_never_touches_another():
    async def scene(stage: Stage) -> None:
        members = [stage.child(f"user{number}") for number in range(10)]
        async with stage.running(family(*members)):
            for _ in range(8):
                stage.post("family/user3", "crash")
                await trio.sleep(0.1)
            assert stage.state("family/user3") == "parked"
            for number in {*range(10)} - {3}:
                assert (stage.state(f"family/user{number}"), stage.incarnation(f"family/user{number}")) == (
                    "running",
                    1,
                )
            assert stage.incarnation("family") == 1

    play(scene, range(20))


def resort(stage: Stage, name: str, lives: list[float], crashes: int):
    """A last resort that dies `crashes` times, then puts things in order for a second and returns."""

    async def run(inbox, *, task_status) -> None:
        with stage.life(name):
            task_status.started()
            lives.append(trio.current_time())
            await trio.sleep(1)
            if len(lives) <= crashes:
                raise Boom("not yet")

    return run


@pytest.mark.parametrize("crashes", [0, 2])
def test_the_last_resort_of_a_parked_child_runs_until_it_returns(crashes):
    async def scene(stage: Stage) -> None:
        lives: list[float] = []
        child = stage.child("a", intensity=0, last_resort=resort(stage, "a", lives, crashes), last_resort_s=60)
        async with stage.running(child, stage.child("b")):
            stage.post("a", "crash")
            await trio.sleep(59)
            assert (stage.state("a"), lives) == ("parked", [])
            await trio.sleep(1000)
            assert lives == pytest.approx([60 + 61 * n for n in range(crashes + 1)])
            assert stage.state("a") == "parked", "only an operator starts it again"
            assert stage.incarnation("b") == 1

    play(scene)


def test_a_last_resort_hears_its_mailbox_and_is_replaced_when_an_operator_starts_the_child():
    async def scene(stage: Stage) -> None:
        async def reduced(inbox, *, task_status) -> None:
            with stage.life("a"):
                task_status.started()
                while True:
                    (await inbox.take()).reply.answer("reduced")
                    inbox.finish()

        async with stage.running(stage.child("a", intensity=0, last_resort=reduced, last_resort_s=60)) as tree:
            stage.post("a", "crash")
            await trio.sleep(1)
            with pytest.raises(ActorCrashed):
                await tree.mailbox("a").ask("between")
            await trio.sleep(60)
            assert await tree.mailbox("a").ask("who") == "reduced"
            assert stage.node("a").waiting_for == "its last resort to end"
            assert (await tree.start("a")).did == "started"
            assert stage.state("a") == "running"
            assert await tree.mailbox("a").ask("who") == "a"
            assert (await tree.stop_child("a")).did == "stopped"
            await trio.sleep(1000)
            assert stage.state("a") == "stopped"

    play(scene)


@pytest.mark.parametrize("restart", ["transient", "temporary"])
@pytest.mark.parametrize("auto_stop", ["any_significant", "all_significant"])
def test_a_group_stops_by_itself_when_its_significant_members_are_done(restart, auto_stop):
    async def scene(stage: Stage) -> None:
        async def then() -> None:
            await trio.sleep(1)
            stage.post("a", "return")
            await trio.sleep(1)
            if auto_stop == "all_significant":
                assert stage.state("c") == "running"
                stage.post("b", "return" if restart == "transient" else "crash")

        members = [stage.child(name, restart=restart, significant=True, stop_s_max=5) for name in "ab"]
        assert await stage.outcome(group(*members, stage.child("c", stop_s_max=5), auto_stop=auto_stop), then) is None
        assert stage.names("down") == (["a", "c", "b"] if auto_stop == "any_significant" else ["a", "b", "c"])

    play(scene)


def test_a_crash_of_a_significant_transient_child_is_no_end():
    async def scene(stage: Stage) -> None:
        member = stage.child("a", restart="transient", significant=True)
        async with stage.running(member, stage.child("b"), auto_stop="any_significant"):
            stage.post("a", "crash")
            await trio.sleep(1)
            assert (stage.incarnation("a"), stage.state("b")) == (2, "running")
            stage.post("b", "crash")
            await trio.sleep(1)
            assert stage.incarnation("b") == 2

    play(scene)


@pytest.mark.parametrize(("restart", "then"), [("permanent", ("running", 2)), ("transient", ("stopped", 1))])
def test_the_end_of_a_group_by_itself_is_a_return_for_the_level_above(restart, then):
    async def scene(stage: Stage) -> None:
        inner = group(
            stage.child("a", restart="transient", significant=True), stage.child("b"),
            name="inner", auto_stop="any_significant", restart=restart, delay_s=0,
        )  # fmt: skip
        async with stage.running(inner):
            stage.post("inner/a", "return")
            await trio.sleep(1)
            assert (stage.state("inner"), stage.incarnation("inner")) == then
            assert stage.node("inner").last_crash is None

    play(scene)


def test_operators_stop_is_no_end_of_a_significant_child():
    async def scene(stage: Stage) -> None:
        member = stage.child("a", restart="transient", significant=True)
        async with stage.running(member, stage.child("b"), auto_stop="any_significant") as tree:
            await tree.stop_child("a")
            await trio.sleep(1)
            assert stage.state("b") == "running"

    play(scene, range(10))


def test_an_error_keeps_no_frames_alive():
    """What is remembered of a crash is text: frames would keep whole actors, and their messages, in memory."""
    import gc
    import weakref

    class Big:
        pass

    async def scene(stage: Stage) -> None:
        seen: list[weakref.ref] = []

        async def start(inbox, *, task_status) -> None:
            task_status.started()
            big = Big()
            seen.append(weakref.ref(big))
            if len(seen) < 3:
                raise Boom("with a big local")
            del big
            await trio.sleep_forever()

        async with stage.running(ChildSpec(name="a", start=start)):
            await trio.sleep(10)
            stage.told.clear()
            gc.collect()
            assert [ref() for ref in seen] == [None, None, None]

    play(scene, range(3))
