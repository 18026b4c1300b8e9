"""Commands on one child: a definite answer in every state."""

from __future__ import annotations

import pytest
import trio

from actors.errors import ActorCrashed, Refusal
from tests.supervisor.stage import Stage, family, group, play

# state of family/a when the command comes -> (start, restart, stop_child, remove): the answer, then state, incarnation
MATRIX = {
    "running": {
        "start": ("already_running", "running", 1),
        "restart": ("restarted", "running", 2),
        "stop_child": ("stopped", "stopped", 1),
        "remove": ("removed", None, None),
    },
    "starting": {
        "start": ("started", "running", 1),
        "restart": ("restarted", "running", 2),
        "stop_child": ("stopped", "stopped", 1),
        "remove": ("removed", None, None),
    },
    "delaying": {
        "start": ("started", "running", 2),
        "restart": ("started", "running", 2),
        "stop_child": ("already_down", "stopped", 1),
        "remove": ("removed", None, None),
    },
    "parked": {
        "start": ("started", "running", 2),
        "restart": ("started", "running", 2),
        "stop_child": ("already_down", "stopped", 1),
        "remove": ("removed", None, None),
    },
    "stopped": {
        "start": ("started", "running", 2),
        "restart": ("started", "running", 2),
        "stop_child": ("already_down", "stopped", 1),
        "remove": ("removed", None, None),
    },
    "stopping": {
        "start": ("started", "running", 2),
        "restart": ("restarted", "running", 2),
        "stop_child": ("stopped", "stopped", 1),
        "remove": ("removed", None, None),
    },
    "done": {
        "start": ("started", "running", 2),
        "restart": ("started", "running", 2),
        "stop_child": ("already_down", "stopped", 1),
        "remove": ("removed", None, None),
    },
    "declined": {
        "start": ("started", "running", 2),
        "restart": ("started", "running", 2),
        "stop_child": ("already_down", "stopped", 1),
        "remove": ("removed", None, None),
    },
    "stuck": {"start": "STUCK", "restart": "STUCK", "stop_child": "STUCK", "remove": ("stuck", "stuck", 1)},
}


def specimen(stage: Stage, state: str):
    match state:
        case "starting":
            return stage.child("a", "5", ready_s_max=100)
        case "delaying":
            return stage.child("a", delay_s=1000, delay_s_max=1000)
        case "parked":
            return stage.child("a", intensity=0)
        case "done":
            return stage.child("a", restart="transient")
        case "declined":
            return stage.child("a", "decline")
        case "stopping":
            return stage.child("a", stop_s_max=5)
        case _:
            return stage.child("a", stuck_s=1)


async def bring_about(stage: Stage, state: str, nursery: trio.Nursery) -> None:
    path = "family/a"
    match state:
        case "delaying" | "parked":
            stage.post(path, "crash")
        case "done":
            stage.post(path, "return")
        case "stopped":
            await stage.tree.stop_child(path)
        case "stopping":
            stage.post(path, ("sleep", 3))
            nursery.start_soon(stage.tree.stop_child, path)
        case "stuck":
            stage.post(path, ("shield", 500))
            await stage.settle()
            nursery.start_soon(stage.tree.stop_child, path)
            await trio.sleep(2)
    await trio.sleep(0.5)


@pytest.mark.parametrize("state", MATRIX)
@pytest.mark.parametrize("command", ["start", "restart", "stop_child", "remove"])
def test_matrix(state, command):
    async def scene(stage: Stage) -> None:
        async with trio.open_nursery() as nursery, stage.running(family(stage.child("b")), stage.child("c")) as tree:
            tree.put("family", specimen(stage, state))
            await stage.settle()
            await bring_about(stage, state, nursery)
            assert stage.state("family/a") == {"done": "stopped", "declined": "stopped"}.get(state, state)
            wanted = MATRIX[state][command]
            if isinstance(wanted, str):
                with pytest.raises(Refusal) as caught:
                    await getattr(tree, command)("family/a")
                assert caught.value.code == wanted
            else:
                answer = await getattr(tree, command)("family/a")
                did, then, incarnation = wanted
                assert answer.did == did
                if then is None:
                    with pytest.raises(Refusal):
                        tree.mailbox("family/a")
                else:
                    assert (stage.state("family/a"), stage.incarnation("family/a")) == (then, incarnation)
            assert stage.incarnation("family/b") == stage.incarnation("c") == 1

    play(scene)


@pytest.mark.parametrize("command", ["start", "restart", "stop_child", "remove"])
@pytest.mark.parametrize("path", ["family/alcie", "familly", "family/alice/deeper", "/", "family/"])
def test_an_unknown_path_is_refused_with_a_hint(command, path):
    async def scene(stage: Stage) -> None:
        async with stage.running(family(stage.child("alice"))) as tree:
            with pytest.raises(Refusal) as caught:
                await getattr(tree, command)(path)
            assert caught.value.code == "BAD_ARGUMENT"
            assert path in str(caught.value)
            if path == "family/alcie":
                assert "did you mean family/alice?" in str(caught.value)

    play(scene, range(1))


