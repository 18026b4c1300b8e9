"""`trading stop --now` for one or all, also where a trader is wedged; and reducing mode: cancels and own sales only."""

from __future__ import annotations

from decimal import Decimal as D

import pytest
import trio

from actors import desk
from actors.errors import AskFailed
from actors.messages import StopTrading
from actors.ports import Asked
from actors.rows import UserRow
from actors.trader import Trader
from tests.faults.kit import PASSIVE, STUCK_SALE, crash, phase_of, watched
from tests.sim.menu import OTO
from tests.sim.stage import tell


@pytest.fixture
def wedge(monkeypatch):
    """Traders of these users take a message and never come back to their mailbox, in this incarnation."""
    users = set()

    async def deaf(self, inbox):
        while True:
            message = await inbox.take()
            if self.world.user in users:
                await trio.sleep_forever()
            self._handled = trio.Event()
            self.post(desk.Command(message) if isinstance(message, Asked) else desk.News(message))
            await self._handled.wait()
            inbox.finish()

    monkeypatch.setattr(Trader, "_pump", deaf)
    return users


@pytest.mark.parametrize("config", [PASSIVE, STUCK_SALE], ids=["working", "selling"])
def test_stop_now_ends_the_pair_of_a_trader_that_hears_nothing_any_more(config, wedge):
    async def script(stage):
        names = stage.world.names
        phase = "working" if config is PASSIVE else "selling"
        await stage.until(lambda: all(phase_of(stage, user) == phase for user in names))
        wedge.add("alice")
        with pytest.raises(AskFailed):
            await stage.ask(StopTrading("op", now=True))
        wedge.clear()
        for user in names:
            stage.world.commanded[f"traders/{user}"] += 1
            await stage.world.daemon.force_stop(user, "op")
        assert [row.wanted for row in stage.world.disk.all(UserRow)] == ["stopped"] * 2
        requests = watched(stage)
        await stage.until(lambda: all(stage.shown(user).pair is None for user in names), within_s=60)
        assert requests.placements() == []
        for user in names:
            assert stage.outcomes(user) == ["cancelled" if config is PASSIVE else "unwound"]
            assert all(order.over for order in stage.orders(user))

    tell(script, users=2, config=config)


def test_a_parked_trader_reduces_and_nothing_else():
    async def script(stage):
        await stage.phase("selling")
        while "CRASHED" not in stage.pauses():
            crash(stage, "traders/alice")
            await trio.sleep(0.3)
        requests = watched(stage)
        await stage.until(stage.outcomes, within_s=500)
        assert stage.outcomes() == ["unwound"], "cancelled, and its own inventory sold"
        await trio.sleep(60)
        assert [path for _, _, path in requests.all if path.endswith(OTO)] == []
        stage.world.commanded["traders/alice"] += 1
        await stage.world.daemon.restart("traders/alice")
        await stage.until(lambda: stage.shown().stream_connected)

    tell(script, config=STUCK_SALE | {"timeout_seconds": D(30)})
