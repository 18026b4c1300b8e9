"""Frames in, frames out: always a reply, once per acting request, under a deadline."""

from __future__ import annotations

import json
import os
import random

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from trio.testing import wait_all_tasks_blocked

from actors.messages import Waiting
from supervisor.access import Access
from supervisor.bus import EventBus
from supervisor.control.desk import REQUEST_S_MAX, Caller, Desk
from supervisor.control.memory import ReplyMemory
from supervisor.control.protocol import CODES
from supervisor.control.table import COMMANDS, takes
from tests.control.daemon import TEN_MS, FakeDaemon, FixedWall, QuietLog, every_lever, node, snapshot

OPERATOR = Caller(uid=1000, pid=7)


class Room:
    """A desk with everything behind it."""

    def __init__(self, memory=None):
        self.office = FakeDaemon()
        self.memory = memory or ReplyMemory()
        self.log = QuietLog()
        self.desk = Desk(self.office, EventBus(FixedWall(), boot="b"), self.memory, self.log)

    async def ask(self, caller=OPERATOR, **frame):
        return json.loads(await self.desk.answer(json.dumps(frame).encode(), caller))

    def asked(self, user="alice"):
        return self.office.traders[user].asked


@pytest.fixture
def room():
    return Room()


async def test_a_request_is_answered_to_its_id(room):
    reply = await room.ask(id="any", cmd="trading.status", args={"user": "alice"})
    assert reply["id"] == "any"
    assert reply["ok"]
    assert reply["data"]["users"]["alice"]["wanted"] == "running"


async def test_looks_come_in_one_by_one_and_who_acts_does_not_wait_for_them(room):
    """However many poll, a pass of the loop is trading's but for one of them; the kill switch passes them all."""
    looked, passes = [], []

    async def look(number):
        await room.ask(cmd="trading.status", args={"user": "alice"})
        looked.append(number)

    async def count_passes():
        while True:
            before = len(looked)
            await trio.lowlevel.checkpoint()
            passes.append(len(looked) - before)

    async with trio.open_nursery() as nursery:
        for number in range(100):
            nursery.start_soon(look, number)
        await trio.lowlevel.checkpoint()
        counting = await nursery.start(_cancellable, count_passes)
        reply = await room.ask(id="kill", cmd="trading.pause", args={"all": True})
        assert reply["ok"]
        assert len(looked) < 20
        with trio.fail_after(10):
            while len(looked) < 100:
                await trio.lowlevel.checkpoint()
        counting.cancel()
    assert max(passes) == 1
    assert len(passes) > 80


async def _cancellable(run, *, task_status):
    with trio.CancelScope() as scope:
        task_status.started(scope)
        await run()


async def test_an_error_carries_its_code_and_the_id(room):
    reply = await room.ask(id=3, cmd="trading.statsu")
    assert (reply["id"], reply["ok"], reply["error"]["code"]) == (3, False, "COMMAND_UNKNOWN")


async def test_several_failed_users_are_each_told(room):
    reply = await room.ask(cmd="trading.status", args={"users": ["x", "y"]})
    assert not reply["ok"]
    assert reply["error"]["code"] == "USER_UNKNOWN"
    assert reply["data"]["users"]["y"]["error"]["message"] == "no user 'y'"


async def test_a_repeated_acting_request_acts_once(room):
    frame = {"id": "1", "cmd": "trading.stop", "args": {"user": "alice"}}
    first = await room.ask(**frame)
    assert await room.ask(**frame) == first
    assert len(room.asked()) == 1


async def test_without_an_id_each_request_acts(room):
    for _ in range(2):
        await room.ask(cmd="trading.stop", args={"user": "alice"})
    assert len(room.asked()) == 2


async def test_another_process_with_the_same_id_acts_too(room):
    frame = {"id": "1", "cmd": "trading.stop", "args": {"user": "alice"}}
    await room.ask(**frame)
    await room.ask(Caller(uid=1000, pid=8), **frame)
    await room.ask(Caller(uid=0, pid=7), **frame)
    assert len(room.asked()) == 3


