"""From the configuration to the ways to people."""

from __future__ import annotations

import pytest

from actors.adapters.notices import target_name
from supervisor.bus import EventBus
from supervisor.config import Notifications
from supervisor.telling import Discreet, moment, telling_of
from tests.control.daemon import TEN_MS, FixedWall

OPS, ALICE, BOTH = "json://127.0.0.1/ops", "json://127.0.0.1/alice", "json://127.0.0.1/both"


def made(**settings):
    return telling_of(Notifications(**settings), EventBus(FixedWall(), boot="b"), instance="tokyo-1")


def test_nobody_is_told_where_nobody_is_named():
    assert made() is None
    assert made(users={"alice": ()}) is None


def test_a_way_of_several_users_is_one_target_and_an_operators_hears_everything():
    telling = made(urls=(OPS, BOTH), users={"alice": (ALICE, BOTH), "bob": (ALICE,)})
    targets = {target.name: target.users for target in telling.settings.targets}
    assert targets == {
        target_name(ALICE): frozenset({"alice", "bob"}),
        target_name(BOTH): None,
        target_name(OPS): None,
    }
    assert telling.settings.instance == "tokyo-1"


async def test_it_hears_what_notices_are_made_of_from_the_start():
    bus = EventBus(FixedWall(), boot="b")
    telling = telling_of(Notifications(urls=(OPS,)), bus, instance="x")
    bus.emit("fill.alice", "fill")
    bus.emit("pause.alice", "paused")
    assert (await telling.hearing.take()).topic == "pause.alice"


@pytest.mark.parametrize(
    "secret", ["0123456789abcdef0123456789abcdef", "eyJhbGciOi.eyJzdWIiOi.c2lnbmF0dXJl", "gAAAAABmZmZmZmZmZmZmZmZmZmZm"]
)
async def test_no_secret_leaves_with_a_notice(secret):
    sent = []

    class Way:
        async def send(self, target, title, text):
            sent.append(text)

    await Discreet(Way()).send("ops", "t", f"PAUSED alice: CRASHED: listenKey={secret} died of {secret}")
    assert secret not in sent[0]
    assert sent[0].startswith("PAUSED alice: CRASHED")


def test_a_moment_is_the_time_of_day():
    assert moment(TEN_MS) == "10:00:00Z"
