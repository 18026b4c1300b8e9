"""A trader is loaded with everything that was written before it asked, also by its own earlier life."""

from __future__ import annotations

from functools import partial

import trio

from actors import store
from actors.adapters.sim import SimWall
from actors.adapters.sim_store import Disk, SimDatabase
from actors.messages import LoadTrader, Write
from actors.rows import ConfigRow, PauseRow, UserRow
from supervisor.mailbox import Mailbox
from tests.actors.fakes import ListEvents, ListLog

ALICE = UserRow(user="alice", created_at=0, updated_at=0)
CONFIG = ConfigRow(
    user="alice",
    revision=1,
    document='{"token":"KOGE","target_volume":"500","order_amount":"50","buy_offset":"0.05","sell_offset":"-0.05"}',
    who="op",
    changed_at=0,
)
PAUSE = PauseRow(user="alice", reason="ORDERS_DISCONNECTED", since_at=5, detail="order stream is lost")


async def test_a_write_that_still_waits_for_its_commit_is_in_what_is_loaded_after_it(nursery, autojump_clock):
    """Simulation, seed 29: the pause of a trader that crashed became durable just after its next life was loaded."""
    wall, inbox = SimWall(0), Mailbox("store", capacity=100)
    database = SimDatabase(Disk(), wall, commit_s=lambda: 3.0)
    await nursery.start(partial(store.run, inbox, database, wall=wall, log=ListLog(), events=ListEvents()))
    await inbox.ask(Write((ALICE, CONFIG)))

    async def dying_trader():
        with trio.move_on_after(0.5):
            await inbox.ask(Write((PAUSE,)))

    await dying_trader()
    record = await inbox.ask(LoadTrader("alice", "1970-01-01"))
    assert [pause.reason for pause in record.record.pauses] == ["ORDERS_DISCONNECTED"]
    nursery.cancel_scope.cancel()
