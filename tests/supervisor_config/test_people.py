"""Changes of users: durable, remembered, told; one after the other; to their end."""

from __future__ import annotations

import json
import os
import random
from contextlib import suppress
from decimal import Decimal as D
from functools import partial

import pytest
import trio
from msgspec.structs import replace

from actors.errors import ExchangeTrouble, NotNow, Refusal, TokenError
from actors.messages import Configure, Describe, PairGlance, StopTrading
from actors.rows import AuditRow, ConfigRow, CredentialRow, PauseRow
from supervisor.document import Problems
from supervisor.prudence import judge_wishes
from supervisor.userfile import TRADING, load_users
from tests.control.daemon import TEN_MS
from tests.supervisor_config.household import household, until

WHO = "1000:7"
KEYS = {"token": "KOGE", "target_volume": "500", "order_amount": "50", "buy_offset": "0.05", "sell_offset": "-0.05"}
DOCUMENT = {"users": {"alice": {"display_name": "Alice", "trading": KEYS}, "bob": {"trading": KEYS}}}


@pytest.fixture
async def house(tmp_path):
    async with household(tmp_path) as house:
        yield house


async def alice(house):
    await house.people.create("alice", "Alice", None, WHO)
    await house.people.configure("alice", KEYS, who=WHO)


# -- making and naming


async def test_a_new_user_is_durable_stopped_and_known(house):
    made = await house.people.create("alice", "Alice", None, WHO)
    assert made.record.user.wanted == "stopped"
    assert (await house.stored())["alice"] == house.known["alice"] == made.record
    (entry,) = house.rows(AuditRow)
    assert (entry.who, entry.user, entry.action, entry.before) == (WHO, "alice", "user.create", None)
    assert json.loads(entry.after)["display_name"] == "Alice"


async def test_to_create_again_with_the_same_words_changes_nothing(house):
    await house.people.create("alice", "Alice", "", WHO)
    for words in (("Alice", ""), ("Alice", None), (None, "")):  # who sends a request twice says the same both times
        again = await house.people.create("alice", *words, WHO)
        assert again.changed == {}
    assert len(house.rows(AuditRow)) == 1
    with pytest.raises(Refusal, match="already"):
        await house.people.create("alice", "Alicia", "", WHO)


@pytest.mark.parametrize(
    "wrong", [("Alice", None, None), ("alice", "\n", None), ("alice", "a\u202eb", None), ("alice", None, "no address")]
)
async def test_words_that_cannot_be_are_refused(house, wrong):
    with pytest.raises(Problems):
        await house.people.create(*wrong, WHO)
    assert house.known == {}


async def test_a_new_name_reaches_the_trader_who_writes_the_users_row(house):
    await alice(house)
    changed = await house.people.update("alice", None, "a@b", WHO)
    assert changed.changed == {"email": ("", "a@b")}
    assert house.traders["alice"].told[-1] == Describe("Alice", "a@b")
    assert (await house.stored())["alice"].user.email == "a@b"


async def test_a_change_keeps_the_wish_as_the_trader_has_it(house):
    await alice(house)
    house.snapshots["alice"] = replace(house.snapshots["alice"], wanted="running")
    await house.people.update("alice", "Al", None, WHO)
    assert (await house.stored())["alice"].user.wanted == "running"


async def test_nobody_unknown_is_changed(house):
    for change in (house.people.update("x", "X", None, WHO), house.people.remove("x", drain=False, who=WHO)):
        with pytest.raises(Refusal) as caught:
            await change
        assert caught.value.code == "USER_UNKNOWN"


# -- configuration


