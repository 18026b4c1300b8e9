"""Answers of the store, each held against what its question's docstring promises."""

from __future__ import annotations

from decimal import Decimal as D

import pytest

from actors import messages, rows
from actors.adapters.duck_queries import LIMIT_MAX
from actors.errors import IntegrityError, StoreRefused
from actors.messages import DayTotals, ListOrders, ListPairs, LoadTokens, LoadTrader, LoadUsers
from tests.adapters.duck_rows import DAY, HOUR_MS, NOON_MS, change, config, database, fill, order, pair, pause, user

MIDNIGHT_MS = NOON_MS + 12 * HOUR_MS


@pytest.fixture
async def db(tmp_path):
    made = database(tmp_path)
    await made.open()
    yield made
    await made.close()


def credentials(user="alice", **changes):
    return rows.CredentialRow(**{"user": user, "ciphertext": b"sealed", "key_id": "k", "stored_at": NOON_MS} | changes)


# -- users


async def test_an_empty_store_has_no_users(db):
    assert await db.query(LoadUsers()) == ()


async def test_users_come_by_name_without_the_removed_ones(db):
    await db.commit([[user("carol"), user("alice"), user("bob", removed=True)]])
    assert [record.user.user for record in await db.query(LoadUsers())] == ["alice", "carol"]


async def test_a_user_comes_with_newest_configuration_credentials_and_pauses_in_force(db):
    newer = config(revision=2, document=config().document.replace("500", "700"))
    ended = pause("PRICE_VOLATILITY", ended_at=NOON_MS + 5, ended_by="1000:1")
    again = pause("PRICE_VOLATILITY", since_at=NOON_MS + 9)
    await db.commit([[user(), config(), newer, credentials(state="invalid"), ended, again, pause(), pause(user="bob")]])
    (record,) = await db.query(LoadUsers())
    assert record.config.target_volume == D(700)
    assert (record.revision, record.credentials, record.ciphertext) == (2, "invalid", b"sealed")
    assert record.pauses == (pause(), again)


async def test_a_user_may_have_neither_configuration_nor_credentials(db):
    await db.commit([[user(), credentials(state="removed")]])
    (record,) = await db.query(LoadUsers())
    assert (record.config, record.revision, record.credentials, record.ciphertext) == (None, 0, "none", None)


async def test_a_configuration_of_another_version_is_told_with_its_user(db):
    await db.commit([[user(), config(document='{"token":"KOGE","unheard_of":1}')]])
    with pytest.raises(IntegrityError, match=r"unheard_of.*\[user alice, revision 1\]"):
        await db.query(LoadUsers())


# -- a trader


async def test_a_trader_that_has_done_nothing(db):
    await db.commit([[user()]])
    record = await db.query(LoadTrader("alice", DAY))
    assert record.record.user == user()
    nothing = messages.DayRecord(
        day=DAY, volume=D(0), counted_volume=D(0), pairs=0, wear=D(0), fees=(), last_number=0, done_at=None
    )
    assert record.day == nothing
    assert (record.open_pairs, record.recent_pairs, record.orders, record.fills, record.own_orders) == ((),) * 5
    assert record.last_seq == 0


async def test_an_unknown_trader_is_refused(db):
    with pytest.raises(StoreRefused, match="no user 'alice'"):
        await db.query(LoadTrader("alice", DAY))


async def test_a_trader_gets_its_open_pairs_oldest_first_with_their_orders_and_fills(db):
    mine = [pair(number, status="working", intent_at=NOON_MS - number) for number in (1, 2, 3)]
    old = pair(4, status="closed", closed_at=NOON_MS - HOUR_MS - 1)
    orders = [order(str(number), pair_id=mine[number - 1].pair_id) for number in (1, 2, 3)]
    fills = [fill(str(number), pair_id=mine[number - 1].pair_id, exchange_time=NOON_MS - number) for number in (1, 2)]
    others = [pair(1, user="bob"), order("9", user="bob"), fill("9", user="bob"), order("8", pair_id=old.pair_id)]
    await db.commit([[user(), *mine, old, *orders, *fills, *others, fill("7", pair_id=old.pair_id)]])
    record = await db.query(LoadTrader("alice", DAY))
    assert record.open_pairs == tuple(mine[::-1])
    assert record.recent_pairs == ()
    assert record.orders == tuple(orders)
    assert record.fills == tuple(fills[::-1])


