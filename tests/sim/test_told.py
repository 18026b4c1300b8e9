"""The notifier in the whole daemon: whatever is cut, killed or full, every pause is told; in a calm world, in time."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from functools import partial
from random import Random

import pytest
import trio

from actors.messages import PauseTrading
from actors.notices import Target, pause_id
from actors.notifier import Settings
from actors.paper.faults import Fault, Faults
from actors.rows import FillRow, NoticeRow, OrderRow, PairRow, PauseRow
from supervisor.bus import EventBus
from supervisor.telling import AREAS
from supervisor.wiring import Telling
from tests.sim.menu import OTO
from tests.sim.options import drawn
from tests.sim.run import course, play
from tests.sim.stage import Stage, tell
from tests.sim.storm import StormyWeather
from tests.sim.world import World


class Phone:
    """One target, and every message that it got: (virtual s, text)."""

    def __init__(self) -> None:
        self.heard: list[tuple[float, str]] = []

    def __call__(self, bus: EventBus) -> Telling:
        return Telling(
            settings=Settings(targets=(Target("ops"),)), notices=self, hearing=bus.follow("notifier", areas=AREAS),
            moment=lambda ms: datetime.fromtimestamp(ms / 1000, UTC).isoformat(),
        )  # fmt: skip

    def put_into(self, world: World) -> None:
        world.telling = self

    async def send(self, target: str, title: str, text: str) -> None:
        await trio.sleep(0.3)
        self.heard.append((trio.current_time(), text))

    def said(self, words: str) -> int:
        return sum(words in text for _, text in self.heard)


def test_a_pause_and_its_end_are_told_in_time() -> None:
    phone = Phone()

    async def script(stage: Stage) -> None:
        await stage.pairs_closed(1)
        at_s = trio.current_time()
        await stage.ask(PauseTrading("op", "lunch"))
        await stage.until(lambda: phone.said("PAUSED alice: OPERATOR: lunch"), within_s=10)
        assert trio.current_time() - at_s < 10
        await stage.resume()
        await stage.until(lambda: phone.said("resumed alice: OPERATOR is over by op"), within_s=10)

    tell(script, before=phone.put_into)


def test_an_order_without_an_answer_and_its_settling_are_told() -> None:
    phone = Phone()

    async def script(stage: Stage) -> None:
        await stage.pairs_closed(1, within_s=300)
        await stage.until(lambda: phone.said("settled alice"), within_s=10)
        assert phone.said("UNRESOLVED alice: pair alice-") == 1
        assert phone.said("is settled: absent") == 1

    tell(script, Fault(kind="lost_reply", processed=False, path=OTO, times=1), before=phone.put_into)


@pytest.mark.parametrize("seed", [3, 8])
def test_in_any_storm_every_pause_is_told_in_the_end(seed: int) -> None:
    phone, struck = Phone(), Counter[str]()
    options = drawn(seed, users=3, minutes=5, profile="harsh")
    weather = StormyWeather(options.net, Random(f"{seed}/net"), struck)
    faults = Faults(rng=Random(f"{seed}/faults"))
    result = play(
        options, partial(course, struck, weather, faults), weather=weather, faults=faults, telling=phone
    )  # fmt: skip
    assert result.violations == []
    notices = {row.notice_id: row for row in result.world.disk.all(NoticeRow)}
    pauses = result.world.disk.all(PauseRow)
    assert len(pauses) > 3
    for pause in pauses:
        row = notices.get(pause_id(pause.user, pause.reason, pause.since_at))
        told = phone.said(f"{pause.reason}")
        # A pause that began and ended while no notifier lived is known to the records alone.
        assert told or row is None, pause
        if pause.ended_at is None:
            assert row is not None, pause
    assert all(row.ended_at is not None for row in notices.values())


def test_counts_agree_with_the_records() -> None:
    async def script(stage: Stage) -> None:
        await stage.pairs_closed(3)
        tally, disk = stage.world.daemon.tally, stage.world.disk
        closed = Counter(pair.outcome for pair in disk.all(PairRow) if pair.outcome is not None)
        assert tally.pairs == closed
        assert sum(tally.fills.values()) == len(disk.all(FillRow))
        placed = len({row.pair_id for row in disk.all(OrderRow)})
        assert tally.orders["pair", "accepted"] == placed
        assert tally.quote_to_order_s.total == placed
        assert tally.quote_to_order_s.counts[-1] == 0
        assert tally.orders_s.total > 6
        assert tally.market_s.total > 0
        assert tally.commit_s.total > 6
        assert tally.looks["clean"] >= 1
        calls = stage.world.daemon.outside.sessions.tally
        assert calls.calls["oto-order/place", "success"] == placed
        assert calls.call_s["oto-order/place"].total == placed

    tell(script)