async def test_a_configuration_is_durable_and_told_with_its_revision(house):
    await alice(house)
    changed = await house.people.configure("alice", {"order_amount": D(60)}, revision=1, who=WHO)
    assert changed.changed == {"order_amount": ("50", "60")}
    assert changed.record.revision == 2
    assert (await house.stored())["alice"].config == changed.record.config
    (told,) = house.configured("alice")
    assert told == Configure(changed.record.config, 2, WHO)
    assert [row.revision for row in house.rows(ConfigRow)] == [1, 2]
    newest = max(house.rows(AuditRow), key=lambda row: row.audit_id.rpartition("-")[0])
    assert newest.who == WHO


async def test_of_two_changers_at_once_one_is_told_that_it_comes_late(house):
    await alice(house)
    outcomes = []

    async def change(amount):
        try:
            await house.people.configure("alice", {"order_amount": amount}, revision=1, who=WHO)
        except Refusal as refusal:
            outcomes.append(refusal.code)
        else:
            outcomes.append("done")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(change, "60")
        nursery.start_soon(change, "70")
    assert sorted(outcomes) == ["STALE_REVISION", "done"]


async def test_without_a_revision_changes_of_different_keys_are_both_kept(house):
    await alice(house)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(house.people.configure, "alice", {"order_amount": "60"}, who=WHO))
        nursery.start_soon(partial(house.people.configure, "alice", {"interval_seconds": 5}, who=WHO))
    config = (await house.stored())["alice"].config
    assert (config.order_amount, config.interval_seconds) == (D(60), D(5))


async def test_of_two_keys_that_exclude_each_other_the_named_one_stays(house):
    await alice(house)
    changed = await house.people.configure("alice", {"target_points": 9, "order_quantity": "1"}, who=WHO)
    config = changed.record.config
    assert (config.target_points, config.target_volume, config.order_quantity, config.order_amount) == (
        9,
        None,
        1,
        None,
    )
    with pytest.raises(Problems, match="both are there"):
        await house.people.configure("alice", {"target_points": 9, "target_volume": "5"}, who=WHO)


async def test_keys_can_be_taken_away(house):
    await alice(house)
    await house.people.configure("alice", {"max_wear_usdt": "2", "interval_seconds": "9"}, who=WHO)
    changed = await house.people.configure("alice", {}, unset=["max_wear_usdt", "interval_seconds"], who=WHO)
    assert (changed.record.config.max_wear_usdt, changed.record.config.interval_seconds) == (None, D(1))
    with pytest.raises(Problems, match="token: missing"):
        await house.people.configure("alice", {}, unset=["token"], who=WHO)
    with pytest.raises(Problems, match="max_wear: no such key; did you mean max_wear_"):
        await house.people.configure("alice", {}, unset=["max_wear", "interval_seconds"], who=WHO)
    assert (await house.stored())["alice"] == changed.record


async def test_a_wrong_configuration_changes_nothing(house):
    await alice(house)
    with pytest.raises(Problems) as caught:
        await house.people.configure("alice", {"order_amount": "-1", "offset_mode": "perc"}, who=WHO)
    assert len(caught.value.problems) == 2
    assert (await house.stored())["alice"].revision == 1
    assert house.configured("alice") == []


async def test_the_same_configuration_again_is_no_change(house):
    await alice(house)
    changed = await house.people.configure("alice", KEYS, who=WHO)
    assert (changed.changed, changed.record.revision) == ({}, 1)


async def test_a_trader_that_does_not_answer_does_not_undo_a_durable_change(house):
    await alice(house)
    house.traders["alice"].wedged = True
    await house.people.configure("alice", {"order_amount": "60"}, who=WHO)
    assert (await house.stored())["alice"].config.order_amount == 60
    assert any(event == "trader_not_told" for _, event, _ in house.log.lines)


async def test_a_change_is_brought_to_its_end_though_its_asker_gave_up(house):
    await alice(house)
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(house.people.configure, "alice", {"order_amount": "60"}, who=WHO))
            await trio.testing.wait_all_tasks_blocked(0.001)
            scope.cancel()
    await until(lambda: house.configured("alice") != [])
    assert (await house.stored())["alice"].config.order_amount == 60


