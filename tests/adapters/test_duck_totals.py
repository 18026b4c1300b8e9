"""totals.duckdb: the views say what the day files say, with or without it, whatever happens to an old day."""

from __future__ import annotations

import os
from decimal import Decimal as D

import duckdb
import pytest

from actors import rows
from actors.adapters import duck_totals, duck_views
from actors.adapters.duck_schema import day_text
from actors.errors import StoreError
from tests.adapters.duck_rows import DAY, HOUR_MS, NOON_MS, StillWall, database, fill, order, pair, reopened
from tests.bench import year

DAY_MS = 24 * HOUR_MS
DAYS = 4
SUMMED = ("day_totals", "user_days", "daily", "daily_points", "progress")


@pytest.fixture
def wall():
    return StillWall()


@pytest.fixture
async def db(tmp_path, wall, monkeypatch):
    """Four final days before today, and something of today."""
    monkeypatch.setattr(duck_totals, "DAYS_MIN", 3)
    monkeypatch.setattr(duck_totals, "FILES_AT_ONCE", 2)
    made = database(tmp_path, wall=wall)
    await made.open()
    for number in range(DAYS + 1):
        at_ms = NOON_MS - (DAYS - number) * DAY_MS
        await made.commit([of_day(at_ms, number + 1)])
    wall.at_ms = NOON_MS
    for _ in range(DAYS):
        await made.publish()
    yield made
    await made.close()