async def test_what_only_looks_is_answered_anew(room):
    frame = {"id": "1", "cmd": "trading.status", "args": {"user": "alice"}}
    before = await room.ask(**frame)
    await room.ask(cmd="trading.pause", args={"user": "alice"})
    assert await room.ask(**frame) != before


async def test_an_id_used_for_other_arguments_is_refused(room):
    await room.ask(id="1", cmd="trading.stop", args={"user": "alice"})
    reply = await room.ask(id="1", cmd="trading.stop", args={"user": "bob"})
    assert reply["error"]["code"] == "BAD_ARGUMENT"
    assert room.asked("bob") == []


async def test_a_repeat_while_the_first_is_under_way_gets_its_reply(room, nursery, autojump_clock):
    room.office.traders["alice"].wedged = True
    frame = {"id": "1", "cmd": "trading.stop", "args": {"user": "alice"}}
    replies = []

    async def ask():
        replies.append(await room.ask(**frame))

    nursery.start_soon(ask)
    nursery.start_soon(ask)
    await trio.sleep(20)
    assert replies[0] == replies[1]
    assert replies[0]["error"]["code"] == "TIMEOUT"
    assert len(room.asked()) == 1


async def test_a_refusal_is_remembered_like_any_reply(room):
    frame = {"id": "1", "cmd": "pair.cancel", "args": {"user": "alice", "pair_id": "x-1"}}
    assert (await room.ask(**frame))["error"]["code"] == "PAIR_UNKNOWN"
    assert (await room.ask(**frame))["error"]["code"] == "PAIR_UNKNOWN"
    assert len(room.asked()) == 1


async def test_a_command_that_takes_too_long_is_a_timeout(room, autojump_clock):
    async def for_ever(path):
        await trio.sleep_forever()

    room.office.restart = for_ever
    began = trio.current_time()
    reply = await room.ask(cmd="actor.restart", args={"path": "store"})
    assert reply["error"]["code"] == "TIMEOUT"
    assert trio.current_time() - began == pytest.approx(REQUEST_S_MAX)


async def test_after_a_crash_of_control_the_repeat_acts_anew(room):
    """Cancelled in the middle: the memory outlives the incarnation, but holds no reply that never came."""
    room.office.traders["alice"].wedged = True
    frame = {"id": "1", "cmd": "trading.stop", "args": {"user": "alice"}}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lambda: room.ask(**frame))
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    room.office.traders["alice"].wedged = False
    next_life = Room(room.memory)
    assert (await next_life.ask(**frame))["ok"]
    assert len(next_life.asked()) == 1


async def test_a_waiter_of_an_abandoned_request_is_told_so(room, autojump_clock):
    room.office.traders["alice"].wedged = True
    frame = {"id": "1", "cmd": "trading.stop", "args": {"user": "alice"}}
    replies = []

    async def repeat():
        replies.append(await room.ask(**frame))

    async with trio.open_nursery() as waiting, trio.open_nursery() as nursery:
        nursery.start_soon(lambda: room.ask(**frame))
        await wait_all_tasks_blocked()
        waiting.start_soon(repeat)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert replies[0]["error"]["code"] == "TIMEOUT"


# -- fuzz

words = st.sampled_from(["alice", "bob", "nobody", "KOGE", "FILLED", "closed", "traders/alice", "2026-11-20", ""])
values = (
    words | st.text(max_size=12) | st.integers() | st.booleans() | st.none() | st.lists(words, max_size=3)
    | st.floats(allow_nan=False, allow_infinity=False) | st.dictionaries(st.text(max_size=3), st.integers(), max_size=2)
)  # fmt: skip


