"""Starting: order, deadline, unwinding, declining."""

from __future__ import annotations

import pytest
import trio

from actors.errors import ActorCrashed, NotReady, Refusal, StartFailed
from tests.supervisor.stage import Boom, Stage, family, group, play


async def nothing() -> None:
    await trio.lowlevel.checkpoint()


def test_each_child_is_ready_before_the_next_is_started():
    async def scene(stage: Stage) -> None:
        async with stage.running(stage.child("a", "1"), stage.child("b", "2"), stage.child("c", "1")):
            assert trio.current_time() == pytest.approx(4)
        assert stage.diary[:6] == [
            ("a", "up"),
            ("a", "ready"),
            ("b", "up"),
            ("b", "ready"),
            ("c", "up"),
            ("c", "ready"),
        ]
        assert stage.names("down") == ["c", "b", "a"]

    play(scene)


@pytest.mark.parametrize("how", ["fail", "fail at once", "return"])
@pytest.mark.parametrize("restart", ["permanent", "transient", "temporary"])
def test_a_failed_start_unwinds_in_reverse_and_names_the_culprit(how, restart):
    async def scene(stage: Stage) -> None:
        spec = group(
            stage.child("a", stop_s_max=5), stage.child("b"), stage.child("c", how, restart=restart), stage.child("d")
        )
        raised = await stage.outcome(spec, nothing)
        assert isinstance(raised, StartFailed)
        assert raised.where == "c"
        assert isinstance(raised.__cause__, StartFailed if how == "return" else Boom)
        assert stage.names("up") == ["a", "b", "c"], "it was tried again, or the next one was started"
        assert stage.names("down") == ["c", "b", "a"]

    play(scene)


def test_a_start_that_takes_too_long_is_a_failed_start():
    async def scene(stage: Stage) -> None:
        raised = await stage.outcome(group(stage.child("a"), stage.child("b", "hang", ready_s_max=3)), nothing)
        assert isinstance(raised, StartFailed)
        assert (raised.where, type(raised.__cause__)) == ("b", NotReady)
        assert trio.current_time() == pytest.approx(3)
        assert stage.names("down") == ["b", "a"]

    play(scene)


def test_the_culprit_in_a_nested_group_is_named_and_all_levels_unwind():
    async def scene(stage: Stage) -> None:
        inner = group(stage.child("b"), stage.child("c", "fail"), name="inner")
        raised = await stage.outcome(group(stage.child("a"), inner, stage.child("d")), nothing)
        assert isinstance(raised, StartFailed)
        assert raised.where == "inner"
        assert "inner/c" in str(raised)
        assert isinstance(raised.__cause__, StartFailed)
        assert isinstance(raised.__cause__.__cause__, Boom)
        assert stage.names("down") == ["c", "b", "a"]

    play(scene)


def test_a_child_that_declines_is_left_out():
    async def scene(stage: Stage) -> None:
        async with stage.running(stage.child("a"), stage.child("b", "decline"), stage.child("c")) as tree:
            assert [stage.state(name) for name in "abc"] == ["running", "stopped", "running"]
            assert stage.whats("b") == ["started", "declined"]
            assert stage.node("b").last_crash is None
            with pytest.raises(ActorCrashed):
                await tree.mailbox("b").ask("anybody there")
            assert (await tree.start("b")).did == "started", "later it may be needed"

    play(scene)


def test_declining_after_having_been_ready_is_a_crash():
    async def scene(stage: Stage) -> None:
        async with stage.running(stage.child("a", "ok", "decline")):
            stage.post("a", "crash")
            await trio.sleep(1)
            assert (stage.state("a"), stage.incarnation("a")) == ("stopped", 2)

    play(scene)


def test_a_failed_restart_counts_like_a_death():
    async def scene(stage: Stage) -> None:
        async with stage.running(stage.child("a", "ok", "fail", "hang", "return", "fail", intensity=3, ready_s_max=2)):
            stage.post("a", "crash")
            await trio.sleep(10)
            assert (stage.state("a"), stage.incarnation("a"), stage.node("a").restarts) == ("parked", 4, 4)

    play(scene)


def test_a_member_that_was_ready_and_dies_while_its_group_starts_is_restarted():
    async def scene(stage: Stage) -> None:
        async def then() -> None:
            await trio.sleep(1)
            stage.post("a", "crash")
            await trio.sleep(20)
            assert [(stage.state(name), stage.incarnation(name)) for name in "ab"] == [("running", 2), ("running", 1)]
            await stage.tree.stop()

        assert await stage.outcome(group(stage.child("a", "ok", "2"), stage.child("b", "9")), then) is None

    play(scene)


def test_a_restart_that_fails_while_the_group_still_starts_goes_on_by_policy():
    async def scene(stage: Stage) -> None:
        async def then() -> None:
            await trio.sleep(1)
            stage.post("a", "crash")
            await trio.sleep(20)
            assert [(stage.state(name), stage.incarnation(name)) for name in "ab"] == [("running", 3), ("running", 1)]
            await stage.tree.stop()

        assert await stage.outcome(group(stage.child("a", "ok", "fail"), stage.child("b", "9")), then) is None

    play(scene)


def test_a_family_is_up_when_each_member_had_its_first_attempt():
    """No member fails the family: they are strangers."""

    async def scene(stage: Stage) -> None:
        members = [stage.child("a", "2"), stage.child("b", "fail", delay_s=1), stage.child("c", "decline")]
        async with stage.running(family(*members)):
            assert trio.current_time() == pytest.approx(2), "one after the other, or not awaited"
            states = [stage.state(f"family/{name}") for name in "abc"]
            assert states == ["running", "running", "stopped"]
            assert stage.incarnation("family/b") == 2

    play(scene)


def test_asks_before_the_first_start_wait_for_it():
    async def scene(stage: Stage) -> None:
        answers: list[object] = []

        async def then() -> None:
            answers.append(await stage.tree.mailbox("b").ask("hello"))
            await stage.tree.stop()

        assert await stage.outcome(group(stage.child("a", "3"), stage.child("b")), then) is None
        assert answers == ["b"]

    play(scene)


def test_commands_before_the_tree_runs_are_refused():
    async def scene(stage: Stage) -> None:
        tree = stage.make(group(stage.child("a")))
        for command in (tree.start, tree.restart, tree.stop_child):
            with pytest.raises(Refusal):
                await command("a")
        assert await tree.stop() == ()
        await tree.run()
        assert stage.diary == []

    play(scene, range(3))
