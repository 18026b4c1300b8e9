"""The life of a published day: today's shadow, final and byte-stable, reopened by late rows, left by retention."""

from __future__ import annotations

from decimal import Decimal as D

import duckdb
import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actors import messages, rows
from actors.adapters import duck_publish, duck_retention, duck_views
from actors.adapters.duck import in_thread
from actors.adapters.duck_publish import FINAL_AFTER_MS
from actors.errors import StoreError
from actors.statistics import Statistics
from tests.adapters.duck_rows import (
    DAY,
    HOUR_MS,
    NOON_MS,
    StillWall,
    change,
    database,
    fill,
    one_of_each,
    order,
    pair,
    reopened,
    retraction,
    stored,
)

MIDNIGHT_MS = NOON_MS + 12 * HOUR_MS
DAY_MS = 24 * HOUR_MS


@pytest.fixture
def wall():
    return StillWall()


@pytest.fixture
async def db(tmp_path, wall):
    made = database(tmp_path, wall=wall, live_days=2)
    await made.open()
    yield made
    await made.close()


def file_of(tmp_path, day=DAY):
    return tmp_path / f"analytics/day_{day}.duckdb"


def read(tmp_path, sql, day=DAY):
    with duckdb.connect(str(file_of(tmp_path, day)), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def everything_in(file):
    """All tables of a published file, sorted: what it says, however its rows lie."""
    with duckdb.connect(str(file), read_only=True) as connection:
        return {
            table: connection.execute(f"SELECT COLUMNS(*)::VARCHAR FROM {table} ORDER BY ALL").fetchall()
            for table in (*duck_views.PUBLISHED, duck_views.TOTALS, *duck_views.VIEWS)
        }


async def publish_and_close(db, *groups, at_ms):
    await db.commit(groups)
    db._wall.at_ms = at_ms
    await db.publish()


# -- the shadow

STEPS = st.lists(
    st.one_of(
        st.builds(lambda n, s: order(str(n), status=str(s)), st.integers(0, 3), st.integers(0, 99)),
        st.builds(lambda n, d: order(str(n), created_at=NOON_MS + d * DAY_MS), st.integers(0, 3), st.integers(-1, 0)),
        st.builds(lambda n, s: pair(n, status=str(s)), st.integers(1, 3), st.integers(0, 99)),
        st.builds(lambda n: fill(str(n)), st.integers(0, 4)),
        st.builds(lambda n: retraction(str(n)), st.integers(0, 4)),
        st.builds(lambda n: change(n), st.integers(0, 4)),
        st.builds(
            lambda n: rows.AuditRow(audit_id=str(n), happened_at=NOON_MS, who="x", user=None, action="y"),
            st.integers(0, 2),
        ),
        st.sampled_from([row for row in one_of_each() if type(row) in (rows.UserDayRow, rows.PriceRow)]),
        st.just("publish"),
    ),
    max_size=14,
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_a_day_brought_up_to_date_says_what_a_day_made_anew_says(tmp_path_factory, steps):
    async def scene():
        path = tmp_path_factory.mktemp("state")
        db = database(path)
        await db.open()
        await db.commit([[fill("first")]])
        await db.publish()
        for step in steps:
            if step == "publish":
                await db.publish()
            else:
                await db.commit([[step]])
        await db.publish()
        shown = everything_in(file_of(path))
        again = await reopened(db, path)
        again._file.reader.execute("INSERT INTO unpublished SELECT part FROM days").fetchall()
        again._file.reader.execute("UPDATE days SET file = NULL").fetchall()
        await again.publish()
        assert again.statistics().published_files >= 1
        assert everything_in(file_of(path)) == shown
        await again.close()

    trio.run(scene)


async def test_only_changed_rows_of_today_are_written_again(db, tmp_path, monkeypatch):
    await db.commit([[fill(str(number)) for number in range(50)]])
    await db.publish()
    statements = []
    before = duck_publish._run
    monkeypatch.setattr(duck_publish, "_run", lambda c, s: (statements.append(s), before(c, s)))
    await db.commit([[fill("one more"), fill("7")]])
    await db.publish()
    assert not any(text.startswith("CREATE TABLE") for text in statements)
    assert read(tmp_path, "SELECT count(*), count(DISTINCT fill_id) FROM fills") == [(51, 51)]
    assert db._file.reader.execute("SELECT count(*) FROM changed_rows").fetchall() == [(0,)]


async def test_a_shadow_that_failed_is_given_up_and_the_day_made_anew(db, tmp_path):
    await db.commit([[fill("1")]])
    await db.publish()
    (shadow,) = (tmp_path / "live/shadow").iterdir()
    shadow.write_bytes(b"damaged")
    await db.commit([[fill("2")]])
    with pytest.raises(StoreError):
        await db.publish()
    assert read(tmp_path, "SELECT count(*) FROM fills") == [(1,)]
    await db.publish()
    assert read(tmp_path, "SELECT count(*) FROM fills") == [(2,)]


async def test_no_more_than_two_shadows_are_kept(db, tmp_path):
    for days_ago in range(4):
        await db.commit([[pair(days_ago + 1, intent_at=NOON_MS - days_ago * DAY_MS)]])
        await db.publish()
    assert len(list((tmp_path / "live/shadow").iterdir())) == 2
    again = await reopened(db, tmp_path)
    assert list((tmp_path / "live/shadow").iterdir()) == []
    await again.close()


# -- whole days, in steps


async def in_steps(db, monkeypatch, between, now_ms=NOON_MS):
    """Publishes today in many steps; between two of them `between` runs. Returns how many there were."""
    monkeypatch.setattr(duck_publish, "SLICE_ROWS", 4)
    (part,) = (part for part in pending_of(db, now_ms) if part >= 0)
    steps = db._publisher.publishing(db._file.reader, part, now_ms)
    count = 0
    for _ in steps:
        count += 1
        await between(count)
    return count


def pending_of(db, now_ms):
    db._file.catch_up(now_ms)
    return db._publisher.pending(db._file.reader, now_ms)


async def test_what_changes_while_a_day_is_written_is_in_it(db, tmp_path, monkeypatch):
    await db.commit([[fill(str(n), exchange_time=NOON_MS + n * HOUR_MS // 2) for n in range(12)], [order("1")]])

    async def between(count):
        await db.commit(
            [[fill(f"new-{count}", exchange_time=NOON_MS + 1), retraction("3"), order("1", status=str(count))]]
        )
        assert (await db.query(Statistics(user="alice"))).bought.fills == 11 + count

    count = await in_steps(db, monkeypatch, between)
    assert count > 8
    found = {fill_id for (fill_id,) in read(tmp_path, "SELECT fill_id FROM fills")}
    assert found == {str(n) for n in range(12) if n != 3} | {f"new-{n}" for n in range(1, count + 1)}
    assert read(tmp_path, "SELECT status FROM orders") == [(str(count),)]
    assert not [part for part in pending_of(db, NOON_MS) if part >= 0]


async def test_a_day_that_changes_while_it_is_made_final_is_made_final_again(db, tmp_path, wall, monkeypatch):
    await publish_and_close(db, [fill(str(n)) for n in range(9)], at_ms=NOON_MS)
    wall.at_ms = MIDNIGHT_MS + FINAL_AFTER_MS

    async def between(count):
        if count == 2:
            await db.commit([[fill("late", exchange_time=NOON_MS - 1)]])
            db._file.catch_up(NOON_MS)

    await in_steps(db, monkeypatch, between, wall.at_ms)
    assert final_days(db) == []
    assert await db.publish()
    assert final_days(db) == [DAY]
    assert read(tmp_path, "SELECT fill_id FROM fills LIMIT 1") == [("late",)]


async def test_a_publication_cancelled_half_way_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(duck_publish, "SLICE_ROWS", 4)
    db = database(tmp_path, run=in_thread())
    await db.open()
    await db.commit([[fill(str(n)) for n in range(40)]])
    with trio.CancelScope() as scope:
        step, count = db._step, 0

        def counting(steps):
            nonlocal count
            count += 1
            if count == 5:
                trio.from_thread.run_sync(scope.cancel)
            return step(steps)

        monkeypatch.setattr(db, "_step", counting)
        await db.publish()
    assert scope.cancelled_caught
    assert not file_of(tmp_path).exists()
    monkeypatch.setattr(db, "_step", step)
    assert await db.publish()
    assert read(tmp_path, "SELECT count(*) FROM fills") == [(40,)]
    await db.close()


@pytest.mark.parametrize("tampered", [False, True])
async def test_after_a_restart_the_published_file_is_built_upon_if_it_is_ours(db, tmp_path, monkeypatch, tampered):
    await db.commit([[fill("1"), order("1")]])
    await db.publish()
    again = await reopened(db, tmp_path)
    if tampered:
        file_of(tmp_path).touch()
    await again.commit([[fill("2"), order("1", status="FILLED")]])
    statements = []
    before = duck_publish._run
    monkeypatch.setattr(duck_publish, "_run", lambda c, s: (statements.append(s), before(c, s)))
    await again.publish()
    assert any(text.startswith("CREATE TABLE") for text in statements) == tampered
    assert read(tmp_path, "SELECT count(*) FROM fills") == [(2,)]
    assert read(tmp_path, "SELECT status FROM orders") == [("FILLED",)]
    await again.close()


# -- final


async def test_a_day_becomes_final_when_its_pairs_are_closed_and_time_has_passed(db, tmp_path, wall):
    await db.commit([[fill("2"), fill("1", exchange_time=NOON_MS - 1), pair(1)]])
    await db.publish()
    for at_ms, status in ((MIDNIGHT_MS + FINAL_AFTER_MS - 1, "selling"), (MIDNIGHT_MS + FINAL_AFTER_MS, "selling")):
        wall.at_ms = at_ms
        await db.commit([[pair(1, status=status)]])
        await db.publish()
        assert final_days(db) == []
    closed = MIDNIGHT_MS + HOUR_MS
    await publish_and_close(db, [pair(1, status="closed", closed_at=closed)], at_ms=closed + FINAL_AFTER_MS - 1)
    assert final_days(db) == []
    wall.at_ms += 1
    assert await db.publish()
    assert final_days(db) == [DAY]
    assert [fill_id for (fill_id,) in read(tmp_path, "SELECT fill_id FROM fills")] == ["1", "2"]


async def test_a_final_day_is_not_touched_any_more_whatever_else_happens(db, tmp_path, wall):
    await publish_and_close(db, [fill("1")], at_ms=MIDNIGHT_MS + FINAL_AFTER_MS)
    before, inode = file_of(tmp_path).read_bytes(), file_of(tmp_path).stat().st_ino
    for number in range(3):
        wall.at_ms += DAY_MS
        await db.commit([[fill(f"x{number}", exchange_time=wall.at_ms)]])
        await db.publish()
        await db.checkpoint()
    again = await reopened(db, tmp_path, wall=wall)
    await again.publish()
    assert (file_of(tmp_path).read_bytes(), file_of(tmp_path).stat().st_ino) == (before, inode)
    await again.close()


async def test_a_late_fill_reopens_its_day_which_is_final_again_at_once(db, tmp_path, wall):
    await publish_and_close(db, [fill("1")], at_ms=MIDNIGHT_MS + FINAL_AFTER_MS)
    await db.commit([[fill("late", exchange_time=NOON_MS - 5)]])
    assert await db.publish()
    assert [fill_id for (fill_id,) in read(tmp_path, "SELECT fill_id FROM fills")] == ["late", "1"]
    assert final_days(db) == [DAY]
    assert not await db.publish()


async def test_days_become_final_one_at_a_time(db, wall):
    for days_ago in range(3):
        await db.commit([[fill(str(days_ago), exchange_time=NOON_MS - days_ago * DAY_MS)]])
    wall.at_ms = NOON_MS - 2 * DAY_MS  # so that all are published as open
    await db.publish()
    wall.at_ms = NOON_MS + 5 * DAY_MS
    for count in (1, 2, 3, 3):
        await db.publish()
        assert len(final_days(db)) == count


def final_days(db):
    return [
        str(day)
        for (day,) in db._file.reader.execute(
            "SELECT CAST(DATE '1970-01-01' + part AS VARCHAR) FROM days WHERE final_at IS NOT NULL ORDER BY part"
        ).fetchall()
    ]


# -- retention


async def old_day(db, wall, *more):
    """A final day of three pairs and what belongs to them, five days ago as the clock stands afterwards."""
    bar = {name: D(1) for name in ("open", "high", "low", "close", "quantity", "quote_quantity")}
    group = [
        *(pair(n, status="closed", buy_quote=D(50), wear=D("0.1"), closed_at=NOON_MS + n) for n in (1, 2, 3)),
        *(order(str(n), pair_id=f"alice-{DAY}-{n}") for n in (1, 2, 3)),
        *(fill(str(n), pair_id=f"alice-{DAY}-{n}") for n in (1, 2, 3)),
        *(change(n, pair_id=f"alice-{DAY}-1") for n in (1, 2, 3)),
        rows.PriceRow(token="KOGE", second=NOON_MS, trades=1, **bar),
        rows.UserDayRow(user="alice", day=DAY, target_volume=D(500), target_points=None),
        *more,
    ]  # fmt: skip
    await publish_and_close(db, group, at_ms=NOON_MS + DAY_MS)
    wall.at_ms = NOON_MS + 5 * DAY_MS


async def test_rows_of_old_final_days_leave_and_questions_find_them_all_the_same(db, tmp_path, wall):
    await old_day(db, wall)
    questions = (
        messages.ListPairs(user="alice"),
        messages.ListOrders(user="alice", status="NEW"),
        messages.DayTotals("alice", DAY),
        Statistics(user="alice"),
        messages.ShowPair("alice", f"alice-{DAY}-1"),
        messages.ListPrices(token="KOGE"),
    )
    before = [await db.query(question) for question in questions]
    published = everything_in(file_of(tmp_path))
    await db.checkpoint()
    assert db.statistics().trimmed_rows == 3 + 3 + 3 + 2 + 1  # the newest state change stays
    assert stored(db, rows.FillRow) == []
    assert [await db.query(question) for question in questions] == before
    again = await reopened(db, tmp_path, wall=wall, live_days=2)
    assert [await again.query(question) for question in questions] == before
    assert everything_in(file_of(tmp_path)) == published
    await again.close()


@pytest.mark.parametrize("live_days", [0, 4])
async def test_days_stay_for_as_long_as_configured(tmp_path, wall, live_days):
    db = database(tmp_path, wall=wall, live_days=live_days)
    await db.open()
    await old_day(db, wall)
    wall.at_ms = NOON_MS + 4 * DAY_MS
    await db.checkpoint()
    assert db.statistics().trimmed_rows == 0
    wall.at_ms += DAY_MS
    await db.checkpoint()
    assert (db.statistics().trimmed_rows > 0) == (live_days == 4)
    await db.close()


async def test_a_day_leaves_slice_by_slice(db, wall, monkeypatch):
    await old_day(db, wall)
    monkeypatch.setattr(duck_retention.trim, "__defaults__", (4,))
    counts = []
    for _ in range(6):
        await db.checkpoint()
        counts.append(db.statistics().trimmed_rows)
        assert (await db.query(Statistics(user="alice"))).bought.fills == 3
    assert counts[-1] == counts[-2] == 12
    assert counts[0] == 3 + 3  # the cut is made by time: what happened in one millisecond leaves together


async def test_a_slice_that_fails_leaves_everything_as_it_was(db, wall, monkeypatch):
    await old_day(db, wall)
    before = stored(db, rows.FillRow)
    monkeypatch.setitem(duck_retention.LEAVING, "price_1s", "no such column")
    with pytest.raises(duckdb.ParserException):
        await db.checkpoint()
    assert stored(db, rows.FillRow) == before
    monkeypatch.undo()
    await db.checkpoint()
    assert db.statistics().trimmed_rows == 12


async def test_what_a_restart_may_need_does_not_leave(db, wall):
    await old_day(db, wall, fill("synthetic", source="synthetic"))
    await db.checkpoint()
    assert [row.fill_id for row in stored(db, rows.FillRow)] == ["synthetic"]
    assert [row.seq for row in stored(db, rows.StateChangeRow)] == [3]
    assert len(stored(db, rows.UserDayRow)) == 1
    assert (await db.query(Statistics(user="alice"))).bought.fills == 4


@pytest.mark.parametrize("restart", [False, True])
async def test_a_late_fill_of_a_day_that_has_left_is_added_to_its_file(db, tmp_path, wall, restart):
    await old_day(db, wall, fill("synthetic", source="synthetic"))
    await db.checkpoint()
    if restart:
        db = await reopened(db, tmp_path, wall=wall, live_days=2)
    await db.commit([[retraction("synthetic"), fill("late"), fill("1", price=D(9)), order("1", status="FILLED")]])
    await db.publish()
    assert read(tmp_path, "SELECT fill_id, price FROM fills ORDER BY 1") == [
        (fill_id, D("9") if fill_id == "1" else D("48.02")) for fill_id in ("1", "2", "3", "late")
    ]
    assert read(tmp_path, "SELECT count(*), max(status) FROM orders") == [(3, "NEW")]
    assert read(tmp_path, "SELECT status FROM orders WHERE order_id = '1'") == [("FILLED",)]
    assert (await db.query(Statistics(user="alice"))).bought.fills == 4
    await db.checkpoint()
    assert stored(db, rows.FillRow) == []
    if restart:
        await db.close()


async def test_a_missing_file_of_a_day_that_has_left_is_told_and_its_changes_are_kept(db, tmp_path, wall):
    await old_day(db, wall)
    await db.checkpoint()
    aside = file_of(tmp_path).rename(tmp_path / "aside")
    await db.commit([[fill("late"), fill("today", exchange_time=wall.at_ms)]])
    with pytest.raises(StoreError, match=r"have left the live database, and its published file is missing"):
        await db.publish()
    assert read(tmp_path, "SELECT fill_id FROM fills", "2026-11-25") == [("today",)]
    again = await reopened(db, tmp_path, wall=wall)
    aside.rename(file_of(tmp_path))
    assert await again.publish()
    assert read(tmp_path, "SELECT count(*) FROM fills") == [(4,)]
    await again.close()


async def test_a_damaged_file_of_the_past_does_not_keep_the_daemon_from_its_work(db, tmp_path, wall):
    await old_day(db, wall)
    await db.checkpoint()
    file_of(tmp_path).write_bytes(b"damaged")
    again = await reopened(db, tmp_path, wall=wall)
    assert (await again.query(Statistics(user="alice"))).bought.fills == 0
    await again.close()