async def test_a_mistake_in_a_change_costs_its_asker_only(house, monkeypatch):
    await alice(house)
    monkeypatch.setattr(house, "take_in", lambda record: {}["nothing"])
    with pytest.raises(KeyError):
        await house.people.update("alice", "Al", None, WHO)
    monkeypatch.undo()
    assert (await house.people.update("alice", "Ali", None, WHO)).record.user.display_name == "Ali"


# -- prudence


async def test_a_token_that_nobody_knows_is_refused_with_its_code(house):
    await house.people.create("alice", None, None, WHO)
    for token, code in (("QQQ", "TOKEN_UNKNOWN"), ("TWIN", "TOKEN_AMBIGUOUS"), ("DEAD", "REFUSED")):
        with pytest.raises(TokenError) as caught:
            await house.people.configure("alice", KEYS | {"token": token}, who=WHO)
        assert caught.value.code == code


async def test_a_token_that_is_closed_now_may_be_meant(house):
    await house.people.create("alice", None, None, WHO)
    changed = await house.people.configure("alice", KEYS | {"token": "DEAD"}, force=True, who=WHO)
    assert "delisted" in changed.warnings[0]


async def test_a_token_that_cannot_be_looked_up_now_is_a_warning(house, monkeypatch):
    await house.people.create("alice", None, None, WHO)

    async def ask(question, *, within_s):
        await trio.lowlevel.checkpoint()
        raise NotNow("the list could not be read")

    monkeypatch.setattr(house.tokens, "ask", ask)
    changed = await house.people.configure("alice", KEYS, who=WHO)
    assert "could not be looked up" in changed.warnings[0]


async def with_credentials(house):
    await alice(house)
    from supervisor.users import Secrets

    await house.keyring.hand_over("alice", Secrets(cookies={"paper_account": "alice"}, headers={}), WHO)


async def test_an_amount_beyond_the_balance_is_a_slip_unless_meant(house):
    await with_credentials(house)
    with pytest.raises(Problems, match="beyond the balance of 10000 USDT"):
        await house.people.configure("alice", {"order_amount": "10001"}, who=WHO)
    changed = await house.people.configure("alice", {"order_amount": "10001"}, force=True, who=WHO)
    assert "beyond the balance" in changed.warnings[0]


async def test_a_quantity_is_worth_what_the_price_says(house):
    await with_credentials(house)
    with pytest.raises(Problems, match="order_quantity = 209: beyond the balance of 10000 USDT"):
        await house.people.configure("alice", {"order_quantity": "209"}, who=WHO)
    with pytest.raises(Problems, match=r"order_quantity = 2000: worth 96004\.20 USDT a pair"):
        await house.people.configure("alice", {"order_quantity": "2000"}, who=WHO)
    changed = await house.people.configure("alice", {"order_quantity": "2000"}, force=True, who=WHO)
    assert len(changed.warnings) == 2


async def test_what_nobody_trades_yet_is_measured_by_the_exchanges_newest_trade(house):
    await with_credentials(house)
    house.feed = lambda token: (None, None)
    with pytest.raises(Problems, match=r"order_quantity = 2000: worth 96004\.20 USDT a pair"):
        await house.people.configure("alice", {"order_quantity": "2000"}, who=WHO)
    with pytest.raises(Problems, match="order_quantity = 209: beyond the balance of 10000 USDT"):
        await house.people.configure("alice", {"order_quantity": "209"}, who=WHO)
    with pytest.raises(Problems, match=r"buy_offset = 9\.61: more than 20 percent of the price, 48"):
        await house.people.configure("alice", {"offset_mode": "fixed", "buy_offset": "9.61"}, who=WHO)