@st.composite
def frames(draw):
    """Mostly commands that exist with arguments that exist, so that the fuzz gets behind the first check."""
    command = draw(st.sampled_from(COMMANDS))
    names = [argument.name for argument in takes(command)]
    args = draw(st.dictionaries(st.sampled_from(names or ["x"]) | st.text(max_size=4), values, max_size=3))
    if command.on_users and draw(st.booleans()):
        args = {**args, "all": True}
    frame = {"cmd": draw(st.just(command.name) | st.text(max_size=10)), "args": args, "id": draw(values)}
    data = json.dumps(frame).encode()
    cut = draw(st.none() | st.integers(0, len(data)))
    return data[:cut] + draw(st.sampled_from([b"", b"", b"", b"}", b"\xff", b"\x00"]))


def test_any_frame_gets_a_reply_with_a_code_of_the_contract():
    """No crash, no hang, no INTERNAL."""
    room = Room()

    @settings(max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(frames())
    def hold(frame):
        reply = json.loads(trio.run(room.desk.answer, frame, OPERATOR))
        assert reply["v"] == 1
        assert set(reply) in ({"v", "id", "ok", "data"}, {"v", "id", "ok", "error"}, {"v", "id", "ok", "error", "data"})
        if not reply["ok"]:
            assert reply["error"]["code"] != "INTERNAL", (frame, room.log.lines[-1])
            assert reply["error"]["message"]

    hold()
    assert [line for line in room.log.lines if line[0] == "error"] == []


# -- who may

STRANGER, VIEWER, LIMITED = Caller(uid=4, pid=1), Caller(uid=5, pid=1), Caller(uid=6, pid=1)


@pytest.fixture
def guarded(room):
    room.office.access = Access(
        own_uid=1000, viewers=[5], users={"alice": [6], "ghost": [6]}, names=lambda uid: frozenset()
    )
    return room


FRAMES = [
    {"id": "1", "cmd": "system.version"},
    {"id": "1", "cmd": "trading.status", "args": {"user": "alice"}},
    {"id": "1", "cmd": "trading.status", "args": {"user": "nobody"}},
    {"id": "1", "cmd": "no.such", "args": {"x": 1}},
    {"id": "1", "cmd": 7},
]


@pytest.mark.parametrize("frame", FRAMES)
async def test_a_stranger_hears_the_same_whatever_it_asks(guarded, frame):
    replies = [await guarded.ask(STRANGER, **frame) for frame in (frame, FRAMES[0])]
    assert replies[0] == replies[1]
    assert replies[0]["error"]["code"] == "NOT_PERMITTED"
    assert json.loads(await guarded.desk.answer(b"\xff", STRANGER))["error"] == replies[0]["error"]


async def test_a_stranger_leaves_nothing_in_memory(guarded):
    await guarded.ask(STRANGER, id="1", cmd="trading.stop", args={"user": "alice"})
    assert len(guarded.memory) == 0
    assert guarded.asked() == []


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
async def test_a_viewer_looks_and_does_not_act(guarded, command):
    reply = await guarded.ask(VIEWER, cmd=command.name, args=command.example)
    if command.acts:
        assert reply["error"]["code"] == "NOT_PERMITTED"
    else:
        assert reply["ok"], reply


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
async def test_a_limited_caller_has_its_users_and_what_is_common(guarded, command):
    args = command.example
    if command.on_users:
        args = {name: value for name, value in args.items() if name not in ("users", "all")} | {"user": "alice"}
    reply = await guarded.ask(LIMITED, cmd=command.name, args=args)
    if command.on_users or command.common:
        assert reply["ok"] or reply["error"]["code"] != "NOT_PERMITTED", reply
    else:
        assert reply["error"]["code"] == "NOT_PERMITTED"
    if command.name != "system.commands":  # its examples are of an invented bob
        assert "bob" not in json.dumps(reply)


async def test_a_limited_caller_learns_nothing_of_others(guarded):
    there = await guarded.ask(LIMITED, cmd="trading.status", args={"user": "bob"})
    nowhere = await guarded.ask(LIMITED, cmd="trading.status", args={"user": "nobody"})
    assert there["error"] == nowhere["error"]
    assert there["error"]["code"] == "NOT_PERMITTED"
    everybody = await guarded.ask(LIMITED, cmd="trading.status", args={"all": True})
    assert list(everybody["data"]["users"]) == ["alice"]
    listed = await guarded.ask(LIMITED, cmd="user.list")
    assert [each["user"] for each in listed["data"]["items"]] == ["alice"]
    system = await guarded.ask(LIMITED, cmd="system.status")
    assert system["data"]["users"]["total"] == 1
    parked = [node(path, state="parked") for path in ("store", "traders/alice", "traders/bob", "feeds/QUACK")]
    guarded.office.root = replace(guarded.office.root, children=tuple(parked))
    for caller, told in ((LIMITED, ["store", "traders/alice"]), (VIEWER, [each.path for each in parked])):
        assert (await guarded.ask(caller, cmd="system.status"))["data"]["actors"]["parked"] == told
    both = await guarded.ask(LIMITED, cmd="trading.stop", args={"users": ["alice", "bob"]})
    assert both["data"]["users"]["bob"]["error"]["code"] == "NOT_PERMITTED"
    assert guarded.asked("bob") == []


@pytest.mark.parametrize("cmd", ["trading.status", "trading.why", "trading.pause"])
async def test_a_limited_caller_waits_for_an_order_without_hearing_whose(guarded, cmd):
    detail = "an order of bob at 48.0241 would be crossed (pair bob-2026-11-20-7)"
    waiting = Waiting(wait="self_trade", since_ms=TEN_MS, detail=detail)
    guarded.office.snapshots["alice"] = snapshot("alice", waiting=waiting)
    reply = await guarded.ask(LIMITED, cmd=cmd, args={"user": "alice"})
    assert reply["data"]["users"]["alice"]["waiting"]["for"] == "self_trade"
    assert "bob" not in json.dumps(reply)
    assert "bob" in json.dumps(await guarded.ask(VIEWER, cmd="trading.status", args={"user": "alice"}))


async def test_a_viewer_of_everything_may_act_on_its_own(room):
    room.office.access = Access(own_uid=1000, viewers=[7], users={"alice": [7]}, names=lambda uid: frozenset())
    caller = Caller(uid=7, pid=1)
    assert (await room.ask(caller, cmd="trading.stop", args={"all": True}))["data"]["users"].keys() == {"alice"}
    assert (await room.ask(caller, cmd="trading.status", args={"all": True}))["data"]["users"].keys() > {"alice"}


def test_fuzz_of_frames_is_always_answered_with_a_code():
    """Frames that were good once, damaged; more of them with OTOD_FUZZ."""
    rng = random.Random(os.environ.get("OTOD_FUZZ_SEED", "3"))
    examples = [json.dumps({"v": 1, "id": "1", "cmd": c.name, "args": c.example}).encode() for c in COMMANDS]
    junk = [b"null", b"{}", b"[]", b'"x"', b"-1", b"1e999", b"\x00", b"\xff\xfe", b'"\\ud800"', b"9" * 400, b"true"]
    words = [f'"{a.name}"'.encode() for c in COMMANDS for a in takes(c)] + [f'"{c.name}"'.encode() for c in COMMANDS]
    callers = (OPERATOR, VIEWER, LIMITED, STRANGER)

    async def run():
        room = Room()
        room.office.levers = every_lever()
        room.office.access = Access(own_uid=1000, viewers=[5], users={"alice": [6]}, names=lambda uid: frozenset())
        for _ in range(int(os.environ.get("OTOD_FUZZ", "100000"))):
            frame = bytearray(rng.choice(examples))
            for _ in range(rng.randrange(1, 4)):
                at = rng.randrange(len(frame) + 1)
                frame[at : at + rng.randrange(6)] = rng.choice([*junk, rng.choice(words), bytes([rng.randrange(256)])])
            reply = json.loads(await room.desk.answer(bytes(frame), rng.choice(callers)))
            assert reply["ok"] or reply["error"]["code"] in CODES
            assert reply["ok"] or reply["error"]["code"] != "INTERNAL", (frame, room.log.lines[-1])
            for box in room.office.traders.values():
                box.asked.clear()

    trio.run(run)
