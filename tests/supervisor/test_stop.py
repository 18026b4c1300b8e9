"""Stopping: reverse order, patience, cancelling, stuck children, deadlines."""

from __future__ import annotations

import pytest
import trio

from actors.errors import ActorCrashed
from tests.supervisor.stage import Stage, family, group, play


def test_children_stop_in_reverse_each_gone_before_the_next():
    async def scene(stage: Stage) -> None:
        async with stage.running(*(stage.child(name, stop_s_max=5) for name in "abcd")):
            pass
        assert stage.names("down") == ["d", "c", "b", "a"]
        assert trio.current_time() == 0, "somebody who listens was waited for"

    play(scene)


def test_a_child_has_its_patience_and_is_then_cancelled():
    async def scene(stage: Stage) -> None:
        async with stage.running(stage.child("a"), stage.child("b", stop_s_max=3), stage.child("c", stop_s_max=4)):
            stage.post("b", ("sleep", 2))  # in time
            stage.post("c", "hang")  # never
            await stage.settle()
        assert trio.current_time() == pytest.approx(4)
        assert stage.names("down") == ["c", "b", "a"]
        assert [it.what for it in stage.told if it.what == "crashed"] == []

    play(scene)


def test_without_patience_a_child_is_cancelled_at_once():
    async def scene(stage: Stage) -> None:
        async with stage.running(stage.child("a", stop_s_max=0)):
            stage.post("a", ("sleep", 100))
            await stage.settle()
        assert trio.current_time() == 0

    play(scene)


def test_what_was_posted_before_the_request_is_handled_before_it():
    async def scene(stage: Stage) -> None:
        async with stage.running(stage.child("a", stop_s_max=9)) as tree:
            stage.post("a", ("sleep", 1), ("sleep", 2), ("sleep", 3))
            await tree.stop_child("a")
            assert trio.current_time() == pytest.approx(6)
            assert tree.mailbox("a").statistics().lost == 0

    play(scene)


def test_a_crash_while_stopping_is_told_but_nothing_comes_of_it():
    async def scene(stage: Stage) -> None:
        async with stage.running(stage.child("a", stop_s_max=5), stage.child("b")) as tree:
            stage.post("a", ("sleep", 1), "crash")
            await tree.stop_child("a")
            assert stage.whats("a") == ["started", "ready", "crashed", "stopped"]
            assert (stage.state("a"), stage.node("a").restarts) == ("stopped", 0)

    play(scene)


@pytest.mark.parametrize("phase", ["starting", "delaying", "hanging"])
def test_stopping_is_prompt_whatever_the_child_does(phase):
    async def scene(stage: Stage) -> None:
        delay_s = 100 if phase == "delaying" else 0
        child = stage.child("b", "ok", "hang", stop_s_max=2, ready_s_max=1000, delay_s=delay_s, delay_s_max=1000)
        async with stage.running(stage.child("a"), child):
            stage.post("b", "hang" if phase == "hanging" else "crash")
            await trio.sleep(50)
            assert stage.state("b") == {"starting": "starting", "delaying": "delaying", "hanging": "running"}[phase]
        assert trio.current_time() == pytest.approx(52 if phase == "hanging" else 50)

    play(scene)


def test_stopping_while_the_tree_starts():
    async def scene(stage: Stage) -> None:
        async def then() -> None:
            await trio.sleep(1)
            assert await stage.tree.stop() == ()
            assert trio.current_time() == pytest.approx(1)

        inner = group(stage.child("b", stop_s_max=5), stage.child("c", "hang", stop_s_max=5), stage.child("d"))
        assert await stage.outcome(group(stage.child("a", stop_s_max=5), inner, stage.child("e")), then) is None
        assert stage.names("up") == ["a", "b", "c"]
        assert stage.names("down") == ["c", "b", "a"]

    play(scene)


def test_several_stops_wait_for_the_same_end():
    async def scene(stage: Stage) -> None:
        ends: list[float] = []

        async def stop(after_s: float) -> None:
            await trio.sleep(after_s)
            assert await stage.tree.stop() == ()
            ends.append(trio.current_time())

        stage.make(group(stage.child("a"), stage.child("b", stop_s_max=5)))
        async with trio.open_nursery() as nursery:
            await nursery.start(stage.tree.run)
            stage.post("b", "hang")
            await stage.settle()
            for after_s in (0, 0, 1, 3, 60):
                nursery.start_soon(stop, after_s)
        assert ends == pytest.approx([5, 5, 5, 5, 60])
        assert stage.names("down") == ["b", "a"]

    play(scene)


def test_cancelled_from_outside_it_stops_in_order_without_patience():
    async def scene(stage: Stage) -> None:
        stage.make(group(*(stage.child(name, stop_s_max=50) for name in "abc"), group(stage.child("d", stop_s_max=50))))
        with trio.move_on_after(3) as scope:
            await stage.tree.run()
        assert scope.cancelled_caught
        assert trio.current_time() == pytest.approx(3)
        assert stage.names("down") == ["d", "c", "b", "a"]

    play(scene)


