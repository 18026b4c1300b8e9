"""What a hostile reviewer would try: commands and letters at awkward moments, and very many of them."""

from __future__ import annotations

import pytest
import trio

from actors.errors import ActorCrashed
from tests.supervisor.stage import Boom, Stage, actor, family, play

# -- commands in awkward moments


def test_removing_a_member_that_waits_for_its_restart():
    async def scene(stage: Stage) -> None:
        outcomes: list[str] = []

        async def ask() -> None:
            try:
                await stage.tree.mailbox("family/a").ask("who")
            except ActorCrashed as error:
                outcomes.append(error.what)

        async with stage.running(family(stage.child("a", delay_s=100, delay_s_max=100), stage.child("b"))) as tree:
            stage.post("family/a", "crash")
            await trio.sleep(1)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask)
                await stage.settle()
                assert (stage.state("family/a"), outcomes) == ("delaying", [])
                answer = await tree.remove("family/a")
            assert (answer.did, outcomes) == ("removed", ["no answer: removed"])
            assert trio.current_time() == pytest.approx(1), "its delay was waited for"
            await trio.sleep(1000)
            assert stage.names("up") == ["a", "b"] or stage.names("up") == ["b", "a"]

    play(scene)


def test_starting_a_child_that_is_just_being_replaced_waits_for_the_next():
    async def scene(stage: Stage) -> None:
        answers: dict[str, tuple[str, int]] = {}

        async def do(command: str) -> None:
            answer = await getattr(stage.tree, command)("a")
            answers[command] = (answer.did, answer.incarnation)

        async with stage.running(stage.child("a", stop_s_max=10)), trio.open_nursery() as nursery:
            stage.post("a", ("sleep", 3))
            await stage.settle()
            nursery.start_soon(do, "restart")
            await stage.settle()
            assert stage.state("a") == "stopping"
            await do("start")
            assert answers["start"] == ("started", 2)
        assert answers["restart"] == ("restarted", 2)

    play(scene)


@pytest.mark.parametrize("restart", ["permanent", "transient", "temporary"])
def test_starting_a_child_that_is_just_dying_starts_it(restart):
    async def scene(stage: Stage) -> None:
        async with stage.running(stage.child("a", restart=restart, intensity=0)) as tree:
            stage.post("a", ("shield", 1))
            await stage.settle()
            tree.crash("a")
            answer = await tree.start("a")
            assert (answer.did, answer.state, answer.incarnation) == ("started", "running", 2)
            assert stage.node("a").last_crash.type == "InjectedCrash"

    play(scene)


@pytest.mark.parametrize("steps", range(6))
def test_a_restart_in_the_instant_of_being_ready_is_answered_with_the_next_incarnation(steps):
    async def scene(stage: Stage) -> None:
        async with stage.running(stage.child("a", "ok", "1"), family(stage.child("b"))) as tree:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(tree.restart, "a")
                await trio.sleep(1)
                for _ in range(steps):
                    await trio.lowlevel.checkpoint()
                before = stage.incarnation("a")
                answer = await tree.restart("a")
            assert (answer.did, answer.incarnation) == ("restarted", before + 1)
            assert stage.incarnation("a") == answer.incarnation

    play(scene)


def test_a_member_added_again_under_its_name_follows_its_new_spec():
    async def scene(stage: Stage) -> None:
        async with stage.running(family(stage.child("a", stop_s_max=9, capacity=3))) as tree:
            stage.post("family/a", ("sleep", 2))
            await stage.settle()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(tree.remove, "family/a")
                await stage.settle()
                await tree.add("family", stage.child("a", capacity=7))
            assert stage.node("family/a").mailbox.capacity == 7

    play(scene, range(10))


def test_a_member_added_while_its_family_goes_down_waits_for_the_familys_next_life():
    async def scene(stage: Stage) -> None:
        async with stage.running(family(stage.child("a", stop_s_max=9))) as tree, trio.open_nursery() as nursery:
            stage.post("family/a", ("sleep", 3))
            await stage.settle()
            nursery.start_soon(tree.stop_child, "family")
            await trio.sleep(1)
            tree.put("family", stage.child("b"))
            await trio.sleep(100)
            assert stage.names("up") == ["a"]
            assert (await tree.start("family")).did == "started"
            assert sorted(stage.names("up")) == ["a", "a", "b"]

    play(scene)


