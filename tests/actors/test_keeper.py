"""The keeper of listen keys under a virtual clock."""

from __future__ import annotations

from functools import partial
from random import Random

import pytest
import trio
import trio.testing

from actors import keeper
from actors.adapters.clock import WallClock
from actors.domain.keyschedule import LAPSED, Timing
from actors.errors import ExchangeTrouble, NotSent, ProtocolChanged, Refusal
from actors.messages import DropKey, KeepKey, KeyRefused, ListenKey
from actors.ports import Stop
from supervisor.mailbox import Cell, Mailbox

NOON_MS = 1_795_176_000_000


class Desk:
    """The exchange's key desk for all users: answers by script, remembers when it was asked."""

    def __init__(self):
        self.asked = []
        self.answers = {}

    def of(self, user):
        return _Exchange(self, user)

    def times(self, user):
        return [round(at_s, 3) for who, at_s in self.asked if who == user]


class _Exchange:
    def __init__(self, desk, user):
        self.desk, self.user = desk, user

    async def listen_key(self):
        self.desk.asked.append((self.user, trio.current_time()))
        await trio.sleep(0.1)
        answer = self.desk.answers.get(self.user, lambda: f"key-of-{self.user}")()
        if isinstance(answer, Exception):
            raise answer
        if not isinstance(answer, str):
            answer = await answer
        return answer


class Heard:
    """ports.Events and ports.Log."""

    def __init__(self):
        self.lines = []
        self.events = []

    def emit(self, topic, kind, **payload):
        self.events.append((topic, kind, payload))

    def info(self, event, **kw):
        self.lines.append((event, kw))

    warning = info


class World:
    def __init__(self):
        self.desk = Desk()
        self.heard = Heard()
        self.cells = {}
        self.inbox = Mailbox("keeper", capacity=64)
        self.users = []
        self.wall = WallClock.virtual(NOON_MS)

    def cell(self, user):
        return self.cells.setdefault(user, Cell())

    def incarnation(self):
        return partial(
            keeper.run,
            self.inbox,
            users=lambda: self.users,
            exchanges=self.desk.of,
            cells=self.cell,
            wall=self.wall,
            rng=Random(7),
            log=self.heard,
            events=self.heard,
            timing=Timing(jitter=0.0),
        )


@pytest.fixture
async def world():
    return World()


async def start(nursery, world):
    await nursery.start(world.incarnation())


def of_world(nursery, world):
    """A keeper without its mailbox, to be told things at a chosen instant."""
    kept = keeper.Keeper(world.desk.of, world.cell, world.wall, Random(7), world.heard, world.heard, Timing(jitter=0.0))
    kept.nursery = nursery
    return kept


async def test_keys_of_all_users_are_got_at_the_start_and_renewed_every_renew_s(nursery, world, autojump_clock):
    world.users = ["alice", "bob"]
    await start(nursery, world)
    await trio.sleep(1)
    assert world.cell("alice").value == ListenKey(key="key-of-alice", since_ms=NOON_MS + 100, renewed_ms=NOON_MS + 100)
    assert world.cell("bob").value.key == "key-of-bob"
    await trio.sleep(4600)
    assert world.desk.times("alice") == [0, 1500.1, 3000.2, 4500.3]
    value = world.cell("alice").value
    assert (value.since_ms, value.renewed_ms) == (NOON_MS + 100, NOON_MS + 4_500_400)
    nursery.cancel_scope.cancel()


async def test_a_changed_key_is_published_and_told_without_being_shown(nursery, world, autojump_clock):
    keys = iter(["s3cr3t-1", "s3cr3t-2", "s3cr3t-2"])
    world.desk.answers["alice"] = lambda: next(keys)
    world.users = ["alice"]
    await start(nursery, world)
    await trio.sleep(3500)
    assert world.cell("alice").value.key == "s3cr3t-2"
    assert world.heard.events == [("stream", "listen_key_replaced", {"user": "alice"})] * 2
    assert "s3cr3t" not in repr(world.heard.lines) + repr(world.heard.events) + repr(world.cell("alice").value)
    nursery.cancel_scope.cancel()


async def test_a_restarted_keeper_fetches_no_key_that_is_still_young(nursery, world, autojump_clock):
    world.users = ["alice"]
    async with trio.open_nursery() as first_life:
        await start(first_life, world)
        await trio.sleep(600)
        first_life.cancel_scope.cancel()
    async with trio.open_nursery() as second_life:
        await start(second_life, world)
        await trio.sleep(600)
        assert world.desk.times("alice") == [0]
        await trio.sleep(400)
        assert world.desk.times("alice") == [0, 1500.1]
        second_life.cancel_scope.cancel()
    nursery.cancel_scope.cancel()


async def test_users_come_and_go_while_it_runs(nursery, world, autojump_clock):
    await start(nursery, world)
    world.inbox.post(KeepKey("carol"))
    await trio.sleep(10)
    assert world.cell("carol").value.key == "key-of-carol"
    world.inbox.post(DropKey("carol"))
    world.inbox.post(DropKey("nobody"))
    await trio.sleep(5000)
    assert world.desk.times("carol") == [0]
    world.inbox.post(KeepKey("carol"))
    await trio.sleep(1)
    assert world.desk.times("carol") == [0, 5010]
    world.inbox.post(KeepKey("carol"))  # kept already, and well
    await trio.sleep(1)
    assert len(world.desk.times("carol")) == 2
    nursery.cancel_scope.cancel()


