"""What the tree shows and tells: snapshots, events, log lines."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from actors.errors import Refusal
from supervisor.lifecycle import place_of, reporter
from tests.supervisor.stage import Boom, Stage, family, group, play


def test_the_tree_is_drawn_with_everything_an_operator_asks():
    async def scene(stage: Stage) -> None:
        async with stage.running(stage.child("store"), family(stage.child("a", delay_s=50, jitter=0, delay_s_max=50))):
            await trio.sleep(10)
            root = stage.tree.statistics()
            assert (root.path, root.kind, root.state) == ("", "group", "running")
            assert [node.path for node in root.children] == ["store", "family"]
            assert [node.kind for node in root.children] == ["actor", "family"]
            store = root.children[0]
            assert (store.incarnation, store.restarts, store.uptime_s) == (1, 0, pytest.approx(10))
            assert store.last_crash is None
            assert store.waiting_for == "messages"
            assert store.mailbox is not None
            assert (store.mailbox.depth, store.mailbox.capacity) == (0, 1024)
            stage.post("family/a", "crash")
            stage.post("store", ("sleep", 5))
            await trio.sleep(1)
            member = stage.node("family/a")
            assert (member.state, member.restarts, member.uptime_s) == ("delaying", 1, None)
            assert member.waiting_for == "its restart in 49.0 s"
            assert member.last_crash is not None
            assert (member.last_crash.type, member.last_crash.message) == ("Boom", "a was told to")
            assert member.last_crash.place.startswith("supervisor/stage.py:")
            assert member.last_crash.at_ms == 1_763_600_010_000
            assert stage.node("store").waiting_for is not None
            assert "stage.py" in stage.node("store").waiting_for
            assert stage.node("store").mailbox.in_hand == 1

    play(scene, range(5))


def test_who_was_killed_died_where_it_waited():
    """Of no progress, or of chaos: the error was raised nowhere, the place is that of the actor's own line."""

    async def scene(stage: Stage) -> None:
        async with stage.running(stage.child("a"), stage.child("b", progress_s_max=2)) as tree:
            tree.crash("a")
            stage.post("b", "hang")
            await trio.sleep(5)
            assert [stage.node(name).last_crash.type for name in "ab"] == ["InjectedCrash", "NoProgress"]
            places = [stage.node(name).last_crash.place for name in "ab"]
            assert places[0].endswith(" perform")
            assert places[1].endswith(" obey")

    play(scene, range(5))


def test_what_children_wait_for_in_each_state():
    async def scene(stage: Stage) -> None:
        slow = group(stage.child("b", "5", ready_s_max=100), stage.child("c"), name="slow")
        stage.make(group(stage.child("a", intensity=0), slow))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stage.tree.run)
            await trio.sleep(1)
            stage.post("a", "crash")
            await stage.settle()
            assert stage.node("a").waiting_for == "an operator"
            assert stage.node("slow/b").waiting_for.startswith("being ready, at supervisor/stage.py")
            assert stage.node("slow/c").waiting_for == "its turn"
            await trio.sleep(10)
            stage.post("slow/b", ("shield", 5))
            await stage.settle()
            nursery.start_soon(stage.tree.stop_child, "slow/b")
            await trio.sleep(0.1)
            assert stage.node("slow/b").waiting_for == "its incarnation to end"
            await stage.tree.stop()

    play(scene, range(5))


def test_every_step_of_a_life_is_told_with_path_and_incarnation():
    async def scene(stage: Stage) -> None:
        async with stage.running(stage.child("a", intensity=1)) as tree:
            stage.post("a", "crash")
            await trio.sleep(1)
            stage.post("a", "crash")
            await trio.sleep(1)
            await tree.start("a")
        told = [(it.what, it.incarnation) for it in stage.told if it.path == "a"]
        assert told == [
            ("started", 1), ("ready", 1), ("crashed", 1), ("restarting", 1),
            ("started", 2), ("ready", 2), ("crashed", 2), ("parked", 2),
            ("started", 3), ("ready", 3), ("stopped", 3),
        ]  # fmt: skip
        root = [it.what for it in stage.told if it.path == ""]
        assert root == ["started", "ready", "stopped"]

    play(scene)


class Lines:
    """A log that keeps its lines."""

    def __init__(self, lines: list[dict[str, Any]], **bound: Any) -> None:
        self.lines, self.bound = lines, bound

    def bind(self, **more: Any) -> Lines:
        return Lines(self.lines, **self.bound, **more)

    def info(self, event: str, **kw: Any) -> None:
        self.lines.append({"level": "info", "event": event, **self.bound, **kw})

    def warning(self, event: str, **kw: Any) -> None:
        self.lines.append({"level": "warning", "event": event, **self.bound, **kw})

    def error(self, event: str, **kw: Any) -> None:
        self.lines.append({"level": "error", "event": event, **self.bound, **kw})


class Emitted:
    def __init__(self) -> None:
        self.frames: list[tuple[str, str, dict[str, Any]]] = []

    def emit(self, topic: str, kind: str, **payload: Any) -> None:
        self.frames.append((topic, kind, payload))


def test_the_reporter_writes_a_line_and_sends_an_event_for_each_happening():
    async def scene(stage: Stage) -> None:
        lines: list[dict[str, Any]] = []
        events = Emitted()
        async with stage.running(stage.child("a", intensity=1), stage.child("b")) as tree:
            tree.subscribe(reporter(Lines(lines), events))  # type: ignore[arg-type]
            stage.post("a", "nested group")
            await trio.sleep(1)
            stage.post("a", "crash")
            await trio.sleep(1)
        of_a = [line for line in lines if line["child"] == "a"]
        assert [line["event"] for line in of_a] == [
            "child_crashed", "child_crashed", "child_crashed", "child_restarting", "child_started", "child_ready",
            "child_crashed", "child_parked",
        ]  # fmt: skip
        assert [line["leaf"] for line in of_a[:3]] == ["1/3", "2/3", "3/3"]
        assert isinstance(of_a[0]["exc_info"], Boom)
        assert {line["level"] for line in of_a[:3]} == {"error"}
        assert {topic for topic, _, _ in events.frames} == {"actor"}
        crashed = next(payload for _, kind, payload in events.frames if kind == "crashed")
        assert crashed["errors"] == ["Boom: one", "Boom: two", "KeyError: 'three'"]
        assert (crashed["path"], crashed["incarnation"]) == ("a", 1)

    play(scene, range(5))


def closed_channel() -> trio.MemorySendChannel[str]:
    send, receive = trio.open_memory_channel[str](1)
    send.close()
    receive.close()
    return send


def test_the_place_of_an_error_is_our_line_not_a_librarys():
    with pytest.raises(trio.ClosedResourceError) as caught:
        closed_channel().send_nowait("x")
    assert place_of(caught.value).startswith("supervisor/test_introspection.py:")
    assert place_of(ValueError("never raised")) == ""


def test_a_mailbox_is_the_same_over_all_incarnations():
    async def scene(stage: Stage) -> None:
        async with stage.running(stage.child("a")) as tree:
            mailbox = tree.mailbox("a")
            stage.post("a", "crash", "fine")
            await trio.sleep(1)
            assert tree.mailbox("a") is mailbox
            assert await mailbox.ask("who") == "a"
            with pytest.raises(Refusal):
                tree.mailbox("b")

    play(scene, range(5))