async def test_pairs_closed_within_the_hour_come_too_at_most_fifty(db):
    closed = [
        pair(number, status="closed", closed_at=NOON_MS - HOUR_MS + number, outcome="completed") for number in range(60)
    ]
    await db.commit([[user(), *closed, order("1", pair_id=closed[0].pair_id), order("2", pair_id=closed[59].pair_id)]])
    record = await db.query(LoadTrader("alice", DAY))
    assert record.recent_pairs == tuple(closed[10:])
    assert [row.order_id for row in record.orders] == ["2"]


async def test_own_orders_of_two_days_are_known_foreign_ones_are_not(db):
    long_ago = order("old", created_at=NOON_MS - 48 * HOUR_MS - 1)
    foreign = order("foreign", pair_id=None, leg=None)
    await db.commit([[user(), order("b"), order("a", created_at=NOON_MS - HOUR_MS), long_ago, foreign]])
    record = await db.query(LoadTrader("alice", DAY))
    assert record.own_orders == (("ALPHA_22USDT", "a", f"alice-{DAY}-1"), ("ALPHA_22USDT", "b", f"alice-{DAY}-1"))


async def test_the_newest_state_change_tells_with_which_number_the_next_life_goes_on(db):
    clock_set_back = change(91, happened_at=NOON_MS - HOUR_MS)
    await db.commit([[user(), change(5), change(90), clock_set_back, change(99, user="bob")]])
    assert (await db.query(LoadTrader("alice", DAY))).last_seq == 91
    ids = ("traders/alice-120", "traders/alice-7", "people/b00t-130", "traders/alice-2026", "apply-140")
    await db.commit([[user("bob"), *(audit(each, "bob" if each.endswith("2026") else "alice") for each in ids)]])
    assert (await db.query(LoadTrader("alice", DAY))).last_seq == 120
    assert (await db.query(LoadTrader("bob", DAY))).last_seq == 99


def audit(audit_id, about):
    return rows.AuditRow(
        audit_id=audit_id, happened_at=NOON_MS, who="x", user=about, action="resume", before=None, after=None
    )


async def test_a_trader_sees_what_was_acknowledged_a_moment_ago(db):
    await db.commit([[user(), pair(1)]])
    assert len((await db.query(LoadTrader("alice", DAY))).open_pairs) == 1
    await db.commit([[pair(1, status="closed", closed_at=NOON_MS), pair(2)]])
    record = await db.query(LoadTrader("alice", DAY))
    assert [row.number for row in record.open_pairs] == [2]
    assert [row.number for row in record.recent_pairs] == [1]


# -- the day


async def test_the_day_adds_up_fills_of_its_exchange_time_and_closed_pairs(db):
    at_start, at_end = MIDNIGHT_MS - 24 * HOUR_MS, MIDNIGHT_MS - 1
    fills = [
        fill("1", quote_quantity=D("48.000000000000000001"), mul_point=D(4), exchange_time=at_start),
        fill("2", quote_quantity=D("10"), mul_point=D("1.5"), exchange_time=at_end, recorded_at=MIDNIGHT_MS + 5),
        fill("sale", side="SELL", leg="pending", quote_quantity=D(57), commission=D("0.0057"), commission_asset="USDT"),
        fill("yesterday", exchange_time=at_start - 1),
        fill("tomorrow", exchange_time=MIDNIGHT_MS),
        fill("of bob", user="bob"),
    ]
    pairs = [
        pair(1, status="closed", wear=D("0.1"), buy_quote=D("48.02")),
        pair(2, status="closed", wear=D("-0.03"), buy_quote=D("1E-18"), intent_at=at_end, closed_at=MIDNIGHT_MS + 5),
        pair(3, status="closed", outcome="refused"),
        pair(4, status="working", wear=None, buy_quote=D(10)),
        pair(5, status="closed", wear=D(7), intent_at=at_start - 1, pair_id="alice-2026-11-19-5"),
        pair(6, user="bob", status="closed", wear=D(9)),
    ]
    done = rows.UserDayRow(user="alice", day=DAY, target_volume=D(50), target_points=None, done_at=NOON_MS + 1)
    await db.commit([[*fills, *pairs, done]])
    assert await db.query(DayTotals("alice", DAY)) == messages.DayRecord(
        day=DAY,
        volume=D("58.000000000000000001"),
        counted_volume=D("207.000000000000000004"),
        pairs=3,
        wear=D("0.07"),
        closed_volume=D("48.020000000000000001"),
        fees=(("KOGE", D("0.0002")), ("USDT", D("0.0057"))),
        last_number=4,
        done_at=NOON_MS + 1,
    )