def test_cancelled_from_outside_during_a_patient_stop_it_hurries():
    async def scene(stage: Stage) -> None:
        stage.make(group(*(stage.child(name, stop_s_max=50) for name in "ab")), stop_s_max=500, end_s_max=500)
        with trio.move_on_after(3):
            async with trio.open_nursery() as nursery:
                await nursery.start(stage.tree.run)
                stage.post("a", "hang")
                stage.post("b", "hang")
                await stage.settle()
                stage.tree.ask_stop()
        assert trio.current_time() == pytest.approx(3)
        assert stage.names("down") == ["b", "a"]

    play(scene)


def test_all_the_patience_of_a_tree_is_bounded():
    async def scene(stage: Stage) -> None:
        async def then() -> None:
            await trio.sleep(1)
            for name in "abc":
                stage.post(name, "hang")
            await stage.settle()
            await stage.tree.stop()
            assert trio.current_time() == pytest.approx(11), "30 s of patience in all, but the tree has only 10"

        spec = group(*(stage.child(name, stop_s_max=8) for name in "abc"))
        assert await stage.outcome(spec, then, stop_s_max=10, end_s_max=20) is None
        assert stage.names("down") == ["c", "b", "a"]
        assert stage.stuck == []

    play(scene)


def test_a_sub_tree_stops_within_its_parents_patience():
    async def scene(stage: Stage) -> None:
        inner = group(*(stage.child(name, stop_s_max=8) for name in "bc"), name="inner", stop_s_max=5)
        async with stage.running(stage.child("a"), inner):
            stage.post("inner/b", "hang")
            stage.post("inner/c", "hang")
            await stage.settle()
        assert trio.current_time() == pytest.approx(5)
        assert stage.names("down") == ["c", "b", "a"]

    play(scene)


def test_a_stuck_child_is_reported_and_the_others_still_stop():
    async def scene(stage: Stage) -> None:
        async def then() -> None:
            await trio.sleep(1)
            stage.post("b", ("shield", 1000))
            await stage.settle()
            assert await stage.tree.stop() == ("b",)
            assert trio.current_time() == pytest.approx(1 + 3 + 2 + 10), "patience, stuck_s, what is left for the end"
            assert (stage.state("b"), stage.state("a"), stage.state("c")) == ("stuck", "stopped", "stopped")
            assert stage.stuck == [("b",)]
            assert stage.names("down") == ["c", "a"]
            assert await stage.tree.stop() == ("b",)

        spec = group(stage.child("a"), stage.child("b", stop_s_max=3, stuck_s=2), stage.child("c"))
        assert await stage.outcome(spec, then) is None
        assert trio.current_time() == pytest.approx(1001), "run() cannot end before its last task"
        assert stage.whats("b")[-2:] == ["stuck", "stopped"]

    play(scene)


def test_a_stuck_child_deep_in_the_tree_does_not_keep_others_from_stopping():
    async def scene(stage: Stage) -> None:
        async def then() -> None:
            stage.tree.mailbox("inner/family/b").post(("shield", 1000))
            await stage.settle()
            assert await stage.tree.stop() == ("inner/family/b",)
            assert trio.current_time() == pytest.approx(5 + 10)
            assert stage.names("down") == ["d", "c", "a"]

        inner = group(family(stage.child("b"), stage.child("c", "ok")), stage.child("d"), name="inner")
        assert await stage.outcome(group(stage.child("a"), inner), then) is None

    play(scene)


def test_who_lets_go_before_the_last_deadline_is_not_held_against_the_process():
    async def scene(stage: Stage) -> None:
        async def then() -> None:
            stage.post("a", ("shield", 12))
            await stage.settle()
            assert await stage.tree.stop() == ()
            assert trio.current_time() == pytest.approx(12)

        assert await stage.outcome(group(stage.child("a", stuck_s=3)), then) is None
        assert stage.stuck == []
        assert stage.whats("a") == ["started", "ready", "stuck", "stopped"]

    play(scene)


def test_at_the_last_deadline_whatever_still_lives_is_reported():
    """Many stuck children, one after the other, would take longer than systemd waits."""

    async def scene(stage: Stage) -> None:
        async def then() -> None:
            for name in "abcdefgh":
                stage.post(name, ("shield", 1000))
            await stage.settle()
            assert await stage.tree.stop() == tuple("abcdefgh")
            assert trio.current_time() == pytest.approx(10)
            assert stage.stuck == [tuple("abcdefgh")]

        spec = group(*(stage.child(name, stuck_s=3) for name in "abcdefgh"))
        assert await stage.outcome(spec, then, stop_s_max=5, end_s_max=10) is None

    play(scene, range(10))


def test_nobody_waits_for_an_answer_of_a_stopped_child():
    async def scene(stage: Stage) -> None:
        failed: list[str] = []

        async def ask(path: str) -> None:
            try:
                await stage.tree.mailbox(path).ask("hang")
            except ActorCrashed:
                failed.append(path)

        async with trio.open_nursery() as nursery, stage.running(stage.child("a"), family(stage.child("b"))):
            for path in ("a", "a", "family/b", "family/b"):
                nursery.start_soon(ask, path)
            await stage.settle()
            assert failed == []
        assert sorted(failed) == ["a", "a", "family/b", "family/b"]
        with pytest.raises(ActorCrashed):
            await stage.tree.mailbox("a").ask("late")

    play(scene)
