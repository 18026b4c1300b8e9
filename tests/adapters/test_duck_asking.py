"""No question kills the store, whatever it asks for: it is answered or refused, and the database goes on."""

from __future__ import annotations

import pytest

from actors import messages
from actors.adapters import duck_queries
from actors.errors import StoreRefused
from actors.statistics import Statistics
from tests.adapters.duck_rows import NOON_MS, database, fill, order, pair

DAY_MS = 86_400_000
EDGES = (-62_135_596_800_000, -DAY_MS, -1, 0, 1, DAY_MS, 24 * DAY_MS, NOON_MS, 253_402_300_799_999)


@pytest.fixture
async def db(tmp_path):
    made = database(tmp_path)
    await made.open()
    await made.commit([[pair(1, status="closed"), order("1"), fill("1")]])
    yield made
    await made.close()


@pytest.mark.parametrize("since_ms", EDGES)
async def test_every_moment_of_the_calendar_may_bound_a_period(db, since_ms):
    for until_ms in (None, DAY_MS, NOON_MS + 2):
        span = {"since_ms": since_ms, "until_ms": until_ms}
        there = since_ms <= NOON_MS and until_ms != DAY_MS
        for question in (
            messages.ListOrders(user="alice", **span),
            messages.ListPairs(user="alice", **span),
            messages.ListAudit(user="alice", **span),
            messages.ListPrices(token="KOGE", **span),
        ):
            total, _ = await db.query(question)
            assert total <= there, question
        assert (await db.query(Statistics(user="alice", **span))).bought.fills == there


async def test_a_question_that_the_database_finds_wrong_is_refused_and_nobody_else_notices(db, monkeypatch):
    def wrong(connection, question, now_ms):
        return connection.execute("SELECT 2147483647::INTEGER * 1000::INTEGER").fetchall()

    monkeypatch.setitem(duck_queries._ANSWERS, messages.ListOrders, wrong)
    await db.commit([[fill("2")]])
    with pytest.raises(StoreRefused, match="Out of Range"):
        await db.query(messages.ListOrders(user="alice"))
    assert (await db.query(Statistics(user="alice"))).bought.fills == 2
