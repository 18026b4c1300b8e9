"""What the database answers about one pair, audit and bars."""

from __future__ import annotations

from decimal import Decimal as D

import pytest

from actors import rows
from actors.adapters.duck_control import LIMIT_MAX
from actors.adapters.sim_store import Disk, answer
from actors.errors import StoreRefused
from actors.messages import ListAudit, ListPrices, LoadNotices, ShowPair
from tests.adapters.duck_rows import NOON_MS, change, database, fill, order, pair


@pytest.fixture
async def db(tmp_path):
    made = database(tmp_path)
    await made.open()
    yield made
    await made.close()


def audit(number, **changes):
    row = {"audit_id": f"a-{number}", "happened_at": NOON_MS + number, "who": "1:2", "user": "alice", "action": "x"}
    return rows.AuditRow(**row | changes)


def bar(second, token="KOGE"):
    return rows.PriceRow(
        token=token, second=second, open=D(1), high=D(2), low=D(1), close=D(2), quantity=D(3), quote_quantity=D(4),
        trades=5,
    )  # fmt: skip


async def test_a_pair_comes_with_its_orders_fills_and_changes_oldest_first(db):
    mine = pair(1)
    await db.commit(
        [
            [mine, pair(2), order("2", created_at=NOON_MS + 9), order("1"), order("3", pair_id="other")],
            [fill("2", exchange_time=NOON_MS + 9), fill("1"), change(2, pair_id=mine.pair_id), change(1)],
        ]
    )
    found = await db.query(ShowPair("alice", mine.pair_id))
    assert found.pair == mine
    assert [each.order_id for each in found.orders] == ["1", "2"]
    assert [each.fill_id for each in found.fills] == ["1", "2"]
    assert [each.seq for each in found.changes] == [2]


async def test_a_pair_of_somebody_else_is_not_found(db):
    await db.commit([[pair(1)]])
    assert await db.query(ShowPair("bob", pair(1).pair_id)) is None


async def test_audit_is_listed_newest_first_of_one_or_all(db):
    await db.commit([[audit(1), audit(2, user=None), audit(3, user="bob"), audit(4)]])
    total, found = await db.query(ListAudit(limit=3))
    assert (total, [row.audit_id for row in found]) == (4, ["a-4", "a-3", "a-2"])
    total, found = await db.query(ListAudit(user="alice", until_ms=NOON_MS + 4))
    assert (total, [row.audit_id for row in found]) == (1, ["a-1"])
    assert await db.query(ListAudit(page=9)) == (4, ())


async def test_bars_are_listed_by_token(db):
    await db.commit([[bar(NOON_MS), bar(NOON_MS + 1000), bar(NOON_MS, "AIOT")]])
    total, found = await db.query(ListPrices(token="KOGE", since_ms=NOON_MS))
    assert (total, found) == (2, (bar(NOON_MS + 1000), bar(NOON_MS)))


@pytest.mark.parametrize("wrong", [{"page": 0}, {"limit": 0}, {"limit": LIMIT_MAX + 1}])
async def test_a_page_that_cannot_be_is_refused(db, wrong):
    with pytest.raises(StoreRefused):
        await db.query(ListAudit(**wrong))


def notice(number, **changes):
    row = {"notice_id": f"n-{number}", "kind": "paused", "user": None, "what": "x", "happened_at": NOON_MS + number}
    return rows.NoticeRow(**row | {"owed": "ops"} | changes)


@pytest.mark.parametrize(
    ("ids", "found"), [((), ["n-1", "n-3"]), (("n-2", "it's none"), ["n-1", "n-2", "n-3"])], ids=["owed", "and named"]
)
async def test_notices_that_are_owed_come_oldest_first_and_those_that_are_named(db, ids, found):
    over = notice(2, ended_at=NOON_MS, owed="")
    group = [notice(3), over, notice(1), notice(4), notice(4, ended_at=NOON_MS, owed="")]
    await db.commit([group])
    disk = Disk()
    disk.write([group])
    told = await db.query(LoadNotices(ids))
    assert [row.notice_id for row in told] == found
    assert answer(disk, LoadNotices(ids), NOON_MS) == told
