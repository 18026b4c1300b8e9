"""Looks at an account cost trading next to nothing, however many look."""

from __future__ import annotations

import pytest
import trio

from actors.errors import ExchangeTrouble
from supervisor.control.lately import FRESH_S, KEPT_MAX, Lately


class Exchange:
    def __init__(self):
        self.asked, self.at_once, self.most_at_once = 0, 0, 0
        self.error = None

    async def wallets(self):
        self.asked += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await trio.sleep(0.5)
        self.at_once -= 1
        if self.error is not None:
            raise self.error
        return self.asked


async def test_many_who_ask_at_once_are_one_question(autojump_clock):
    lately, exchange, answers = Lately(), Exchange(), []

    async def look():
        answers.append(await lately.ask("alice", "wallets", exchange.wallets))

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(look)
    assert (exchange.asked, set(answers)) == (1, {1})
    await trio.sleep(FRESH_S + 1)
    assert await lately.ask("alice", "wallets", exchange.wallets) == 2


async def test_a_users_questions_come_one_after_the_other_and_users_beside_each_other(autojump_clock):
    lately, alice, bob = Lately(), Exchange(), Exchange()
    started = trio.current_time()
    async with trio.open_nursery() as nursery:
        for number in range(4):
            nursery.start_soon(lately.ask, "alice", number, alice.wallets)
            nursery.start_soon(lately.ask, "bob", number, bob.wallets)
    assert (alice.asked, alice.most_at_once, bob.asked) == (4, 1, 4)
    assert trio.current_time() - started == pytest.approx(2)


async def test_trouble_is_told_to_all_and_asked_about_again_later(autojump_clock):
    lately, exchange = Lately(), Exchange()
    exchange.error = ExchangeTrouble("busy", trouble="system")
    for _ in range(3):
        with pytest.raises(ExchangeTrouble, match="busy"):
            await lately.ask("alice", "wallets", exchange.wallets)
    assert exchange.asked == 1
    exchange.error = None
    await trio.sleep(FRESH_S + 1)
    assert await lately.ask("alice", "wallets", exchange.wallets) == 2


async def test_who_gives_up_leaves_the_question_to_the_next(autojump_clock):
    lately, exchange = Lately(), Exchange()
    with trio.move_on_after(0.1):
        await lately.ask("alice", "wallets", exchange.wallets)
    assert await lately.ask("alice", "wallets", exchange.wallets) == 2


async def test_what_is_kept_is_bounded(autojump_clock):
    lately, exchange = Lately(), Exchange()
    lately._kept = dict.fromkeys(range(KEPT_MAX), (0.0, None, None))
    await lately.ask("alice", "wallets", exchange.wallets)
    assert len(lately._kept) == 1