async def test_a_user_dropped_while_its_key_is_fetched_gets_none(nursery, world, autojump_clock):
    world.users = ["alice"]
    await start(nursery, world)
    await trio.sleep(0.05)
    world.inbox.post(DropKey("alice"))
    await trio.sleep(10)
    assert world.cell("alice").value is None
    nursery.cancel_scope.cancel()


async def test_a_reply_of_the_very_instant_of_the_drop_is_not_published(nursery, world, autojump_clock):
    replied = trio.Event()

    async def reply():
        await replied.wait()
        return "late"

    world.desk.answers["alice"] = reply
    kept = of_world(nursery, world)
    kept.keep("alice")
    await trio.sleep(1)
    replied.set()  # the task is on its way with the key ...
    kept.drop("alice")  # ... when its user goes
    await trio.sleep(1)
    assert world.cell("alice").value is None


async def test_failures_are_retried_with_growing_delays_and_told_while_there_is_no_key(nursery, world, autojump_clock):
    world.desk.answers["alice"] = lambda: NotSent("no connection")
    world.users = ["alice"]
    await start(nursery, world)
    await trio.sleep(30)
    gaps = [b - a for a, b in zip(world.desk.times("alice"), world.desk.times("alice")[1:], strict=False)]
    assert gaps == sorted(gaps)
    assert 0.6 <= gaps[0] <= 1.1
    value = world.cell("alice").value
    assert (value.key, value.trouble) == (None, "not_sent")
    assert world.cell("alice").version == 1  # told once, not with each failure
    assert [event[2] for event in world.heard.events] == [{"user": "alice", "trouble": "not_sent"}]
    del world.desk.answers["alice"]
    await trio.sleep(120)
    assert world.cell("alice").value.trouble is None
    assert world.heard.events[-1] == ("stream", "listen_key_trouble", {"user": "alice", "trouble": None})
    nursery.cancel_scope.cancel()


async def test_f26_a_lost_login_is_told_and_not_asked_again_until_somebody_says_so(nursery, world, autojump_clock):
    world.users = ["alice"]
    await start(nursery, world)
    await trio.sleep(10)
    world.desk.answers["alice"] = lambda: ExchangeTrouble("login expired", trouble="session")
    await trio.sleep(1600)
    value = world.cell("alice").value
    assert (value.key, value.trouble) == ("key-of-alice", "session")
    assert len(world.desk.asked) == 2
    del world.desk.answers["alice"]
    world.inbox.post(KeepKey("alice"))  # credentials were renewed
    await trio.sleep(1)
    assert len(world.desk.asked) == 3
    assert world.cell("alice").value.trouble is None
    nursery.cancel_scope.cancel()


async def test_a_reply_of_another_shape_is_a_trouble_and_not_a_crash(nursery, world, autojump_clock):
    world.desk.answers["alice"] = lambda: ProtocolChanged("no key in it")
    world.users = ["alice"]
    await start(nursery, world)
    await trio.sleep(1)
    assert world.cell("alice").value.trouble == "unreadable"
    nursery.cancel_scope.cancel()


async def test_f27_a_refused_key_is_replaced_in_place(nursery, world, autojump_clock):
    keys = iter(["first", "second"])
    world.desk.answers["alice"] = lambda: next(keys)
    world.users = ["alice"]
    await start(nursery, world)
    await trio.sleep(300)
    world.inbox.post(KeyRefused("alice", "first"))
    await trio.sleep(0.05)
    assert (world.cell("alice").value.key, world.cell("alice").value.trouble) == (None, LAPSED)
    await trio.sleep(1)
    assert world.cell("alice").value.key == "second"
    world.inbox.post(KeyRefused("alice", "first"))  # late news of the old one
    world.inbox.post(KeyRefused("nobody", "x"))
    await trio.sleep(10)
    assert len(world.desk.asked) == 2
    nursery.cancel_scope.cancel()


async def test_one_user_s_trouble_never_delays_another(nursery, world, autojump_clock):
    world.desk.answers["stuck"] = lambda: trio.sleep_forever()  # noqa: ASYNC105 - awaited by the desk
    world.users = ["stuck", *[f"user{number}" for number in range(100)]]
    await start(nursery, world)
    await trio.sleep(0.2)
    assert all(world.cell(f"user{number}").value is not None for number in range(100))
    assert world.cell("stuck").value is None
    nursery.cancel_scope.cancel()


async def test_due_and_asked_at_the_same_instant_make_one_fetch(nursery, world, autojump_clock):
    """Many times, because trio wakes tasks of one instant in any order."""
    world.desk.answers["alice"] = lambda: ExchangeTrouble("login expired", trouble="session")
    kept = of_world(nursery, world)
    kept.keep("alice")
    await trio.sleep(1)
    for _ in range(40):
        before = len(world.desk.asked)
        await trio.sleep_until(world.desk.asked[-1][1] + 0.1 + 1500)
        kept.keep("alice")
        await trio.sleep(0.01)
        assert len(world.desk.asked) == before + 1
        await trio.sleep(0.5)
    nursery.cancel_scope.cancel()


async def test_questions_are_refused_unknown_news_is_logged_and_stop_ends_it(nursery, world, autojump_clock):
    async with trio.open_nursery() as life:
        await start(life, world)
        with pytest.raises(Refusal, match="does not answer"):
            await world.inbox.ask("what?")
        world.inbox.post("nonsense")
        world.users = []
        world.inbox.post(KeepKey("alice"))
        await trio.sleep(1)
        world.inbox.post(Stop())  # the keeper returns, its tasks with it
    assert ("message_ignored", {"kind": "str"}) in world.heard.lines
    nursery.cancel_scope.cancel()