async def test_the_last_number_is_that_of_the_days_ids_though_an_intent_came_after_midnight(db):
    await db.commit([[pair(7, intent_at=MIDNIGHT_MS + 3), pair(12, user="alice-2026", pair_id=f"alice-2026-{DAY}-12")]])
    assert (await db.query(DayTotals("alice", DAY))).last_number == 7


async def test_a_large_volume_times_its_multiplier_does_not_overflow(db):
    """Two factors of DECIMAL(38,18) would: the trap of probes § 5."""
    amounts = [
        fill(str(number), quote_quantity=D("99999999.999999999999999999"), mul_point=D(64)) for number in range(5)
    ]
    await db.commit([amounts])
    record = await db.query(DayTotals("alice", DAY))
    assert record.volume == D("499999999.999999999999999995")
    assert record.counted_volume == D("31999999999.999999999999999680")


# -- lists


async def test_orders_come_newest_first_page_by_page(db):
    await db.commit(
        [[order(str(number), created_at=NOON_MS + number) for number in range(120)], [order("x", user="bob")]]
    )
    seen = []
    for page in (1, 2, 3, 4):
        total, found = await db.query(ListOrders(user="alice", page=page))
        assert total == 120
        seen.extend(int(row.order_id) for row in found)
    assert seen == list(range(119, -1, -1))


async def test_lists_are_filtered_by_status_and_time(db):
    await db.commit(
        [
            [
                order(str(number), created_at=NOON_MS + number, status="FILLED" if number % 2 else "NEW")
                for number in range(9)
            ],
            [pair(number, status="closed" if number % 2 else "working") for number in range(9)],
        ]
    )
    span = {"since_ms": NOON_MS + 3, "until_ms": NOON_MS + 6}
    for question, key in ((ListOrders, "order_id"), (ListPairs, "number")):
        word = "FILLED" if question is ListOrders else "closed"
        total, found = await db.query(question(user="alice", **span))
        assert (total, [int(getattr(row, key)) for row in found]) == (3, [5, 4, 3])
        total, found = await db.query(question(user="alice", status=word, **span))
        assert (total, [int(getattr(row, key)) for row in found]) == (2, [5, 3])
        assert await db.query(question(user="alice", status="none such")) == (0, ())


@pytest.mark.parametrize("wrong", [{"page": 0}, {"limit": 0}, {"limit": LIMIT_MAX + 1}])
async def test_a_page_that_cannot_be_is_refused(db, wrong):
    with pytest.raises(StoreRefused, match="no such page"):
        await db.query(ListOrders(user="alice", **wrong))


async def test_tokens_and_instruments_come_back(db):
    token = rows.TokenRow(alpha_id="ALPHA_22", name="KOGE", mul_point=None, document="{}", fetched_at=NOON_MS)
    instrument = rows.InstrumentRow(symbol="ALPHA_22USDT", status="TRADING", document="{}", fetched_at=NOON_MS)
    await db.commit([[token, instrument]])
    assert await db.query(LoadTokens()) == ((token,), (instrument,))


async def test_a_question_without_an_answer_is_refused(db):
    with pytest.raises(StoreRefused, match="no answer to Granted"):
        await db.query(messages.Granted())