@pytest.mark.parametrize("trade", [None, ExchangeTrouble("busy", trouble="system")])
@pytest.mark.parametrize("keys", [{"order_quantity": "1"}, {"offset_mode": "fixed"}])
async def test_what_cannot_be_measured_is_taken_over_by_force_only(house, trade, keys):
    await alice(house)
    house.feed, house.public.trade = lambda token: (None, None), trade
    with pytest.raises(Problems, match="no price of KOGE is known now"):
        await house.people.configure("alice", keys, who=WHO)
    changed = await house.people.configure("alice", keys, force=True, who=WHO)
    assert "was not checked" in changed.warnings[0]
    assert (await house.people.configure("alice", {"interval_seconds": "2"}, who=WHO)).warnings == ()  # known by now
    with pytest.raises(Problems, match="no price of AIOT is known now"):
        await house.people.configure("alice", {"token": "AIOT"}, who=WHO)


async def test_a_start_without_its_exchange_says_what_was_not_measured(house):
    house.feed, house.public.trade = lambda token: (None, None), None
    (wish,) = load_users({"users": {"bob": {"trading": KEYS | {"offset_mode": "fixed"}}}})
    _, warnings = await judge_wishes(house, [wish], {}, force=False, blind=True)
    assert warnings == ("bob: buy_offset was not checked: no price of KOGE is known now to measure it by",)


async def test_a_short_name_in_any_case_is_stored_as_the_exchange_spells_it(house):
    """Records, feeds and limits know one spelling only."""
    await alice(house)
    changed = await house.people.configure("alice", {"token": "koge", "interval_seconds": "3"}, who=WHO)
    assert changed.record.config.token == "KOGE"
    with pytest.raises(Problems, match="worth 96004"):
        await house.people.configure("alice", {"token": "koge", "order_quantity": "2000"}, who=WHO)
    small = {"users": {"alice": {"trading": KEYS | {"token": "Koge"}}}}
    await house.people.apply(small, force=False, dry_run=False, who=WHO)
    again = await house.people.apply(small, force=False, dry_run=True, who=WHO)
    assert again.applied.unchanged == ("alice",)


async def test_a_fixed_offset_is_measured_against_the_price(house):
    await alice(house)
    offsets = {"offset_mode": "fixed", "buy_offset": "9.61", "sell_offset": "-9.6"}
    with pytest.raises(Problems, match=r"1 mistake .*\n.*buy_offset = 9\.61: more than 20 percent of the price, 48"):
        await house.people.configure("alice", offsets, who=WHO)
    changed = await house.people.configure("alice", offsets, force=True, who=WHO)
    assert "more than 20 percent" in changed.warnings[0]


async def test_a_balance_that_cannot_be_read_is_a_warning(house):
    await with_credentials(house)
    house.wallets.held = ExchangeTrouble("busy", trouble="system")
    changed = await house.people.configure("alice", {"order_amount": "60"}, who=WHO)
    assert "could not be compared" in changed.warnings[0]


# -- documents


async def test_a_document_is_applied_whole_and_again_changes_nothing(house):
    first = await house.people.apply(DOCUMENT, force=False, dry_run=False, who=WHO)
    assert first.applied.created == ("alice", "bob")
    again = await house.people.apply(DOCUMENT, force=False, dry_run=False, who=WHO)
    assert (again.applied.created, again.applied.changed, again.applied.unchanged) == ((), (), ("alice", "bob"))
    assert len(house.rows(AuditRow)) == 2


async def test_a_dry_run_shows_the_difference_and_does_nothing(house):
    await house.people.apply(DOCUMENT, force=False, dry_run=False, who=WHO)
    other = {"users": {"alice": {"trading": KEYS | {"order_amount": "60"}}, "carol": {"email": "c@d"}}}
    planned = await house.people.apply(other, force=False, dry_run=True, who=WHO)
    assert (planned.applied.created, planned.applied.changed) == (("carol",), ("alice",))
    assert planned.applied.differences["alice"] == {"order_amount": ("50", "60")}
    assert set(await house.stored()) == {"alice", "bob"}
    assert house.configured("alice") == []


