"""The bus: numbered, lossy and counted; nobody who emits ever waits."""

from __future__ import annotations

import pytest
import trio

from supervisor.bus import RECENT_EVENTS, EventBus
from tests.control.daemon import TEN_MS, FixedWall


@pytest.fixture
def bus():
    return EventBus(FixedWall(), boot="b00t")


async def test_a_listener_hears_what_is_emitted_while_it_listens(bus):
    bus.emit("system", "early")
    with bus.listen("test") as listener:
        bus.emit("fill.alice", "filled", price=1)
        event = await listener.take()
    assert (event.topic, event.kind, event.seq, event.at_ms, event.payload) == (
        "fill.alice", "filled", 1, TEN_MS, {"price": 1},
    )  # fmt: skip


async def test_events_are_numbered_per_topic(bus):
    with bus.listen("test") as listener:
        for topic in ("a", "b", "a", "a"):
            bus.emit(topic, "x")
        assert [(e.topic, e.seq) for e in [await listener.take() for _ in range(4)]] == [
            ("a", 1), ("b", 1), ("a", 2), ("a", 3),
        ]  # fmt: skip


async def test_a_waiting_listener_is_woken(bus, nursery):
    heard = []

    async def listen(task_status):
        with bus.listen("test") as listener:
            task_status.started()
            heard.append((await listener.take()).kind)
            heard.append((await listener.take()).kind)

    await nursery.start(listen)
    await trio.testing.wait_all_tasks_blocked()
    bus.emit("a", "one")
    await trio.testing.wait_all_tasks_blocked()
    assert heard == ["one"]
    bus.emit("a", "two")
    await trio.testing.wait_all_tasks_blocked()
    assert heard == ["one", "two"]


async def test_a_slow_listener_loses_the_oldest_and_it_is_counted(bus):
    with bus.listen("slow", capacity=2) as listener:
        for _ in range(5):
            bus.emit("a", "x")
        assert [(await listener.take()).seq for _ in range(2)] == [4, 5]
        assert bus.statistics().lost == {"slow": 3}
    with bus.listen("slow", capacity=1):
        bus.emit("a", "x")
        bus.emit("a", "x")
        assert bus.statistics().lost == {"slow": 4}  # over both lives
    statistics = bus.statistics()
    assert (statistics.emitted, statistics.topics, statistics.lost) == (7, 1, {"slow": 4})


def test_emitting_needs_no_listener_and_the_newest_stay_visible(bus):
    for _ in range(RECENT_EVENTS + 5):
        bus.emit("a", "x")
    assert [event.seq for event in bus.recent] == list(range(6, RECENT_EVENTS + 6))


@pytest.mark.parametrize(("topic", "payload"), [("", {}), ("two words", {}), ("a", {"seq": 1}), ("a", {"boot": 1})])
def test_a_frame_that_listeners_could_not_read_is_a_bug(bus, topic, payload):
    with pytest.raises(AssertionError):
        bus.emit(topic, "x", **payload)


async def test_a_follower_hears_only_its_areas_and_outlives_its_reader(bus):
    follower = bus.follow("notifier", areas=frozenset({"pause"}))
    for topic in ("fill.alice", "pause.alice", "paused", "pause"):
        bus.emit(topic, "x")
    assert [(await follower.take()).topic for _ in range(2)] == ["pause.alice", "pause"]
    assert bus.statistics().lost == {"notifier": 0}