def of_day(at_ms, count):
    day = day_text(at_ms // DAY_MS)
    return [
        *(fill(f"{day}-{number}", exchange_time=at_ms + number) for number in range(count)),
        pair(1, pair_id=f"alice-{day}-1", intent_at=at_ms, status="closed", closed_at=at_ms, wear=D(1), buy_quote=D(5)),
        rows.UserDayRow(user="alice", day=day, target_volume=D(count), target_points=None),
    ]  # fmt: skip


def session(tmp_path, script="views.sql"):
    connection = duckdb.connect()
    connection.execute((tmp_path / "analytics" / script).read_text())
    return connection


def told(connection):
    return {
        name: connection.execute(f"SELECT COLUMNS(*)::VARCHAR FROM {name} ORDER BY ALL").fetchall() for name in SUMMED
    }


def assert_right(tmp_path, days=DAYS + 1):
    """views-1.4.sql does not know of the file: it reads every day's own."""
    with session(tmp_path) as ours, session(tmp_path, "views-1.4.sql") as plain:
        found = told(ours)
        assert found == told(plain)
        assert len(found["daily"]) == days
        assert ours.execute("SELECT count(*) FROM daily SEMI JOIN fills USING (token)").fetchall() == [(days,)]


def held(tmp_path, table="day_totals"):
    with duckdb.connect(str(tmp_path / "analytics/totals.duckdb"), read_only=True) as connection:
        return connection.execute(f"SELECT CAST(day AS VARCHAR) FROM {table} ORDER BY day").fetchall()


def days_before(*ago):
    return [(day_text(NOON_MS // DAY_MS - each),) for each in ago]


async def test_it_holds_all_final_days_and_the_views_join_it_with_the_others(db, tmp_path):
    assert held(tmp_path) == held(tmp_path, "user_days") == days_before(4, 3, 2, 1)
    assert_right(tmp_path)
    assert not await db.publish()
    await db.commit([[fill("more", exchange_time=NOON_MS)]])
    before = (tmp_path / "analytics/totals.duckdb").stat().st_ino
    await db.publish()
    assert (tmp_path / "analytics/totals.duckdb").stat().st_ino == before
    assert_right(tmp_path)


async def test_its_columns_are_those_of_a_day_file(db, tmp_path):
    analytics = tmp_path / "analytics"
    for table in duck_views.IN_TOTALS:
        described = []
        for file in ("totals.duckdb", f"day_{DAY}.duckdb"):
            with duckdb.connect(str(analytics / file), read_only=True) as connection:
                described.append([row[:2] for row in connection.execute(f"DESCRIBE {table}").fetchall()])
        assert described[0] == described[1]


async def test_few_days_need_no_such_file(tmp_path, wall):
    db = database(tmp_path, wall=wall)
    await db.open()
    await db.commit([[fill("1", exchange_time=NOON_MS - 3 * DAY_MS)]])
    await db.publish()
    assert not (tmp_path / "analytics/totals.duckdb").exists()
    await db.close()


async def test_a_late_fill_of_an_old_day_is_in_the_sums_of_old_sessions_too(db, tmp_path):
    with session(tmp_path) as earlier:
        await db.commit([[fill("late", exchange_time=NOON_MS - 3 * DAY_MS)]])
        await db.publish()
        assert_right(tmp_path)
        with session(tmp_path, "views-1.4.sql") as now:
            assert told(earlier) == told(now)


async def test_a_reopened_day_stays_in_it_and_is_followed(db, tmp_path):
    """Its pair is live again, so the day is not final: sessions of before rely on the file as far as it went."""
    at_ms = NOON_MS - 3 * DAY_MS
    with session(tmp_path) as earlier:
        for count in (1, 2):
            open_pair = pair(7, pair_id="alice-open", intent_at=at_ms)
            await db.commit([[open_pair, fill(f"late-{count}", exchange_time=at_ms)]])
            await db.publish()
            assert held(tmp_path) == days_before(4, 3, 2, 1)
            assert_right(tmp_path)
        again = await reopened(db, tmp_path, wall=db._wall)
        await again.publish()
        assert held(tmp_path) == days_before(4, 3, 2, 1)
        assert_right(tmp_path)
        with session(tmp_path, "views-1.4.sql") as now:
            assert told(earlier) == told(now)
        await again.close()


async def test_a_new_final_day_is_added(db, tmp_path, wall):
    await db.commit([of_day(NOON_MS, 9)])
    wall.at_ms += DAY_MS
    await db.commit([of_day(wall.at_ms, 2)])
    await db.publish()
    await db.publish()
    assert held(tmp_path) == days_before(4, 3, 2, 1, 0)
    assert_right(tmp_path, days=DAYS + 2)


@pytest.mark.parametrize("damaged", [False, True])
async def test_another_process_makes_it_anew(db, tmp_path, wall, damaged):
    file = tmp_path / "analytics/totals.duckdb"
    if damaged:
        file.write_bytes(b"damaged")
    before = file.stat().st_ino
    again = await reopened(db, tmp_path, wall=wall)
    await again.publish()
    assert file.stat().st_ino != before
    assert_right(tmp_path)
    await again.close()


async def test_a_day_that_was_taken_away_is_in_no_sum(db, tmp_path):
    (tmp_path / f"analytics/day_{days_before(3)[0][0]}.duckdb").unlink()
    await db.commit([[fill("more")]])
    await db.publish()
    assert held(tmp_path) == days_before(4, 2, 1)
    assert_right(tmp_path, days=DAYS)


async def test_a_day_that_cannot_be_read_keeps_no_other_out(db, tmp_path):
    damaged = days_before(3)[0][0]
    (tmp_path / f"analytics/day_{damaged}.duckdb").write_bytes(b"damaged")
    await db.commit([[fill("more")]])
    await db.publish()
    assert held(tmp_path) == days_before(4, 2, 1)


async def test_what_fails_is_made_up(db, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(duck_totals, "take", lambda files: ("SELECT no_such_column",))
        os.utime(tmp_path / f"analytics/day_{days_before(2)[0][0]}.duckdb")
        await db.commit([[fill("more")]])
        with pytest.raises((StoreError, duckdb.Error)):
            await db.publish()
    await db.commit([[fill("and more", exchange_time=NOON_MS - 2 * DAY_MS)]])
    await db.publish()
    assert_right(tmp_path)


async def test_days_that_were_made_alike_are_not_opened_for_their_columns(db, tmp_path, wall):
    script = tmp_path / "analytics/views.sql"
    assert "union_by_name" not in script.read_text()
    oldest = days_before(4)[0][0]
    with duckdb.connect(str(tmp_path / f"analytics/day_{oldest}.duckdb")) as connection:
        connection.execute("ALTER TABLE orders DROP COLUMN executed_quote")
        connection.execute("INSERT INTO orders BY NAME SELECT 'there' AS instance, 'x' AS order_id")
    db._file.reader.execute(
        "UPDATE days SET file = '1 2 earlier', left_at = final_at WHERE final_at IS NOT NULL"
    ).fetchall()
    await db.commit([[fill("more"), order("1")]])
    await db.publish()
    assert "union_by_name" in script.read_text()
    with session(tmp_path) as connection:
        found = connection.execute("SELECT order_id, executed_quote FROM orders ORDER BY ALL").fetchall()
    assert found == [("1", D(0)), ("x", None)]


def test_the_benchmarks_year_says_the_same_in_all_its_forms(tmp_path):
    year.make(tmp_path, 3, 2, 40)
    year.sum_up(tmp_path)
    found = []
    for script in ("views.sql", "views-days.sql"):
        with duckdb.connect() as connection:
            connection.execute((tmp_path / script).read_text())
            found.append(connection.execute("SELECT * FROM daily ORDER BY ALL").fetchall())
    with duckdb.connect(str(tmp_path / "big.duckdb"), read_only=True) as connection:
        found.append(connection.execute("SELECT * FROM daily ORDER BY ALL").fetchall())
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == 3 * 2