async def test_one_mistake_in_a_document_changes_nobody(house):
    wrong = {"users": DOCUMENT["users"] | {"carol": {"trading": KEYS | {"token": "QQQ"}}, "dave": {}}}
    with pytest.raises(Problems, match=r"users\.carol\.trading\.token"):
        await house.people.apply({"users": wrong["users"] | {"eve": {"trading": KEYS | {"token": "TWIN"}}}},
                                 force=False, dry_run=False, who=WHO)  # fmt: skip
    assert await house.stored() == {}


async def test_credentials_of_a_document_are_stored_sealed_and_renewed(house):
    document = {"users": {"alice": {"credentials": {"cookies": {"a": "s3cr3t"}}}}}
    await house.people.apply(document, force=False, dry_run=False, who=WHO)
    (row,) = house.rows(CredentialRow)
    assert b"s3cr3t" not in row.ciphertext
    assert house.vault.open("alice", row.ciphertext)["cookies"] == {"a": "s3cr3t"}
    assert "s3cr3t" not in repr(house.rows(AuditRow)) + repr(house.log.lines)
    document["users"]["alice"]["credentials"]["cookies"]["a"] = "0ther"
    await house.people.apply(document, force=False, dry_run=False, who=WHO)
    assert house.renewed == ["alice"]


# -- removal


async def test_a_removed_user_is_gone_and_its_credentials_with_it(house):
    await with_credentials(house)
    record = await house.people.remove("alice", drain=False, who=WHO)
    assert record.user.removed
    assert await house.stored() == {}
    assert house.known == house.traders == {}
    (row,) = house.rows(CredentialRow)
    assert (row.state, row.ciphertext) == ("removed", b"")


async def test_a_user_with_a_live_pair_is_not_removed(house):
    await alice(house)
    await house.live_pair("alice")
    with pytest.raises(Refusal, match="lives"):
        await house.people.remove("alice", drain=False, who=WHO)
    assert "alice" in house.traders
    assert house.traders["alice"].told == []


async def test_draining_stops_the_user_and_waits_for_its_pair(house):
    await alice(house)
    row = await house.live_pair("alice")
    glance = PairGlance(
        pair_id=row.pair_id, buy_price=D(1), sell_price=D(1), quantity=D(1), filled=D(0), sold=D(0), intent_ms=TEN_MS
    )
    house.snapshots["alice"] = replace(house.snapshots["alice"], pair=glance)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(house.people.remove, "alice", drain=True, who=WHO))
        await until(lambda: any(isinstance(told, StopTrading) for told in house.traders["alice"].told))
        await house.live_pair("alice", closed=True)
        house.snapshots["alice"] = replace(house.snapshots["alice"], pair=None)
    assert house.known == {}


async def test_draining_that_takes_too_long_leaves_the_user_stopped(house):
    await alice(house)
    await house.live_pair("alice")
    with pytest.raises(Refusal, match="lives") as caught:
        await house.people.remove("alice", drain=True, who=WHO)
    assert "stopped now" in caught.value.do
    assert "alice" in house.known


async def test_a_pair_that_began_meanwhile_brings_the_trader_back(house):
    await alice(house)
    house.on_let_go = partial(house.live_pair, "alice")
    with pytest.raises(Refusal, match="lives"):
        await house.people.remove("alice", drain=False, who=WHO)
    assert "alice" in house.traders


async def test_a_name_that_is_used_again_goes_on_with_its_revisions(house):
    await alice(house)
    await house.people.record_crash("alice", "three times")
    await house.people.remove("alice", drain=False, who=WHO)
    again = await house.people.create("alice", None, None, WHO)
    assert again.record.revision == 1
    assert again.warnings
    changed = await house.people.configure("alice", {"order_amount": "70"}, who=WHO)
    assert changed.record.revision == 2
    found = (await house.stored())["alice"]
    assert (found.config.order_amount, found.pauses) == (D(70), ())
    assert all(row.ended_by == WHO for row in house.rows(PauseRow))


