"""F71 to F78: what people do (../shared/reliability.md § 1)."""

from __future__ import annotations

from decimal import Decimal as D
from itertools import pairwise

import pytest
import trio
from cryptography.fernet import Fernet
from msgspec.structs import replace

from actors.adapters.vault import FileVault
from actors.errors import IntegrityError, Refusal
from actors.messages import PauseTrading, StartTrading, StopTrading, UserRecord
from actors.paper.faults import Fault
from actors.rows import CredentialRow, UserRow
from supervisor.feeds import FEED_LINGER_S
from supervisor.unreadable import without_unreadable
from tests.faults.kit import PASSIVE, STUCK_SALE, phase_of, renew, resumes_and_trades, watched, with_weather
from tests.sim.menu import OTO
from tests.sim.stage import tell
from tests.sim.world import VAULT_KEY


def test_f71_a_resume_is_refused_while_the_cause_persists_and_says_it():
    async def script(stage):
        await stage.pairs_closed(1)
        stage.world.net.weather.dials[8702] = "refused"
        for wire in stage.world.net.of(stage.world.life.machine):
            wire.reset()
        await stage.paused("ORDERS_DISCONNECTED")
        with pytest.raises(Refusal, match="order stream is not connected"):
            await stage.resume()
        stage.world.net.weather.dials.clear()
        await stage.until(lambda: stage.shown().stream_connected)
        await resumes_and_trades(stage)

    tell(script, before=with_weather)


def test_f72_a_resume_is_refused_while_an_outcome_is_unknown():
    async def script(stage):
        await stage.phase("unresolved")
        stage.world.faults.add(Fault(kind="http_error", path="order-history", status=502))
        await stage.ask(PauseTrading("op"))
        with pytest.raises(Refusal, match="unresolved"):
            await stage.resume()
        await stage.paused("ORDER_UNRESOLVED", within_s=200)
        with pytest.raises(Refusal, match="unresolved"):
            await stage.resume()
        stage.world.faults.clear()
        await stage.until(lambda: stage.shown().pair is None, within_s=200)
        await resumes_and_trades(stage)

    tell(script, Fault(kind="lost_reply", path=OTO, times=1, processed=False))


def test_f73_saying_it_twice_is_saying_it_once():
    async def script(stage):
        await stage.pairs_closed(1)
        requests = watched(stage)
        for _ in range(3):
            await stage.ask(StopTrading("op"))
        for _ in range(3):
            await stage.ask(StartTrading("op"))
        for _ in range(3):
            await stage.ask(PauseTrading("op"))
        for _ in range(3):
            await stage.resume()
        for _ in range(3):
            await stage.ask(StartTrading("op"))
        began_s = trio.current_time()
        await stage.pairs_closed(len(stage.outcomes()) + 2)
        assert stage.pauses() == []
        placed = [when for when in requests.placements() if when >= began_s]
        assert all(later - earlier > 1 for earlier, later in pairwise(placed))
        assert stage.shown().wanted == "running"

    tell(script)


def test_f73_exactly_one_pair_is_begun_after_an_accepted_resume():
    async def script(stage):
        await stage.pairs_closed(1)
        await stage.ask(PauseTrading("op"))
        await stage.until(lambda: stage.shown().pair is None)
        pairs = len(stage.pairs())
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(stage.resume)
        await stage.until(lambda: len(stage.pairs()) > pairs)
        await stage.phase("working")
        assert len(stage.pairs()) == pairs + 1

    tell(script, config={"interval_seconds": D(20)})


def test_f74_a_configuration_that_changes_with_a_live_pair_is_for_the_next_one():
    async def script(stage):
        await stage.phase("working")
        first = stage.shown().pair
        keys = {"token": "LUMI", "order_amount": "20", "buy_offset": "0.05", "sell_offset": "-0.05"}
        await stage.world.daemon.people.configure(stage.user, keys, unset=(), force=True, who="op")
        await trio.sleep(1)
        assert stage.shown().pair == first
        await stage.pairs_closed(2)
        assert [pair.token for pair in stage.pairs()[:2]] == ["KOGE", "LUMI"]
        await trio.sleep(FEED_LINGER_S)

    tell(script, config=PASSIVE | {"timeout_seconds": D(10)}, users=2, tokens=("KOGE", "LUMI"))