def test_a_child_may_add_and_remove_others_and_itself():
    async def scene(stage: Stage) -> None:
        async def founder(number, inbox, task_status) -> None:
            task_status.started()
            await stage.tree.add("family", stage.child("b"))
            await stage.tree.remove("family/a")

        async with stage.running(family(actor(stage, "a", founder))):
            await trio.sleep(1)
            assert [node.path for node in stage.node("family").children] == ["family/b"]
            assert stage.state("family/b") == "running"
            assert stage.names("up") == ["a", "b"]

    play(scene)


# -- letters


def test_a_mailbox_that_is_full_at_a_crash_loses_only_what_was_in_hand():
    async def scene(stage: Stage) -> None:
        outcomes: dict[str, str] = {}

        async def ask(what: str) -> None:
            try:
                outcomes[what] = await stage.tree.mailbox("a").ask(what)
            except ActorCrashed:
                outcomes[what] = "crashed"

        async with stage.running(stage.child("a", capacity=2, delay_s=5)) as tree:
            async with trio.open_nursery() as nursery:
                stage.post("a", ("sleep", 1))
                await stage.settle()
                for what in ("crash", "one", "two", "three", "four"):  # two have a place, three wait at the door
                    nursery.start_soon(ask, what)
                    await stage.settle()
                assert tree.mailbox("a").statistics().depth == 5
            assert outcomes == {"crash": "crashed"} | dict.fromkeys(("one", "two", "three", "four"), "a")
            statistics = tree.mailbox("a").statistics()
            assert (statistics.depth, statistics.in_hand, statistics.lost) == (0, 0, 0)
            assert stage.incarnation("a") == 2

    play(scene)


@pytest.mark.parametrize("redeliver", [False, True])
def test_an_asker_that_goes_away_while_its_question_is_in_hand_disturbs_nobody(redeliver):
    async def scene(stage: Stage) -> None:
        handled: list[str] = []

        async def clerk(number, inbox, task_status) -> None:
            task_status.started()
            while True:
                asked = await inbox.take()
                await trio.sleep(2)
                handled.append(asked.question)
                if asked.question == "one" and number == 1:
                    raise Boom("with the question in hand")
                asked.reply.answer(f"did {asked.question}")
                inbox.finish()

        async with stage.running(actor(stage, "a", clerk, redeliver=redeliver)) as tree:
            with trio.move_on_after(1):
                await tree.mailbox("a").ask("one")
            assert await tree.mailbox("a").ask("two") == "did two"
            assert handled == (["one", "one", "two"] if redeliver else ["one", "two"])
            assert tree.mailbox("a").statistics().in_hand <= 1

    play(scene)


def test_a_door_full_of_askers_that_give_up_is_empty():
    async def scene(stage: Stage) -> None:
        async with stage.running(stage.child("a", capacity=1)) as tree:
            stage.post("a", ("sleep", 10))
            await stage.settle()
            stage.post("a", "fine")
            with trio.move_on_after(1):
                async with trio.open_nursery() as nursery:
                    for _ in range(20):
                        nursery.start_soon(tree.mailbox("a").ask, "who")
            assert tree.mailbox("a").statistics().depth == 1
            assert await tree.mailbox("a").ask("who") == "a"

    play(scene, range(10))


# -- many

POSSIBLE = {
    "restart": {"restarted", "started"},
    "stop_child": {"stopped", "already_down"},
    "remove": {"removed"},
    "start": {"already_running", "started"},
}


def test_a_thousand_members_with_commands_in_flight():
    """Crashes, restarts, stops, starts and removals of all at once: each is answered, no name has two lives."""

    async def scene(stage: Stage) -> None:
        answered: dict[str, str] = {}

        async def do(command: str, name: str) -> None:
            answered[name] = (await getattr(stage.tree, command)(f"family/{name}")).did

        names = [f"user{n}" for n in range(1000)]
        commands = ["restart", "stop_child", "remove", "start", "restart"]
        async with stage.running(family(*(stage.child(name, stop_s_max=1) for name in names)), stage.child("z")):
            async with trio.open_nursery() as nursery:
                for number, name in enumerate(names):
                    if number % 2:
                        stage.post(f"family/{name}", "crash")
                    nursery.start_soon(do, commands[number % 5], name)
            assert (len(answered), len(stage.node("family").children)) == (1000, 800)
            for number, command in enumerate(commands):
                assert {answered[name] for name in names[number::5]} <= POSSIBLE[command]
            await trio.sleep(1)
            states = {node.path: node.state for node in stage.node("family").children}
            stopped = {f"family/{name}" for name in names[1::5]}
            assert {path for path, state in states.items() if state == "stopped"} == stopped
            assert {state for path, state in states.items() if path not in stopped} == {"running"}
            assert (stage.incarnation("family"), stage.incarnation("z")) == (1, 1)

    play(scene, range(1))