# -- what the supervisor does


async def test_f47_a_trader_that_is_given_up_twice_is_paused_once(house):
    """A resume ends one row; a second one would pause the user again with the next start (simulation, seed 7)."""
    await alice(house)
    async with trio.open_nursery() as nursery:
        for why in ("three times", "and again"):
            nursery.start_soon(house.people.record_crash, "alice", why)
    assert [(row.user, row.reason) for row in house.rows(PauseRow)] == [("alice", "CRASHED")]


async def test_f47_who_was_removed_is_not_paused(house):
    await alice(house)
    await house.people.remove("alice", drain=False, who=WHO)
    await house.people.record_crash("alice", "three times")
    assert house.rows(PauseRow) == []


async def test_f47_who_was_brought_back_meanwhile_is_not_paused(house):
    await alice(house)
    async with trio.open_nursery() as nursery, house.people.holding(["alice"]):
        nursery.start_soon(house.people.record_crash, "alice", "three times")
        await trio.testing.wait_all_tasks_blocked()
        house.brought_back.add("alice")  # an operator was quicker
    assert house.rows(PauseRow) == []


async def test_a_stuck_trader_is_stopped_by_way_of_the_store(house):
    await alice(house)
    house.snapshots["alice"] = replace(house.snapshots["alice"], wanted="running")
    house.traders["alice"].wedged = True
    shown = await house.people.force_stop("alice", WHO)
    assert shown.wanted == "stopped"
    assert (await house.stored())["alice"].user.wanted == "stopped"


async def test_changes_wait_until_all_users_are_known(tmp_path):
    async with household(tmp_path) as house:
        house.new_life()
        async with trio.open_nursery() as nursery:
            await nursery.start(house.people.run)
            with trio.move_on_after(0.05) as waited:
                await house.people.create("alice", None, None, WHO)
            assert waited.cancelled_caught
            house.people.open()
            await house.people.create("alice", None, None, WHO)
            nursery.cancel_scope.cancel()


# -- fuzz


async def test_fuzz_of_documents_is_refused_or_applied_and_nothing_else(house):
    """Whatever a document holds: what is wrong is said in Problems or a TokenError."""
    rng = random.Random(os.environ.get("OTOD_FUZZ_SEED", "11"))
    junk = [
        None,
        True,
        -1,
        D("1e40"),
        D("NaN"),
        "",
        "x" * 300,
        "\0",
        "50",
        [],
        {},
        [[]],
        {"a": 1},
        "KOGE",
        0.5,
        D("0.05"),
        D("1e400000000"),
        D("-1e-400000000"),
        10**300,
    ]
    keys = [*TRADING, "trading", "credentials", "display_name", "email", "users", "nonsense", "\ud800"]

    def some(depth=0):
        if depth > 3 or rng.random() < 0.3:
            return rng.choice(junk)
        return {rng.choice(keys): some(depth + 1) for _ in range(rng.randrange(4))}

    for _ in range(int(os.environ.get("OTOD_FUZZ", "10000"))):
        trading = KEYS | {rng.choice(keys): rng.choice(junk)} if rng.random() < 0.7 else some()
        table = {"trading": trading} if rng.random() < 0.7 else some()
        document = {"users": {rng.choice(["alice", "bob", "Eve", ""]): table}} if rng.random() < 0.9 else {"x": some()}
        with suppress(Problems, TokenError):
            await house.people.apply(document, force=rng.random() < 0.2, dry_run=rng.random() < 0.8, who=WHO)
        if rng.random() < 0.1:
            wanted = {rng.choice(list(TRADING)): rng.choice(junk) for _ in range(rng.randrange(4))}
            with suppress(Problems, TokenError, Refusal):
                await house.people.configure("alice", wanted, unset=[rng.choice(keys)], who=WHO)
