"""Keys come and go under one order stream; the trader hears of it only when no socket is left."""

from __future__ import annotations

from random import Random

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from actors.messages import ListenKey
from actors.order_stream import OVERLAP_S_MAX, OrderStream
from supervisor.mailbox import Cell
from tests.actors.fakes import FakeSockets


def key(name):
    return ListenKey(key=name, since_ms=0, renewed_ms=0, trouble=None)


class Stage:
    """told: what the trader heard."""

    def __init__(self, nursery):
        self.sockets, self.cell, self.told = FakeSockets(), Cell(), []
        self.stream = OrderStream(
            self.sockets, "ws://user", self.cell,
            hear=self.told.append, up=lambda: self.told.append("up"), down=lambda why: self.told.append("down"),
            failed=lambda why: None, lapsed=lambda name: self.told.append(f"lapsed {name}"),
            broken=self.told.append, troubled=self.told.append, stale_s=30.0, rotate_s=81_000.0, rng=Random(1),
        )  # fmt: skip
        nursery.start_soon(self.stream.run)

    async def use(self, name):
        self.cell.publish(key(name))
        await wait_all_tasks_blocked()


@pytest.fixture
async def stage(nursery):
    made = Stage(nursery)
    await made.use("first")
    return made


async def test_a_key_that_is_replaced_is_no_disconnect(stage, autojump_clock):
    await stage.use("second")
    assert stage.told == ["up"]
    assert [socket.closed for socket in stage.sockets.opened] == [True, False]


async def test_a_stream_that_is_lost_after_its_key_was_replaced_is_told(stage, autojump_clock):
    await stage.use("second")
    stage.sockets.last.break_off()
    await wait_all_tasks_blocked()
    assert stage.told == ["up", "down"]
    await trio.sleep(31)
    assert stage.told == ["up", "down", "up"]


async def test_an_old_key_that_is_given_up_before_the_new_one_is_heard_is_told(stage, autojump_clock):
    stage.sockets.refuse = 10_000
    await stage.use("second")
    assert stage.told == ["up"]
    await trio.sleep(OVERLAP_S_MAX + 1)
    assert stage.told == ["up", "down"]