def test_f75_a_user_with_a_live_pair_is_not_removed_but_drained():
    async def script(stage):
        await stage.until(lambda: phase_of(stage) == "selling" and phase_of(stage, "bob") == "selling")
        people = stage.world.daemon.people
        with pytest.raises(Refusal, match="lives"):
            await people.remove("bob", drain=False, who="op")
        assert stage.shown("bob").pair is not None
        stage.world.commanded["traders/bob"] += 1
        with trio.fail_after(120):
            while True:
                try:
                    await people.remove("bob", drain=True, who="op")
                    break
                except Refusal:
                    await trio.sleep(5)
        assert all(order.over for order in stage.orders("bob"))
        assert stage.outcomes("bob") == ["unwound"]
        stage.world.names = ("alice",)

    tell(script, users=2, config=STUCK_SALE | {"timeout_seconds": D(10)})


def test_f76_a_user_whose_credentials_no_key_opens_pauses_alone():
    async def script(stage):
        await stage.until(lambda: all(stage.outcomes(user) for user in stage.world.names))
        await stage.world.stop_daemon(drain_s=10)
        (sealed,) = stage.world.disk.of(CredentialRow, "alice")
        stage.world.disk.write([[replace(sealed, ciphertext=b"torn" + sealed.ciphertext)]])
        await stage.world.start_daemon()
        await stage.paused("AUTH_FAILED")
        closed = len(stage.outcomes("bob"))
        await stage.until(lambda: len(stage.outcomes("bob")) > closed + 1)
        assert stage.pauses("bob") == []
        stage.world.disk.write([[sealed]])
        await stage.restart()
        await stage.until(lambda: stage.shown() is not None)
        await resumes_and_trades(stage)

    tell(script, users=2)


def test_f77_credentials_that_are_renewed_in_flight_leave_the_answer_as_it_is():
    async def script(stage):
        await stage.phase("placing")
        await trio.sleep(0.5)
        renew(stage, "alice")
        await stage.pairs_closed(2)
        assert stage.outcomes()[:2] == ["completed"] * 2

    tell(script, Fault(kind="late_reply", path=OTO, times=1, seconds=3))


def test_f78_a_trade_by_hand_in_the_same_token_blocks_placing_while_it_lives():
    async def script(stage):
        await stage.pairs_closed(1)
        await stage.hands.act("order_by_hand", "alice")
        await stage.paused("EXTERNAL_ORDER")
        await stage.until(lambda: stage.shown().pair is None)
        pairs = len(stage.pairs())
        await trio.sleep(60)
        assert len(stage.pairs()) == pairs
        for symbol, order_id in stage.world.by_hand("alice"):
            stage.world.exchange.end_order(symbol, order_id, stage.now_ms())
        await resumes_and_trades(stage)

    tell(script, user={"holdings": D(7)})


def test_f76_a_key_that_opens_nobodys_credentials_is_the_wrong_key():
    async def script(stage):
        await stage.pairs_closed(1)
        await stage.world.stop_daemon(drain_s=10)
        (sealed,) = stage.world.disk.of(CredentialRow, "alice")
        records = [stage_record(sealed)]
        with pytest.raises(IntegrityError):
            without_unreadable(records, FileVault([Fernet.generate_key().decode()]), now_ms=1, boot="1")
        assert without_unreadable(records, FileVault([VAULT_KEY]), now_ms=1, boot="1") == (tuple(records), ())
        await stage.world.start_daemon()
        await stage.until(stage.shown)

    def stage_record(sealed):
        user = UserRow(user="alice", wanted="running", created_at=0, updated_at=0)
        return UserRecord(
            user=user, config=None, revision=0, credentials="valid", ciphertext=sealed.ciphertext, pauses=()
        )

    tell(script)
