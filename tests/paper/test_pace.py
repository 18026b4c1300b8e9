"""What a pair costs the exchange: figures for the README, no claim about time."""

from __future__ import annotations

import time

import pytest

from actors.paper.market import SyntheticMarket, Traded
from tests.paper.kit import KOGE, T0, D, Kit

TICK = D("1e-8")


@pytest.mark.bench
def test_a_hundred_accounts_and_fifty_pairs_a_second(capsys):
    kit = Kit(start_balance=D(100_000), entry_ms=(90, 850), released_entry_ms=(250, 1_350))
    kit.exchange.market = SyntheticMarket(1, [Traded(instrument=kit.listing.by_symbol[KOGE], price=D(48))], T0)
    users, seconds, pairs = [f"user{i}" for i in range(100)], 10, 50
    for user in users:
        kit.listen(user)
    for stream in ("aggTrade", "bookTicker"):
        kit.exchange.subscribe(f"alpha_22usdt@{stream}", public=True, now_ms=kit.now)
    kit.pass_ms(1_000)
    kit.exchange.take_frames()
    kit.journal.clear()
    frames, began = 0, time.process_time()
    for number in range(seconds * pairs):
        kit.pass_ms(1_000 // pairs)
        bid, ask = kit.exchange.best(KOGE)
        buy, sell = ask * D("1.0005") // TICK * TICK, bid * D("0.9995") // TICK * TICK
        kit.oto(str(buy), "1.04", str(sell), user=users[number % len(users)])
        frames += len(kit.exchange.take_frames())
    spent, count = time.process_time() - began, seconds * pairs
    assert kit.exchange.statistics().fills > count
    with capsys.disabled():
        print(
            f"\npaper: {spent / count * 1e6:.0f} us CPU per pair, market and test client included "
            f"({spent / seconds * 100:.1f} % of a core at {pairs} pairs/s), {frames / count:.1f} frames and "
            f"{sum(map(len, kit.journal)) / count:.0f} bytes of journal per pair"
        )
