"""What a hostile reviewer would try: awkward actors, and several things going wrong at one instant."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
import trio

from actors.errors import ActorCrashed, ChildExhausted, NotNeeded, NotReady, StartFailed
from tests.supervisor.stage import Boom, Stage, actor, group, play

# -- groups


def test_a_group_that_is_stuck_already_does_not_keep_others_from_stopping():
    """It was going down by itself, and hangs on a stuck member, when the tree is told to stop."""

    async def scene(stage: Stage) -> None:
        async def then() -> None:
            stage.post("inner/b", ("shield", 1000))
            await stage.settle()
            stage.post("inner/c", "crash")
            await trio.sleep(10)
            assert (stage.state("inner"), stage.state("inner/b")) == ("stuck", "stuck")
            began_s = trio.current_time()
            assert await stage.tree.stop() == ("inner/b",)
            assert trio.current_time() == pytest.approx(began_s + 10), "the end kept for stuck ones"
            assert stage.stuck == [("inner/b",)], "who was never asked to stop is not stuck"
            assert (stage.state("inner"), stage.state("a")) == ("stuck", "stopped")
            assert stage.names("down") == ["c", "a"]

        c = stage.child("c", intensity=0, exhausted="escalate")
        inner = group(stage.child("b", stuck_s=2), c, name="inner")
        assert await stage.outcome(group(stage.child("a", stop_s_max=5), inner), then) is None

    play(scene)


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_a_crash_during_a_stop_during_a_group_restart(strategy):
    async def scene(stage: Stage) -> None:
        members = [stage.child(name, exhausted="escalate", stop_s_max=5) for name in "abcd"]
        async with stage.running(*members, strategy=strategy) as tree:
            stage.post("d", ("sleep", 2), "crash")  # dies while it is taken down for the others' sake ...
            stage.post("c", ("sleep", 3), "crash later")
            await stage.settle()
            stage.post("b", "crash")
            await trio.sleep(1)
            assert [stage.state(name) for name in "bcd"] == ["stopped", "running", "stopping"]
            tree.ask_stop()  # ... and the tree is stopped meanwhile
        assert trio.current_time() == pytest.approx(3.001, abs=0.01)
        assert stage.names("up") == list("abcd"), "somebody was started again"
        assert all(stage.node(name).restarts == (name == "b") for name in "abcd")

    play(scene)


def test_nested_groups_that_escalate_in_one_instant_are_one_end():
    async def scene(stage: Stage) -> None:
        async def then() -> None:
            await trio.sleep(1)
            for path in ("left/a", "left/b", "right/c", "right/d"):
                stage.post(path, "crash")

        options = {"intensity": 0, "exhausted": "escalate", "stop_s_max": 5.0}
        left = group(stage.child("a", **options), stage.child("b", **options), name="left", intensity=0)
        right = group(
            stage.child("c", **options), stage.child("d", **options), name="right", intensity=0, strategy="one_for_all"
        )
        raised = await stage.outcome(group(stage.child("z", stop_s_max=5), left, right), then)
        assert isinstance(raised, ChildExhausted)
        assert raised.where in ("left", "right")
        assert isinstance(raised.__cause__, ChildExhausted)
        assert isinstance(raised.__cause__.__cause__, Boom)
        assert sorted(stage.names("down")) == list("abcdz")
        assert stage.names("down")[-1] == "z"
        assert trio.current_time() == pytest.approx(1)

    play(scene)


def test_nested_groups_that_escalate_in_one_instant_restart_once_where_that_is_allowed():
    async def scene(stage: Stage) -> None:
        options = {"intensity": 0, "exhausted": "escalate"}
        deep = group(stage.child("a", **options), stage.child("b", **options), name="deep", delay_s=0)
        async with stage.running(group(deep, stage.child("c", **options), name="inner", delay_s=0), stage.child("z")):
            for path in ("inner/deep/a", "inner/deep/b", "inner/c"):
                stage.post(path, "crash")
            await trio.sleep(1)
            assert {stage.state(path) for path in ("inner", "inner/deep/a", "inner/deep/b", "inner/c")} == {"running"}
            assert stage.incarnation("inner") == 2, "c may escalate to it once"
            assert stage.incarnation("inner/deep") in (2, 3)
            assert stage.incarnation("z") == 1

    play(scene)


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_a_temporary_member_that_is_taken_down_with_others_stays_down(strategy):
    """As in OTP: temporary means never started again, also when it was not its own death."""

    async def scene(stage: Stage) -> None:
        members = [
            stage.child("a", exhausted="escalate"),
            stage.child("b", exhausted="escalate", restart="temporary", stop_s_max=3),
            stage.child("c", exhausted="escalate"),
        ]
        async with stage.running(*members, strategy=strategy) as tree:
            stage.post("a", "crash")
            await trio.sleep(1)
            assert [(stage.state(name), stage.incarnation(name)) for name in "abc"] == [
                ("running", 2), ("stopped", 1), ("running", 2),
            ]  # fmt: skip
            with pytest.raises(ActorCrashed):
                await tree.mailbox("b").ask("anybody there")
            assert (await tree.start("b")).did == "started", "an operator may"

    play(scene)


@pytest.mark.parametrize("how", ["stopped", "parked"])
def test_significant_members_that_are_down_for_good_are_not_waited_for(how):
    """all_significant: the last one that runs comes to its end; who was stopped or parked before does not count."""

    async def scene(stage: Stage) -> None:
        async def then() -> None:
            await trio.sleep(1)
            if how == "stopped":
                await stage.tree.stop_child("a")
            else:
                stage.post("a", "crash")
            await trio.sleep(1)
            assert stage.state("a") == how
            assert stage.state("c") == "running"
            stage.post("b", "return")

        members = [stage.child(name, restart="transient", significant=True, intensity=0) for name in "ab"]
        assert await stage.outcome(group(*members, stage.child("c"), auto_stop="all_significant"), then) is None
        assert trio.current_time() == pytest.approx(2)

    play(scene)


def test_a_group_has_a_start_deadline_too():
    async def scene(stage: Stage) -> None:
        async def nothing() -> None:
            await trio.lowlevel.checkpoint()

        inner = group(*(stage.child(name, "2", stop_s_max=5) for name in "bcd"), name="inner", ready_s_max=5)
        raised = await stage.outcome(group(stage.child("a"), inner), nothing)
        assert isinstance(raised, StartFailed)
        assert (raised.where, type(raised.__cause__)) == ("inner", NotReady)
        assert stage.names("down") == ["d", "c", "b", "a"]
        assert trio.current_time() == pytest.approx(5)

    play(scene)


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_of_several_that_died_together_the_longest_delay_counts(strategy):
    delays: list[int] = []

    async def scene(stage: Stage) -> None:
        options = {"exhausted": "escalate", "jitter": 0, "stop_s_max": 1.0}
        members = [stage.child(name, delay_s=delay_s, **options) for name, delay_s in (("a", 2), ("b", 9), ("c", 4))]
        async with stage.running(*members, strategy=strategy):
            for name in "abc":
                stage.post(name, ("shield", 0.5), "crash")
            await trio.sleep(0.6)
            told = {it.path: it.delay_s for it in stage.told if it.what == "restarting"}
            assert told, "who dies while it is taken down has no delay of its own"
            await trio.sleep(max(told.values()) - 0.2)
            affected = "abc" if strategy == "one_for_all" else "abc"["abc".index(min(told)) :]
            assert not stage.alive & set(affected), "somebody did not wait for the others"
            await trio.sleep(0.2)
            assert {node.path: node.incarnation for node in stage.tree.statistics().children} == {
                name: 2 if name in affected else 1 for name in "abc"
            }
            delays.append(len(told))

    play(scene)
    assert max(delays) > 1, "in no schedule did two of them die of their own accord"


def test_a_new_life_of_a_group_has_all_its_members():
    """Also those that had come to their end; only what an operator stopped, or has to start, stays down."""

    async def scene(stage: Stage) -> None:
        kinds = [stage.child(kind, restart=kind) for kind in ("transient", "temporary")]
        last = stage.child("z", intensity=0, exhausted="escalate")
        async with stage.running(group(*kinds, stage.child("s"), last, name="inner", delay_s=0)) as tree:
            for kind in ("transient", "temporary"):
                stage.post(f"inner/{kind}", "return")
            await tree.stop_child("inner/s")
            assert [stage.state(f"inner/{name}") for name in ("transient", "temporary", "s")] == ["stopped"] * 3
            stage.post("inner/z", "crash")
            await trio.sleep(1)
            stands = {node.path: (node.state, node.incarnation) for node in stage.node("inner").children}
            assert stands == {
                "inner/transient": ("running", 2), "inner/temporary": ("running", 2),
                "inner/s": ("stopped", 1), "inner/z": ("running", 2),
            }  # fmt: skip

    play(scene)


# -- actors that behave badly


def test_who_says_ready_after_its_deadline_is_not_ready():
    """It shielded its start, and calls started() although it was cancelled."""

    async def scene(stage: Stage) -> None:
        async def late(number, inbox, task_status) -> None:
            with trio.CancelScope(shield=True):
                await trio.sleep(4)
            task_status.started()
            await trio.sleep_forever()

        async def nothing() -> None:
            await trio.lowlevel.checkpoint()

        raised = await stage.outcome(group(stage.child("a"), actor(stage, "b", late, ready_s_max=3)), nothing)
        assert isinstance(raised, StartFailed)
        assert (raised.where, type(raised.__cause__)) == ("b", NotReady)
        assert stage.names("up") == ["a", "b"], "it was tried again"
        assert stage.whats("b") == ["started", "crashed"]

    play(scene)


def test_a_child_that_swallows_cancelled_and_returns_is_down():
    async def scene(stage: Stage) -> None:
        async def deaf(number, inbox, task_status) -> None:
            task_status.started()
            try:
                await trio.sleep_forever()
            except trio.Cancelled:
                return  # it says nothing

        async with stage.running(actor(stage, "a", deaf), stage.child("b")) as tree:
            assert (await tree.restart("a")).did == "restarted"
            tree.crash("a")
            await trio.sleep(1)
            assert (stage.state("a"), stage.incarnation("a"), stage.node("a").restarts) == ("running", 3, 1)
            assert (await tree.stop_child("a")).did == "stopped"

    play(scene)


def test_a_child_that_swallows_cancelled_and_goes_on_is_stuck_until_it_lets_go():
    """In real time: it is a busy loop, and a virtual clock moves only when nobody is busy."""

    async def main() -> None:
        stage = Stage(0)
        enough = False

        async def deaf(number, inbox, task_status) -> None:
            task_status.started()
            while not enough:
                try:
                    await trio.sleep(0.001)
                except trio.Cancelled:
                    continue

        async with stage.running(actor(stage, "a", deaf, stuck_s=0.01), stage.child("b")) as tree:
            assert (await tree.stop_child("a")).did == "stuck"
            assert stage.whats("a")[-1] == "stuck"
            enough = True
            while stage.state("a") != "stopped":  # noqa: ASYNC110
                await trio.sleep(0.001)
            assert stage.incarnation("b") == 1

    trio.run(main)


@pytest.mark.parametrize("asked", ["stop_child", "restart", "crash"])
def test_an_exception_on_the_way_out_is_told_and_costs_nothing_more(asked):
    async def scene(stage: Stage) -> None:
        @asynccontextmanager
        async def connection(number):
            try:
                yield
            finally:
                if number == 1:
                    raise Boom("cannot close")

        async def untidy(number, inbox, task_status) -> None:
            async with connection(number):
                task_status.started()
                await trio.sleep_forever()

        async with stage.running(actor(stage, "a", untidy), stage.child("b")) as tree:
            if asked == "crash":
                tree.crash("a")
                await trio.sleep(1)
            else:
                await getattr(tree, asked)("a")
            (crash,) = [it for it in stage.told if it.what == "crashed"]
            names = [type(error).__name__ for error in crash.errors]
            assert names == (["InjectedCrash", "Boom"] if asked == "crash" else ["Boom"])
            assert stage.node("a").restarts == int(asked == "crash")
            expected = {"stop_child": ("stopped", 1)}.get(asked, ("running", 2))
            assert (stage.state("a"), stage.incarnation("a")) == expected

    play(scene)


def test_an_exit_beside_a_cancel_from_outside_reaches_the_caller():
    """Both in one instant: the exit is not lost in the cancellation."""

    async def scene(stage: Stage) -> None:
        async def leaves(number, inbox, task_status) -> None:
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                raise SystemExit(3)

        stage.make(group(stage.child("a"), actor(stage, "b", leaves)))
        with pytest.raises(SystemExit) as caught, trio.move_on_after(1):
            await stage.tree.run()
        assert caught.value.code == 3
        assert stage.names("down") == ["b", "a"]

    play(scene)


def test_of_two_exits_the_first_counts_and_both_end_the_tree_once():
    async def scene(stage: Stage) -> None:
        async def then() -> None:
            await trio.sleep(1)
            stage.post("a", "exit")
            stage.post("b", "exit in group")
            stage.post("c", "interrupt")

        raised = await stage.outcome(group(*(stage.child(name) for name in "abc")), then)
        assert isinstance(raised, SystemExit | KeyboardInterrupt)
        assert sorted(stage.names("down")) == list("abc")

    play(scene)


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
def test_an_exit_in_the_middle_of_a_group_restart(strategy):
    async def scene(stage: Stage) -> None:
        async def then() -> None:
            await trio.sleep(1)
            stage.post("d", ("sleep", 2), "exit")
            await stage.settle()
            stage.post("b", "crash")

        members = [stage.child(name, exhausted="escalate", stop_s_max=5) for name in "abcd"]
        raised = await stage.outcome(group(*members, strategy=strategy), then)
        assert isinstance(raised, SystemExit)
        assert stage.names("up") == list("abcd")
        assert stage.names("down") == ["b", "d", "c", "a"]

    play(scene)


def test_a_child_may_stop_the_tree_and_itself():
    async def scene(stage: Stage) -> None:
        async def suicidal(number, inbox, task_status) -> None:
            task_status.started()
            await trio.sleep(1)
            await stage.tree.stop()

        async def nothing() -> None:
            await trio.lowlevel.checkpoint()

        spec = group(stage.child("a", stop_s_max=5), actor(stage, "b", suicidal, stop_s_max=3), stage.child("c"))
        assert await stage.outcome(spec, nothing) is None
        assert stage.names("down") == ["c", "b", "a"]
        assert trio.current_time() == pytest.approx(4), "it does not read its mailbox while it waits for itself"

    play(scene)


def test_a_last_resort_that_is_not_needed_leaves_the_child_parked():
    async def scene(stage: Stage) -> None:
        async def unneeded(inbox, *, task_status) -> None:
            raise NotNeeded("nothing lives", where="a")

        inner = group(
            stage.child("a", intensity=0, last_resort=unneeded), stage.child("b", intensity=0, exhausted="escalate"),
            name="inner", delay_s=0,
        )  # fmt: skip
        async with stage.running(inner):
            stage.post("inner/a", "crash")
            await trio.sleep(1000)
            assert stage.state("inner/a") == "parked"
            assert stage.whats("inner/a").count("started") == 2, "it was tried once, and declined"
            stage.post("inner/b", "crash")
            await trio.sleep(1)
            assert (stage.incarnation("inner"), stage.state("inner/a")) == (2, "parked")

    play(scene)
