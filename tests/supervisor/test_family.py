"""Families: members come and go while everything runs; a thousand of them die at once."""

from __future__ import annotations

import pytest
import trio

from actors.errors import ActorCrashed, ConfigError, Refusal
from tests.supervisor.stage import Stage, family, group, play


def test_members_are_added_and_removed_while_it_runs():
    async def scene(stage: Stage) -> None:
        async with stage.running(family(stage.child("a"))) as tree:
            assert (await tree.add("family", stage.child("b"))).did == "started"
            assert (await tree.add("family", stage.child("c", "decline"))).did == "declined"
            answer = await tree.add("family", stage.child("d", "fail", delay_s=3, jitter=0))
            assert (answer.did, answer.detail) == ("failed", "Boom: d cannot start")
            await trio.sleep(5)
            assert [stage.state(f"family/{name}") for name in "abcd"] == ["running", "running", "stopped", "running"]
            for name in "abcd":
                assert (await tree.remove(f"family/{name}")).did == "removed"
            assert stage.node("family").children == ()
            assert stage.state("family") == "running"
            assert stage.whats("family/b")[-2:] == ["stopped", "removed"]

    play(scene)


def test_members_put_before_it_runs_start_with_it():
    async def scene(stage: Stage) -> None:
        async def then() -> None:
            await trio.sleep(1)
            assert stage.state("family/b") == "running"
            stage.tree.put("family", stage.child("c"))
            await stage.settle()
            assert stage.state("family/c") == "running"
            await stage.tree.remove("family/b")
            await stage.tree.stop()

        stage.make(group(family(stage.child("a"))))
        stage.tree.put("family", stage.child("b"))
        made = stage.tree
        stage.make = lambda spec, **options: made  # type: ignore[method-assign]
        assert await stage.outcome(group(), then) is None

    play(scene, range(10))


def test_a_member_removed_before_the_family_runs_never_starts():
    async def scene(stage: Stage) -> None:
        inner = family(stage.child("a"), stage.child("b"))
        tree = stage.make(group(stage.child("z", "5"), inner))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tree.run)
            await trio.sleep(1)
            assert (await tree.remove("family/a")).did == "removed"
            await trio.sleep(10)
            await tree.stop()
        assert stage.names("up") == ["z", "b"]

    play(scene, range(10))


def test_a_member_added_and_removed_in_one_instant_is_gone_and_harms_nobody():
    async def scene(stage: Stage) -> None:
        async with stage.running(family(stage.child("a"))) as tree:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(tree.add, "family", stage.child("b"))
                await trio.lowlevel.checkpoint()
                nursery.start_soon(tree.remove, "family/b")
            assert [node.path for node in stage.node("family").children] == ["family/a"]
            assert stage.whats("family/b")[-1] == "removed"
            assert (stage.state("family"), stage.incarnation("family"), stage.incarnation("family/a")) == (
                "running",
                1,
                1,
            )

    play(scene, range(100))


def test_a_member_removed_in_the_instant_its_family_stops_is_gone():
    async def scene(stage: Stage) -> None:
        done = stage.child("a", "decline")
        async with stage.running(family(done, stage.child("b"))) as tree:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(tree.stop_child, "family")
                await pause(stage.seed % 12)
                nursery.start_soon(tree.remove, "family/a")
            assert [node.path for node in stage.node("family").children] == ["family/b"]

    play(scene, range(200))


async def pause(steps: int) -> None:
    for _ in range(steps):
        await trio.lowlevel.checkpoint()


def test_a_name_added_again_while_it_is_removed_gets_its_next_incarnation_and_the_same_mailbox():
    async def scene(stage: Stage) -> None:
        async with stage.running(family(stage.child("a", stop_s_max=9))) as tree:
            mailbox = tree.mailbox("family/a")
            stage.post("family/a", ("sleep", 2))
            await stage.settle()
            removed: list[str] = []

            async def remove() -> None:
                removed.append((await tree.remove("family/a")).did)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(remove)
                await stage.settle()
                assert (await tree.add("family", stage.child("a", capacity=7))).did == "started"
            assert removed == ["overruled"]
            assert (stage.state("family/a"), stage.incarnation("family/a")) == ("running", 2)
            assert tree.mailbox("family/a") is mailbox
            assert await mailbox.ask("who") == "a"

    play(scene)


def test_a_name_added_again_after_its_removal_is_reached_by_old_addresses():
    async def scene(stage: Stage) -> None:
        async with stage.running(family(stage.child("a"))) as tree:
            mailbox = tree.mailbox("family/a")
            await tree.remove("family/a")
            with pytest.raises(ActorCrashed):
                await mailbox.ask("who")
            await tree.add("family", stage.child("a"))
            assert await mailbox.ask("who") == "a"
            assert stage.incarnation("family/a") == 1, "it is a new child"

    play(scene, range(10))


def test_nobody_waits_for_a_member_of_a_family_that_is_down():
    async def scene(stage: Stage) -> None:
        async with stage.running(family(stage.child("a"))) as tree:
            await tree.stop_child("family")
            assert (await tree.add("family", stage.child("b"))).did == "overruled"
            for name in "ab":
                with pytest.raises(ActorCrashed):
                    await tree.mailbox(f"family/{name}").ask("who")
            await tree.start("family")
            assert [await tree.mailbox(f"family/{name}").ask("who") for name in "ab"] == ["a", "b"]

    play(scene)


def test_a_wrong_or_double_member_is_refused_and_changes_nothing():
    async def scene(stage: Stage) -> None:
        async with stage.running(family(stage.child("a"))) as tree:
            with pytest.raises(ConfigError) as caught:
                tree.put("family", stage.child("b", period_s=0))
            assert "period_s is 0" in str(caught.value)
            with pytest.raises(ConfigError):
                tree.put("family", stage.child("b", restart="transient", significant=True))
            with pytest.raises(Refusal):
                tree.put("family", stage.child("a"))
            assert [node.path for node in stage.node("family").children] == ["family/a"]

    play(scene, range(1))


def test_members_stay_when_their_family_is_restarted():
    async def scene(stage: Stage) -> None:
        async with stage.running(family(stage.child("a"))) as tree:
            await tree.add("family", stage.child("b"))
            await tree.stop_child("family/a")
            await tree.restart("family")
            assert [stage.state(f"family/{name}") for name in "ab"] == ["stopped", "running"]
            assert stage.incarnation("family/b") == 2

    play(scene)


def test_members_stop_all_at_once():
    async def scene(stage: Stage) -> None:
        async with stage.running(family(*(stage.child(str(n), stop_s_max=5) for n in range(20)))):
            for n in range(20):
                stage.post(f"family/{n}", "hang")
            await stage.settle()
        assert trio.current_time() == pytest.approx(5)

    play(scene, range(10))


@pytest.mark.parametrize("delay_s", [0.0, 0.1])
def test_a_thousand_members_start_crash_all_at_once_and_stop(delay_s):
    async def scene(stage: Stage) -> None:
        names = [f"user{n}" for n in range(1000)]
        async with stage.running(family(*(stage.child(name, delay_s=delay_s, stop_s_max=1) for name in names))):
            assert len(stage.alive) == 1000
            for name in names:
                stage.post(f"family/{name}", "crash")
            await trio.sleep(1)
            members = stage.node("family").children
            assert all((member.state, member.incarnation) == ("running", 2) for member in members)
            assert stage.incarnation("family") == 1
        assert stage.names("down")[1000:].__len__() == 1000

    play(scene, range(1))