def test_what_cannot_be_commanded_is_refused():
    async def scene(stage: Stage) -> None:
        async with stage.running(stage.child("a"), family(stage.child("b")), group(stage.child("c"))) as tree:
            for refused in (
                lambda: tree.restart(""),
                lambda: tree.remove("a"),
                lambda: tree.remove("group/c"),
                lambda: tree.add("group", stage.child("d")),
                lambda: tree.add("a", stage.child("d")),
                lambda: tree.add("family", stage.child("b")),
            ):
                with pytest.raises(Refusal):
                    await refused()
            with pytest.raises(Refusal):
                tree.mailbox("family")
            with pytest.raises(Refusal):
                tree.crash("family")
            await tree.stop_child("a")
            with pytest.raises(Refusal):
                tree.crash("a")
            await tree.stop_child("group")
            with pytest.raises(Refusal) as caught:
                await tree.start("group/c")
            assert "start group first" in str(caught.value)

    play(scene, range(3))


def test_commands_while_the_tree_stops_are_refused_or_overruled():
    async def scene(stage: Stage) -> None:
        answers: list[str] = []

        async def start() -> None:
            answers.append((await stage.tree.start("b")).did)

        hangs = stage.child("b", "ok", "hang", ready_s_max=100)
        async with trio.open_nursery() as nursery, stage.running(stage.child("a"), hangs) as tree:
            await tree.stop_child("b")
            nursery.start_soon(start)
            await trio.sleep(1)
            assert stage.state("b") == "starting"
            tree.ask_stop()
            with pytest.raises(Refusal):
                await tree.restart("a")
        assert answers == ["overruled"]

    play(scene)


def test_of_commands_that_overlap_the_last_one_wins():
    async def scene(stage: Stage) -> None:
        answers: dict[str, str] = {}

        async def do(command: str) -> None:
            answers[command] = (await getattr(stage.tree, command)("a")).did

        async with stage.running(stage.child("a", stop_s_max=10)):
            stage.post("a", ("sleep", 3))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(do, "stop_child")
                await stage.settle()
                nursery.start_soon(do, "start")
            assert answers == {"stop_child": "overruled", "start": "started"}
            assert (stage.state("a"), stage.incarnation("a")) == ("running", 2)
            stage.post("a", ("sleep", 3))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(do, "restart")
                await stage.settle()
                nursery.start_soon(do, "stop_child")
            assert answers["restart"] == "overruled"
            assert (stage.state("a"), stage.incarnation("a")) == ("stopped", 2)

    play(scene)


def test_a_group_told_to_stop_in_the_instant_it_starts_stops():
    async def scene(stage: Stage) -> None:
        inner = group(stage.child("a", stop_s_max=5), name="inner")
        async with stage.running(inner) as tree:
            await tree.stop_child("inner")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(tree.start, "inner")
                nursery.start_soon(tree.stop_child, "inner")
            await trio.sleep(1)
            assert stage.state("inner") in ("running", "stopped")
            assert stage.state("inner/a") == stage.state("inner")

    play(scene, range(100))


def test_a_command_whose_caller_went_away_is_carried_out_all_the_same():
    """An operator's client may be gone, or the caller may be the very child that is restarted."""

    async def scene(stage: Stage) -> None:
        async with stage.running(stage.child("a", stop_s_max=5), family(stage.child("b", stop_s_max=5))) as tree:
            for path in ("a", "family/b"):
                stage.post(path, ("sleep", 2))
            with trio.move_on_after(1):
                await tree.restart("a")
            with trio.move_on_after(0.5):
                await tree.remove("family/b")
            await trio.sleep(5)
            assert (stage.state("a"), stage.incarnation("a")) == ("running", 2)
            assert stage.node("family").children == ()

    play(scene)


def test_a_child_may_restart_itself():
    async def scene(stage: Stage) -> None:
        lives: list[int] = []

        async def start(inbox, *, task_status) -> None:
            with stage.life("a"):
                lives.append(len(lives) + 1)
                task_status.started()
                if len(lives) == 1:
                    await stage.tree.restart("a")
                await trio.sleep_forever()

        from supervisor.spec import ChildSpec

        async with stage.running(ChildSpec(name="a", start=start)):
            await trio.sleep(1)
            assert lives == [1, 2]
            assert stage.node("a").restarts == 0

    play(scene)


def test_a_restarted_groups_children_are_all_new():
    async def scene(stage: Stage) -> None:
        inner = group(stage.child("a", stop_s_max=5), stage.child("b", stop_s_max=5), name="inner")
        async with stage.running(inner, stage.child("z")) as tree:
            assert (await tree.restart("inner")).did == "restarted"
            assert [stage.incarnation(path) for path in ("inner", "inner/a", "inner/b", "z")] == [2, 2, 2, 1]
            assert stage.names("down") == ["b", "a"]

    play(scene)


def test_a_start_that_fails_is_answered_and_followed_by_the_policy():
    async def scene(stage: Stage) -> None:
        async with stage.running(stage.child("a", "ok", "fail", delay_s=5, jitter=0)) as tree:
            await tree.stop_child("a")
            answer = await tree.start("a")
            assert (answer.did, answer.detail) == ("failed", "Boom: a cannot start")
            await stage.settle()
            assert stage.state("a") == "delaying"
            await trio.sleep(6)
            assert (stage.state("a"), stage.incarnation("a")) == ("running", 3)

    play(scene)


def test_a_stopped_childs_askers_are_answered_and_its_news_counted_as_lost():
    async def scene(stage: Stage) -> None:
        async with stage.running(stage.child("a")) as tree:
            mailbox = tree.mailbox("a")
            await tree.stop_child("a")
            with pytest.raises(ActorCrashed):
                await mailbox.ask("who")
            mailbox.post("news")
            assert mailbox.statistics().lost == 1
            await tree.start("a")
            assert await mailbox.ask("who") == "a"

    play(scene)
